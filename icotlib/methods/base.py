"""What a method is: everything in which one method differs from another, and nothing else.

A method is one class, in a file or folder here or in a user's own file (`--import FILE`). It
declares its name, label, colour, phases and settings; it builds the model, computes the loss, and
says how examples are arranged. Training, evaluation, results, figures, plans, export and the
command line read the registry and work for every method.
"""

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from icotlib.config import RunConfig
from icotlib.data.inputs import InputFormat
from icotlib.data.layout import EncodedBatch
from icotlib.data.run_data import RunData
from icotlib.evaluation.scoring import Score
from icotlib.evaluation.stage_model import StageModel
from icotlib.methods.checks import check_built
from icotlib.methods.micro_batches import (
    BatchAccuracy,
    MicroBatch,
    StageChange,
    everyones_accuracy,
    row_groups,
)
from icotlib.methods.plannable import Plannable
from icotlib.models.adapters import check_mergeable, merged_weights
from icotlib.models.fastest import fastest_precision
from icotlib.models.loading import load_stage
from icotlib.models.padding import unchecked_padding
from icotlib.models.parameters import count_parameters
from icotlib.models.precision import training_precision
from icotlib.registry import METHODS
from icotlib.runs import Run
from icotlib.settings import Declared

M = TypeVar("M", bound="type[Method]")


def register(cls: M) -> M:
    """Class decorator: make a method known by its name."""
    METHODS.add(cls.name, cls)
    return cls


