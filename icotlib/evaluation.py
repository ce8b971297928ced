"""Evaluation: greedy generation, exact match with intervals, accuracy per symbol.

Reported accuracy is always that of greedy generation: the model writes its own remaining chain,
then its answer. One forward pass says for which examples that is the truth itself: a sequence is
right under teacher forcing, every token of it, exactly when greedy decoding writes it. So
`teacher_forced_match` serves while training, and `evaluate` decodes only the other examples.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from icotlib.removal import IGNORE, Inputs, remove
from icotlib.tokens import Encoded, Layout

# --- one forward pass --------------------------------------------------------------------------


def logits_of(model: torch.nn.Module, inputs: Inputs) -> Tensor:
    """Next-token logits `[n, keep, vocabulary]` at the last `keep` places of a batch.

    A mask of ones goes with explicit positions: without any mask, transformers takes a jump in
    the position ids for the border between two packed sequences, and hides one from the other.
    """
    mask = None if inputs.positions is None else torch.ones_like(inputs.ids)
    return model(
        input_ids=inputs.ids,
        position_ids=inputs.positions,
        attention_mask=mask,
        logits_to_keep=inputs.keep,
        use_cache=False,
    ).logits


def matches(logits: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Which examples have every learned token, and which every token after the chain: `[n]` each.

    Args:
        logits: `[n, keep, vocabulary]` from `logits_of`.
    """
    labels = inputs.labels[:, -inputs.keep :]
    right = logits.argmax(dim=-1) == labels
    whole = (right | (labels == IGNORE)).all(dim=1)
    tail = (right | ~inputs.tail[:, -inputs.keep :]).all(dim=1)
    return whole, tail


#: Examples, and logits, that one forward pass of an evaluation takes at most: 1 GiB in fp32.
EXAMPLES, LOGITS = 512, 2**28


