"""What a run costs, calculated: floating-point operations, memory, disk, and time on a device.

Everything follows from the sizes of the model, which is built without memory for its weights, and
from the lengths of the run's sequences under its schedule of removal. A forward pass takes

    2 (entries of matrices) (tokens) + 4 layers (width of attention) (sum of squared lengths)

operations, the output head at the places that carry loss only, attention counted whole as torch's
own counter does; gradients take twice as many again. Padding and the optimizer are left out.
So are the experts of a mixture, which are no matrices of two dimensions. `fit` turns measured
steps into a `Speed`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from icotlib.config import RunConfig
from icotlib.data.layout import Encoded, Layout
from icotlib.errors import ConfigError
from icotlib.experiments.papers import GSM8K
from icotlib.methods.distillation.coupling import Coupled
from icotlib.methods.distillation.emulator import Emulator
from icotlib.methods.distillation.student import Student, ThoughtConfig
from icotlib.methods.stepwise.schedules import Schedule, make_schedule
from icotlib.models.adapters import add_adapters
from icotlib.models.build import model_config
from icotlib.models.flops import Shape, Work, forward, generation, shape_of
from icotlib.models.known_sizes import HUB
from icotlib.models.parameters import count_parameters, split_parameters
from icotlib.system.seeding import seeded
from icotlib.tasks import get_task
from icotlib.training.trainer import mixed_precision

#: Points of a run whose batches are counted.
COUNTED = 50


#: What each stage of distillation trains; all other methods train the language model alone.
KINDS = {"mind_reading": Student, "emulation": Emulator, "icot_kd": Coupled}


class System(NamedTuple):
    """The sizes of all that a run trains or holds."""

    language: Shape
    #: Entries of the matrices that one example passes once: the student's readers, and all that
    #: the emulator has beyond a language model.
    readers: int
    thought: int
    parameters: int
    #: Those that are written to disk: with adapters, theirs alone.
    saved: int
    #: Bytes of weights, gradients and the optimizer's moments, and of a frozen teacher: all fp32.
    state: int


def system_of(config: RunConfig, source: "Source") -> System:
    """The sizes of a run's models, which are built without memory for their weights."""
    if config.model.pretrained in HUB:  # the papers' models need no hub
        kind, sizes = HUB[config.model.pretrained]
        text = AutoConfig.for_model(kind, **sizes)
    else:
        text = model_config(config.model, source.layout, source.longest_total)
    with torch.device("meta"):
        language = AutoModelForCausalLM.from_config(text)
        mixture = config.distill.mixture or text.vocab_size
        kind = KINDS.get(config.method)
        model = kind(ThoughtConfig(text, mixture=mixture)) if kind else language
        shape = shape_of(language)
        if config.model.lora:
            add_adapters(language, config.model.lora)
    student = getattr(model, "student", model)
    emulator = getattr(model, "emulator", model)
    if isinstance(model, Coupled):
        emulator.requires_grad_(config.distill.train_emulator)
    return System(
        language=shape,
        readers=_matrices(student.readers) if isinstance(student, Student) else 0,
        thought=_thought(config, emulator) if isinstance(emulator, Emulator) else 0,
        parameters=count_parameters(model),
        saved=sum(
            x.numel() for x in model.parameters() if x.requires_grad or not config.model.lora
        ),
        state=_state(config, model) + 4 * config.distilled * count_parameters(language),
    )


def _matrices(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim == 2)


def _thought(config: RunConfig, emulator: Emulator) -> int:
    """Entries that the emulator's thought passes: some matrices at every layer, some at one."""
    every = [emulator.rnn, emulator.key, emulator.query, emulator.out]
    # Scores against all components, and their weighted mean where no gold token is looked up.
    uses = 1 if config.method == "emulation" and config.distill.mixture_supervision else 2
    each = sum(_matrices(part) for part in every) + uses * _matrices(emulator.components)
    return _matrices(emulator.predictors) + len(emulator.predictors) * each


