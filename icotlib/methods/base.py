"""What a run learns: its model, its loss, and how it is looked at while it trains and tested.

The training loop is the same for every method; what differs is here. `Continuation` writes what
follows the question: explicit CoT, No CoT and stepwise internalization, which differ only in the
schedule of removal. The three stages of distillation are in `icotlib.distillation`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from icotlib.config import RunConfig
from icotlib.data.layout import Encoded
from icotlib.data.run_data import Material
from icotlib.evaluation.scoring import Score
from icotlib.runs import Run


class Share(NamedTuple):
    """One group of a batch, gone through the model."""

    #: Its share of the batch's loss; gradients of all shares add up to one optimizer step.
    loss: Tensor
    #: Tokens that went through the model, padding aside.
    tokens: int


class Seen(NamedTuple):
    """Which answers of a group were right, still on the device: `[n]` each."""

    step: int
    whole: Tensor
    tail: Tensor
    #: Which examples are at the stage whose training accuracy is shown.
    shown: Tensor


class Objective(ABC):
    """Base of all objectives. The training loop calls the methods in the order they stand here."""

    #: Whether the model's dropout is on while it trains.
    dropout = True
    #: Whether the optimizer starts anew at this step; read after `advance`.
    reset = False
    #: Whether each removal stage has weights of its own.
    staged = False

    def __init__(self, config: RunConfig, material: Material, accelerator: Accelerator):
        self.config, self.material = config, material
        self.accelerator, self.device = accelerator, accelerator.device
        self.seen: list[Seen] = []
        #: Right answers and answers in training since the last evaluation.
        self.right, self.shown = 0, 0
        #: What the optimizer trains.
        self.model: nn.Module = self.build().to(self.device)

    @abstractmethod
    def build(self) -> nn.Module:
        """The model at its start; called under the seed of the run."""

    def advance(self, step: int) -> int | None:
        """Begin a step; the removal stage that has just ended, if one has."""
        return None

    @abstractmethod
    def shares(self, step: int, batch: Encoded, generator: torch.Generator) -> Iterator[Share]:
        """The batch through the model, group by group."""

    def look(self) -> None:
        """Read what the steps since the last look have left on the device."""
        for group in self.seen:
            self.right += int(group.whole[group.shown].sum())
            self.shown += int(group.shown.sum())
        self.seen = []

    def stage(self) -> dict[str, int]:
        """Tokens removed at this stage, and tokens of the longest chain."""
        return {"removed": self.material.longest_chain, "chain": self.material.longest_chain}

    def validate(self) -> dict[str, Any]:
        """What one row of metrics.csv says of the model, and start counting anew."""
        accuracy = self.right / self.shown if self.shown else math.nan
        self.right = self.shown = 0
        row = {"removed": self.stage()["removed"], "train_accuracy": accuracy}
        return row | self.validation()

    @abstractmethod
    def validation(self) -> dict[str, Any]:
        """`valid_accuracy`, and whatever else this objective measures on the validation set."""

    def complete(self) -> bool:
        """Whether the last stage is reached, so that a target accuracy may end the run."""
        return True

    @abstractmethod
    def test(self, run: Run) -> Iterator[tuple[int, Score]]:
        """Test scores by tokens removed, once training has ended."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps besides weights, ready for JSON."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s output."""
        assert not state, "this objective keeps no state"
