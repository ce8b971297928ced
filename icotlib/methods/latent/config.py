"""The config of a model with latent places, as its checkpoints hold it."""

from typing import Any

from transformers import DynamicCache, PreTrainedConfig

from icotlib.models.wrapped import WrappedConfig


class LatentConfig(WrappedConfig):
    """Config of a model with latent places, in the hub's form.

    Args:
        latents: latent places of each example, where the caller names no other number.
        content: `recycled` hidden states; a `fixed` learned embedding; fresh `noise` of the norm
            that the first recycled state would have; the recycled states of `others`: in training
            those of the question before it in the batch, in evaluation those of the `donor`.
        donor: token ids of a training question and its separator, whose thoughts `others` takes in
            evaluation for all questions; None in models that need none.
        rounds: null computes recycled states one after the other; a number starts from the fixed
            embedding at all places and recomputes all of them at once, so many times.
        markers: whether <start> and <end> stand around the places.
        projection: whether states go through Linear, GELU, Linear, LayerNorm first (CODI).
        reserved_positions: positions of the language model that places and markers may take.
        kwargs: of `WrappedConfig`.
    """

    model_type = "icot_latent"

    def __init__(
        self,
        text_config: PreTrainedConfig | dict | None = None,
        latents: int = 0,
        content: str = "recycled",
        donor: list[int] | None = None,
        rounds: int | None = None,
        markers: bool = True,
        projection: bool = False,
        reserved_positions: int = 0,
        **kwargs: Any,
    ):
        self.latents, self.content, self.rounds = latents, content, rounds
        self.donor = donor
        self.markers, self.projection = markers, projection
        self.reserved_positions = reserved_positions
        super().__init__(text_config, **kwargs)

    @property
    def mixes_places(self) -> bool:
        """Whether a row may have fewer latent places than others of its batch.

        Attention skips those that it leaves out; convolutions and recurrent states do not, and in a
        sliding window they take the room of others. Without marks, the last place predicts the
        first token behind it, and must then be there.
        """
        if not self.markers:
            return False
        if "local" in getattr(self.text_config, "attention_layers", ()):  # GPT-Neo's windows
            return False
        mixed = ("conv_states", "recurrent_states")
        return not any(
            getattr(layer, "is_sliding", False) or any(hasattr(layer, name) for name in mixed)
            for layer in DynamicCache(config=self.text_config).layers
        )