class Method(Plannable, ABC):
    """Base of all methods.

    The training loop (`Trainer.train`) calls the instance methods.
    """

    # --- declarations ---

    #: The id in configs, results and run names; the name, colour and marker in tables and figures.
    name: ClassVar[str]
    label: ClassVar[str]
    color: ClassVar[str] = "#000000"
    marker: ClassVar[str] = "."
    #: The arXiv number of the paper that it is from.
    paper: ClassVar[str] = ""
    #: The runs that it builds on: the method of each by its role, in the order of training.
    phases: ClassVar[dict[str, str]] = {}
    #: Settings that must be equal to those of a phase, beyond data and model, by role.
    must_match: ClassVar[dict[str, tuple[str, ...]]] = {}
    #: Its own sections of settings, by name.
    sections: ClassVar[dict[str, Declared]] = {}
    #: Settings of its own at each preset, by dotted name, for `icot train NAME`.
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    #: Whether it is what implicit methods are compared with: drawn as a reference line.
    baseline: ClassVar[bool] = False
    #: Whether a finished run answers questions by itself.
    answers: ClassVar[bool] = True
    #: Whether plain transformers can load the weights and generate with them.
    plain_model: ClassVar[bool] = True
    #: Whether it trains on chains, so that data without any are an error.
    reads_chains: ClassVar[bool] = True
    #: Whether the model's dropout is on while it trains.
    dropout: ClassVar[bool] = True
    #: Whether adapters (`model.lora`) are saved as such; otherwise merged into the weights.
    saves_adapters: ClassVar[bool] = True
    #: Whether the loss depends on every weight that is trained; DDP must know.
    uses_all_weights: ClassVar[bool] = True

    # --- what a config means for it ---

    @classmethod
    def check(cls, config: RunConfig) -> None:
        """Raises `ConfigError` for settings that contradict each other."""
        if not cls.saves_adapters:
            check_mergeable(config.model.lora)

    @classmethod
    def input_format(cls, config: RunConfig) -> InputFormat:
        """How examples are arranged."""
        return InputFormat()

    @classmethod
    def fastest_precision(cls, config: RunConfig) -> str:
        """What `train.precision=fastest` stands for on this machine: `fp32`, `bf16` or `int8`."""
        return fastest_precision(config)

    @classmethod
    def schedule_name(cls, config: RunConfig) -> str:
        """The schedule as run names have it; empty where the method has only one."""
        return ""

    # --- training ---

    def __init__(self, config: RunConfig, run_data: RunData, accelerator: Accelerator):
        self.config, self.run_data, self.format = config, run_data, config.input_format
        self.accelerator, self.device = accelerator, accelerator.device
        self.schedule = self.make_schedule(config, run_data.longest_chain)
        self.seen: list[BatchAccuracy] = []
        #: Examples that matched and examples seen in training since the last evaluation.
        self.right, self.shown = 0, 0
        #: What the optimizer trains; in `micro_batches`, as accelerate has prepared it.
        self.model: nn.Module = unchecked_padding(self.build())
        if not accelerator.is_fsdp2:  # which moves each layer when it is sharded
            self.model.to(self.device)
        check_built(self, self.asked_model())
        #: Told of examples that the final test has answered.
        self.on_answers: Callable[[int], None] = lambda examples: None
        #: Whether `row_groups` has been asked for this process's share of the batch.
        self.shares_batches = False

    @abstractmethod
    def build(self) -> nn.Module:
        """The model at its start; called under the seed of the run."""

    def asked_model(self) -> Any:
        """What the final test asks, as it is built; None where there is no test."""
        return self.model if self.tested else None

    def merged_weights(self) -> dict[str, Tensor] | None:
        """The state dict to save where it is not that of the model."""
        merge = self.config.model.lora and not self.saves_adapters
        return merged_weights(self.model) if merge else None

    def parameters(self) -> int:
        """The parameters of the model that is saved."""
        return count_parameters(self.model)

    def begin_step(self, step: int) -> StageChange:
        """Begin a step. A stage left at the first step was never trained, so none has ended."""
        before = self.schedule.removed
        grew = self.schedule.advance(step)
        return StageChange(before if grew and step else None)

    @abstractmethod
    def micro_batches(
        self, step: int, batch: EncodedBatch, generator: torch.Generator
    ) -> Iterator[MicroBatch]:
        """The forward passes of one batch.

        The rows of each part come from `row_groups`. Its loss is divided by what is learned in the
        whole batch, so that gradients add up. A part also appends a `BatchAccuracy` to `self.seen`:
        from it come the accuracy in training, and the decisions of a schedule that accuracy drives.
        """

    def row_groups(self, lengths: Tensor) -> Iterator[Tensor]:
        """The rows of each micro-batch of a batch with these sequence lengths.

        Of several processes that train one run, each gets its own rows
        (`micro_batches.row_groups`).
        """
        self.shares_batches = True
        return row_groups(lengths, self.config.train, self.model, self.accelerator)

    @contextlib.contextmanager
    def prepared(self, model: nn.Module) -> Iterator[None]:
        """While open, `self.model` is the model as accelerate has prepared it for training."""
        raw, self.model = self.model, model
        try:
            yield
        finally:
            self.model = raw

    def sync_metrics(self) -> None:
        """Read from the device what the steps since the last call have left there."""
        steps, exact, answers, shown = everyones_accuracy(self.seen, self.accelerator).unbind(dim=1)
        self.right += int((exact & shown).sum())
        self.shown += int(shown.sum())
        right = exact if self.schedule.judges_all else answers
        for step in steps.unique().tolist():
            here = steps == step
            self.schedule.note(step, right[here].bool(), shown[here].bool())
        self.seen = []

    def stage(self) -> dict[str, int]:
        """Units removed at the stage that is evaluated, and units of the longest chain."""
        return {"removed": self.schedule.eval_stage, "chain": self.schedule.longest}

    def train_match(self) -> float:
        """The share of examples in training, since the last call, that matched (`Run.metrics`)."""
        match = self.right / self.shown if self.shown else math.nan
        self.right = self.shown = 0
        return match

    def validation_metrics(self) -> dict[str, Any]:
        """`valid_match` (`Run.metrics`), and whatever else it measures on the validation set."""
        stage = self.at_stage(self.schedule.eval_stage)
        with training_precision(stage.precision, stage.model):
            found = stage.teacher_forced_match(self.format.arrange(self.run_data.valid))
        return {"valid_match": found}

    def complete(self) -> bool:
        """Whether the last stage is reached, so that `train.stop_accuracy` may end the run."""
        return self.tested and self.schedule.eval_stage == self.schedule.final_stage

    @property
    def has_stage_checkpoints(self) -> bool:
        """Whether each removal stage has weights of its own."""
        return self.schedule.has_stage_checkpoints

    @property
    def keeps_every_stage(self) -> bool:
        """Whether the weights of each removal stage are kept."""
        return self.has_stage_checkpoints and self.config.train.stage_weights == "all"

    def stages_to_test(self, run: Run) -> list[int]:
        """The removal stages that the final test reports, besides those that were tested before."""
        if not self.tested:
            return []
        if not self.has_stage_checkpoints:
            return self.schedule.test_stages()
        return run.checkpointed_stages if self.keeps_every_stage else [self.schedule.eval_stage]

    def test(self, run: Run) -> Iterator[tuple[int, Score]]:
        """Test scores by removal stage, once training has ended: of all stages whose weights are
        there. Of several processes, each tests some of the stages."""
        stages = self.stages_to_test(run)
        if not stages:
            return
        team = self.accelerator
        found = self._test(run, stages[team.process_index :: team.num_processes])
        if team.num_processes == 1:
            yield from found
        else:
            yield from sorted(gather_object(list(found)), key=lambda one: one[0])

    def _test(self, run: Run, stages: Sequence[int]) -> Iterator[tuple[int, Score]]:
        for removed in stages:
            yield removed, self.test_stage(removed, self._weights_of(run, removed))

    def _weights_of(self, run: Run, removed: int) -> Any:
        """The model at the end of a stage. No reference is kept, so that only one is in memory."""
        keeps = self.keeps_every_stage
        return load_stage(run, removed)[0].to(self.device) if keeps else self.model

    def test_stage(self, removed: int, model: Any = None) -> Score:
        """The test score of the model, or another, at a removal stage."""
        questions = self.format.arrange(self.run_data.test)
        stage = self.at_stage(removed, model)
        return stage.score(questions, self.run_data.answers, on_answers=self.on_answers)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps besides weights, ready for JSON."""
        counted = {"right": self.right, "shown": self.shown}
        return counted | {
            "schedule": self.schedule.state_dict(),
            "seen": [[seen.step, *(x.tolist() for x in seen[1:])] for seen in self.seen],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s output."""
        self.schedule.load_state_dict(state["schedule"])
        self.right, self.shown = state["right"], state["shown"]
        seen = state["seen"] if self.accelerator.is_main_process else []  # of the whole batch
        self.seen = [BatchAccuracy(step, *map(torch.tensor, found)) for step, *found in seen]

    def at_stage(self, removed: int, model: Any = None) -> StageModel:
        """The model, or another, as it answers at a removal stage."""
        shown: Any = self.model if model is None else model
        return StageModel(
            self.config.run_name,
            shown,
            self.run_data.layout,
            self.config,
            self.format,
            removed,
            run_data=self.run_data,
        )