@torch.no_grad()
def written_as_is(
    model: PreTrainedModel,
    batch: Encoded,
    removed: Tensor | int,
    side: str = "left",
    keep_positions: bool = False,
    size: int | None = None,
) -> Tensor:
    """Which examples greedy decoding writes token for token as they are, `[n]`, on the CPU.

    The model must be in evaluation mode; arguments as of `generate`, and `side` as of `remove`.

    Args:
        size: examples in a forward pass; by default as many as there is room for.
    """
    removed = torch.as_tensor(removed).expand(len(batch))
    if size is None:
        kept = int(batch.total.max() - batch.question.min()) + 1
        vocabulary = model.config.get_text_config().vocab_size
        size = max(1, min(EXAMPLES, LOGITS // (kept * vocabulary)))
    found = []
    for start in range(0, len(batch), size):
        rows = slice(start, start + size)
        inputs = remove(batch[rows], removed[rows], side, keep_positions).to(model.device)
        found.append(matches(logits_of(model, inputs), inputs)[0].cpu())
    return torch.cat(found)


def teacher_forced_match(
    model: PreTrainedModel,
    batch: Encoded,
    removed: int,
    side: str = "left",
    keep_positions: bool = False,
    size: int | None = None,
) -> float:
    """The fraction of examples whose every learned token is the most likely one.

    Arguments as of `written_as_is`.
    """
    was_training = model.training
    model.eval()
    k = batch.tokens(removed, side)
    right = written_as_is(model, batch, k, side, keep_positions, size)
    model.train(was_training)
    return right.double().mean().item()


# --- greedy generation -------------------------------------------------------------------------


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    layout: Layout,
    batch: Encoded,
    removed: Tensor | int = 0,
    keep_positions: bool = False,
    max_new_tokens: int | None = None,
) -> Tensor:
    """Greedy continuations `[n, new tokens]` of `question <sep>`, batched, with a KV cache.

    Args:
        batch: only its questions are read; unequal ones are padded on the left.
        removed: tokens removed at the model's stage, an int or `[n]` (`Encoded.tokens`, where a
            stage counts steps). Only with kept positions does the model see it: the separator's
            position is shifted by as many, and by no more than the chain has.
        max_new_tokens: by default what the longest remaining chain and answer need, and eight
            more for a model that writes more than it should.
    """
    device = model.device
    removed = torch.as_tensor(removed).expand(len(batch)).minimum(batch.chain)
    if max_new_tokens is None:
        max_new_tokens = longest_rest(batch, removed)
    ids, mask, positions = left_padded_questions(batch, layout.pad)
    if keep_positions:
        positions[:, -1] += removed
    room = room_of(model)
    ids, mask, positions = ids.to(device), mask.to(device), positions.to(device)
    cache, written = None, []
    marked_end = EndOfAnswer(layout, len(batch), device)
    for _ in range(max_new_tokens):
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        ids = output.logits[:, -1].argmax(dim=-1, keepdim=True)
        written.append(ids)
        if marked_end.all_ended(ids):
            break
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        positions = positions[:, -1:] + 1
        if room is not None:  # a model that never stops must not run off its position table
            positions = positions.clamp(max=room - 1)
    return torch.cat(written, dim=1)


def longest_rest(batch: Encoded, removed: Tensor) -> int:
    """What the longest remaining chain and answer need, and eight tokens more."""
    return int((batch.total - batch.question - removed.minimum(batch.chain)).max()) + 8


def room_of(model: PreTrainedModel) -> int | None:
    """Positions that a model has; None where its config sets no limit."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def left_padded_questions(batch: Encoded, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Questions with their separator, padded on the left: tokens, mask, positions `[n, width]`."""
    width = int(batch.question.max())
    positions = torch.arange(width)[None] - (width - batch.question)[:, None]
    mask = positions >= 0
    ids = batch.ids.gather(1, positions.clamp(min=0))
    return ids.masked_fill(~mask, pad), mask.long(), positions.clamp(min=0)


class EndOfAnswer:
    """Notices when every row has written the end token after its answer's mark.

    Where the separator is the end token, the first one ends the chain and not the answer.
    """

    def __init__(self, layout: Layout, n: int, device: torch.device):
        self.eos, self.mark = layout.eos, layout.mark[-1]
        self.marked = torch.zeros(n, dtype=torch.bool, device=device)
        self.ended = torch.zeros(n, dtype=torch.bool, device=device)

    def all_ended(self, ids: Tensor) -> bool:
        ids = ids[:, 0]
        self.ended |= self.marked & (ids == self.eos)
        self.marked |= ids == self.mark
        return bool(self.ended.all())


# --- accuracy ----------------------------------------------------------------------------------


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


#: `evaluate` looks for what is written as is while that is at least this share of the examples.
WORTHWHILE = 0.25


def evaluate(
    model: PreTrainedModel,
    layout: Layout,
    batch: Encoded,
    answers: Sequence[str],
    removed: Tensor | int = 0,
    keep_positions: bool = False,
    side: str = "left",
    batch_size: int = 500,
) -> Score:
    """Greedy answers of a model, compared with the true ones; arguments as of `generate`.

    The truth serves as a draft, as in speculative decoding: what is written is what `generate`
    writes, many times faster where the model is mostly right.

    Args:
        side: the end of the chain from which tokens were removed; it concerns the draft alone.
    """
    was_training = model.training
    model.eval()
    written: list[str] = []
    removed, worthwhile = torch.as_tensor(removed).expand(len(batch)), True
    for start in range(0, len(batch), batch_size):
        rows = slice(start, start + batch_size)
        part, k = batch[rows], removed[rows]
        right = torch.zeros(len(part), dtype=torch.bool)
        if worthwhile:
            right = written_as_is(model, part, k, side, keep_positions)
            worthwhile = right.double().mean() >= WORTHWHILE
        texts = np.empty(len(part), dtype=object)
        if right.any():
            texts[right.numpy()] = layout.texts(_truth(part[right], k[right], side, layout.pad))
        if not right.all():
            new = longest_rest(part, k)  # of all: what an example gets hangs on no other
            rest = generate(model, layout, part[~right], k[~right], keep_positions, new)
            texts[~right.numpy()] = layout.texts(rest)
        written += texts.tolist()
    model.train(was_training)
    return score(written, answers)


def _truth(batch: Encoded, removed: Tensor, side: str, pad: int) -> Tensor:
    """What should be written after the questions, `[n, width]`, padding before and behind it."""
    labels = remove(batch, removed, side).labels
    return labels.masked_fill(labels == IGNORE, pad)


def score(written: Sequence[str], answers: Sequence[str]) -> Score:
    """Compare the answers in generated texts with the true ones."""
    given = [Layout.answer(text) for text in written]
    right = [same_answer(answer, truth) for answer, truth in zip(given, answers, strict=True)]
    symbols = symbol_accuracy(given, answers)
    low, high = wilson_interval(sum(right), len(right))
    mean = float(np.mean(right))
    return Score(mean, low, high, len(right), symbols, tuple(written), tuple(right))


def same_answer(given: str | None, truth: str) -> bool:
    """Whether two answers are the same text or the same number.

    Numbers may have a currency or a percent sign, and commas between thousands: `$1,200.00` is
    `1200`, but `$5` is not `5%`. Digits with spaces between them are text.
    """
    if given is None or given == truth:
        return given == truth
    ours, theirs = _NUMBER.fullmatch(given.strip()), _NUMBER.fullmatch(truth.strip())
    if ours is None or theirs is None:
        return False
    units = [("%" if "%" in x[0] else "") + ("$" if x["money"] else "") for x in (ours, theirs)]
    return _value(ours) == _value(theirs) and (units[0] == units[1] or not all(units))


_NUMBER = re.compile(
    r"(?P<minus>-?)(?P<money>[$€£]?)(?P<whole>\d{1,3}(?:,\d{3})+|\d*)(?P<part>\.\d+)?\s?%?\.?"
)


def _value(found: re.Match) -> Decimal | None:
    if not (found["whole"] or found["part"]):
        return None
    whole = found["whole"].replace(",", "") or "0"
    return Decimal(found["minus"] + whole + (found["part"] or ""))


def symbol_accuracy(given: Sequence[str | None], answers: Sequence[str]) -> tuple[float, ...]:
    """The fraction of answers right at each symbol; an answer of the wrong length is all wrong."""
    truth = [answer.split() for answer in answers]
    width = len(truth[0])
    if any(len(row) != width for row in truth):
        return ()
    rows = [(answer or "").split() for answer in given]
    rows = [row if len(row) == width else [""] * width for row in rows]
    return tuple((np.array(rows) == np.array(truth)).mean(axis=0).tolist())


def wilson_interval(right: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95% score interval of a proportion; sensible at 0 and 1, too."""
    p, scale = right / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    return max(0.0, centre - half), min(1.0, centre + half)
