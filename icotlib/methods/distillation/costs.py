"""What a step of each phase of distillation costs, calculated."""

from torch import Tensor, nn

from icotlib.config import RunConfig
from icotlib.data.layout import EncodedBatch
from icotlib.methods.base import kept_per_token, passes
from icotlib.methods.distillation.emulator import Emulator
from icotlib.methods.distillation.student import Student
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