def _state(config: RunConfig, model: PreTrainedModel) -> int:
    """Bytes of weights, gradients, and moments: two of AdamW, one of Muon."""
    hidden, tables, vectors = split_parameters(model)
    by_muon = sum(x.numel() for x in hidden) if config.optim.name == "muon" else 0
    trained = sum(parameter.numel() for group in (hidden, tables, vectors) for parameter in group)
    return 4 * (count_parameters(model) + 3 * trained - by_muon)


# --- sequences ---------------------------------------------------------------------------------


class Source(Protocol):
    """Where a run's lengths are from: its `Material`, or `Typical`."""

    batches: Callable[[int], Encoded]
    longest_chain: int
    longest_total: int
    layout: Layout


#: Tokens of question (with separator) and of chain in GSM8K: the middles of the tenths of the
#: authors' 500 validation lines, by GPT-2's tokenizer in the authors' layout; and of the rest.
GSM8K_QUESTION = (32, 38, 42, 46, 51, 55, 60, 69, 78, 98)


GSM8K_CHAIN = (8, 15, 15, 19, 22, 24, 29, 31, 36, 47)


GSM8K_REST = 6


GSM8K_LONGEST = (81, 210)


class Typical:
    """Lengths of a run on one of the papers' models, without its tokenizer or its data.

    On multiplication every symbol is one token of GPT-2's tokenizer and `####` two, so that they
    are exact; on GSM8K they are those of the validation set, with GPT-2's tokenizer for all.
    """

    layout = None  # the sizes of the papers' models are known

    def __init__(self, config: RunConfig):
        if not known(config):
            raise ConfigError(f"the lengths of {config.task} are known from its data only")
        self.size = config.train.batch_size
        if config.data.path:
            self.question, self.chain = map(torch.tensor, (GSM8K_QUESTION, GSM8K_CHAIN))
            self.total = self.question + self.chain + GSM8K_REST
            self.longest_chain, self.longest_total = GSM8K_LONGEST
            return
        task, space = get_task(config.data.task), int(config.model.spaced_separators)
        question, chain, answer = task.widths
        self.question = torch.tensor([question + space + 1])
        self.chain = torch.tensor([chain + space])
        self.total = self.question + self.chain + (1 + 2 + answer + space + 1)
        self.longest_chain, self.longest_total = int(self.chain), int(self.total)

    def batches(self, step: int) -> Encoded:
        """Examples of a step: the lengths in turn, the tokens all zero."""
        rows = (step * self.size + torch.arange(self.size)) % len(self.total)
        total = self.total[rows]
        ids = torch.zeros(self.size, int(total.max()), dtype=torch.long)
        return Encoded(ids, self.question[rows], self.chain[rows], total)


def known(config: RunConfig) -> bool:
    """Whether a run's sizes and lengths are known without hub and data."""
    generated = config.data.path is None and config.data.task.startswith("mult-")
    lengths = (generated or config.data.path == GSM8K) and config.removal.step_end is None
    return config.model.pretrained in HUB and lengths


@dataclass(frozen=True)
class Step:
    """One optimizer step, calculated."""

    #: Tokens as the run itself counts them.
    tokens: int
    flops: float
    #: Operations of the forward pass, without the teacher's.
    forward: float
    #: Numbers kept for the backward pass, and logits, if the batch goes through in one part.
    kept: int
    logits: int


