"""From encoded examples to model input: which chain tokens are removed, and which are learned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor

from icotlib.data.layout import EncodedBatch

IGNORE = -100  # the label that cross-entropy skips

#: One number, or one for each example.
Removed = TypeVar("Removed", int, Tensor)


@dataclass(frozen=True)
class LMBatch:
    """Input and labels of a causal language model; tensors are `[n, width]`."""

    ids: Tensor
    #: Position ids, or None where they simply count from zero.
    positions: Tensor | None
    #: The next token at each position, `IGNORE` where nothing is learned.
    labels: Tensor
    #: Positions whose label follows the chain: second separator, delimiter, answer, end.
    answer_mask: Tensor
    #: Positions from the end that carry any loss: the output head needs no others.
    logits_to_keep: int
    #: Tokens of each row without its padding, `[n]`, on the CPU whatever the device of the others.
    lengths: Tensor | None = None

    def to(self, device: torch.device) -> "LMBatch":
        """The same batch on a device."""
        positions = None if self.positions is None else self.positions.to(device, non_blocking=True)
        moved = [x.to(device, non_blocking=True) for x in (self.ids, self.labels, self.answer_mask)]
        ids, labels, answer_mask = moved
        return replace(self, ids=ids, positions=positions, labels=labels, answer_mask=answer_mask)

    def rows(self, rows: slice) -> "LMBatch":
        """Some of its examples."""
        return replace(
            self,
            ids=self.ids[rows],
            positions=None if self.positions is None else self.positions[rows],
            labels=self.labels[rows],
            answer_mask=self.answer_mask[rows],
            lengths=None if self.lengths is None else self.lengths[rows],
        )


def remove(
    batch: EncodedBatch,
    k: Tensor,
    side: str = "left",
    keep_positions: bool = False,
    shift: Tensor | None = None,
) -> LMBatch:
    """Remove k[i] chain tokens from example i and shift it into inputs and labels.

    Args:
        batch: n encoded examples.
        k: `[n]`, tokens to remove; more than the chain holds removes the whole chain.
        side: the end of the chain that is removed first.
        keep_positions: remaining tokens keep their position ids, and the first separator is
            shifted by k (arXiv 2405.14838, Section 3; the authors' code shifts the separator).
        shift: `[n]`, with kept positions, by how much the separator and all that follows is
            shifted; by default by k, even where that is more than the chain holds. A shift cut to
            each chain would tell the model how long the true chain is.

    For the question `a b`, the chain `x y z` and k = 2 on the left, with kept positions:

        sequence   a b <sep> z <sep> #### 7 <eos>
        positions  0 1   4   5   6     7  8   9
        learned              z <sep> #### 7 <eos>
    """
    shift = (k if shift is None else shift)[:, None]
    k = torch.minimum(k, batch.chain)[:, None]
    start = batch.question[:, None]
    if side == "right":
        start = start + batch.chain[:, None] - k
    total = batch.total[:, None] - k
    width = int(total.max())
    column = torch.arange(width)[None]
    source = (column + k * (column >= start)).clamp(max=batch.ids.shape[1] - 1)
    ids = batch.ids.gather(1, source)
    inside = column < total
    first = batch.question[:, None] - 1  # the first separator: from here on, the next is learned
    labels = torch.where(inside & (column > first), ids, IGNORE)[:, 1:]
    after_chain = column >= batch.question[:, None] + batch.chain[:, None] - k
    answer_mask = after_chain[:, 1:] & inside[:, 1:]
    # With right-padding the causal mask alone keeps the padding out of every position that counts.
    positions = (column + shift * (column >= first))[:, :-1] if keep_positions else None
    if positions is not None:
        last = int((total + shift).max()) - 2  # that of the last token before an end token
        positions = positions.clamp(max=last)  # padding needs no position
    logits_to_keep = width - 1 - int(first.min())
    lengths = total[:, 0] - 1  # an end token is learned, and never read
    return LMBatch(ids[:, :-1], positions, labels, answer_mask, logits_to_keep, lengths)


def units_left(batch: EncodedBatch, removed: Tensor, side: str = "left") -> Tensor:
    """The units of removal, tokens or steps, that are left of each chain: `[n]`.

    Args:
        removed: `[n]`, tokens removed; of steps, whole ones.
        side: the end of the chain from which they were removed.
    """
    left = batch.chain - removed.minimum(batch.chain)
    if batch.step_ends is None:
        return left
    units, ends = batch.removal_units, batch.step_ends
    if side == "right":
        return torch.where(left == batch.chain, units, (ends <= left[:, None]).sum(dim=1))
    gone = (ends <= removed[:, None]).sum(dim=1)
    return torch.where(left == 0, torch.zeros_like(units), units - gone)


@dataclass(frozen=True)
class InputFormat:
    """How a method turns an example into input at a removal stage.

    chain=True    question <sep> chain[k:] <sep> #### answer <eos>
    chain=False   question <sep> #### answer <eos>
    """

    chain: bool = True
    #: The end of the chain that is removed first.
    side: Literal["left", "right"] = "left"
    #: Remaining tokens keep their position ids.
    keep_positions: bool = False
    #: The text that ends every step, where whole steps are removed.
    step_end: str | None = None
    #: What stands in the place of chains (`icotlib.data.chains`).
    chains: Literal["own", "shuffled", "filler"] = "own"

    @property
    def unit(self) -> str:
        """What removal counts: `tokens` or `steps`."""
        return "tokens" if self.step_end is None else "steps"

    def arrange(self, batch: EncodedBatch) -> EncodedBatch:
        """Encoded examples in this format, nothing removed yet."""
        return batch if self.chain else batch.without_chain()

    def tokens_removed(self, batch: EncodedBatch, removed: Tensor | int) -> Tensor:
        """Tokens to remove from each example of an arranged batch at a removal stage: `[n]`.

        Args:
            removed: the stage: tokens or steps removed, one number or `[n]`.
        """
        return batch.tokens(removed, self.side)

    def shift(self, removed: Removed) -> Removed:
        """By how much positions are shifted at a removal stage: by the stage, for every question.

        It is never cut to a question's own chain: where chains differ in length, a model would be
        told how long the true one is, in training and in tests alike.

        Args:
            removed: the stage, one number or `[n]`; at most the units of the longest chain.
        """
        return removed if self.keep_positions and self.chain else removed * 0

    def chain_limit(
        self, batch: EncodedBatch, removed: Tensor | int, longest: int
    ) -> Tensor | None:
        """Units of chain, tokens or steps, that a right answer may follow at a stage: `[n]`.

        As many as the stage leaves of the question's reference. Which ones is not compared:
        another valid chain counts if it is no longer. A longer one does not count, even if it is
        valid, because what a stage claims is an answer from so few written units. Where nothing is
        removed, nothing is claimed, and chains of any length count. A question whose chain is
        unknown or empty may be answered after what the stage leaves of the run's longest chain.

        Args:
            batch: arranged examples.
            removed: the stage: units removed, one number or `[n]`.
            longest: units of the longest chain of the run.

        Returns:
            None where nothing is removed.
        """
        if not self.chain:
            return torch.zeros(len(batch), dtype=torch.long)
        removed = torch.as_tensor(removed)
        if not removed.any():
            return None
        units = torch.where(batch.chain > 0, batch.removal_units, longest)
        return (units - removed).clamp(min=0)

    def longest_rest(self, sets: Sequence[EncodedBatch], removed: int) -> int:
        """Tokens of the longest reference after its question, in sets that are not arranged.

        Args:
            removed: the removal stage.
        """
        rests = []
        for batch in sets:
            absent = batch.tokens(removed, self.side) if self.chain else batch.chain + 1
            rests.append(int((batch.total - batch.question - absent).max()))
        return max(rests)

    def inputs(
        self, batch: EncodedBatch, tokens: Tensor, shift: Tensor | int | None = None
    ) -> LMBatch:
        """Input and labels of an arranged batch with so many tokens removed, `[n]`.

        Args:
            shift: by how much positions are shifted (`shift`), one number or `[n]`; by default by
                as many.
        """
        if shift is not None:
            shift = torch.as_tensor(shift).expand(len(batch))
        return remove(batch, tokens, self.side, self.keep_positions, shift)
