"""When chain tokens are removed: the schedules of stepwise internalization (arXiv 2405.14838).

Each schedule owns its settings, the fields `removal.*` of the class that `settings` names. A
schedule is one class here; `@register` makes it a value of `removal.schedule`.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from icotlib.errors import ConfigError
from icotlib.methods.schedule import Schedule
from icotlib.settings import MOST_STEPS, Section, Variants, setting


@dataclass(frozen=True)
class RemovalSettings(Section):
    """What all schedules share: how chain tokens are removed."""

    section: ClassVar[str] = "removal"

    schedule: str = setting(
        "random",
        "linear (the paper's): s(t) = floor(pace * t / steps_per_epoch) tokens removed from every "
        "example, t steps after the warm-up. geometric: chunks that double. adaptive: one token "
        "more once the model answers well enough. random: every example loses a random number of "
        "tokens, so that one model serves every stage.",
    )
    side: Literal["left", "right"] = setting("left", "The end of the chain that is removed first.")
    step_end: str | None = setting(
        None,
        "Remove whole steps, not single tokens: the text that ends every step, such as >> in "
        "GSM8K's equations. Every number of removed tokens in this section then counts steps.",
    )
    keep_positions: bool = setting(
        True,
        "Remaining tokens keep their position ids: from the first separator on they are larger by "
        "the removal stage, the same for chains of every length, so that they do not tell how long "
        "a question's chain is. Left side only.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep_positions and self.side == "right":
            raise ConfigError(
                "removal.keep_positions needs removal.side=left: after a removal on the right the "
                "kept position of the second separator is unknown during generation"
            )
        if self.keep_positions and self.step_end is not None:
            raise ConfigError(
                "removal.keep_positions needs removal.step_end=null: steps differ in length, so "
                "kept positions would leak how many tokens were removed"
            )


@dataclass(frozen=True)
class GradualSettings(RemovalSettings):
    """Settings of schedules whose number of removed tokens only grows."""

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
        "Remove everything at once when s reaches this (the paper: 39 on GSM8K).",
        low=0,
        high=1_000_000,
    )


@dataclass(frozen=True)
class LinearSettings(GradualSettings):
    """Settings of the paper's schedule."""

    schedule: str = setting("linear", "")
    pace: float = setting(8.0, "Tokens removed per epoch (the paper's delta).", low=0, high=1e6)
    steps_per_epoch: int = setting(
        1000,
        "Optimizer steps per epoch (the paper's T); a stream has no epochs of its own.",
        low=1,
        high=MOST_STEPS,
    )


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
        "The next token is removed once the running mean of teacher-forced answer exact match "
        "exceeds this.",
        low=0,
        high=1,
    )
    window: int = setting(
        20, "Steps that the running mean covers, and the fewest at a stage.", low=1, high=1_000_000
    )
    max_steps_per_stage: int = setting(
        600,
        "The next token is removed in any case after this many steps with an example at the stage.",
        low=1,
        high=MOST_STEPS,
    )
    replay: float = setting(
        0.0, "Chance that an example is shown at a uniformly drawn earlier stage.", low=0, high=1
    )


@dataclass(frozen=True)
class RandomSettings(RemovalSettings):
    """Settings of one model for every stage."""

    warmup_steps: int = setting(
        150, "Steps on the full chain before anything is removed.", low=0, high=MOST_STEPS
    )
    all_fraction: float = setting(
        0.5, "Chance that an example loses its whole chain; else uniform on 0..all.", low=0, high=1
    )


#: The section `removal` of stepwise internalization, which depends on `removal.schedule`.
REMOVAL = Variants("removal", "schedule", default="random")

SCHEDULES: dict[str, type["RemovalSchedule"]] = {}

S = TypeVar("S", bound="RemovalSchedule")


def register(cls: type[S]) -> type[S]:
    """Class decorator: make a schedule a value of `removal.schedule`."""
    SCHEDULES[cls.name] = cls
    REMOVAL.types[cls.name] = cls.settings
    return cls


class RemovalSchedule(Schedule):
    """Base of the schedules of stepwise internalization."""

    #: The class of its settings.
    settings: ClassVar[type[RemovalSettings]]

    def __init__(self, config: Any, longest: int):
        super().__init__(longest)
        self.config = config


class Gradual(RemovalSchedule):
    """s only ever grows; every example loses s tokens, apart from smoothing and replay."""

    has_stage_checkpoints = True

    def sample(self, step: int, chain: Tensor, generator: torch.Generator) -> Tensor:
        k = super().sample(step, chain, generator)
        if self.config.smoothing is not None and step >= self.config.warmup_steps:
            k = k + smoothing_offsets(len(chain), self.config.smoothing, generator)
        return k

    def removed_at(self, step: int) -> int:
        target, limit = min(self.target(step), self.longest), self.config.remove_all_at
        return self.longest if limit is not None and target >= limit else target

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


@register
class Adaptive(Gradual):
    """One token more as soon as the running mean of answer exact match passes a threshold.

    The mean covers `window` steps at this stage; `max_steps_per_stage` is a cap in steps, never
    in time, so that a run is the same on every machine.
    """

    name = "adaptive"
    settings = AdaptiveSettings

    def __init__(self, config: Any, longest: int):
        super().__init__(config, longest)
        #: Answer exact match of the last steps at this stage.
        self.recent: list[float] = []
        #: Steps at this stage so far.
        self.steps_here = 0

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
        self.recent.append(correct[at_eval_stage].double().mean().item())
        del self.recent[: -self.config.window]
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

    def test_stages(self) -> list[int]:
        return list(range(self.longest + 1))

    def describe(self, unit: str) -> str:
        return (
            f"one of {self.longest} {unit} more whenever accuracy allows, or after "
            f"{self.config.max_steps_per_stage} steps; tokens and time as if nothing were removed"
        )

    def state_dict(self) -> dict[str, Any]:
        return {"removed": self.removed, "recent": self.recent, "steps_here": self.steps_here}


@register
class Random(RemovalSchedule):
    """Each example loses its own number of tokens: one model for every stage.

    With probability `all_fraction` the whole chain is removed, otherwise k is uniform on 0..chain.
    """

    name = "random"
    settings = RandomSettings

    @property
    def eval_stage(self) -> int:
        return self.longest

    def sample(self, step: int, chain: Tensor, generator: torch.Generator) -> Tensor:
        if step < self.config.warmup_steps:
            return torch.zeros_like(chain)
        uniform, all_of_it = torch.rand(2, len(chain), generator=generator)
        whole = chain.clamp(min=self.longest)
        # Drawn up to the chain's own length, kept positions would tell something of that length.
        most = whole if self.config.keep_positions else chain
        k = (uniform * (most + 1)).long()
        return torch.where(all_of_it < self.config.all_fraction, whole, k)

    def test_stages(self) -> list[int]:
        return list(range(self.longest + 1))

    def describe(self, unit: str) -> str:
        return f"0 to {self.longest} {unit} removed, drawn for each example"


def make_schedule(config: RemovalSettings, longest: int) -> RemovalSchedule:
    """The schedule of these settings for chains of at most `longest` units."""
    return SCHEDULES[config.schedule](config, longest)
