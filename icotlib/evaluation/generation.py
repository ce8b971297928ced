"""Greedy generation, batched, and its teacher-forced check.

Reported accuracy is always that of greedy generation: the model writes its own remaining chain,
then its answer. Greedy decoding writes the reference exactly when every one of its tokens is the
most likely one under teacher forcing. So one forward pass serves for monitoring during training
(`teacher_forced_match`), and `evaluate` decodes only the examples that fail it.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from icotlib.data.inputs import IGNORE, LMBatch, remove
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.evaluation.bounded import examples_at_once
from icotlib.models.decoding import decoding, logits_of


def matches(logits: Tensor, inputs: LMBatch) -> tuple[Tensor, Tensor]:
    """Which examples have every learned token right, and which every token after the chain.

    Args:
        logits: `[n, kept, vocabulary]` from `logits_of`.

    Returns:
        two boolean tensors `[n]`.
    """
    labels = inputs.labels[:, -inputs.logits_to_keep :]
    right = logits.argmax(dim=-1) == labels
    exact = (right | (labels == IGNORE)).all(dim=1)
    answer = (right | ~inputs.answer_mask[:, -inputs.logits_to_keep :]).all(dim=1)
    return exact, answer


#: Tokens that a model may write beyond the longest reference.
MORE = 8


@torch.no_grad()
def reproduced(
    model: PreTrainedModel,
    batch: EncodedBatch,
    removed: Tensor | int,
    side: str = "left",
    keep_positions: bool = False,
    size: int | None = None,
    shift: Tensor | None = None,
) -> Tensor:
    """Which examples greedy decoding reproduces token for token, `[n]`, on the CPU.

    The model must be in evaluation mode.

    Args:
        removed: tokens removed, one number or `[n]`.
        side, keep_positions, shift: as for `remove`.
        size: examples in a forward pass; by default as many as memory allows.
    """
    removed = torch.as_tensor(removed).expand(len(batch))
    shift = removed if shift is None else shift
    if size is None:
        longest = int(batch.total.max())
        kept = longest - int(batch.question.min()) + 1
        size = examples_at_once(model.config, longest, kept)
    exact = []
    for start in range(0, len(batch), size):
        rows = slice(start, start + size)
        cut = removed[rows], side, keep_positions, shift[rows]
        inputs = remove(batch[rows], *cut).to(model.device)
        exact.append(matches(logits_of(model, inputs), inputs)[0].cpu())
    return torch.cat(exact)


def teacher_forced_match(
    model: PreTrainedModel,
    batch: EncodedBatch,
    removed: int,
    side: str = "left",
    keep_positions: bool = False,
    size: int | None = None,
) -> float:
    """The fraction of examples whose every learned token is the most likely one.

    Args:
        removed: the removal stage; the other arguments as for `reproduced`.
    """
    was_training = model.training
    model.eval()
    k = batch.tokens(removed, side)
    shift = torch.as_tensor(removed).expand(len(batch))
    right = reproduced(model, batch, k, side, keep_positions, size, shift)
    model.train(was_training)
    return right.double().mean().item()


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    layout: Layout,
    batch: EncodedBatch,
    removed: Tensor | int = 0,
    keep_positions: bool = False,
    max_new_tokens: int | None = None,
    on_answers: Callable[[int], None] = lambda examples: None,
) -> Tensor:
    """Greedy continuations `[n, new tokens]` of `question <sep>`, batched.

    As many examples go at a time as memory allows (`icotlib.evaluation.bounded`); rows that end
    earlier than others are padded. A model that is not one of transformers gets all rows in one
    batch: it may hold a state for each of them, as `StudentWithStates` does.

    Args:
        batch: only its questions are read, which may differ in length.
        removed: tokens removed, one number or `[n]`. It matters with kept positions only: the
            separator's position is shifted by as many, whatever the length of the chain.
        max_new_tokens: by default what the longest remaining chain and answer need, and eight
            more for a model that writes too much. Whoever reports a score gives one limit for all
            (`StageModel.max_new_tokens`).
        on_answers: called with the number of examples that have been answered since the last time.
    """
    removed = torch.as_tensor(removed).expand(len(batch))
    if max_new_tokens is None:
        max_new_tokens = max_new_tokens_for(batch, removed)
    size = len(batch)
    if isinstance(model, PreTrainedModel):
        width = int(batch.question.max())
        size = examples_at_once(model.config, width, 1, max_new_tokens, most=size)
    parts = []
    for start in range(0, len(batch), size):
        rows = slice(start, start + size)
        shift = removed[rows] if keep_positions else None
        parts.append(_continued(model, layout, batch[rows], shift, max_new_tokens))
        on_answers(len(parts[-1]))
    longest = max(part.shape[1] for part in parts)
    return torch.cat([pad(x, (0, longest - x.shape[1]), value=layout.pad) for x in parts])


def _continued(
    model: PreTrainedModel,
    layout: Layout,
    batch: EncodedBatch,
    shift: Tensor | None,
    max_new_tokens: int,
) -> Tensor:
    """The continuations of a part of a batch.

    Args:
        shift: by how much the separator's position is shifted, `[n]`; None without kept positions.
    """
    rows, written = decoding(model, batch, shift, layout.pad, max_new_tokens), []
    end = EndOfAnswer(layout, len(batch), model.device)
    for _ in range(max_new_tokens):
        ids = rows.logits().argmax(dim=-1, keepdim=True)
        written.append(ids)
        if end.reached_by_all(ids):
            break
        rows.append(ids)
    return torch.cat(written, dim=1)


def max_new_tokens_for(batch: EncodedBatch, removed: Tensor) -> int:
    """Tokens that the longest remaining chain and answer need, and eight more."""
    return int((batch.total - batch.question - removed.minimum(batch.chain)).max()) + MORE


class EndOfAnswer:
    """Detects when every row has written the end token after its answer delimiter.

    Where separator and end are one token, an end token before the delimiter ends the chain only.
    """

    def __init__(self, layout: Layout, n: int, device: torch.device):
        self.eos = layout.eos
        self.delimiter = torch.tensor(layout.answer_delimiter, device=device)
        self.recent = torch.full((n, len(self.delimiter)), -1, device=device)
        self.delimited = torch.zeros(n, dtype=torch.bool, device=device)
        self.ended = torch.zeros(n, dtype=torch.bool, device=device)

    def reached_by_all(self, ids: Tensor) -> bool:
        """Take note of the next token of every row, `[n, 1]`; whether all rows have ended."""
        ids = ids[:, 0]
        self.ended |= self.delimited & (ids == self.eos)
        self.recent = torch.cat([self.recent[:, 1:], ids[:, None]], dim=1)
        self.delimited |= (self.recent == self.delimiter).all(dim=1)
        return bool(self.ended.all())
