"""Where a question ends in rows of token ids, and rows taken apart there."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


def first_separator(ids: Tensor, mask: Tensor | None, config: Any) -> Tensor:
    """Position of the first separator in each row, `[n]`; padding under the mask is no separator.

    The mask matters where separator and padding are the same token, as they are for GPT-2.

    Args:
        ids: `[n, width]`.
        mask: `[n, width]`, 0 at padding; None where the left has no padding.
        config: has `separator`, its token id, and `bos_tokens`, tokens before every text, of which
            none is the separator.
    """
    real = torch.ones_like(ids) if mask is None else mask
    found = (ids == config.separator) & (real.cumsum(dim=1) > config.bos_tokens) & real.bool()
    return found.to(torch.uint8).argmax(dim=1)


class Halves(NamedTuple):
    """Rows of tokens in two: the question, which ends in the last column, and what follows it."""

    #: `[n, width]`, padded on the left.
    question: Tensor
    #: `[n, width]`, False at the padding.
    is_question: Tensor
    #: `[n, rest]`, as wide as the longest; padded on the right with whatever stood last.
    rest: Tensor
    #: `[n, rest]`, False where a row has come to its end.
    is_rest: Tensor
    #: Whether no question is padded.
    whole: bool


def halves(ids: Tensor, mask: Tensor | None, at: Tensor, lengths: Tensor | None = None) -> Halves:
    """Rows taken apart behind their first separators, so that all questions end in one column.

    Args:
        ids: `[n, width]`, padded on the left under the mask, or on the right.
        at: `[n]`, the positions of the separators.
        lengths: `[n]`, where the padding on the right begins; without them it is part of the rest,
            so that one row with a short question makes the rest of all rows long.
    """
    width, shortest = int(at.max()) + 1, int(at.min()) + 1
    whole = width == shortest and (mask is None or bool(mask[:, :width].all()))
    end, longest = torch.tensor(ids.shape[1]), ids.shape[1] - shortest
    if lengths is not None:
        end, longest = lengths[:, None], int((lengths - at).max()) - 1
    at, end = at.to(ids.device)[:, None], end.to(ids.device)
    columns = torch.arange(ids.shape[1], device=ids.device)[None]
    first = 0 if mask is None else mask.argmax(dim=1, keepdim=True)
    source = columns[:, :width] - (width - 1 - at)
    after = at + 1 + columns[:, :longest]
    return Halves(
        ids.gather(1, source.clamp(min=0)),
        source >= first,
        ids.gather(1, after.clamp(max=ids.shape[1] - 1)),
        after < end,
        whole,
    )
