"""The phases of distillation (ICoT-KD, arXiv 2311.01460), each a run that builds on others.

    teacher    explicit CoT                                      (an ordinary run)
    student    learns to answer from the teacher's states        mind-reading, Section 3.1
    emulator   learns to predict those states from the question  thought emulation, Section 3.2
    icot_kd    emulator and student together learn to answer     couple and optimize, Section 3.3

A phase that is a run of its own can be shared by ablations.
"""

import math
from collections.abc import Iterator
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from icotlib.config import RunConfig
from icotlib.data.inputs import LMBatch
from icotlib.data.layout import EncodedBatch
from icotlib.data.written import Written
from icotlib.errors import ConfigError
from icotlib.evaluation.scoring import Score, score
from icotlib.methods.base import register
from icotlib.methods.costs import Shape
from icotlib.methods.distillation import costs
from icotlib.methods.distillation.base import DistillationPhase, EmulatingPhase
from icotlib.methods.distillation.coupling import Coupled
from icotlib.methods.distillation.emulator import Emulator, mixture_loss
from icotlib.methods.distillation.settings import CouplingSettings, EmulatorSettings
from icotlib.methods.distillation.states import gold_tokens
from icotlib.methods.distillation.student import Student, StudentWithStates
from icotlib.methods.micro_batches import MicroBatch
from icotlib.models.decoding import kept_logits
from icotlib.models.flops import RunSizes, StepCost
from icotlib.models.loading import load_weights
from icotlib.models.precision import training_precision
from icotlib.runs import Run

#: Settings that a phase and the run that couples it must have in common.
STATES = ("distill.subset", "distill.delta")


@register
class StudentPhase(DistillationPhase):
    """Mind-reading: the student learns to answer from the teacher's true states."""

    name = "kd_student"
    label = "ICoT-KD student"
    color = "#E69F00"
    marker = "P"
    answers = False  # the teacher must write the chain first
    model_class = Student

    def build(self) -> Student:
        return self.to_train(self.new_student())

    def asked_model(self) -> StudentWithStates:
        student = cast(Student, self.model)
        text = student.config.text_config
        random = torch.Generator().manual_seed(0)
        states = torch.randn(text.num_hidden_layers, text.hidden_size, generator=random)
        return StudentWithStates(student, states.expand(2, -1, -1).to(student.device))

    def micro_batches(
        self, step: int, batch: EncodedBatch, generator: torch.Generator
    ) -> Iterator[MicroBatch]:
        states = self.states(batch)

        def logits_for(rows: Tensor, inputs: LMBatch, at: Tensor) -> Tensor:
            here = states[rows.to(self.device)]
            kept = {"logits_to_keep": inputs.logits_to_keep, "use_cache": False}
            output = self.model(inputs.ids, here, at.to(self.device), **kept)
            return kept_logits(output.logits, inputs.logits_to_keep)

        yield from self.answer_micro_batches(step, batch, logits_for)

    def validation_metrics(self) -> dict[str, Any]:
        valid, right = self.run_data.valid, 0.0
        with training_precision(self.config.train.precision, self.model):
            states_of_parts = self.valid_states.split(self.part_size(valid))
            for part, states in zip(self.parts(valid), states_of_parts, strict=True):
                student = cast(Student, self.model)
                reading = self.at_stage(0, StudentWithStates(student, states))
                arranged = self.format.arrange(part)  # its states belong to the whole part
                right += len(part) * reading.teacher_forced_match(arranged, size=len(part))
        return {"valid_match": right / len(valid)}

    def test(self, run: Run) -> Iterator[tuple[int, Score]]:
        longest = self.run_data.longest_chain
        yield longest, self.test_stage(longest)

    def test_stage(self, removed: int, model: Any = None) -> Score:
        run_data, written, measured = self.run_data, [], []
        limit = self.at_stage(0).max_new_tokens
        student = self.accelerator.unwrap_model(self.model)
        for part in self.parts(run_data.test, limit):
            reading = StudentWithStates(student, self.states(part))
            found = self.at_stage(0, reading).generate(self.format.arrange(part), limit)
            written += run_data.layout.texts(found)
            measured.append(run_data.layout.measured(found))
            self.on_answers(len(part))
        whole, none = Written.joined(measured), self.format.chain_limit(run_data.test, 0, 0)
        return score(written, run_data.answers, run_data.layout, whole, limit, none)

    @classmethod
    def own_sizes(cls, config: RunConfig, model: nn.Module) -> dict[str, int]:
        return costs.student_sizes(cast(Student, model))

    @classmethod
    def step_cost(cls, config: RunConfig, sizes: RunSizes, *lengths: Any) -> StepCost:
        return costs.student_step(config, sizes, *lengths)

    @classmethod
    def rehearsed_loss(cls, config: RunConfig, model: Any, shape: Shape) -> Tensor:
        return costs.student_loss(config, model, shape)


