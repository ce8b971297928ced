"""The config of a model with latent places, as its checkpoints hold it."""

from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig


class LatentConfig(PreTrainedConfig):
    """Config of a model with latent places, in the hub's form.

    Args:
        text_config: config of the language model that it holds.
        separator: token id of the separator that ends a question.
        bos_tokens: tokens that the tokenizer puts before every text; none of them is the separator.
        latents: latent places of each example, where the caller names no other number.
        content: `recycled` hidden states; a `fixed` learned embedding; fresh `noise` of the norm
            that the first recycled state would have; the recycled states of `others`, the next
            question of the batch.
        rounds: null computes recycled states one after the other; a number starts from the fixed
            embedding at all places and recomputes all of them at once, so many times.
        markers: whether <start> and <end> stand around the places.
        projection: whether states go through Linear, GELU, Linear, LayerNorm first (CODI).
        reserved_positions: positions of the language model that places and markers may take.
    """

    model_type = "icot_latent"
    sub_configs: ClassVar = {"text_config": AutoConfig}

    def __init__(
        self,
        text_config: PreTrainedConfig | dict | None = None,
        separator: int = 0,
        bos_tokens: int = 0,
        latents: int = 0,
        content: str = "recycled",
        rounds: int | None = None,
        markers: bool = True,
        projection: bool = False,
        reserved_positions: int = 0,
        **kwargs: Any,
    ):
        if text_config is None:
            text_config = {"model_type": "gpt2"}
        if isinstance(text_config, dict):
            text_config = AutoConfig.for_model(**text_config)
        self.text_config = text_config
        self.separator, self.bos_tokens = separator, bos_tokens
        self.latents, self.content, self.rounds = latents, content, rounds
        self.markers, self.projection = markers, projection
        self.reserved_positions = reserved_positions
        super().__init__(**kwargs)
