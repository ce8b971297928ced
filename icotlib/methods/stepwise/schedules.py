"""When chain tokens are removed: the schedules of stepwise internalization (arXiv 2405.14838).

Each schedule owns its settings, the fields `removal.*` of the class that `settings` names. A
schedule is one class here; `@register` makes it a value of `removal.schedule`.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from icotlib.methods.removal import RemovalSettings
from icotlib.methods.schedule import BLOCK, Schedule
from icotlib.settings import MOST_STEPS, Variants, setting


@dataclass(frozen=True)
class GradualSettings(RemovalSettings):
    """What all schedules share: when removal begins, and the papers' two ways to make it stable."""

    warmup_steps: int = setting(
        150, "Steps on the full chain before anything is removed.", low=0, high=MOST_STEPS
    )
    smoothing: float | None = setting(
        None,
        "Removal smoothing: each example loses o more tokens, P(o) proportional to "
        "exp(-smoothing * o). The paper uses 4; null turns it off. Never during warm-up, never in "
        "evaluation.",
        low=1e-6,
        high=1000,
    )
    reset_optimizer: bool = setting(
        False,
        "Clear the optimizer's moments whenever s grows, until a batch holds no chain token any "
        "more.",
    )
    remove_all_at: int | None = setting(
        None,
        "Remove everything at once when s reaches this (the paper: 39 on GSM8K), "
        "after the warm-up.",
        low=0,
        high=1_000_000,
    )


@dataclass(frozen=True)
class LinearSettings(GradualSettings):
    """Settings of the paper's schedule."""

    schedule: str = setting(
        "linear",
        "linear (the paper's): s(t) = floor(pace * t / steps_per_epoch) tokens removed from every "
        "example, t steps after the warm-up. geometric: chunks that double. adaptive: one token "
        "more once the model answers well enough. rollback: back to the last good stage after a "
        "collapse.",
    )
    pace: float = setting(8.0, "Tokens removed per epoch (the paper's delta).", low=0, high=1e6)
    steps_per_epoch: int = setting(
        1000,
        "Optimizer steps per epoch (the paper's T); a stream has no epochs of its own.",
        low=1,
        high=MOST_STEPS,
    )


#: The largest share of examples at earlier stages: some must be at the stage that is judged.
MOST_REPLAYED = 0.99


@dataclass(frozen=True)
class GeometricSettings(GradualSettings):
    """Settings of chunks that double."""

    schedule: str = setting("geometric", "")
    steps_per_chunk: int = setting(300, "Steps between two removals.", low=1, high=MOST_STEPS)


@dataclass(frozen=True)
class AdaptiveSettings(GradualSettings):
    """Settings of the schedule that accuracy drives."""

    schedule: str = setting("adaptive", "")
    threshold: float = setting(
        0.85,
        "The next token is removed once the running mean of a teacher-forced match exceeds this. "
        f"That is looked at every {BLOCK} steps of the run.",
        low=0,
        high=1,
    )
    measure: Literal["answer", "all"] = setting(
        "answer",
        "What must match: the answer, or all (the remaining chain too). Given the true chain, an "
        "answer can be right though the model cannot write that chain; but a long chain of words "
        "seldom matches as a whole.",
    )
    window: int = setting(
        20, "Steps that the running mean covers, and the fewest at a stage.", low=1, high=1_000_000
    )
    max_steps_per_stage: int = setting(
        600,
        "Most steps at a stage, counting those with an example at it; the stage ends at the next "
        f"multiple of {BLOCK} steps of the run.",
        low=1,
        high=MOST_STEPS,
    )
    replay: float = setting(
        0.0,
        "Chance that an example is shown at a uniformly drawn earlier stage.",
        low=0,
        high=MOST_REPLAYED,
    )


#: The section `removal` of stepwise internalization, which depends on `removal.schedule`.
REMOVAL = Variants("removal", "schedule", default="linear")

SCHEDULES: dict[str, type["Gradual"]] = {}

S = TypeVar("S", bound="Gradual")


def register(cls: type[S]) -> type[S]:
    """Class decorator: make a schedule a value of `removal.schedule`."""
    SCHEDULES[cls.name] = cls
    REMOVAL.types[cls.name] = cls.settings
    return cls


