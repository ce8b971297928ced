"""What a model with latent places has read of a batch, and what its forward pass returns."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast


@dataclass
class LatentOutput(CausalLMOutputWithPast):
    """Logits and hidden states stand at the positions of the given tokens; the thoughts besides."""

    #: `[n, places, d]`, as they enter the model.
    thoughts: Tensor | None = None


class Read(NamedTuple):
    """What has been read of a batch, and what is waiting to be read."""

    #: Embeddings `[n, w, d]` that no pass has read, and which of them are real, `[n, w]`.
    waiting: Tensor
    is_real: Tensor
    #: Which columns before them were real, `[n, before]`, and the cache that holds these.
    before: Tensor
    cache: Any = None
    #: Whether every column of every row is real.
    whole: bool = False

    def then(self, embeddings: Tensor, is_real: Tensor) -> "Read":
        """The same with more waiting."""
        return self._replace(
            waiting=torch.cat([self.waiting, embeddings], dim=1),
            is_real=torch.cat([self.is_real, is_real], dim=1),
        )


def at_tokens(found: Tensor, width: int, at: Tensor, keep: int) -> Tensor:
    """What belongs to the last `keep` of `width` tokens, `[n, keep, ...]`.

    Args:
        found: `[n, read, ...]`, from the separator of each row on; tokens before it get its own.
        at: `[n]`, the separators' positions.
    """
    columns = torch.arange(width - keep, width, device=found.device)[None]
    chosen = (columns - at[:, None]).clamp(min=0, max=found.shape[1] - 1)
    return found.gather(1, chosen[:, :, None].expand(-1, -1, found.shape[-1]))
