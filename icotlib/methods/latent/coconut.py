"""Coconut (arXiv 2412.06769): a chain of continuous thoughts in the place of written steps.

Training begins with the whole chain. Stage by stage, one more of its steps is replaced by latent
places, whose thoughts are the model's own last hidden states, until nothing of the chain is left.
By default the optimizer is reset at every stage, and not at every epoch as the authors do
(`latent.reset_every`).
"""

from typing import Any, ClassVar

from torch import Tensor

from icotlib.config import RunConfig
from icotlib.errors import ConfigError
from icotlib.methods.base import register
from icotlib.methods.latent.curriculum import Curriculum
from icotlib.methods.latent.method import LatentMethod
from icotlib.methods.latent.settings import CoconutSettings
from icotlib.methods.micro_batches import StageChange
from icotlib.methods.schedule import Schedule


@register
class Coconut(LatentMethod):
    """Steps become thoughts, stage by stage."""

    name = "coconut"
    label = "Coconut"
    color = "#791A06"
    marker = "d"
    paper = "2412.06769"
    sections: ClassVar = {"latent": CoconutSettings}

    @classmethod
    def check(cls, config: RunConfig) -> None:
        super().check(config)
        if config.latent.rounds is not None and config.latent.content != "recycled":
            raise ConfigError(
                f"latent.rounds refines recycled states, and latent.content is "
                f"{config.latent.content!r}: set latent.rounds=null, or latent.content=recycled"
            )
        if config.latent.reset_every is not None and not config.latent.reset_optimizer:
            raise ConfigError(
                "latent.reset_every sets when the optimizer is reset, and "
                "latent.reset_optimizer=false never resets it: set latent.reset_every=null, or "
                "latent.reset_optimizer=true"
            )
        if config.latent.step_weight and config.latent.content != "recycled":
            raise ConfigError(
                "latent.step_weight teaches recycled states to stand for steps, and latent.content "
                f"is {config.latent.content!r}: set latent.step_weight=0, or "
                "latent.content=recycled"
            )
        if config.latent.step_weight and not config.latent.places_per_stage:
            raise ConfigError(
                "latent.step_weight trains latent places, and latent.places_per_stage=0 makes "
                "none: set latent.step_weight=0"
            )

    @classmethod
    def make_schedule(cls, config: RunConfig, longest: int) -> Schedule:
        return Curriculum(config.latent, longest)

    @classmethod
    def places(cls, config: RunConfig, longest: int, removed: Tensor | int) -> Tensor:
        return Curriculum(config.latent, longest).places(removed)

    @classmethod
    def markers(cls, config: RunConfig) -> int:
        return 2 * config.latent.markers

    @classmethod
    def contents(cls, config: RunConfig) -> dict[str, Any]:
        return {"content": config.latent.content, "rounds": config.latent.rounds}

    @classmethod
    def units_per_place(cls, config: RunConfig, places: int, longest: int) -> float:
        latent = config.latent
        return latent.units_per_stage / max(1, latent.places_per_stage)

    def begin_step(self, step: int) -> StageChange:
        change, latent = super().begin_step(step), self.config.latent
        between = latent.reset_every is not None and step > 0 and step % latent.reset_every == 0
        resets = latent.reset_optimizer and (change.ended is not None or between)
        return change._replace(reset_optimizer=resets)
