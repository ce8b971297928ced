"""Whether a language model's hidden states can be recycled as input embeddings."""

from typing import Any

import torch
from transformers import PreTrainedModel

from icotlib.errors import ConfigError, first_line
from icotlib.models.checks import as_it_was


def check_recycles(language_model: PreTrainedModel) -> None:
    """Raises `ConfigError` for a model without a body of its own, and for one whose embeddings and
    hidden states differ in width."""
    name = type(language_model).__name__
    if language_model.base_model is language_model:
        raise ConfigError(
            f"{name} has no body apart from its output head, whose states could be recycled: take "
            "another model"
        )
    table: Any = language_model.get_input_embeddings()
    narrow, wide = table.weight.shape[1], language_model.config.get_text_config().hidden_size
    if narrow != wide:
        raise ConfigError(
            f"the embeddings of {name} have width {narrow}, its hidden states {wide}: it cannot "
            "read a state in the place of an embedding. Take another model"
        )
    _check_cache(language_model)


def _check_cache(language_model: PreTrainedModel) -> None:
    """Raises `ConfigError` for a model that keeps nothing of the positions that it has read."""
    ids = torch.zeros(1, 2, dtype=torch.long, device=language_model.device)
    try:
        with as_it_was(language_model):
            language_model(input_ids=ids, use_cache=True).past_key_values.get_seq_length()
    except Exception as error:  # architectures raise types of their own
        raise ConfigError(
            f"{type(language_model).__name__} has no cache of keys and values that can be read on "
            f"({first_line(error)}), and a latent place is read after what the cache holds: take "
            "another model"
        ) from None
