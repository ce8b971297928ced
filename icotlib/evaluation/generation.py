"""Greedy generation, batched with a KV cache, and its teacher-forced check.

Reported accuracy is always that of greedy generation: the model writes its own remaining chain,
then its answer. Greedy decoding writes the reference exactly when every one of its tokens is the
most likely one under teacher forcing. So one forward pass serves for monitoring during training
(`teacher_forced_match`), and `evaluate` decodes only the examples that fail it.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from icotlib.data.inputs import IGNORE, LMBatch, remove
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.evaluation.bounded import examples_at_once
from icotlib.models.parameters import max_positions


def logits_of(model: torch.nn.Module, inputs: LMBatch) -> Tensor:
    """Next-token logits `[n, kept, vocabulary]` at the last `logits_to_keep` positions of a batch.

    Explicit positions come with a mask of ones: without a mask, transformers takes a jump in the
    position ids for the border between two packed sequences, and masks one from the other.
    """
    mask = None if inputs.positions is None else torch.ones_like(inputs.ids)
    return model(
        input_ids=inputs.ids,
        position_ids=inputs.positions,
        attention_mask=mask,
        logits_to_keep=inputs.logits_to_keep,
        use_cache=False,
    ).logits


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


@torch.no_grad()
def reproduced(
    model: PreTrainedModel,
    batch: EncodedBatch,
    removed: Tensor | int,
    side: str = "left",
    keep_positions: bool = False,
    size: int | None = None,
) -> Tensor:
    """Which examples greedy decoding reproduces token for token, `[n]`, on the CPU.

    The model must be in evaluation mode.

    Args:
        removed: tokens removed, one number or `[n]`; `side` and `keep_positions` as for `remove`.
        size: examples in a forward pass; by default as many as memory allows.
    """
    removed = torch.as_tensor(removed).expand(len(batch))
    if size is None:
        longest = int(batch.total.max())
        kept = longest - int(batch.question.min()) + 1
        size = examples_at_once(model.config, longest, kept)
    exact = []
    for start in range(0, len(batch), size):
        rows = slice(start, start + size)
        inputs = remove(batch[rows], removed[rows], side, keep_positions).to(model.device)
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
    right = reproduced(model, batch, k, side, keep_positions, size)
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
) -> Tensor:
    """Greedy continuations `[n, new tokens]` of `question <sep>`, batched, with a KV cache.

    Args:
        batch: only its questions are read; questions of unequal length are padded on the left.
        removed: tokens removed, one number or `[n]`. It matters with kept positions only: the
            separator's position is shifted by as many, at most by the length of the chain.
        max_new_tokens: by default what the longest remaining chain and answer need, and eight
            more for a model that writes too much.
    """
    device = model.device
    removed = torch.as_tensor(removed).expand(len(batch)).minimum(batch.chain)
    if max_new_tokens is None:
        max_new_tokens = max_new_tokens_for(batch, removed)
    ids, mask, positions = left_padded_questions(batch, layout.pad)
    if keep_positions:
        positions[:, -1] += removed
    limit = max_positions(model)
    ids, mask, positions = ids.to(device), mask.to(device), positions.to(device)
    cache, written = None, []
    end = EndOfAnswer(layout, len(batch), device)
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
        if end.reached_by_all(ids):
            break
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        positions = positions[:, -1:] + 1
        if limit is not None:  # a model that never stops must not leave its position table
            positions = positions.clamp(max=limit - 1)
    return torch.cat(written, dim=1)


def generate_parts(
    model: PreTrainedModel,
    layout: Layout,
    batch: EncodedBatch,
    removed: Tensor | int = 0,
    keep_positions: bool = False,
    max_new_tokens: int | None = None,
    on_answers: Callable[[int], None] = lambda examples: None,
) -> Tensor:
    """`generate`, as many examples at a time as memory allows; its arguments and its result.

    Rows that end earlier than others are padded. A model that holds something for every row of the
    batch, and so is no model of transformers, is asked for all of them at once.

    Args:
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
        parts.append(
            generate(model, layout, batch[rows], removed[rows], keep_positions, max_new_tokens)
        )
        on_answers(len(parts[-1]))
    longest = max(part.shape[1] for part in parts)
    return torch.cat(
        [
            torch.nn.functional.pad(part, (0, longest - part.shape[1]), value=layout.pad)
            for part in parts
        ]
    )


def max_new_tokens_for(batch: EncodedBatch, removed: Tensor) -> int:
    """Tokens that the longest remaining chain and answer need, and eight more."""
    return int((batch.total - batch.question - removed.minimum(batch.chain)).max()) + 8


def left_padded_questions(batch: EncodedBatch, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Questions with their separator, padded on the left: tokens, mask, positions `[n, width]`."""
    width = int(batch.question.max())
    positions = torch.arange(width)[None] - (width - batch.question)[:, None]
    mask = positions >= 0
    ids = batch.ids.gather(1, positions.clamp(min=0))
    return ids.masked_fill(~mask, pad), mask.long(), positions.clamp(min=0)


class EndOfAnswer:
    """Detects when every row has written the end token after its answer delimiter.

    Where separator and end are one token, an end token before the delimiter ends the chain only.
    """

    def __init__(self, layout: Layout, n: int, device: torch.device):
        self.eos, self.delimiter = layout.eos, layout.answer_delimiter[-1]
        self.delimited = torch.zeros(n, dtype=torch.bool, device=device)
        self.ended = torch.zeros(n, dtype=torch.bool, device=device)

    def reached_by_all(self, ids: Tensor) -> bool:
        """Take note of the next token of every row, `[n, 1]`; whether all rows have ended."""
        ids = ids[:, 0]
        self.ended |= self.delimited & (ids == self.eos)
        self.delimited |= ids == self.delimiter
        return bool(self.ended.all())
