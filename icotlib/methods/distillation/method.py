"""Implicit chain of thought by knowledge distillation (ICoT-KD, arXiv 2311.01460): its stages.

    teacher      explicit CoT                                      (an ordinary run)
    MindReading  a student learns to answer from the teacher's states
    Emulation    an emulator learns to predict those states from the question
    Coupling     emulator and student together learn to answer

Each stage is a run of its own that builds on finished ones, so that ablations share them.
"""

import math
from collections.abc import Iterator
from functools import cached_property
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from icotlib.config import RunConfig
from icotlib.data.inputs import Inputs, remove
from icotlib.data.layout import Encoded
from icotlib.evaluation.generation import generate, matches, teacher_forced_match
from icotlib.evaluation.scoring import Score, evaluate, score
from icotlib.methods.base import Objective, Seen, Share
from icotlib.methods.causal_lm import length_groups, token_loss
from icotlib.methods.distillation.coupling import Coupled
from icotlib.methods.distillation.emulator import Emulated, Emulator
from icotlib.methods.distillation.states import gold_tokens, teacher_states
from icotlib.methods.distillation.student import Reading, Student, ThoughtConfig
from icotlib.models.build import build_model
from icotlib.models.loading import load_stage, load_weights
from icotlib.models.precision import as_trained
from icotlib.runs import Run

#: Examples in one forward pass of an evaluation.
PART = 512


class Distillation(Objective):
    """What the three stages share: a frozen teacher, and layout without chain."""

    dropout = False  # from mind-reading on, as in the paper's code

    @cached_property
    def teacher(self) -> PreTrainedModel:
        """The teacher, frozen."""
        model = load_stage(Run.of(teacher_of(self.config)))[0]
        return model.requires_grad_(False).to(self.device)

    def states(self, batch: Encoded) -> Tensor:
        """The teacher's states z for encoded examples, `[n, layers, d]`."""
        distill = self.config.distill
        with self.accelerator.autocast():
            return teacher_states(self.teacher, batch, distill.subset, distill.delta).float()

    @cached_property
    def valid_states(self) -> Tensor:
        """The teacher's states of the validation set."""
        return torch.cat([self.states(part) for part in parts(self.material.valid)])

    def start(self) -> PreTrainedModel:
        """The language model that student and emulator begin as."""
        if self.config.distill.start == "teacher":
            return self.teacher
        material = self.material
        return build_model(self.config.model, material.layout, material.longest_total)

    def thought_config(self, text_config) -> ThoughtConfig:
        distill = self.config.distill
        return ThoughtConfig(
            text_config,
            separator=self.material.layout.sep,
            begin=len(self.material.layout.begin),
            mixture=distill.mixture or text_config.vocab_size,
            mixture_temperature=distill.mixture_temperature,
        )

    def new_student(self) -> Student:
        begin = self.start()
        student = Student(self.thought_config(begin.config))
        student.language_model.load_state_dict(begin.state_dict())
        return student

    def new_emulator(self) -> Emulator:
        begin = self.start()
        emulator = Emulator(self.thought_config(begin.config))
        emulator.body.load_state_dict(begin.base_model.state_dict())
        return emulator

    def answer_shares(self, step: int, batch: Encoded, logits_for) -> Iterator[Share]:
        """Cross-entropy of the answer, group by group; `logits_for(rows, inputs, at)`."""
        direct = batch.direct()
        learned = int((direct.total - direct.question).sum())
        for rows in length_groups(direct.total, self.config.train):
            part = direct[rows]
            inputs = remove(part, torch.zeros_like(part.chain)).to(self.device)
            logits = logits_for(rows, inputs, part.question - 1)
            shown = torch.ones(len(part), dtype=torch.bool)
            self.seen.append(Seen(step, *matches(logits.detach(), inputs), shown))
            yield Share(token_loss(logits, inputs) / learned, int(part.total.sum()))


class MindReading(Distillation):
    """The student learns to answer from the teacher's true states."""

    def build(self) -> Student:
        return self.new_student()

    def shares(self, step: int, batch: Encoded, generator: torch.Generator) -> Iterator[Share]:
        states = self.states(batch)

        def logits_for(rows: Tensor, inputs: Inputs, at: Tensor) -> Tensor:
            here = states[rows.to(self.device)]
            return self.model(
                inputs.ids, here, at.to(self.device), logits_to_keep=inputs.keep
            ).logits

        yield from self.answer_shares(step, batch, logits_for)

    def validation(self) -> dict[str, Any]:
        valid, right = self.material.valid, 0.0
        for part, states in zip(parts(valid), self.valid_states.split(PART), strict=True):
            reading = Reading(self.model, states)
            # The states are those of this part as a whole.
            right += len(part) * teacher_forced_match(reading, part.direct(), 0, size=len(part))
        return {"valid_accuracy": right / len(valid)}

    def test(self, run: Run) -> Iterator[tuple[int, Score]]:
        material, written = self.material, []
        student = self.accelerator.unwrap_model(self.model)
        for part in parts(material.test):
            reading = Reading(student, self.states(part))
            with as_trained(self.config.train.precision, student):
                found = generate(reading, material.layout, part.direct())
            written += material.layout.texts(found)
        yield material.longest_chain, score(written, material.answers)


