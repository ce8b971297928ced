"""How many chain tokens are removed at each step: the base of all schedules, and the two ends.

Explicit CoT removes nothing, No CoT and distillation remove everything; stepwise internalization
has the schedules between (`icotlib.methods.stepwise.schedules`).
"""

from bisect import bisect_left, bisect_right
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from icotlib.data.inputs import InputFormat
from icotlib.data.layout import EncodedBatch
from icotlib.settings import MOST_STEPS

#: Steps whose results stay on the device until all are read at once, so that no step waits for it.
#: A schedule that accuracy drives therefore decides once in so many steps.
BLOCK = 10


class Schedule:
    """How much of the chain is removed at each step, and the state that this depends on.

    All numbers are in the units of removal, tokens or steps (`InputFormat.unit`). The method calls
    `advance` at every step, `sample` for every batch, and `note` with what it saw.
    """

    #: The name that results and run names have for it.
    name: ClassVar[str] = ""
    #: Whether each stage has weights of its own, worth a checkpoint when it ends.
    has_stage_checkpoints: ClassVar[bool] = False
    #: Whether the step alone decides the stages, so that they are known before training.
    planned: ClassVar[bool] = False
    #: Whether `update` learns which examples match as a whole, or which answers do.
    judges_all: bool = False

    def __init__(self, longest: int):
        #: Units of the longest chain: at s = longest nothing is left.
        self.longest = longest
        #: s, the number of units removed at this stage.
        self.removed = 0
        #: The stage whose weights come back at this step, and whether the stage that has just ended
        #: is one to come back to.
        self.back_to: int | None = None
        self.is_good = False
        #: The step before which the stage to come back to ended.
        self.kept_at = 0
        #: Step, right examples and those at the eval stage, of a block that is not complete.
        self.noted: list[tuple[int, Tensor, Tensor]] = []

    @property
    def final_stage(self) -> int:
        """The s at which the schedule ends."""
        return self.longest

    @property
    def eval_stage(self) -> int:
        """The s at which accuracy is measured during training."""
        return self.removed

    def sample(self, step: int, chain: Tensor, generator: torch.Generator) -> Tensor:
        """How many units each example loses at this step: `[n]`.

        That is a stage, the same for long and for short chains, so that kept positions tell nothing
        of a chain's length: a whole chain is `longest` units, also where a chain has fewer. In the
        last stage nothing is left of a chain that is longer than any in the held-out sets.

        Args:
            chain: `[n]`, units of each example's chain.
        """
        stage = torch.full_like(chain, self.removed)
        return stage.maximum(chain) if self.removed >= self.longest else stage

    def advance(self, step: int) -> bool:
        """Move s to where it stands at this step; whether it grew."""
        before = self.removed
        self.removed = max(before, self.removed_at(step))
        return self.removed > before

    def removed_at(self, step: int) -> int:
        """The s that this step asks for."""
        return self.removed

    def stages(self, steps: int) -> list[tuple[int, int]]:
        """First step and s of every stage of a run; empty where the step alone does not decide."""
        if not self.planned:
            return []
        found: list[tuple[int, int]] = []
        step = 0
        while step < steps:
            found.append((step, self.removed_at(step)))
            step = bisect_right(range(steps), found[-1][1], lo=step, key=self.removed_at)
        return found

    def left_by(self, steps: int, unit: str) -> str:
        """What a run of so many steps leaves of the chain, in a sentence; empty where it leaves
        nothing, or where the step alone does not decide."""
        last = max((removed for _, removed in self.stages(steps)), default=self.final_stage)
        if last >= self.final_stage:
            return ""
        said = f"it ends with {last} of {self.final_stage} {unit} removed"
        needed = bisect_left(range(MOST_STEPS), self.final_stage, key=self.removed_at) + 1
        return said if needed > MOST_STEPS else f"{said}: all are from train.steps={needed:,} on"

    def test_stages(self) -> list[int]:
        """The stages that the final test reports, where they have no weights of their own."""
        return [self.final_stage]

    def tested_after(self, steps: int) -> list[int]:
        """The stages that the final test reports after so many steps."""
        passed = [removed for _, removed in self.stages(steps)]
        return passed if passed and self.has_stage_checkpoints else self.test_stages()

    def note(self, step: int, correct: Tensor, at_eval_stage: Tensor) -> None:
        """Take note of a batch. `update` gets it at the end of its block of `BLOCK` steps, and not
        earlier: an evaluation within the block must not change when something is removed."""
        self.noted.append((step, correct, at_eval_stage))
        if (step + 1) % BLOCK == 0:
            block, self.noted = self.noted, []
            for one in block:
                self.update(*one)

    def update(self, step: int, correct: Tensor, at_eval_stage: Tensor) -> None:
        """Learn from a batch: which examples were right, and which at the eval stage: `[n]`."""

    def describe(self, unit: str) -> str:
        """The schedule in a sentence, where its stages are not planned."""
        return ""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, ready for JSON."""
        noted = [[step, *(flags.tolist() for flags in seen)] for step, *seen in self.noted]
        return {"removed": self.removed, "noted": noted}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s output."""
        for name, value in state.items():
            setattr(self, name, value)
        noted = state.get("noted", [])
        self.noted = [(step, _flags(right), _flags(here)) for step, right, here in noted]


class Removal(NamedTuple):
    """What one step removes from a batch of n examples."""

    #: Units removed from each example, tokens or steps: `[n]`.
    units: Tensor
    #: The examples, arranged in the method's format.
    batch: EncodedBatch
    #: Tokens removed from each of them: `[n]`.
    tokens: Tensor


def draw_removal(
    schedule: Schedule,
    form: InputFormat,
    step: int,
    batch: EncodedBatch,
    generator: torch.Generator,
) -> Removal:
    """What a step removes from a batch, drawn as training draws it."""
    units = schedule.sample(step, batch.removal_units, generator)
    batch = form.arrange(batch)
    return Removal(units, batch, form.tokens_removed(batch, units))


def _flags(values: list[bool]) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


class NoRemoval(Schedule):
    """Explicit chain of thought: nothing is ever removed."""

    name = "none"

    @property
    def final_stage(self) -> int:
        return 0

    def sample(self, step: int, chain: Tensor, generator: torch.Generator) -> Tensor:
        return torch.zeros_like(chain)

    def describe(self, unit: str) -> str:
        return "nothing is removed"


class FullRemoval(Schedule):
    """No chain of thought: everything is removed from the first step on."""

    name = "all"

    def __init__(self, longest: int):
        super().__init__(longest)
        self.removed = longest

    def describe(self, unit: str) -> str:
        return "no chain from the first step on"
