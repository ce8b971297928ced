"""Distillation in three phases (ICoT-KD, arXiv 2311.01460), each a run that builds on others.

    teacher    explicit CoT                                      (an ordinary run)
    student    learns to answer from the teacher's states        mind-reading, Section 3.1
    emulator   learns to predict those states from the question  thought emulation, Section 3.2
    icot_kd    emulator and student together learn to answer     couple and optimize, Section 3.3

A phase that is a run of its own can be shared by ablations.
"""

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedConfig, PreTrainedModel

from icotlib.config import RunConfig
from icotlib.data.inputs import InputFormat, LMBatch
from icotlib.data.layout import EncodedBatch
from icotlib.errors import ConfigError
from icotlib.evaluation.generation import matches
from icotlib.evaluation.scoring import Score, score
from icotlib.methods.base import (
    BatchAccuracy,
    Method,
    MicroBatch,
    length_groups,
    register,
    token_loss,
)
from icotlib.methods.distillation import costs
from icotlib.methods.distillation.coupling import Coupled
from icotlib.methods.distillation.emulator import Emulated, Emulator
from icotlib.methods.distillation.settings import DistillSettings
from icotlib.methods.distillation.states import (
    components_in_use,
    explained_variance,
    gold_tokens,
    nanmedian,
    teacher_states,
)
from icotlib.methods.distillation.student import Student, StudentWithStates, ThoughtConfig
from icotlib.models.build import build_model
from icotlib.models.flops import RunSizes, StepCost
from icotlib.models.loading import load_stage, load_weights
from icotlib.models.precision import training_precision
from icotlib.runs import Run

#: Examples in one forward pass of an evaluation.
PART = 512

#: Settings that a phase must share with the run that couples it.
STATES = ("distill.subset", "distill.delta")


class DistillationPhase(Method):
    """What the three phases share: a frozen teacher, and the layout without chain."""

    paper = "2311.01460"
    dropout = False  # from mind-reading on, as in the authors' code
    plain_model = False
    phases: ClassVar = {"teacher": "explicit_cot"}
    sections: ClassVar = {"distill": DistillSettings}
    #: The model class of the phase, built from a `ThoughtConfig`.
    model_class: ClassVar[type[PreTrainedModel]]

    @classmethod
    def check(cls, config: RunConfig) -> None:
        if config.train.gradient_checkpointing or config.model.lora:
            raise ConfigError(
                f"method {cls.name!r} works neither with train.gradient_checkpointing nor with "
                "model.lora: states enter its layers from outside"
            )
        phases = [config, *config.phases.values()]
        teachers = [one.phases["teacher"] for one in phases if "teacher" in one.phases]
        if any(teacher != teachers[0] for teacher in teachers):
            raise ConfigError("student, emulator and the run that couples them need one teacher")
        if not teachers:
            raise ConfigError(f"method {cls.name!r} needs a teacher run")

    @classmethod
    def input_format(cls, config: RunConfig) -> InputFormat:
        return InputFormat(chain=False)

    @cached_property
    def teacher(self) -> PreTrainedModel:
        """The teacher, frozen."""
        model = load_stage(Run.of(teacher_of(self.config)))[0]
        return model.requires_grad_(False).to(self.device)

    def states(self, batch: EncodedBatch) -> Tensor:
        """The teacher's states z for encoded examples, `[n, layers, d]`."""
        distill = self.config.distill
        with self.accelerator.autocast():
            return teacher_states(self.teacher, batch, distill.subset, distill.delta).float()

    @cached_property
    def valid_states(self) -> Tensor:
        """The teacher's states of the validation set."""
        return torch.cat([self.states(part) for part in parts(self.run_data.valid)])

    def initial_model(self) -> PreTrainedModel:
        """The language model that student and emulator start from."""
        if self.config.distill.initial_weights == "teacher":
            return self.teacher
        run_data = self.run_data
        return build_model(self.config.model, run_data.layout, run_data.longest_total)

    def thought_config(self, text_config: PreTrainedConfig) -> ThoughtConfig:
        distill = self.config.distill
        return ThoughtConfig(
            text_config,
            separator=self.run_data.layout.sep,
            bos_tokens=len(self.run_data.layout.bos_ids),
            mixture=distill.mixture or text_config.vocab_size,
            mixture_temperature=distill.mixture_temperature,
        )

    def new_student(self) -> Student:
        initial = self.initial_model()
        student = Student(self.thought_config(initial.config))
        student.language_model.load_state_dict(initial.state_dict())
        return student

    def new_emulator(self) -> Emulator:
        initial = self.initial_model()
        emulator = Emulator(self.thought_config(initial.config))
        emulator.body.load_state_dict(initial.base_model.state_dict())
        return emulator

    def answer_micro_batches(
        self,
        step: int,
        batch: EncodedBatch,
        logits_for: Callable[[Tensor, LMBatch, Tensor], Tensor],
    ) -> Iterator[MicroBatch]:
        """Cross-entropy of the answer; `logits_for(rows, inputs, separator positions)`."""
        arranged = self.format.arrange(batch)
        learned = int((arranged.total - arranged.question).sum())
        for rows in length_groups(arranged.total, self.config.train):
            part = arranged[rows]
            inputs = self.format.inputs(part, torch.zeros_like(part.chain)).to(self.device)
            logits = logits_for(rows, inputs, part.question - 1)
            shown = torch.ones(len(part), dtype=torch.bool)
            self.seen.append(BatchAccuracy(step, *matches(logits.detach(), inputs), shown))
            yield MicroBatch(token_loss(logits, inputs) / learned, int(part.total.sum()))

    @classmethod
    def meta_model(cls, config: RunConfig, text_config: PreTrainedConfig) -> nn.Module:
        mixture = config.distill.mixture or text_config.vocab_size
        return cls.model_class(ThoughtConfig(text_config, mixture=mixture))