class Emulating(Distillation):
    """What emulation and coupling share: looking at the emulated states."""

    emulator: Emulator

    def emulate(self, batch: Encoded, gold: Tensor | None = None) -> Emulated:
        """The emulator over the questions of encoded examples."""
        width = int(batch.question.max())
        ids, at = batch.ids[:, :width].to(self.device), (batch.question - 1).to(self.device)
        with self.accelerator.autocast():  # inside a coupled system nothing else turns it on
            return self.emulator(ids, at, gold=gold)

    @torch.no_grad()
    def look_inside(self) -> dict[str, Any]:
        """Explained variance of the teacher's states by layer, and the components in use."""
        valid, states, usage = self.material.valid, [], 0.0
        for emulated in map(self.emulate, parts(valid)):
            states.append(emulated.states.float())
            usage = usage + self.emulator.weigh(emulated.scores.float()).sum(dim=0)
        by_layer = explained_variance(self.valid_states, torch.cat(states))
        used = components_in_use(usage / len(valid))
        return {
            "explained": middle(by_layer),
            "explained_by_layer": " ".join(f"{value:.4f}" for value in by_layer),
            "components": sum(used) / len(used),
        }


class Emulation(Emulating):
    """The emulator learns to predict the teacher's states from the question."""

    def build(self) -> Emulator:
        self.emulator = self.new_emulator()
        return self.emulator

    def shares(self, step: int, batch: Encoded, generator: torch.Generator) -> Iterator[Share]:
        states, gold = self.states(batch), None
        if self.config.distill.mixture_supervision:
            distill = self.config.distill
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
                loss = loss + self.config.distill.mixture_supervision * named
            yield Share(loss / len(batch), int(batch.question[rows].sum()))

    def validation(self) -> dict[str, Any]:
        return {"valid_accuracy": math.nan, **self.look_inside()}

    def complete(self) -> bool:
        return False  # nothing is answered yet

    def test(self, run: Run) -> Iterator[tuple[int, Score]]:
        yield from ()


class Coupling(Emulating):
    """Emulator and student learn to answer together; the emulator may stay as it is."""

    def build(self) -> Coupled:
        student, emulator = self.config.student, self.config.emulator
        model = Coupled.of(
            self.new_emulator() if emulator is None else load_weights(Emulator, weights(emulator)),
            self.new_student() if student is None else load_weights(Student, weights(student)),
        )
        model.emulator.requires_grad_(self.config.distill.train_emulator)
        self.emulator = model.emulator
        return model

    def shares(self, step: int, batch: Encoded, generator: torch.Generator) -> Iterator[Share]:
        def logits_for(rows: Tensor, inputs: Inputs, at: Tensor) -> Tensor:
            return self.model(inputs.ids, at=at, logits_to_keep=inputs.keep).logits

        yield from self.answer_shares(step, batch, logits_for)

    def validation(self) -> dict[str, Any]:
        found = teacher_forced_match(self.model, self.material.valid.direct(), removed=0)
        return {"valid_accuracy": found, **self.look_inside()}

    def test(self, run: Run) -> Iterator[tuple[int, Score]]:
        material = self.material
        model = self.accelerator.unwrap_model(self.model)
        with as_trained(self.config.train.precision, model):
            found = evaluate(model, material.layout, material.test.direct(), material.answers)
        yield material.longest_chain, found


def teacher_of(config: RunConfig) -> RunConfig:
    """The teacher of a stage of distillation, its own or that of the stages before."""
    found = [config, *config.parents.values()]
    return next(one.teacher for one in found if one.teacher is not None)


def weights(config: RunConfig):
    """The folder of a finished run's final weights."""
    return Run.of(config).weights()


def parts(batch: Encoded) -> Iterator[Encoded]:
    """Encoded examples, a few hundred at a time."""
    return (batch[slice(first, first + PART)] for first in range(0, len(batch), PART))


def explained_variance(true: Tensor, predicted: Tensor) -> list[float]:
    """Of `[n, layers, d]` states, by layer: 1 - squared error / variance; 1 is perfect.

    NaN for a layer whose true state is the same for every example: the embedding of the
    separator, which the diagonal begins with.
    """
    true, predicted = true.cpu().double(), predicted.cpu().double()  # not every device has doubles
    error = (true - predicted).square().sum(dim=(0, 2))
    spread = (true - true.mean(dim=0)).square().sum(dim=(0, 2))
    constant = spread < 1e-6 * true.square().sum(dim=(0, 2))
    return torch.where(constant, math.nan, 1 - error / spread).tolist()


def middle(by_layer: list[float]) -> float:
    """The median over layers that have any variance: one hopeless layer does not decide it."""
    known = [value for value in by_layer if not math.isnan(value)]
    return median(known) if known else math.nan


def components_in_use(usage: Tensor) -> list[float]:
    """The effective number of components by layer, from their mean weights `[layers, components]`.

    exp of the entropy of the weights: 1 if all examples use the same component, the number of
    components if all are used alike.
    """
    usage = usage.cpu().double()
    return (-(usage * usage.clamp(min=1e-30).log()).sum(dim=-1)).exp().tolist()
