"""What a step of each phase of distillation costs, calculated."""

from typing import Any

import torch
from torch import Tensor, nn

from icotlib.config import RunConfig
from icotlib.data.inputs import LMBatch
from icotlib.data.layout import EncodedBatch
from icotlib.methods.costs import Shape, kept_per_token, passes
from icotlib.methods.distillation.emulator import Emulator, mixture_loss
from icotlib.methods.distillation.student import Student
from icotlib.methods.micro_batches import token_loss
from icotlib.models.flops import RunSizes, SequenceWork, StepCost, forward_flops
from icotlib.models.parameters import count_parameters


def student_sizes(student: Student) -> dict[str, int]:
    """Weights of the state MLPs, biases aside, and parameters of the frozen teacher."""
    frozen = count_parameters(student.language_model)
    return {"state_mlps": _matrices(student.state_mlps), "frozen": frozen}


def emulator_sizes(emulator: Emulator, supervised: bool) -> dict[str, int]:
    """Weights that one example's emulation multiplies beyond the language model's, and parameters.

    Args:
        supervised: whether gold components are looked up while training; otherwise the scores'
            weighted mean over all components is computed too.
    """
    every = [emulator.rnn, emulator.key, emulator.query, emulator.out]
    uses = 1 if supervised else 2
    each = sum(_matrices(part) for part in every) + uses * _matrices(emulator.components)
    entries = _matrices(emulator.predictors) + len(emulator.predictors) * each
    return {"emulation": entries, "frozen": count_parameters(emulator.body)}


def _matrices(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim == 2)


def student_step(
    config: RunConfig, sizes: RunSizes, batch: EncodedBatch, arranged: EncodedBatch, tokens: Tensor
) -> StepCost:
    """Mind-reading: the teacher forward, the student forward and backward."""
    answer, work, total = _answer(sizes, arranged, tokens)
    kept = work.tokens * kept_per_token(config, sizes.language)
    logits, flops = work.read * sizes.language.vocabulary, passes(config) * answer
    return StepCost(total, _teacher(sizes, batch) + flops, answer, kept, logits)


def emulator_step(
    config: RunConfig, sizes: RunSizes, batch: EncodedBatch, arranged: EncodedBatch, tokens: Tensor
) -> StepCost:
    """Emulation: the teacher forward, the emulator forward and backward."""
    emulation, asked = _emulation(sizes, batch)
    kept = asked.tokens * kept_per_token(config, sizes.language)
    flops = _teacher(sizes, batch) + passes(config) * emulation
    return StepCost(asked.tokens, flops, emulation, kept, 0)


def coupled_step(
    config: RunConfig,
    sizes: RunSizes,
    batch: EncodedBatch,
    arranged: EncodedBatch,
    tokens: Tensor,
) -> StepCost:
    """Coupling: both forward, the student backward, and the emulator too if it is trained."""
    answer, work, total = _answer(sizes, arranged, tokens)
    emulation, asked = _emulation(sizes, batch)
    trained = config.distill.train_emulator
    kept = work.tokens + (asked.tokens if trained else 0)
    return StepCost(
        total,
        passes(config) * answer + (passes(config) if trained else 1) * emulation,
        answer + emulation,
        kept * kept_per_token(config, sizes.language),
        work.read * sizes.language.vocabulary,
    )


def student_loss(config: RunConfig, model: Any, shape: Shape) -> Tensor:
    """The loss of mind-reading, of zeros."""
    text, inputs = model.config.get_text_config(), shape.inputs(keep_positions=False)
    states = torch.zeros(shape.rows, text.num_hidden_layers, text.hidden_size)
    return _answer_loss(model, inputs, states, torch.zeros(shape.rows, dtype=torch.long))


def emulator_loss(config: RunConfig, model: Any, shape: Shape) -> Tensor:
    """The loss of emulation, of zeros."""
    ids = torch.zeros(shape.rows, shape.question, dtype=torch.long)
    gold = None
    if config.distill.mixture_supervision:
        layers = model.config.get_text_config().num_hidden_layers
        gold = torch.zeros(shape.rows, layers, dtype=torch.long)
    emulated = model(ids, torch.zeros(shape.rows, dtype=torch.long), gold=gold)
    loss = emulated.states.float().square().sum()
    return loss if gold is None else loss + mixture_loss(emulated.scores, gold)


def coupled_loss(config: RunConfig, model: Any, shape: Shape) -> Tensor:
    """The loss of coupling, of zeros; every question is read to the end of its row."""
    model.emulator.requires_grad_(config.distill.train_emulator)
    inputs, at = shape.inputs(keep_positions=False), torch.zeros(shape.rows, dtype=torch.long)
    emulated = model.emulator(inputs.ids[:, : shape.question], at)
    return _answer_loss(model.student, inputs, emulated.states, at)


def _answer_loss(model: Any, inputs: LMBatch, states: Tensor, at: Tensor) -> Tensor:
    kept = {"logits_to_keep": inputs.logits_to_keep, "use_cache": False}
    return token_loss(model(inputs.ids, states, at, **kept).logits, inputs)


def _teacher(sizes: RunSizes, batch: EncodedBatch) -> float:
    work = SequenceWork.of(batch.question + batch.chain + 1)
    return forward_flops(sizes.language, work, stop=True)


def _emulation(sizes: RunSizes, batch: EncodedBatch) -> tuple[float, SequenceWork]:
    asked = SequenceWork.of(batch.question)
    body = forward_flops(sizes.language, asked, stop=True)
    return body + 2 * len(batch) * sizes.own["emulation"], asked


def _answer(
    sizes: RunSizes, arranged: EncodedBatch, tokens: Tensor
) -> tuple[float, SequenceWork, int]:
    total = arranged.total - tokens
    work = SequenceWork.of(total - 1, total - arranged.question)
    flops = forward_flops(sizes.language, work) + 2 * len(arranged) * sizes.own["state_mlps"]
    return flops, work, int(total.sum())