@register
class StudentPhase(DistillationPhase):
    """Mind-reading: the student learns to answer from the teacher's true states."""

    name = "kd_student"
    label = "ICoT-KD student"
    color = "#E69F00"
    answers = False  # the teacher must write the chain first
    model_class = Student

    def build(self) -> Student:
        return self.new_student()

    def micro_batches(
        self, step: int, batch: EncodedBatch, generator: torch.Generator
    ) -> Iterator[MicroBatch]:
        states = self.states(batch)

        def logits_for(rows: Tensor, inputs: LMBatch, at: Tensor) -> Tensor:
            here = states[rows.to(self.device)]
            return self.model(
                inputs.ids, here, at.to(self.device), logits_to_keep=inputs.logits_to_keep
            ).logits

        yield from self.answer_micro_batches(step, batch, logits_for)

    def validation_metrics(self) -> dict[str, Any]:
        valid, right = self.run_data.valid, 0.0
        with training_precision(self.config.train.precision, self.model):
            for part, states in zip(parts(valid), self.valid_states.split(PART), strict=True):
                reading = self.at_stage(0, StudentWithStates(self.model, states))
                arranged = self.format.arrange(part)  # its states belong to the whole part
                right += len(part) * reading.teacher_forced_match(arranged, size=len(part))
        return {"valid_accuracy": right / len(valid)}

    def test(self, run: Run) -> Iterator[tuple[int, Score]]:
        run_data, written = self.run_data, []
        student = self.accelerator.unwrap_model(self.model)
        for part in parts(run_data.test):
            reading = StudentWithStates(student, self.states(part))
            found = self.at_stage(0, reading).generate(self.format.arrange(part))
            written += run_data.layout.texts(found)
        yield run_data.longest_chain, score(written, run_data.answers)

    @classmethod
    def own_sizes(cls, config: RunConfig, model: nn.Module) -> dict[str, int]:
        return costs.student_sizes(model)

    @classmethod
    def step_cost(cls, config: RunConfig, sizes: RunSizes, *lengths: Any) -> StepCost:
        return costs.student_step(sizes, *lengths)


class EmulatingPhase(DistillationPhase):
    """What emulation and coupling share: they measure the emulated states."""

    emulator: Emulator

    def emulate(self, batch: EncodedBatch, gold: Tensor | None = None) -> Emulated:
        """The emulator's prediction for the questions of encoded examples."""
        width = int(batch.question.max())
        ids, at = batch.ids[:, :width].to(self.device), (batch.question - 1).to(self.device)
        with self.accelerator.autocast():  # inside a coupled model nothing else turns it on
            return self.emulator(ids, at, gold=gold)

    @torch.no_grad()
    def measure_states(self) -> dict[str, Any]:
        """Explained variance of the teacher's states by layer, and the components in use."""
        valid, usage = self.run_data.valid, torch.zeros(())
        states = []
        for emulated in map(self.emulate, parts(valid)):
            states.append(emulated.states.float())
            weights = self.emulator.component_weights(emulated.scores.float())
            usage = usage.to(weights) + weights.sum(dim=0)
        by_layer = explained_variance(self.valid_states, torch.cat(states))
        used = components_in_use(usage / len(valid))
        return {
            "explained": nanmedian(by_layer),
            "explained_by_layer": " ".join(f"{value:.4f}" for value in by_layer),
            "components": sum(used) / len(used),
        }


