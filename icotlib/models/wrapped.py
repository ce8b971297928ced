"""Models of our own around a language model, saved and loaded as one in the hub's form."""

from typing import Any, ClassVar

from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel


class WrappedConfig(PreTrainedConfig):
    """What the configs of such models share.

    Args:
        text_config: config of the language model that is held.
        separator: token id of the separator that ends a question.
        bos_tokens: tokens that the tokenizer puts before every text; none of them is the separator,
            even if it is the same token.
    """

    sub_configs: ClassVar = {"text_config": AutoConfig}

    def __init__(
        self,
        text_config: PreTrainedConfig | dict | None = None,
        separator: int = 0,
        bos_tokens: int = 0,
        **kwargs: Any,
    ):
        if text_config is None:
            text_config = {"model_type": "gpt2"}
        if isinstance(text_config, dict):
            text_config = AutoConfig.for_model(**text_config)
        self.text_config = text_config
        self.separator, self.bos_tokens = separator, bos_tokens
        super().__init__(**kwargs)


class WrappedModel(PreTrainedModel):
    """What such models share."""

    base_model_prefix = ""

    def _init_weights(self, module: nn.Module) -> None:
        """Parts of our own start as torch makes them; the language model sees to its own."""


class LanguageModelHolder(WrappedModel):
    """A model that reads and writes as its `language_model` does."""

    #: A causal language model of transformers.
    language_model: Any

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()
