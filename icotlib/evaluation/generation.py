"""Evaluation: greedy generation, exact match with intervals, accuracy per symbol.

Reported accuracy is always that of greedy generation: the model writes its own remaining chain,
then its answer. One forward pass says for which examples that is the truth itself: a sequence is
right under teacher forcing, every token of it, exactly when greedy decoding writes it. So
`teacher_forced_match` serves while training, and `evaluate` decodes only the other examples.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from icotlib.data.inputs import IGNORE, LMBatch, remove
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.models.parameters import max_positions

# --- one forward pass --------------------------------------------------------------------------


def logits_of(model: torch.nn.Module, inputs: LMBatch) -> Tensor:
    """Next-token logits `[n, keep, vocabulary]` at the last `keep` places of a batch.

    A mask of ones goes with explicit positions: without any mask, transformers takes a jump in
    the position ids for the border between two packed sequences, and hides one from the other.
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
    """Which examples have every learned token, and which every token after the chain: `[n]` each.

    Args:
        logits: `[n, keep, vocabulary]` from `logits_of`.
    """
    labels = inputs.labels[:, -inputs.logits_to_keep :]
    right = logits.argmax(dim=-1) == labels
    whole = (right | (labels == IGNORE)).all(dim=1)
    tail = (right | ~inputs.answer_mask[:, -inputs.logits_to_keep :]).all(dim=1)
    return whole, tail


#: Examples, and logits, that one forward pass of an evaluation takes at most: 1 GiB in fp32.
EXAMPLES, LOGITS = 512, 2**28


@torch.no_grad()
def written_as_is(
    model: PreTrainedModel,
    batch: EncodedBatch,
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
    batch: EncodedBatch,
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
    batch: EncodedBatch,
    removed: Tensor | int = 0,
    keep_positions: bool = False,
    max_new_tokens: int | None = None,
) -> Tensor:
    """Greedy continuations `[n, new tokens]` of `question <sep>`, batched, with a KV cache.

    Args:
        batch: only its questions are read; unequal ones are padded on the left.
        removed: tokens removed at the model's stage, an int or `[n]` (`EncodedBatch.tokens`, where a
            stage counts steps). Only with kept positions does the model see it: the separator's
            position is shifted by as many, and by no more than the chain has.
        max_new_tokens: by default what the longest remaining chain and answer need, and eight
            more for a model that writes more than it should.
    """
    device = model.device
    removed = torch.as_tensor(removed).expand(len(batch)).minimum(batch.chain)
    if max_new_tokens is None:
        max_new_tokens = max_new_tokens_for(batch, removed)
    ids, mask, positions = left_padded_questions(batch, layout.pad)
    if keep_positions:
        positions[:, -1] += removed
    room = max_positions(model)
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


def max_new_tokens_for(batch: EncodedBatch, removed: Tensor) -> int:
    """What the longest remaining chain and answer need, and eight tokens more."""
    return int((batch.total - batch.question - removed.minimum(batch.chain)).max()) + 8


def left_padded_questions(batch: EncodedBatch, pad: int) -> tuple[Tensor, Tensor, Tensor]:
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
        self.eos, self.mark = layout.eos, layout.answer_delimiter[-1]
        self.marked = torch.zeros(n, dtype=torch.bool, device=device)
        self.ended = torch.zeros(n, dtype=torch.bool, device=device)

    def all_ended(self, ids: Tensor) -> bool:
        ids = ids[:, 0]
        self.ended |= self.marked & (ids == self.eos)
        self.marked |= ids == self.mark
        return bool(self.ended.all())
