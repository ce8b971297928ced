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
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from icotlib.config import RunConfig, TrainConfig
from icotlib.errors import ConfigError
from icotlib.evaluation import Score, evaluate, logits_of, matches, teacher_forced_match
from icotlib.material import Material
from icotlib.models import build_model, load_model
from icotlib.precision import as_trained
from icotlib.removal import IGNORE, Inputs, Schedule, in_layout, make_schedule, remove
from icotlib.runs import Run
from icotlib.tokens import Encoded


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


class Continuation(Objective):
    """Cross-entropy of everything after the question, some of its chain removed."""

    def build(self) -> PreTrainedModel:
        config, material = self.config, self.material
        self.schedule: Schedule = make_schedule(config.removal, material.longest_chain)
        #: Whether removals still reset the optimizer, and whether the last batch held any chain.
        self.resetting, self.had_chain = config.removal.reset_optimizer, True
        model = build_model(config.model, material.layout, material.longest_total)
        if config.train.gradient_checkpointing:
            if not model.supports_gradient_checkpointing:
                raise ConfigError(
                    f"{type(model).__name__} has no gradient checkpointing: set "
                    "train.gradient_checkpointing=false"
                )
            model.gradient_checkpointing_enable({"use_reentrant": False})
        return model

    @property
    def staged(self) -> bool:
        return self.schedule.staged

    def advance(self, step: int) -> int | None:
        self.reset, before = False, self.schedule.removed
        if not self.schedule.advance(step):
            return None
        self.resetting &= self.had_chain
        self.reset = self.resetting
        return before

    def shares(self, step: int, batch: Encoded, generator: torch.Generator) -> Iterator[Share]:
        removal = self.config.removal
        batch, k = self.schedule.cut(step, batch, generator)
        self.had_chain = bool((batch.chain > k).any())
        kept = batch.total - k
        learned = int((kept - batch.question).sum())
        for rows in length_groups(kept, self.config.train):
            part, cut = batch[rows], k[rows]
            inputs = remove(part, cut, removal.side, removal.keep_positions).to(self.device)
            logits = logits_of(self.model, inputs)
            shown = cut == part.tokens(self.schedule.shown_stage, removal.side)
            self.seen.append(Seen(step, *matches(logits.detach(), inputs), shown))
            yield Share(token_loss(logits, inputs) / learned, int(kept[rows].sum()))

    def look(self) -> None:
        by_step: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self.seen = [Seen(s.step, s.whole.cpu(), s.tail.cpu(), s.shown) for s in self.seen]
        for group in self.seen:
            by_step.setdefault(group.step, []).append((group.tail, group.shown))
        for step, groups in by_step.items():
            tails, shown = (torch.cat(parts) for parts in zip(*groups, strict=True))
            self.schedule.observe(step, tails, shown)
        super().look()

    def stage(self) -> dict[str, int]:
        return {"removed": self.schedule.shown_stage, "chain": self.schedule.longest}

    def validation(self) -> dict[str, Any]:
        removal, stage = self.config.removal, self.schedule.shown_stage
        batch = in_layout(self.material.valid, removal)
        found = teacher_forced_match(self.model, batch, stage, removal.side, removal.keep_positions)
        return {"valid_accuracy": found}

    def complete(self) -> bool:
        return self.schedule.shown_stage == self.schedule.final_stage

    def test(self, run: Run) -> Iterator[tuple[int, Score]]:
        removal, material = self.config.removal, self.material
        batch = in_layout(material.test, removal)
        model = self.model
        for removed in self.stages(run):
            if self.schedule.staged:  # weights of its own
                model = load_model(run.stage_folder(removed))[0].to(self.device)
            gone, keep = batch.tokens(removed, removal.side), removal.keep_positions
            layout, answers = material.layout, material.answers
            with as_trained(self.config.train.precision, model):
                found = evaluate(model, layout, batch, answers, gone, keep, removal.side)
            yield removed, found

    def stages(self, run: Run) -> list[int]:
        """The removal stages to report: those with weights, or those one model serves."""
        if self.schedule.staged:
            folders = sorted((run.folder / "stages").glob("removed-*"))
            return [int(folder.name.removeprefix("removed-")) for folder in folders]
        if self.schedule.removed != self.schedule.shown_stage:
            return list(range(self.schedule.longest + 1))
        return [self.schedule.shown_stage]

    def state_dict(self) -> dict[str, Any]:
        return {
            "schedule": self.schedule.state_dict(),
            "resetting": self.resetting,
            "had_chain": self.had_chain,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.schedule.load_state_dict(state["schedule"])
        self.resetting, self.had_chain = state["resetting"], state["had_chain"]


def token_loss(logits: Tensor, inputs: Inputs) -> Tensor:
    """Cross-entropy summed over the learned tokens: `[n, keep, vocabulary]` -> scalar."""
    labels = inputs.labels[:, -inputs.keep :]
    return cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE, reduction="sum"
    )


def length_groups(lengths: Tensor, config: TrainConfig) -> list[Tensor]:
    """Row numbers in groups of like length, so that each is padded only to its own longest.

    Each group is then cut into `accumulation` parts, whose gradients add up.
    """
    order = torch.arange(len(lengths))
    groups = config.length_groups
    if int(lengths.min()) == int(lengths.max()):
        groups = 1  # nothing to gain
    if groups > 1:
        order = lengths.argsort(stable=True)
    parts = [part for group in order.chunk(groups) for part in group.chunk(config.accumulation)]
    return [part for part in parts if len(part)]
