"""The peak memory of a run's process, calculated before it starts.

A training step is rehearsed on tensors without memory (`icotlib.system.allocations`), at the
largest micro-batch that the run will meet. An evaluation takes what `evaluation.bounded` gives it.
`icot benchmark --plan` measures real runs beside it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig

from icotlib.config import RunConfig
from icotlib.costs.cost import Cost, text_config
from icotlib.costs.lengths import LengthSource
from icotlib.evaluation.bounded import example_bytes, examples_at_once
from icotlib.evaluation.generation import MORE
from icotlib.methods.costs import Shape
from icotlib.methods.micro_batches import length_groups
from icotlib.methods.schedule import draw_removal
from icotlib.models.hooks import recompute_layers
from icotlib.models.padding import unchecked_padding
from icotlib.models.precision import DTYPES, mixed_precision
from icotlib.system.allocations import rehearsal, without_memory
from icotlib.system.seeding import generator_for
from icotlib.training.optim import make_optimizers

#: Bytes of a process that has loaded the libraries and a generated task, and how many more it has
#: with a pretrained tokenizer or data from files; measured on Linux.
PROCESS, FILES = 470 * 2**20, 150 * 2**20

#: Memory that a process holds for each byte of tensors: of weights, gradients and moments; of what
#: lives during a step, whose pieces of all sizes leave gaps in memory that training keeps
#: (`icotlib.system.memory`); and of evaluations. Measured on Linux (LOG.md, 2026-11-26).
STATE, STEP, EVALUATION = 1.05, 1.5, 1.1

#: Steps of a run whose batches are drawn to find the largest micro-batch.
DRAWN = 1000


@dataclass(frozen=True)
class Peaks:
    """The most memory that a run's process takes, in bytes, while it trains and in its test."""

    training: int
    testing: int

    @property
    def largest(self) -> int:
        return max(self.training, self.testing)


def peaks_of(config: RunConfig, source: LengthSource, cost: Cost) -> Peaks:
    """The peaks of a run on a CPU, or of its GPU's memory.

    Args:
        cost: of this run.
    """
    text = text_config(config, source)
    try:
        step = _step_bytes(config, source, text) + cost.frozen - cost.state
    except Exception:  # an architecture that needs values in its forward pass
        step = 2 * cost.activations  # those that are kept, and as much for what is not
    between = STATE * (cost.state - 4 * cost.trained)  # there are no gradients between steps
    validation = _evaluation_bytes(config, source, text, source.held_out[0])
    training = max(
        STATE * cost.state + STEP * step,
        between + EVALUATION * validation,
        between + cost.final_disk,
    )
    weights = 4 * cost.parameters
    stage = weights if cost.disk > cost.final_disk else 0  # of each stage in turn
    testing = STATE * (weights + stage + cost.frozen)
    if config.spec.tested:
        tested = source.held_out[1]
        testing += EVALUATION * _evaluation_bytes(config, source, text, tested, new=True)
    process = PROCESS
    if config.model.pretrained or config.data.path:
        process += FILES
    return Peaks(round(process + training), round(process + testing))


def largest_shape(config: RunConfig, source: LengthSource) -> tuple[Shape, int]:
    """The largest micro-batch that a run will meet, and the micro-batches of that step.

    Of a run of many steps only some are drawn; its largest micro-batch then has a row as long as
    the longest sequence, as it will sooner or later.
    """
    spec, steps = config.spec, config.train.steps
    found: list[tuple[Shape, int]] = []
    for step in sorted({int(x) for x in np.linspace(0, steps - 1, min(DRAWN, steps))}):
        schedule = spec.plan_schedule(config, source.longest_chain, step)
        batch, generator = source.batches(step), generator_for(config.seed, step)
        _, arranged, tokens = draw_removal(schedule, config.input_format, step, batch, generator)
        left = arranged.total - tokens
        groups = length_groups(spec.micro_batch_lengths(batch, left), config.train)
        for rows in groups:
            longest, question = int(left[rows].max()), arranged.question[rows]
            read = longest - int(question.min())
            shape = Shape(len(rows), longest - 1, read, int(question.max()))
            found.append((shape, len(groups)))
    return max(found, key=lambda one: one[0].rows * one[0].width)


def _step_bytes(config: RunConfig, source: LengthSource, text: PreTrainedConfig) -> int:
    """Bytes of weights, gradients, moments and activations at the peak of a step; the teacher's
    not."""
    shape, micro_batches = largest_shape(config, source)
    dtype = DTYPES.get(mixed_precision(config.train.precision))
    if not config.model.lora:  # which leaves frozen weights at their stored type
        text.dtype = torch.float32
    with torch.device("meta"):
        made = unchecked_padding(_trained_model(config, text))
    with rehearsal() as allocations:
        model = without_memory(made).train()
        optimizers = make_optimizers(config, model)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        for optimizer in optimizers:  # makes the moments
            optimizer.step()
        if micro_batches == 1:
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            loss = config.spec.rehearsed_loss(config, model, shape)
        loss.backward()
        del loss
        for optimizer in optimizers:
            optimizer.step()
    return allocations.peak


def _trained_model(config: RunConfig, text: PreTrainedConfig) -> nn.Module:
    """The model as it is trained, with adapters, and with layers that are recomputed."""
    model: Any = config.spec.meta_model(config, text)
    if config.model.lora:
        config.spec.adapt(config, model)
    if config.train.gradient_checkpointing:
        for decoder in getattr(model, "decoders", [model]):
            recompute_layers(decoder)
    return model


def _evaluation_bytes(
    config: RunConfig,
    source: LengthSource,
    text: PreTrainedConfig,
    examples: int,
    new: bool = False,
) -> int:
    """Bytes of the tensors of an evaluation's forward passes.

    Args:
        new: whether answers are generated too.
    """
    batch = config.input_format.arrange(source.test)
    rest = batch.total - batch.question
    longest, read = int(batch.total.max()), int(rest.max()) + 1
    sizes = [(longest, read, 0)]
    if new:
        sizes.append((int(batch.question.max()), 1, int(rest.max()) + MORE))
    return max(
        min(examples, examples_at_once(text, *size)) * example_bytes(text, *size) for size in sizes
    )
