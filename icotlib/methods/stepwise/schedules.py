"""Stepwise internalization (ICoT-SI, arXiv 2405.14838): taking chain tokens away while training.

Two parts. `remove` takes the tokens out of a batch, on tensors. A `Schedule` says how many, when.
"""

import math
from bisect import bisect_right
from typing import Any

import torch
from torch import Tensor

from icotlib.config import RemovalConfig
from icotlib.data.inputs import in_layout
from icotlib.data.layout import Encoded

# --- schedules ---------------------------------------------------------------------------------


class Schedule:
    """How many tokens go at each step, and the state that this depends on.

    The training loop calls `draw` for every batch and `observe` with what it saw; `advance`
    returns True when s grew, and the loop then marks the end of a stage.
    """

    #: Whether each stage has weights of its own, worth a checkpoint when it ends.
    staged = True

    def __init__(self, config: RemovalConfig, longest: int):
        self.config = config
        #: Units of the longest chain, tokens or steps: at s = longest nothing is left.
        self.longest = longest
        #: s, the number of units removed at this stage.
        self.removed = 0

    @property
    def final_stage(self) -> int:
        """The s at which the schedule ends."""
        return self.longest

    @property
    def shown_stage(self) -> int:
        """The number of removed tokens at which accuracy during training is taken."""
        return self.removed

    def draw(self, step: int, chain: Tensor, generator: torch.Generator) -> Tensor:
        """Units to remove at this step from examples with chains of so many units: `[n]`."""
        k = torch.full_like(chain, self.removed)
        if self.config.smoothing is not None and step >= self.config.warmup_steps:
            k = k + smoothing_offsets(len(chain), self.config.smoothing, generator)
        return k

    def cut(self, step: int, batch: Encoded, generator: torch.Generator) -> tuple[Encoded, Tensor]:
        """A batch in this config's layout, and the tokens to remove from each example: `[n]`."""
        units = self.draw(step, batch.units, generator)
        batch = in_layout(batch, self.config)
        return batch, batch.tokens(units, self.config.side)

    def advance(self, step: int) -> bool:
        """Move s to where it stands at this step; whether it grew."""
        before = self.removed
        self.removed = max(before, self.removed_at(step))
        return self.removed > before

    def removed_at(self, step: int) -> int:
        """The s that this step asks for."""
        target = min(self.target(step), self.longest)
        limit = self.config.remove_all_at
        return self.longest if limit is not None and target >= limit else target

    def stages(self, steps: int) -> list[tuple[int, int]]:
        """First step and s of every stage of a run, for schedules that the step alone decides."""
        found, step = [], 0
        while step < steps:
            found.append((step, self.removed_at(step)))
            step = bisect_right(range(steps), found[-1][1], lo=step, key=self.removed_at)
        return found

    def target(self, step: int) -> int:
        """s at this step, before `remove_all_at` and the length of the chain are applied."""
        return 0

    def observe(self, step: int, matches: Tensor, at_stage: Tensor) -> None:
        """Learn from a batch: which answers were right, `[n]`, and which were at this stage."""

    def state_dict(self) -> dict[str, Any]:
        return {"removed": self.removed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def smoothing_offsets(n: int, smoothing: float, generator: torch.Generator) -> Tensor:
    """Removal smoothing: `[n]` offsets o with P(o) proportional to exp(-smoothing o), o >= 0."""
    uniform = torch.rand(n, generator=generator, dtype=torch.float64)
    return (-(1 - uniform).log() / smoothing).floor().long()


class Nothing(Schedule):
    """Explicit chain of thought: nothing is ever removed."""

    staged = False

    @property
    def final_stage(self) -> int:
        return 0

    def draw(self, step: int, chain: Tensor, generator: torch.Generator) -> Tensor:
        return torch.zeros_like(chain)


class Everything(Schedule):
    """No chain of thought: everything is removed from the first step on."""

    staged = False

    def __init__(self, config: RemovalConfig, longest: int):
        super().__init__(config, longest)
        self.removed = longest

    def draw(self, step: int, chain: Tensor, generator: torch.Generator) -> Tensor:
        return chain.clone()


class Linear(Schedule):
    """The paper's: s(t) = floor(pace * t / T), t optimizer steps after the warm-up, T an epoch."""

    def target(self, step: int) -> int:
        t = step - self.config.warmup_steps
        # The small term undoes the rounding of pace * t / T just below a whole number.
        return max(0, math.floor(self.config.pace * t / self.config.steps_per_epoch + 1e-9))


class Geometric(Schedule):
    """Chunks that double: after i chunks, s = 2^i - 1, so log(chain) stages in all."""

    def target(self, step: int) -> int:
        chunks = (step - self.config.warmup_steps) // self.config.steps_per_chunk
        return 2 ** min(max(chunks, 0), 30) - 1


class Adaptive(Schedule):
    """One token more as soon as the running mean of answer exact match passes a threshold.

    The mean covers `window` steps at this stage; `max_steps_per_stage` is a cap in steps, never
    in time, so that a run is the same on every machine.
    """

    def __init__(self, config: RemovalConfig, longest: int):
        super().__init__(config, longest)
        #: Answer exact match of the last steps at this stage.
        self.recent: list[float] = []
        #: Steps at this stage so far.
        self.steps_here = 0

    def draw(self, step: int, chain: Tensor, generator: torch.Generator) -> Tensor:
        k = super().draw(step, chain, generator)
        if self.config.replay and self.removed:
            earlier = torch.randint(0, self.removed, chain.shape, generator=generator)
            again = torch.rand(len(chain), generator=generator) < self.config.replay
            k = torch.where(again, earlier, k)
        return k

    def observe(self, step: int, matches: Tensor, at_stage: Tensor) -> None:
        if step < self.config.warmup_steps or not at_stage.any():
            return
        self.recent.append(matches[at_stage].double().mean().item())
        del self.recent[: -self.config.window]
        self.steps_here += 1

    def target(self, step: int) -> int:
        if len(self.recent) < self.config.window:
            learned = False
        else:
            learned = sum(self.recent) / len(self.recent) > self.config.threshold
        if learned or self.steps_here >= self.config.max_steps_per_stage:
            return self.removed + 1
        return self.removed

    def advance(self, step: int) -> bool:
        grew = super().advance(step)
        if grew:
            self.recent, self.steps_here = [], 0
        return grew

    def state_dict(self) -> dict[str, Any]:
        return {"removed": self.removed, "recent": self.recent, "steps_here": self.steps_here}


class Random(Schedule):
    """Each example loses its own number of tokens: one model for every stage.

    With probability `all_fraction` the whole chain goes, otherwise k is uniform on 0..chain.
    """

    staged = False

    @property
    def shown_stage(self) -> int:
        return self.longest

    def draw(self, step: int, chain: Tensor, generator: torch.Generator) -> Tensor:
        if step < self.config.warmup_steps:
            return torch.zeros_like(chain)
        uniform, all_of_it = torch.rand(2, len(chain), generator=generator)
        k = (uniform * (chain + 1)).long()
        return torch.where(all_of_it < self.config.all_fraction, chain, k)


SCHEDULES: dict[str, type[Schedule]] = {
    "none": Nothing,
    "all": Everything,
    "linear": Linear,
    "geometric": Geometric,
    "adaptive": Adaptive,
    "random": Random,
}


def make_schedule(config: RemovalConfig, longest: int) -> Schedule:
    """The schedule of a config for chains of at most `longest` tokens."""
    return SCHEDULES[config.schedule](config, longest)
