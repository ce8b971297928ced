"""A schedule that goes back when the model has lost what it could do, and goes on more slowly.

It is ours, not the paper's (arXiv 2405.14838).
"""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from icotlib.methods.schedule import BLOCK
from icotlib.methods.stepwise.schedules import GradualSettings, Watched, register
from icotlib.settings import MOST_STEPS, setting


@dataclass(frozen=True)
class RollbackSettings(GradualSettings):
    """Settings of the schedule that goes back."""

    schedule: str = setting("rollback", "")
    stage_steps: int = setting(
        30,
        "Steps at each stage before the first return; a stage ends at the next step of the run "
        f"that {BLOCK} divides.",
        low=1,
        high=MOST_STEPS,
    )
    window: int = setting(
        20,
        "Steps at the end of a stage whose mean match in training judges it. What must match is "
        "all that is learned.",
        low=1,
        high=1_000_000,
    )
    good: float = setting(
        0.2, "A stage that ends with a match of at least this is one to return to.", low=0, high=1
    )
    collapsed: float = setting(
        0.05,
        "A stage that ends with a match below this, other than the last, has collapsed: the "
        "weights of the last good stage come back, if there is one. This counts before "
        "removal.good.",
        low=0,
        high=1,
    )
    slower: float = setting(
        2.0, "Steps at a stage grow by this factor with each return.", low=1, high=1000
    )
    returns: int = setting(2, "Returns at most; then removal goes on.", low=0, high=1_000_000)


@register
class Rollback(Watched):
    """Equal stages, until one of them ends in collapse: then the weights that the last good stage
    ended with come back, and every stage from there on is longer.

    The last stage, with everything removed, has the rest of the run: models recover there whose
    match was next to zero before. What is decided depends on steps and matches alone, so that a
    run is the same on every machine and after every interruption.
    """

    name = "rollback"
    settings = RollbackSettings
    judges_all = True

    def __init__(self, config: Any, longest: int):
        super().__init__(config, longest)
        #: The step at which this stage began.
        self.began = 0
        #: The last stage that ended well, whose weights are kept.
        self.kept: int | None = None
        #: How often it has gone back.
        self.returned = 0

    def update(self, step: int, correct: Tensor, at_eval_stage: Tensor) -> None:
        if at_eval_stage.any():
            self.watch(correct, at_eval_stage)

    def advance(self, step: int) -> bool:
        self.back_to, self.is_good = None, False
        if not self._ends(step):
            return False
        # NaN, where no example was at this stage, is neither good nor collapsed.
        match = sum(self.recent) / len(self.recent) if self.recent else math.nan
        self.is_good = match >= self.config.good
        collapsed = match < self.config.collapsed and self.returned < self.config.returns
        if collapsed and self.kept is not None:
            self.back_to, self.removed = self.kept, self.kept
            self.returned += 1
        elif self.is_good:
            self.kept, self.kept_at = self.removed, step
        self.removed = self._after(self.removed)
        self.recent, self.began = [], step
        return self.back_to is None

    @property
    def length(self) -> float:
        """How many steps a stage has by now."""
        return self.config.stage_steps * self.config.slower**self.returned

    def target(self, step: int) -> int:
        """For plans, which know of no match: as it stands."""
        return self.removed

    def _ends(self, step: int) -> bool:
        """Whether a stage ends before this step; matches are known at the end of a block."""
        if step % BLOCK or self.removed >= self.longest:
            return False
        steps = self.length if self.removed else self.config.warmup_steps
        return step > 0 and step - self.began >= steps

    def _after(self, removed: int) -> int:
        """The stage that follows."""
        limit = self.config.remove_all_at
        all_at_once = limit is not None and removed + 1 >= limit
        return self.longest if all_at_once else removed + 1

    def describe(self, unit: str) -> str:
        return (
            f"one of {self.longest} {unit} more every {self.config.stage_steps} steps; after a "
            f"collapse, at most {self.config.returns} times, back to the last good stage and "
            f"{self.config.slower:g} times as slowly; tokens and time as if nothing were removed"
        )

    def state_dict(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in _STATE}
        return super().state_dict() | own


#: What a checkpoint keeps besides `Schedule.state_dict`.
_STATE = ("began", "kept", "kept_at", "returned")
