"""Building a causal language model of transformers, with random or pretrained weights."""

import copy
import warnings

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from icotlib.config import ModelConfig
from icotlib.data.layout import Layout
from icotlib.errors import ConfigError, RunWarning, did_you_mean, first_line
from icotlib.models.adapters import add_adapters
from icotlib.models.advice import without_advice_on_kernels
from icotlib.models.architectures import (
    DECODER_SWITCHES,
    load_config,
    load_language_model,
    new_config,
    own_sizes,
)
from icotlib.models.parameters import max_positions, position_offset


def build_model(config: ModelConfig, layout: Layout, longest: int) -> PreTrainedModel:
    """A causal LM with positions for `longest` tokens and `config.extra_positions` more.

    Random weights depend on torch's global seed. A pretrained model with fewer positions is
    lengthened, with a warning.

    Raises `ConfigError` for an unknown architecture or option, and for weights that cannot be
    loaded.
    """
    without_advice_on_kernels()
    longest += config.extra_positions
    if config.pretrained is None:
        return _new_model(config, layout, longest)
    if config.options or config.dropout:
        raise ConfigError(
            "model.options and model.dropout apply to new models only; model.pretrained has its own"
        )
    # Weights that train are kept in fp32, because bf16 would round small updates away (autocast
    # gives the speed). Below adapters the weights are frozen and keep their stored type.
    dtype = "auto" if config.lora else torch.float32
    model = load_language_model(config.pretrained, dtype)
    positions = max_positions(model)
    if positions is not None and positions < longest:
        if config.lora:
            raise ConfigError(
                f"{config.pretrained} has {positions} positions, {longest} are needed: train it "
                "without model.lora, which could not train the missing ones"
            )
        warnings.warn(
            f"{config.pretrained} has {positions} positions, {longest} are needed: the missing "
            "ones are added and start untrained",
            RunWarning,
            stacklevel=2,
        )
        model = lengthen(model, longest)
    return add_adapters(model, config.lora) if config.lora else model


def _new_model(config: ModelConfig, layout: Layout, longest: int) -> PreTrainedModel:
    """A model with random weights.

    Raises `ConfigError` if the architecture cannot be built at these sizes.
    """
    text = _fresh_config(config, layout, longest)
    try:
        model = AutoModelForCausalLM.from_config(text, trust_remote_code=False)
        offset = position_offset(model)
        if offset:  # rows of its table that stand for no position
            text.max_position_embeddings = longest + offset
            model = AutoModelForCausalLM.from_config(text, trust_remote_code=False)
    except Exception as error:  # architectures raise types of their own
        raise refused_sizes(config, error) from None
    return model


def refused_sizes(config: ModelConfig, error: Exception) -> ConfigError:
    """The error of an architecture that cannot be built, or cannot compute, at its sizes."""
    given = {
        name: getattr(config, name)
        for name in ("architecture", "layers", "width", "heads", "options")
    }
    named = ", ".join(f"model.{name}={value}" for name, value in given.items() if value)
    return ConfigError(
        f"{config.architecture} cannot be had with {named}: {first_line(error)}\n"
        "Try a model.width that model.heads divides into heads of even width, or other "
        "model.options."
    )


def lengthen(model: PreTrainedModel, longest: int) -> PreTrainedModel:
    """The same model with positions for `longest` tokens.

    Rotary positions need no weights. A table of learned positions gets more rows, which start as
    copies of its last row.
    """
    config = copy.deepcopy(model.config)
    config.get_text_config().max_position_embeddings = longest + position_offset(model)
    longer = AutoModelForCausalLM.from_config(config, dtype=model.dtype, trust_remote_code=False)
    weights = model.state_dict()
    for name, tensor in longer.state_dict().items():
        missing = len(tensor) - len(weights[name]) if tensor.dim() else 0
        if missing:
            last = weights[name][-1:].expand(missing, *tensor.shape[1:])
            weights[name] = torch.cat([weights[name], last])
    longer.load_state_dict(weights)
    return longer


def model_config(config: ModelConfig, layout: Layout, longest: int) -> PreTrainedConfig:
    """The transformers config of the model that `build_model` makes."""
    if config.pretrained is not None:
        return load_config(config.pretrained)
    return _fresh_config(config, layout, longest)


def _fresh_config(config: ModelConfig, layout: Layout, longest: int) -> PreTrainedConfig:
    """The transformers config of a new model.

    Sizes go in under the names that transformers maps to those of each architecture.
    """
    defaults = _default_config(config)
    known = set(defaults.to_dict()) | set(defaults.attribute_map)
    settings = {
        "vocab_size": len(layout.tokenizer),
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.heads,
        "max_position_embeddings": longest,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": layout.eos,
        "pad_token_id": layout.pad,
        **{name: True for name in DECODER_SWITCHES if getattr(defaults, name, False)},
        **own_sizes(defaults, config.width, config.heads),
        **config.options,
    }
    also = {defaults.attribute_map.get(name): name for name in settings}  # under another name
    given = {also.get(name) for name in config.options}
    settings = {name: x for name, x in settings.items() if name in known and name not in given}
    for name, value in defaults.to_dict().items():
        if name.endswith(("dropout", "pdrop")) and isinstance(value, float):
            settings.setdefault(name, config.dropout)
    if defaults.model_type == "gpt2":  # the fused form of the same function; GPT-2's own is slow
        settings.setdefault("activation_function", "gelu_pytorch_tanh")
    if defaults.model_type == "gpt_neo":  # its config must name the kind of attention per layer
        settings.setdefault("attention_types", [[["global"], config.layers]])
    try:
        return AutoConfig.for_model(config.architecture, **settings)
    except Exception as error:  # transformers' checks raise types of their own
        raise ConfigError(f"model.options: {config.architecture} refuses them: {error}") from None


def _default_config(config: ModelConfig) -> PreTrainedConfig:
    """The architecture's config at its defaults.

    Raises `ConfigError` for an unknown architecture, or an option that it does not have.
    """
    defaults = new_config(config.architecture)
    known = set(defaults.to_dict()) | set(defaults.attribute_map)
    unknown = sorted(set(config.options) - known)
    if unknown:
        hint = did_you_mean(unknown[0], known)
        raise ConfigError(
            f"model.options: {config.architecture} has no setting {unknown[0]!r}.{hint}"
        )
    return defaults