def step_of(
    config: RunConfig, system: System, schedule: Schedule, source: Source, step: int
) -> Step:
    """A step of a run whose schedule stands where it should; the same draws as in training."""
    batch = source.batches(step)
    cut, k = schedule.cut(step, batch, seeded(config.seed, step))
    total, shape = cut.total - k, system.language
    own = Work.of(total - 1, total - cut.question)
    asked = Work.of(batch.question)
    thought = forward(shape, asked, stop=True) + 2 * len(batch) * system.thought
    answer = forward(shape, own) + 2 * len(batch) * system.readers
    teacher = Work.of(batch.question + batch.chain + 1)
    taught = forward(shape, teacher, stop=True)
    if config.method == "emulation":
        kept = asked.tokens * shape.kept
        return Step(asked.tokens, taught + 3 * thought, thought, kept, 0)
    kept, logits = own.tokens * shape.kept, own.read * shape.vocabulary
    tokens = int(total.sum())
    if config.method == "mind_reading":
        return Step(tokens, taught + 3 * answer, answer, kept, logits)
    if config.method == "icot_kd":
        passes = 3 if config.distill.train_emulator else 1
        kept += asked.tokens * shape.kept * config.distill.train_emulator
        return Step(tokens, 3 * answer + passes * thought, answer + thought, kept, logits)
    again = config.train.gradient_checkpointing  # then a layer at a time, and what enters each
    if again:
        kept = own.tokens * (shape.layers * shape.attention + shape.kept // shape.layers)
    passes = 3 - bool(config.model.lora) + again  # frozen weights have no gradients of their own
    return Step(tokens, passes * answer, answer, kept, logits)


# --- runs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a run costs, calculated; of distillation, its own stage."""

    steps: int
    #: Training tokens through the model, padding aside.
    tokens: int
    #: Operations of training, and of all evaluations.
    flops: float
    evaluation: float
    parameters: int
    #: Bytes of weights, gradients, moments and a frozen teacher.
    state: int
    #: Bytes of activations at the largest batch, and of its weights' copies in half precision.
    activations: int
    #: Bytes of the weights that are kept at the end and at every removal stage.
    disk: int
    precision: str


def cost_of(config: RunConfig, source: Source, steps: int | None = None) -> Cost:
    """The cost of a run, or of its first steps."""
    steps = steps or config.train.steps
    system = system_of(config, source)
    schedule = make_schedule(config.removal, source.longest_chain)
    places = sorted({int(place) for place in np.linspace(0, steps - 1, min(COUNTED, steps))})
    counted = []
    for place in places:
        schedule.removed = max(schedule.removed, schedule.removed_at(place))
        counted.append(step_of(config, system, schedule, source, place))

    def mean(name: str) -> float:
        return sum(getattr(step, name) for step in counted) / len(counted)

    stages = stages_of(config, schedule, steps)
    validation = -(-steps // config.train.eval_every) * config.data.valid_examples
    evaluation = validation * mean("forward") / config.train.batch_size
    evaluation += _tests(config, system.language, schedule, source, stages)
    half = mixed_precision(config.train.precision) != "no"
    parts = config.train.length_groups * config.train.accumulation
    held = max((4 - 2 * half) * step.kept + 12 * step.logits for step in counted) // parts
    kept = len(stages) if schedule.staged else 0
    return Cost(
        steps=steps,
        tokens=round(mean("tokens") * steps),
        flops=mean("flops") * steps,
        evaluation=evaluation,
        parameters=system.parameters,
        state=system.state,
        activations=held + 2 * half * system.parameters,
        disk=4 * system.saved * (kept + 1),
        precision="fp32" if not half else "bf16",
    )


def stages_of(config: RunConfig, schedule: Schedule, steps: int) -> list[tuple[int, int]]:
    """First step and tokens removed of each stage that the step alone decides; else empty."""
    if config.distilled or config.removal.schedule not in ("linear", "geometric"):
        return []
    return schedule.stages(steps)


def _tests(config: RunConfig, shape: Shape, schedule: Schedule, source: Source, stages) -> float:
    """Operations of the test at the end: greedy answers at every stage."""
    if config.method == "emulation":
        return 0.0
    batch = source.batches(0)
    removed = [s for _, s in stages] or [schedule.final_stage]
    if config.removal.schedule in ("random", "adaptive"):
        removed = list(range(schedule.longest + 1))
    batch = batch.direct() if config.removal.direct else batch
    total = 0.0
    for s in removed:
        gone = batch.tokens(s, config.removal.side)
        left = batch.total - gone - batch.question
        total += generation(shape, batch.question, left)
    return total * config.data.test_examples / len(batch)
