"""TODO."""

from dataclasses import dataclass

import torch
from torch import Tensor

from icotlib.config import RemovalConfig
from icotlib.data.layout import Encoded

IGNORE = -100  # the label that cross-entropy skips


@dataclass(frozen=True)
class Inputs:
    """What a model is trained on; every tensor is `[n, width]`."""

    ids: Tensor
    #: Position ids, or None where they simply count from zero.
    positions: Tensor | None
    #: The next token at each place, `IGNORE` where nothing is learned.
    labels: Tensor
    #: Places whose label belongs to what follows the chain: separator, mark, answer, end.
    tail: Tensor
    #: Places from the end that carry any loss: the output head needs no others.
    keep: int

    def to(self, device: torch.device) -> "Inputs":
        moved = [
            x if x is None else x.to(device, non_blocking=True)
            for x in (self.ids, self.positions, self.labels, self.tail)
        ]
        return Inputs(*moved, keep=self.keep)


def remove(batch: Encoded, k: Tensor, side: str = "left", keep_positions: bool = False) -> Inputs:
    """Take k[i] chain tokens out of example i and shift it into inputs and labels.

    Args:
        batch: n encoded examples.
        k: `[n]`, tokens to remove; more than the chain holds takes the whole chain.
        side: the end of the chain that goes first.
        keep_positions: what remains keeps its position ids, and the first separator moves along
            by k (Section 3 of the paper; its code moves the separator).

    For the question `a b`, the chain `x y z` and k = 2 on the left, with kept positions:

        sequence   a b <sep> z <sep> #### 7 <eos>
        positions  0 1   4   5   6     7  8   9
        learned              z <sep> #### 7 <eos>
    """
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
    tail = (column >= batch.question[:, None] + batch.chain[:, None] - k)[:, 1:] & inside[:, 1:]
    # With right-padding the causal mask alone keeps the padding out of every position that counts.
    positions = (column + k * (column >= first))[:, :-1] if keep_positions else None
    if positions is not None:
        positions = positions.clamp(max=batch.ids.shape[1] - 2)  # padding needs no room
    keep = width - 1 - int(first.min())
    return Inputs(ids[:, :-1], positions, labels, tail, keep)


def in_layout(batch: Encoded, config: RemovalConfig) -> Encoded:
    """A batch as a run with this config sees it, in distillation's layout or in the usual one."""
    return batch.direct() if config.direct else batch
