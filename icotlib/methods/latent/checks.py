"""Whether a language model's hidden states can be recycled as input embeddings."""

from typing import Any

from transformers import PreTrainedModel

from icotlib.errors import ConfigError


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
