"""Models: any causal language model of transformers, with random or pretrained weights."""

import copy
import warnings

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from icotlib.config import ModelConfig
from icotlib.data.layout import Layout
from icotlib.errors import ConfigError, did_you_mean
from icotlib.models.adapters import add_adapters
from icotlib.models.parameters import max_positions
from icotlib.system.pretrained import _pretrained


def build_model(config: ModelConfig, layout: Layout, longest: int) -> PreTrainedModel:
    """A causal LM for sequences of up to `longest` tokens, and of `config.extra_positions` more.

    With random weights, initialise under a fixed torch seed for repeatable numbers. A pretrained
    model that is too short is made longer, with a warning. Raises `ConfigError` for an unknown
    architecture or option, and for weights that cannot be loaded.
    """
    longest += config.extra_positions
    if config.pretrained is None:
        return AutoModelForCausalLM.from_config(_fresh_config(config, layout, longest))
    if config.options or config.dropout:
        raise ConfigError(
            "model.options and model.dropout are of new models; model.pretrained has its own"
        )
    # Trained in fp32, with autocast for speed: in bf16 small updates would be rounded away. What
    # is not trained may stay as it is stored.
    dtype = "auto" if config.lora else torch.float32
    model = _pretrained(AutoModelForCausalLM, config.pretrained, dtype=dtype)
    room = max_positions(model)
    if room is not None and room < longest:
        if config.lora:
            raise ConfigError(
                f"{config.pretrained} has room for {room} tokens, {longest} are "
                "needed: train it without model.lora, which leaves its positions as they are"
            )
        warnings.warn(
            f"{config.pretrained} has room for {room} tokens, {longest} are needed: "
            "it is made longer, and has yet to learn the new positions",
            stacklevel=2,
        )
        model = lengthen(model, longest)
    return add_adapters(model, config.lora) if config.lora else model


def lengthen(model: PreTrainedModel, longest: int) -> PreTrainedModel:
    """The same model with room for `longest` tokens.

    Rotary positions go on as they are. A table of learned positions gets more rows, each at first
    a copy of the last: the nearest to what the model knows.
    """
    config = copy.deepcopy(model.config)
    config.get_text_config().max_position_embeddings = longest
    longer = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    weights = model.state_dict()
    for name, wanted in longer.state_dict().items():
        missing = len(wanted) - len(weights[name]) if wanted.dim() else 0
        if missing:
            last = weights[name][-1:].expand(missing, *wanted.shape[1:])
            weights[name] = torch.cat([weights[name], last])
    longer.load_state_dict(weights)
    return longer


def model_config(config: ModelConfig, layout: Layout, longest: int):
    """The transformers config of the model that `build_model` makes."""
    if config.pretrained is not None:
        return _pretrained(AutoConfig, config.pretrained)
    return _fresh_config(config, layout, longest)


def _fresh_config(config: ModelConfig, layout: Layout, longest: int):
    """A transformers config of the asked sizes; names common to all families do the mapping."""
    options = {
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
        **config.options,
    }
    try:
        made = AutoConfig.for_model(config.architecture)
    except ValueError:
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        )

        raise ConfigError(
            f"unknown model.architecture {config.architecture!r}."
            f"{did_you_mean(config.architecture, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)}"
        ) from None
    names = set(made.to_dict()) | set(made.attribute_map)
    unknown = set(config.options) - names
    if unknown:
        name = min(unknown)
        raise ConfigError(
            f"model.options: {config.architecture} has no setting {name!r}."
            f"{did_you_mean(name, names)}"
        )
    options = {name: value for name, value in options.items() if name in names}
    for name, value in made.to_dict().items():
        if name.endswith(("dropout", "pdrop")) and isinstance(value, float):
            options.setdefault(name, config.dropout)
    if made.model_type == "gpt2":  # the fused form of the same function; GPT-2's own is slow
        options.setdefault("activation_function", "gelu_pytorch_tanh")
    if made.model_type == "gpt_neo":  # its layers must say which kind of attention they have
        options.setdefault("attention_types", [[["global"], config.layers]])
    try:
        return AutoConfig.for_model(config.architecture, **options)
    except Exception as error:  # the checks of the hub's library raise types of their own
        raise ConfigError(f"model.options: {config.architecture} refuses them: {error}") from None
