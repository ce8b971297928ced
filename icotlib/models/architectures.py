"""What icotlib makes of an architecture of transformers: a decoder of text, or an error.

Encoders that have a decoder's form (BERT, ELECTRA, ...) are built as decoders. Of a model that
sees or hears too, the language model is taken. Encoder-decoders and permutation models are refused.
"""

import copy
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from icotlib.errors import ConfigError, did_you_mean
from icotlib.system.pretrained import load_pretrained, load_pretrained_model

#: Models that are trained on permuted sequences and have no form that reads from left to right.
PERMUTATION = ("xlnet",)

#: What turns an encoder into a decoder of the same architecture.
DECODER_SWITCHES = ("is_decoder", "causal")

#: Where a config with parts of its own may be one of transformers' (`icot_kd` is none of them).
PUBLIC = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES}


def language_config(config: PreTrainedConfig, source: str) -> PreTrainedConfig:
    """The config of the decoder of text in a model.

    Args:
        source: the setting that names the model, for errors.

    Raises `ConfigError` for a model that holds no decoder of text.
    """
    kind = config.model_type
    if config.is_encoder_decoder:
        raise ConfigError(
            f"{source}: {kind} is an encoder-decoder; icotlib trains decoders, which read "
            "question, chain and answer as one text: choose gpt2, llama or another decoder"
        )
    if kind in PERMUTATION:
        raise ConfigError(
            f"{source}: {kind} is a permutation language model, which does not read from left to "
            "right: choose gpt2, llama or another decoder"
        )
    text = text_config(config)
    if text is not config and text.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ConfigError(
            f"{source}: transformers has no causal language model for {text.model_type}, the "
            f"language model in {kind}: choose a model of text alone"
        )
    return as_decoder(text)


def text_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """The config of the language model in a model that sees or hears too; of others, their own."""
    return config.get_text_config(decoder=True) if config.model_type in PUBLIC else config


def new_config(architecture: str) -> PreTrainedConfig:
    """The config of an architecture at its defaults, as a decoder of text.

    Raises `ConfigError` for an unknown architecture, and for one that holds no decoder of text.
    """
    try:
        config = AutoConfig.for_model(architecture)
    except ValueError:
        hint = did_you_mean(architecture, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
        raise ConfigError(f"unknown model.architecture {architecture!r}.{hint}") from None
    source = f"model.architecture={architecture}"
    text = language_config(config, source)
    if text_config(config) is not config:
        raise ConfigError(
            f"{source} is more than a language model: choose {text.model_type}, the language "
            "model in it"
        )
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise ConfigError(
            f"{source}: transformers has no causal language model of this architecture"
        )
    return text


def own_sizes(defaults: PreTrainedConfig, width: int, heads: int) -> dict[str, Any]:
    """Sizes that some architectures do not derive from width and heads, so that they fit.

    Args:
        defaults: the architecture's config (`new_config`).
    """
    head = width // heads
    if defaults.model_type == "mamba2":
        inner = defaults.expand * width
        return {"num_heads": heads, "head_dim": inner // heads, "n_groups": 1, "state_size": 16}
    return {
        # Feed-forward layers and embeddings as wide as those of other architectures.
        "ffn_dim": 4 * width,
        "word_embed_proj_dim": width,
        # Rotary positions turn at most a whole head.
        "rotary_dim": min(getattr(defaults, "rotary_dim", None) or head, head),
    }


def as_decoder(config: PreTrainedConfig) -> PreTrainedConfig:
    """The config of an architecture whose encoder can be a decoder, as a decoder; else itself."""
    if config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return config
    off = [name for name in DECODER_SWITCHES if getattr(config, name, None) is False]
    if not off:
        return config
    config = copy.deepcopy(config)
    for name in off:
        setattr(config, name, True)
    return config


def load_config(source: str) -> PreTrainedConfig:
    """The config of the decoder of text in a pretrained model.

    Raises `ConfigError` if it cannot be loaded, or holds none.
    """
    return language_config(load_pretrained(AutoConfig, source), f"model.pretrained={source!r}")


def load_language_model(source: str, dtype: Any) -> PreTrainedModel:
    """The decoder of text in a pretrained model, with its weights.

    Args:
        dtype: of the weights, or "auto" for that in which they are stored.

    Raises `ConfigError` if it cannot be loaded, holds none, or lacks some of its weights.
    """
    config = load_pretrained(AutoConfig, source)
    text = language_config(config, f"model.pretrained={source!r}")
    if text_config(config) is config:
        changed = {} if text is config else {"config": text}
        return load_pretrained_model(AutoModelForCausalLM, source, dtype=dtype, **changed)
    whole: Any = AutoModelForCausalLM
    if config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        whole = AutoModelForImageTextToText
    return _language_model_of(load_pretrained_model(whole, source, dtype=dtype), text, source)


@torch.no_grad()
def _language_model_of(whole: Any, text: PreTrainedConfig, source: str) -> PreTrainedModel:
    """The language model in a model of several parts, as a model of its own.

    Raises `ConfigError` if it does not compute the same.
    """
    text = copy.deepcopy(text)
    text._name_or_path = source
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(text, dtype=whole.dtype, trust_remote_code=False)
    ids = torch.arange(min(8, whole.get_input_embeddings().weight.shape[0]))[None]
    try:
        model.base_model.load_state_dict(whole.get_decoder().state_dict())
        model.get_output_embeddings().load_state_dict(whole.get_output_embeddings().state_dict())
        found, true = (x.eval()(input_ids=ids).logits.float() for x in (model, whole))
        same = torch.allclose(found, true, rtol=1e-3, atol=1e-3 * float(true.abs().max()))
    except Exception as error:  # each architecture keeps its parts in its own way
        raise _inseparable(source, whole, str(error)) from None
    if not same:
        raise _inseparable(source, whole, "the logits differ")
    return model


def _inseparable(source: str, whole: Any, error: str) -> ConfigError:
    return ConfigError(
        f"model.pretrained={source!r}: the language model in {type(whole).__name__} cannot be "
        f"taken out of it: {error}\nSave the language model alone, and give its folder."
    )