@register
class EmulatorPhase(EmulatingPhase):
    """Thought emulation: the emulator learns to predict the teacher's states from the question."""

    name = "kd_emulator"
    label = "ICoT-KD emulator"
    color = "#999999"
    answers = False  # the student does
    model_class = Emulator

    def build(self) -> Emulator:
        self.emulator = self.new_emulator()
        return self.emulator

    def micro_batches(
        self, step: int, batch: EncodedBatch, generator: torch.Generator
    ) -> Iterator[MicroBatch]:
        distill, states, gold = self.config.distill, self.states(batch), None
        if distill.mixture_supervision:
            where = (states.shape[1], distill.subset, distill.delta, distill.mixture_offset)
            gold = gold_tokens(batch, *where).to(self.device)
        for rows in length_groups(batch.question, self.config.train):
            here = rows.to(self.device)
            emulated = self.emulate(batch[rows], gold if gold is None else gold[here])
            loss = 0.5 * (states[here] - emulated.states.float()).square().sum()
            if gold is not None:
                named = cross_entropy(
                    emulated.scores.flatten(0, 1).float(), gold[here].flatten(), reduction="sum"
                )
                loss = loss + distill.mixture_supervision * named
            yield MicroBatch(loss / len(batch), int(batch.question[rows].sum()))

    def validation_metrics(self) -> dict[str, Any]:
        with training_precision(self.config.train.precision, self.model):
            return {"valid_accuracy": math.nan, **self.measure_states()}

    def complete(self) -> bool:
        return False  # nothing is answered yet

    def test(self, run: Run) -> Iterator[tuple[int, Score]]:
        yield from ()

    @classmethod
    def own_sizes(cls, config: RunConfig, model: nn.Module) -> dict[str, int]:
        supervised = bool(config.distill.mixture_supervision)
        return costs.emulator_sizes(model, supervised)

    @classmethod
    def step_cost(cls, config: RunConfig, sizes: RunSizes, *lengths: Any) -> StepCost:
        return costs.emulator_step(sizes, *lengths)

    @classmethod
    def planned_test_stages(cls, config: RunConfig, longest: int, steps: int) -> list[int]:
        return []


@register
class ICoTKD(EmulatingPhase):
    """Couple and optimize: emulator and student learn to answer together."""

    name = "icot_kd"
    label = "ICoT-KD"
    color = "#882255"
    phases: ClassVar = {
        "teacher": "explicit_cot",
        "student": "kd_student",
        "emulator": "kd_emulator",
    }
    shared: ClassVar = {
        "student": STATES,
        "emulator": (*STATES, "distill.mixture", "distill.mixture_temperature"),
    }
    model_class = Coupled

    def build(self) -> Coupled:
        phases = self.config.phases
        emulator, student = (
            load_weights(kind, Run.of(phases[role]).weights()) if role in phases else new()
            for role, kind, new in (
                ("emulator", Emulator, self.new_emulator),
                ("student", Student, self.new_student),
            )
        )
        model = Coupled.of(emulator, student)
        model.emulator.requires_grad_(self.config.distill.train_emulator)
        self.emulator = model.emulator
        return model

    def micro_batches(
        self, step: int, batch: EncodedBatch, generator: torch.Generator
    ) -> Iterator[MicroBatch]:
        def logits_for(rows: Tensor, inputs: LMBatch, at: Tensor) -> Tensor:
            return self.model(inputs.ids, at=at, logits_to_keep=inputs.logits_to_keep).logits

        yield from self.answer_micro_batches(step, batch, logits_for)

    def validation_metrics(self) -> dict[str, Any]:
        with training_precision(self.config.train.precision, self.model):
            valid = self.format.arrange(self.run_data.valid)
            found = self.at_stage(0).teacher_forced_match(valid)
            return {"valid_accuracy": found, **self.measure_states()}

    def test(self, run: Run) -> Iterator[tuple[int, Score]]:
        model = self.accelerator.unwrap_model(self.model)
        batch = self.format.arrange(self.run_data.test)
        longest = self.run_data.longest_chain
        yield longest, self.at_stage(longest, model).score(batch, self.run_data.answers)

    @classmethod
    def own_sizes(cls, config: RunConfig, model: nn.Module) -> dict[str, int]:
        model.emulator.requires_grad_(config.distill.train_emulator)
        return costs.student_sizes(model.student) | costs.emulator_sizes(model.emulator, False)

    @classmethod
    def step_cost(cls, config: RunConfig, sizes: RunSizes, *lengths: Any) -> StepCost:
        return costs.coupled_step(sizes, config.distill.train_emulator, *lengths)


def teacher_of(config: RunConfig) -> RunConfig:
    """The teacher of a run of distillation, or of the phases that it builds on.

    A run of another method is its own teacher.
    """
    phases = [config, *config.phases.values()]
    return next((one.phases["teacher"] for one in phases if "teacher" in one.phases), config)


def parts(batch: EncodedBatch) -> Iterator[EncodedBatch]:
    """Encoded examples, a few hundred at a time."""
    return (batch[slice(first, first + PART)] for first in range(0, len(batch), PART))
