"""What the phases of distillation share: a frozen teacher, and the layout without chain."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from icotlib.config import RunConfig
from icotlib.data.inputs import InputFormat, LMBatch
from icotlib.data.layout import EncodedBatch
from icotlib.errors import ConfigError, first_line
from icotlib.evaluation.bounded import examples_at_once
from icotlib.evaluation.generation import matches
from icotlib.methods.base import Method
from icotlib.methods.distillation.emulator import Emulated, Emulator
from icotlib.methods.distillation.settings import MixtureSettings, StateSettings
from icotlib.methods.distillation.states import (
    components_in_use,
    explained_variance,
    nanmedian,
    teacher_states,
)
from icotlib.methods.distillation.student import Student, ThoughtConfig, ThoughtModel
from icotlib.methods.micro_batches import BatchAccuracy, MicroBatch, token_loss
from icotlib.models.adapters import add_adapters
from icotlib.models.build import build_model
from icotlib.models.hooks import recompute_layers
from icotlib.models.loading import load_stage
from icotlib.models.precision import training_precision
from icotlib.runs import Run

T = TypeVar("T", bound=ThoughtModel)


class DistillationPhase(Method):
    """What student, emulator and coupled run share: a frozen teacher, the layout without chain."""

    paper = "2311.01460"
    dropout = False  # from mind-reading on, as in the authors' code
    plain_model = False
    saves_adapters = False  # its own parts are trained too, and saved with them as one model
    phases: ClassVar = {"teacher": "explicit_cot"}
    sections: ClassVar = {"distill": StateSettings}
    #: The model class of the phase, built from a `ThoughtConfig`.
    model_class: ClassVar[type[PreTrainedModel]]

    @classmethod
    def check(cls, config: RunConfig) -> None:
        super().check(config)
        if config.model.pretrained is None and config.model.layers < 2:
            raise ConfigError(
                "distillation needs a model of at least two layers: set model.layers=2 or more"
            )
        teachers = teachers_of(config)
        if any(teacher != teachers[0] for teacher in teachers):
            raise ConfigError("student, emulator and the run that couples them need one teacher")
        if not teachers:
            raise ConfigError(
                f"method {cls.name!r} needs a teacher: make its config with "
                f"`icot.experiments.{cls.name}(preset)`, or add phases={{'teacher': ...}}, the "
                "config of a run of explicit_cot"
            )

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
        return torch.cat([self.states(part) for part in self.parts(self.run_data.valid)])

    def parts(self, batch: EncodedBatch, new: int = 0) -> Iterator[EncodedBatch]:
        """Encoded examples, as many at a time as an evaluation's memory allows.

        Args:
            new: tokens that are generated after each question.
        """
        size = self.part_size(batch, new)
        return (batch[slice(first, first + size)] for first in range(0, len(batch), size))

    def part_size(self, batch: EncodedBatch, new: int = 0) -> int:
        """Examples in each of `parts`; the teacher reads their chains, the student does not."""
        config = self.accelerator.unwrap_model(self.model).config
        arranged = self.format.arrange(batch)
        read = int(arranged.total.max() - arranged.question.min()) + 1
        return examples_at_once(config, int(batch.total.max()), read, new)

    def initial_model(self) -> PreTrainedModel:
        """The language model that student and emulator start from."""
        if self.config.distill.initial_weights == "teacher":
            return self.teacher
        run_data, whole = self.run_data, replace(self.config.model, lora={})
        return build_model(whole, run_data.layout, run_data.longest_total)

    def thought_config(self, text_config: PreTrainedConfig) -> ThoughtConfig:
        layout = self.run_data.layout
        own = {"separator": layout.sep, "bos_tokens": len(layout.bos_ids)}
        return ThoughtConfig(text_config, **own, **mixture_of(self.config, text_config))

    def to_train(self, model: T) -> T:
        """A model of this phase with adapters, and with layers recomputed, if that is asked for."""
        if self.config.model.lora:
            if self.accelerator.is_fsdp2:
                raise ConfigError("model.lora in distillation does not work with FSDP: use DDP")
            self.adapt(self.config, model)
        if self.config.train.gradient_checkpointing:
            for decoder in model.decoders:
                recompute_layers(decoder)
        return model

    @classmethod
    def adapt(cls, config: RunConfig, model: Any) -> None:
        for decoder in model.decoders:
            add_adapters(decoder, config.model.lora)

    def new_student(self) -> Student:
        initial = self.initial_model()
        student = Student(self.thought_config(initial.config))
        student.language_model.load_state_dict(initial.state_dict())
        return student

    def new_emulator(self) -> Emulator:
        initial = self.initial_model()
        try:
            emulator = Emulator(self.thought_config(initial.config))
        except ValueError as error:  # transformers has this architecture as a language model only
            raise ConfigError(
                f"{type(initial).__name__} cannot be an emulator: {first_line(error)}"
            ) from None
        loaded = emulator.body.load_state_dict(initial.base_model.state_dict(), strict=False)
        # Nothing reads the pooler that an encoder's body has and a decoder's has not.
        missing = [name for name in loaded.missing_keys if "pooler" not in name]
        if missing or loaded.unexpected_keys:
            raise ConfigError(
                f"{type(initial).__name__} cannot be an emulator: it and "
                f"{type(emulator.body).__name__} differ in {[*missing, *loaded.unexpected_keys][0]}"
            )
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
        for rows in self.row_groups(arranged.total):
            part = arranged[rows]
            inputs = self.format.inputs(part, torch.zeros_like(part.chain)).to(self.device)
            logits = logits_for(rows, inputs, part.question - 1)
            shown = torch.ones(len(part), dtype=torch.bool)
            self.seen.append(BatchAccuracy(step, *matches(logits.detach(), inputs), shown))
            yield MicroBatch(token_loss(logits, inputs) / learned, int(part.total.sum()))

    @classmethod
    def meta_model(cls, config: RunConfig, text_config: PreTrainedConfig) -> nn.Module:
        return cls.model_class(ThoughtConfig(text_config, **mixture_of(config, text_config)))


class EmulatingPhase(DistillationPhase):
    """What emulation and coupling share: they measure the emulated states."""

    uses_all_weights = False  # the emulator leaves out its last layer
    emulator: Emulator

    def emulate(
        self, batch: EncodedBatch, gold: Tensor | None = None, emulator: nn.Module | None = None
    ) -> Emulated:
        """The emulator's prediction for the questions of encoded examples.

        Args:
            emulator: in training, as accelerate has prepared it.
        """
        emulator = emulator or self.emulator
        width = int(batch.question.max())
        ids, at = batch.ids[:, :width].to(self.device), (batch.question - 1).to(self.device)
        with self.accelerator.autocast():  # inside a coupled model nothing else turns it on
            return emulator(ids, at, gold=gold)

    @torch.no_grad()
    def measure_states(self) -> dict[str, Any]:
        """Explained variance of the teacher's states by layer, and the components in use."""
        valid, usage = self.run_data.valid, torch.zeros(())
        states = []
        with training_precision(self.config.train.precision, self.model):
            for emulated in map(self.emulate, self.parts(valid)):
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


def mixture_of(config: RunConfig, text_config: PreTrainedConfig) -> dict[str, Any]:
    """The emulator's mixture as a `ThoughtConfig` holds it; nothing for a student."""
    distill = config.distill
    if not isinstance(distill, MixtureSettings):
        return {}
    components = distill.mixture or text_config.vocab_size
    return {"mixture": components, "mixture_temperature": distill.mixture_temperature}


def teacher_of(config: RunConfig) -> RunConfig:
    """The teacher of a run of distillation, or of the phases that it builds on.

    A run of another method is its own teacher.
    """
    return next(iter(teachers_of(config)), config)


def teachers_of(config: RunConfig) -> list[RunConfig]:
    """The teachers of a run of distillation and of the phases that it builds on."""
    runs = [config, *config.phases.values()]
    return [one.phases["teacher"] for one in runs if "teacher" in one.phases]