class Gradual(Schedule):
    """Base of the schedules: every example loses s tokens, apart from smoothing and replay; s only
    ever grows (but for `Rollback`)."""

    #: The class of its settings.
    settings: ClassVar[type[GradualSettings]]
    has_stage_checkpoints = True

    def __init__(self, config: Any, longest: int):
        super().__init__(longest)
        self.config = config

    def sample(self, step: int, chain: Tensor, generator: torch.Generator) -> Tensor:
        k = super().sample(step, chain, generator)
        if self.config.smoothing is not None and step >= self.config.warmup_steps:
            k = k + smoothing_offsets(len(chain), self.config.smoothing, generator)
        return k

    def removed_at(self, step: int) -> int:
        target, limit = min(self.target(step), self.longest), self.config.remove_all_at
        at_once = limit is not None and target >= limit and step >= self.config.warmup_steps
        return self.longest if at_once else target

    def target(self, step: int) -> int:
        """s at this step, before `remove_all_at` and the length of the chain are applied."""
        raise NotImplementedError


def smoothing_offsets(n: int, smoothing: float, generator: torch.Generator) -> Tensor:
    """Removal smoothing: `[n]` offsets o >= 0 with P(o) proportional to exp(-smoothing * o)."""
    uniform = torch.rand(n, generator=generator, dtype=torch.float64)
    return (-(1 - uniform).log() / smoothing).floor().long()


@register
class Linear(Gradual):
    """The paper's: s(t) = floor(pace * t / T), t optimizer steps after the warm-up, T an epoch."""

    name = "linear"
    settings = LinearSettings
    planned = True

    def target(self, step: int) -> int:
        t = step - self.config.warmup_steps
        # The small term undoes the rounding of pace * t / T just below a whole number.
        return max(0, math.floor(self.config.pace * t / self.config.steps_per_epoch + 1e-9))


@register
class Geometric(Gradual):
    """Chunks that double: after i chunks, s = 2^i - 1, so log(chain) stages in all."""

    name = "geometric"
    settings = GeometricSettings
    planned = True

    def target(self, step: int) -> int:
        chunks = (step - self.config.warmup_steps) // self.config.steps_per_chunk
        return 2 ** min(max(chunks, 0), 30) - 1


class Watched(Gradual):
    """Base of the schedules that the match in training drives: the mean over the last steps."""

    def __init__(self, config: Any, longest: int):
        super().__init__(config, longest)
        #: The match of the last steps at this stage.
        self.recent: list[float] = []

    def watch(self, correct: Tensor, at_eval_stage: Tensor) -> None:
        """Take the match of a batch, some of whose examples are at the eval stage."""
        self.recent.append(correct[at_eval_stage].double().mean().item())
        del self.recent[: -self.config.window]

    def test_stages(self) -> list[int]:
        return list(range(self.longest + 1))

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"recent": self.recent}


@register
class Adaptive(Watched):
    """One token more as soon as the running mean of a match in training passes a threshold.

    The mean covers `window` steps at this stage; `max_steps_per_stage` is a cap in steps, never
    in time, so that a run is the same on every machine. Both are looked at every `BLOCK` steps,
    however often the run evaluates.
    """

    name = "adaptive"
    settings = AdaptiveSettings

    def __init__(self, config: Any, longest: int):
        super().__init__(config, longest)
        #: Steps at this stage so far.
        self.steps_here = 0
        self.judges_all = config.measure == "all"

    def sample(self, step: int, chain: Tensor, generator: torch.Generator) -> Tensor:
        k = super().sample(step, chain, generator)
        if self.config.replay and self.removed:
            earlier = torch.randint(0, self.removed, chain.shape, generator=generator)
            again = torch.rand(len(chain), generator=generator) < self.config.replay
            k = torch.where(again, earlier, k)
        return k

    def update(self, step: int, correct: Tensor, at_eval_stage: Tensor) -> None:
        if step < self.config.warmup_steps or not at_eval_stage.any():
            return
        self.watch(correct, at_eval_stage)
        self.steps_here += 1

    def target(self, step: int) -> int:
        full = len(self.recent) >= self.config.window
        learned = full and sum(self.recent) / len(self.recent) > self.config.threshold
        if learned or self.steps_here >= self.config.max_steps_per_stage:
            return self.removed + 1
        return self.removed

    def advance(self, step: int) -> bool:
        grew = super().advance(step)
        if grew:
            self.recent, self.steps_here = [], 0
        return grew

    def describe(self, unit: str) -> str:
        return (
            f"one of {self.longest} {unit} more whenever accuracy allows, or after "
            f"{self.config.max_steps_per_stage} steps; tokens and time as if nothing were removed"
        )

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"steps_here": self.steps_here}


def make_schedule(config: Any, longest: int) -> Gradual:
    """The schedule of these settings for chains of at most `longest` units."""
    return SCHEDULES[config.schedule](config, longest)
