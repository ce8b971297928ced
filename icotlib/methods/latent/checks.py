"""Whether a language model's hidden states can be recycled as input embeddings."""

from typing import Any

import torch
from transformers import PreTrainedModel

from icotlib.errors import ConfigError, first_line
from icotlib.models.checks import as_it_was
from icotlib.models.decoding import position_ids
from icotlib.models.parameters import max_positions


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


def check_columns(language_model: PreTrainedModel, columns: int) -> None:
    """Raises `ConfigError` for a model that cannot read so many columns, padding among them.

    Padding stands before the places of shorter questions, so that a batch of unequal questions is
    wider than its longest sequence. Some models, such as GPT-Neo, attend to no more columns than
    they have positions.
    """
    short = columns - (max_positions(language_model) or columns)
    if short <= 0:
        return
    table: Any = language_model.get_input_embeddings()
    embeddings = table.weight.new_zeros(1, columns, table.weight.shape[1])
    positions = position_ids(language_model, torch.zeros_like(embeddings[:, :, 0]).long())
    try:
        with as_it_was(language_model):
            language_model.base_model(inputs_embeds=embeddings, position_ids=positions)
    except Exception as error:  # architectures raise types of their own
        raise ConfigError(
            f"{type(language_model).__name__} cannot read the {columns} positions, with padding, "
            f"of questions that differ in length ({first_line(error)}): raise "
            f"model.extra_positions by {short} if its weights are random, or take another model"
        ) from None


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