@register
class EmulatorPhase(EmulatingPhase):
    """Thought emulation: the emulator learns to predict the teacher's states from the question."""

    name = "kd_emulator"
    label = "ICoT-KD emulator"
    color = "#332288"
    marker = "X"
    answers = False  # the student does
    tested = False
    sections: ClassVar = {"distill": EmulatorSettings}
    model_class = Emulator

    @classmethod
    def check(cls, config: RunConfig) -> None:
        super().check(config)
        if config.train.stop_accuracy is not None:
            raise ConfigError(
                "train.stop_accuracy cannot end the emulator, which gives no answers: set it for "
                "another phase alone, as in student.train.stop_accuracy=0.9"
            )

    def build(self) -> Emulator:
        self.emulator = self.to_train(self.new_emulator())
        return self.emulator

    def micro_batches(
        self, step: int, batch: EncodedBatch, generator: torch.Generator
    ) -> Iterator[MicroBatch]:
        distill, states, gold = self.config.distill, self.states(batch), None
        if distill.mixture_supervision:
            layers, offset = states.shape[1], distill.mixture_offset
            gold = gold_tokens(batch, layers, distill.subset, distill.delta, offset)
            gold = gold.to(self.device)
        for rows in self.row_groups(batch.question):
            here = rows.to(self.device)
            own = gold if gold is None else gold[here]
            emulated = self.emulate(batch[rows], own, self.model)
            loss = 0.5 * (states[here] - emulated.states.float()).square().sum()
            if gold is not None:
                loss = loss + distill.mixture_supervision * mixture_loss(
                    emulated.scores, gold[here]
                )
            yield MicroBatch(loss / len(batch), int(batch.question[rows].sum()))

    def validation_metrics(self) -> dict[str, Any]:
        return {"valid_match": math.nan, **self.measure_states()}

    @classmethod
    def own_sizes(cls, config: RunConfig, model: nn.Module) -> dict[str, int]:
        supervised = bool(config.distill.mixture_supervision)
        return costs.emulator_sizes(cast(Emulator, model), supervised)

    @classmethod
    def step_cost(cls, config: RunConfig, sizes: RunSizes, *lengths: Any) -> StepCost:
        return costs.emulator_step(config, sizes, *lengths)

    @classmethod
    def rehearsed_loss(cls, config: RunConfig, model: Any, shape: Shape) -> Tensor:
        return costs.emulator_loss(config, model, shape)

    @classmethod
    def micro_batch_lengths(cls, batch: EncodedBatch, left: Tensor) -> Tensor:
        return batch.question


@register
class ICoTKD(EmulatingPhase):
    """Couple and optimize: emulator and student learn to answer together."""

    name = "icot_kd"
    label = "ICoT-KD"
    color = "#882255"
    marker = "D"
    phases: ClassVar = {
        "teacher": "explicit_cot",
        "student": "kd_student",
        "emulator": "kd_emulator",
    }
    must_match: ClassVar = {
        "student": STATES,
        "emulator": (*STATES, "distill.mixture", "distill.mixture_temperature"),
    }
    sections: ClassVar = {"distill": CouplingSettings}
    model_class = Coupled

    def build(self) -> Coupled:
        phases = self.config.phases
        if "emulator" in phases:
            emulator = load_weights(Emulator, Run.of(phases["emulator"]).weights())
        else:
            emulator = self.new_emulator()
        if "student" in phases:
            student = load_weights(Student, Run.of(phases["student"]).weights())
        else:
            student = self.new_student()
        model = self.to_train(Coupled.of(emulator, student))
        if not self.config.distill.train_emulator:
            model.emulator.requires_grad_(False)
        self.emulator = model.emulator
        return model

    @classmethod
    def adapt(cls, config: RunConfig, model: Any) -> None:
        super().adapt(config, model if config.distill.train_emulator else model.student)

    def micro_batches(
        self, step: int, batch: EncodedBatch, generator: torch.Generator
    ) -> Iterator[MicroBatch]:
        def logits_for(rows: Tensor, inputs: LMBatch, at: Tensor) -> Tensor:
            kept = {"logits_to_keep": inputs.logits_to_keep, "use_cache": False}
            output = self.model(inputs.ids, at=at, **kept)
            return kept_logits(output.logits, inputs.logits_to_keep)

        yield from self.answer_micro_batches(step, batch, logits_for)

    def validation_metrics(self) -> dict[str, Any]:
        return super().validation_metrics() | self.measure_states()

    @classmethod
    def own_sizes(cls, config: RunConfig, model: nn.Module) -> dict[str, int]:
        coupled = cast(Coupled, model)
        coupled.emulator.requires_grad_(config.distill.train_emulator)
        student = costs.student_sizes(coupled.student)
        return student | costs.emulator_sizes(coupled.emulator, supervised=False)

    @classmethod
    def step_cost(cls, config: RunConfig, sizes: RunSizes, *lengths: Any) -> StepCost:
        return costs.coupled_step(config, sizes, *lengths)

    @classmethod
    def rehearsed_loss(cls, config: RunConfig, model: Any, shape: Shape) -> Tensor:
        return costs.coupled_loss(config, model, shape)
