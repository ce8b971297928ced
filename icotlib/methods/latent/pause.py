"""Pause tokens (arXiv 2310.02226): a learned token, some times over, between question and answer.

Nothing is learned at the pauses, and there is no curriculum. The same tokens with a curriculum,
"pause as thought" of Coconut's paper, are `coconut` with `latent.content=fixed`.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor

from icotlib.config import RunConfig
from icotlib.methods.base import register
from icotlib.methods.latent.method import LatentMethod
from icotlib.methods.latent.settings import PauseSettings


@register
class Pause(LatentMethod):
    """The question, pauses, and the answer at once."""

    name = "pause"
    reads_chains = False
    label = "Pause tokens"
    color = "#AFAF6A"
    marker = "h"
    paper = "2310.02226"
    sections: ClassVar = {"latent": PauseSettings}

    @classmethod
    def places(cls, config: RunConfig, longest: int, removed: Tensor | int) -> Tensor:
        return torch.full_like(torch.as_tensor(removed), config.latent.tokens)

    @classmethod
    def markers(cls, config: RunConfig) -> int:
        return 0

    @classmethod
    def contents(cls, config: RunConfig) -> dict[str, Any]:
        return {"content": "fixed"}
