"""Exact match of greedy answers, with intervals, and what they cost: the tokens that were written.

An answer counts as right if it is the true one, and if the model wrote no more chain before it
than its removal stage leaves of the reference (`InputFormat.chain_limit`). Otherwise a model that
goes on to write the steps which it should have internalized would pass for one that needs none.
`Score.answer_accuracy` is the share of true answers alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from icotlib.data.inputs import IGNORE, remove, units_left
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.data.written import Written
from icotlib.evaluation.generation import generate, max_new_tokens_for, reproduced
from icotlib.evaluation.truths import graded


@dataclass(frozen=True)
class Score:
    """Exact match of answers with its 95% interval, and the accuracy of each answer symbol.

    Scores that were stored before tokens were counted lack the last five fields; their answers were
    right whatever stood before them.
    """

    accuracy: float
    ci_low: float
    ci_high: float
    n: int
    #: Accuracy of each symbol of the answer, from its first; empty if answers differ in length.
    by_symbol: tuple[float, ...]
    #: What the model wrote, as text.
    written: tuple[str, ...]
    #: Whether each answer is right, and no more chain was written than the stage leaves.
    right: tuple[bool, ...]
    #: Whether each text was cut by the limit before its answer ended; older files do not say it.
    cut: tuple[bool, ...] = ()
    #: The limit: tokens that a model may write.
    max_new_tokens: int | None = None
    #: Whether each answer is the true one, whatever stands before it.
    answer_right: tuple[bool, ...] = ()
    #: Tokens written after each question, the end token included.
    tokens: tuple[int, ...] = ()
    #: Units of chain written before each answer: tokens, or steps where removal counts them.
    chain: tuple[int, ...] = ()
    #: Units of chain that the stage leaves; None where nothing is removed, and so nothing limited.
    chain_limit: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.cut:
            object.__setattr__(self, "cut", (False,) * self.n)
        if not self.answer_right:
            object.__setattr__(self, "answer_right", self.right)

    @property
    def answer_accuracy(self) -> float:
        """The share of true answers, whatever stands before them."""
        return float(np.mean(self.answer_right))

    @property
    def tokens_mean(self) -> float | None:
        """Tokens written after a question, on average; None if they were not counted."""
        return float(np.mean(self.tokens)) if self.tokens else None

    @property
    def tokens_max(self) -> int | None:
        """The most tokens written after a question; None if they were not counted."""
        return max(self.tokens, default=None)


#: `evaluate` checks references under teacher forcing while at least this share of them passes.
MIN_DRAFT_ACCEPTANCE = 0.25

#: Examples in the first check, so that a model that is wrong pays little for it.
FIRST_CHECK = 16


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
    shift: Tensor | int | None = None,
    chain_limit: Tensor | None = None,
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
        shift: with kept positions, by how much the separator is shifted, one number or `[n]`; by
            default as much as is removed.
        chain_limit: `[n]`, units of chain that each may write; None for no limit.
    """
    was_training = model.training
    model.eval()
    removed = torch.as_tensor(removed).expand(len(batch))
    shift = removed if shift is None else torch.as_tensor(shift).expand(len(batch))
    new = max_new_tokens_for(batch, removed) if max_new_tokens is None else max_new_tokens
    right = _checked(model, batch, (removed, side, keep_positions, shift), batch_size, on_answers)
    texts = np.empty(len(batch), dtype=object)
    found = _reference_lengths(batch, removed, side)
    if right.any():
        reference = _reference(batch[right], removed[right], side, layout.pad)
        texts[right.numpy()] = layout.texts(reference)
    others = (~right).nonzero()[:, 0]
    for rows in others.split(batch_size) if len(others) else ():
        rest = generate(model, layout, batch[rows], shift[rows], keep_positions, new, on_answers)
        texts[rows.numpy()] = layout.texts(rest)
        _put(found, rows.numpy(), layout.measured(rest))
    model.train(was_training)
    return score(texts.tolist(), answers, layout, found, new, chain_limit)


def _checked(
    model: PreTrainedModel,
    batch: EncodedBatch,
    how: tuple[Tensor, str, bool, Tensor],
    batch_size: int,
    on_answers: Callable[[int], None],
) -> Tensor:
    """Which references greedy decoding is known to reproduce, `[n]`; few are checked if most fail.

    Args:
        how: tokens removed `[n]`, side, kept positions and shift `[n]`.
    """
    removed, side, keep_positions, shift = how
    right = torch.zeros(len(batch), dtype=torch.bool)
    start, stop = 0, min(FIRST_CHECK, batch_size)
    while start < len(batch):
        rows = slice(start, stop)
        cut = (removed[rows], side, keep_positions)
        right[rows] = reproduced(model, batch[rows], *cut, shift=shift[rows])
        passed = int(right[rows].sum())
        if passed:
            on_answers(passed)
        if passed < MIN_DRAFT_ACCEPTANCE * len(right[rows]):
            break
        start, stop = stop, stop + batch_size
    return right


def _reference(batch: EncodedBatch, removed: Tensor, side: str, pad: int) -> Tensor:
    """The reference after each question, `[n, width]`, with padding on both sides."""
    labels = remove(batch, removed, side).labels
    return labels.masked_fill(labels == IGNORE, pad)


def _reference_lengths(batch: EncodedBatch, removed: Tensor, side: str) -> Written:
    """What references hold after their questions."""
    tokens = batch.total - batch.question - removed.minimum(batch.chain)
    units = units_left(batch, removed, side)
    return Written(tokens.numpy(), units.numpy(), np.zeros(len(batch), dtype=bool))


def _put(whole: Written, rows: np.ndarray, part: Written) -> None:
    """Put what was measured of some rows in the place of what their references hold."""
    for name, values in vars(part).items():
        getattr(whole, name)[rows] = values


def score(
    written: Sequence[str],
    answers: Sequence[str],
    layout: Layout | None = None,
    found: Written | None = None,
    max_new_tokens: int | None = None,
    chain_limit: Tensor | None = None,
) -> Score:
    """Compare the answers in generated texts with the true ones.

    Args:
        layout: whose tokenizer wrote them; an answer is right too if it gives the true one back so.
        found: how much was written, and which texts the limit `max_new_tokens` cut.
        chain_limit: `[n]`, units of chain that each may write; None for no limit.
    """
    given = [Layout.answer(text) for text in written]
    answered = np.array(graded(layout, given, answers), dtype=bool)
    right = answered
    if found is not None and chain_limit is not None:
        right = answered & (found.chain <= chain_limit.numpy())
    low, high = wilson_interval(int(right.sum()), len(right))
    symbols = symbol_accuracy(given, answers)
    counted = () if found is None else (found.cut, found.tokens, found.chain)
    cut, tokens, chain = (tuple(column.tolist()) for column in counted) if counted else ((),) * 3
    return Score(
        *(float(right.mean()), low, high, len(right), symbols),
        *(tuple(written), tuple(right.tolist()), cut, max_new_tokens),
        *(tuple(answered.tolist()), tokens, chain),
        None if chain_limit is None else tuple(chain_limit.tolist()),
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


def wilson_interval(right: float, n: int) -> tuple[float, float]:
    """Wilson's 95% score interval of a proportion; sensible at 0 and 1 too.

    E. B. Wilson (1927), "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22.

    Args:
        right: how many of n are right; a mean over seeds may be no whole number.
    """
    z = 1.959964  # of a normal distribution: 95% lie within z standard deviations
    p, scale = right / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    # At the ends rounding would leave an interval that excludes its own share.
    return (
        0.0 if right == 0 else max(0.0, centre - half),
        1.0 if right == n else min(1.0, centre + half),
    )
