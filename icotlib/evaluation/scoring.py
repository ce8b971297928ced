"""Exact match of greedy answers, with intervals, and accuracy per answer symbol."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from icotlib.data.inputs import IGNORE, remove
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.evaluation.generation import generate, max_new_tokens_for, reproduced
from icotlib.evaluation.truths import graded


@dataclass(frozen=True)
class Score:
    """Exact match of answers with its 95% interval, and the accuracy of each answer symbol."""

    accuracy: float
    ci_low: float
    ci_high: float
    n: int
    #: Accuracy of each symbol of the answer, from its first; empty if answers differ in length.
    by_symbol: tuple[float, ...]
    #: What the model wrote, as text.
    written: tuple[str, ...]
    #: Whether each answer is right.
    right: tuple[bool, ...]
    #: Whether each text was cut by the limit before its answer ended; older files do not say it.
    cut: tuple[bool, ...] = ()
    #: The limit: tokens that a model may write.
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        if not self.cut:
            object.__setattr__(self, "cut", (False,) * self.n)


#: `evaluate` checks references under teacher forcing while at least this share of them passes.
MIN_DRAFT_ACCEPTANCE = 0.25


def evaluate(
    model: PreTrainedModel,
    layout: Layout,
    batch: EncodedBatch,
    answers: Sequence[str],
    removed: Tensor | int = 0,
    keep_positions: bool = False,
    side: str = "left",
    batch_size: int = 500,
    max_new_tokens: int | None = None,
    on_answers: Callable[[int], None] = lambda examples: None,
) -> Score:
    """Greedy answers of a model, compared with the true ones.

    The reference serves as a draft, as in speculative decoding: one teacher-forced pass finds the
    examples that greedy decoding reproduces, and only the others are decoded. The result equals
    plain greedy decoding.

    Args:
        removed: tokens removed, one number or `[n]`.
        side: the end of the chain from which they were removed; it concerns the draft only.
        max_new_tokens: tokens that each may write; by default what the longest reference of the
            batch needs, and some more (`max_new_tokens_for`).
        on_answers: called with the number of examples that have been answered since the last time.
    """
    was_training = model.training
    model.eval()
    written: list[str] = []
    cut = np.zeros(len(batch), dtype=bool)
    removed, worthwhile = torch.as_tensor(removed).expand(len(batch)), True
    new = max_new_tokens_for(batch, removed) if max_new_tokens is None else max_new_tokens
    for start in range(0, len(batch), batch_size):
        rows = slice(start, start + batch_size)
        part, k = batch[rows], removed[rows]
        right = torch.zeros(len(part), dtype=torch.bool)
        if worthwhile:
            right = reproduced(model, part, k, side, keep_positions)
            worthwhile = right.double().mean().item() >= MIN_DRAFT_ACCEPTANCE
        texts = np.empty(len(part), dtype=object)
        if right.any():
            on_answers(int(right.sum()))
            texts[right.numpy()] = layout.texts(_truth(part[right], k[right], side, layout.pad))
        if not right.all():
            how = (k[~right], keep_positions, new, on_answers)
            rest = generate(model, layout, part[~right], *how)
            texts[~right.numpy()] = layout.texts(rest)
            cut[start : start + batch_size][~right.numpy()] = layout.cut(rest)
        written += texts.tolist()
    model.train(was_training)
    return score(written, answers, layout, cut.tolist(), new)


def _truth(batch: EncodedBatch, removed: Tensor, side: str, pad: int) -> Tensor:
    """The reference after each question, `[n, width]`, with padding on both sides."""
    labels = remove(batch, removed, side).labels
    return labels.masked_fill(labels == IGNORE, pad)


def score(
    written: Sequence[str],
    answers: Sequence[str],
    layout: Layout | None = None,
    cut: Sequence[bool] = (),
    max_new_tokens: int | None = None,
) -> Score:
    """Compare the answers in generated texts with the true ones.

    Args:
        layout: whose tokenizer wrote them; an answer is right too if it gives the true one back so.
        cut: whether each text was cut by the limit `max_new_tokens`.
    """
    given = [Layout.answer(text) for text in written]
    right = graded(layout, given, answers)
    symbols = symbol_accuracy(given, answers)
    low, high = wilson_interval(sum(right), len(right))
    mean = float(np.mean(right))
    return Score(
        *(mean, low, high, len(right), symbols),
        *(tuple(written), tuple(right), tuple(cut), max_new_tokens),
    )


def symbol_accuracy(given: Sequence[str | None], answers: Sequence[str]) -> tuple[float, ...]:
    """The fraction of answers right at each symbol; an answer of the wrong length is all wrong."""
    truth = [answer.split() for answer in answers]
    width = len(truth[0])
    if any(len(row) != width for row in truth):
        return ()
    rows = [(answer or "").split() for answer in given]
    rows = [row if len(row) == width else [""] * width for row in rows]
    return tuple((np.array(rows) == np.array(truth)).mean(axis=0).tolist())


def wilson_interval(right: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95% score interval of a proportion; sensible at 0 and 1 too.

    Args:
        right: how many of n are right; a mean over seeds may be no whole number.
    """
    p, scale = right / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    return max(0.0, centre - half), min(1.0, centre + half)
