"""Generated tokens: where their chain, their answer and their text end."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Written:
    """How much was written after each question, `[n]` each."""

    #: Tokens, the end token included; of a text that was cut, all of them.
    tokens: np.ndarray
    #: What stands before the answer, in the units of removal, tokens or steps. The separator that
    #: ends a chain is no part of it. A second delimiter or separator counts as a token.
    chain: np.ndarray
    #: Whether the text was cut before its answer ended.
    cut: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["Written"]) -> "Written":
        """Several, one after the other."""
        columns = ((part.tokens, part.chain, part.cut) for part in parts)
        return cls(*map(np.concatenate, zip(*columns, strict=True)))


@dataclass(frozen=True)
class Ends:
    """Where the parts of generated tokens `[n, width]` end, `[n]` each, counted in tokens."""

    #: Tokens before the last answer delimiter, or before the end of a text that has none.
    before_answer: Tensor
    #: Tokens of the text, its end token excluded.
    text: Tensor
    #: Tokens that were written, the end token included.
    written: Tensor
    #: Whether the answer has ended.
    ended: Tensor
    #: Whether a separator stands before the answer.
    separated: Tensor


def ends_of(rows: Tensor, delimiter: Sequence[int], sep: int, eos: int) -> Ends:
    """Where the parts of generated tokens `[n, width]` end.

    A text ends with the first end token after its first answer delimiter. Where separator and end
    are one token, those before the delimiter end nothing.

    Args:
        delimiter: the tokens of the answer delimiter.
    """
    n, width = rows.shape
    column = torch.arange(width)[None]
    begins = torch.zeros(n, width, dtype=torch.bool)
    if len(delimiter) <= width:
        windows = rows.unfold(1, len(delimiter), 1)
        matching = (windows == torch.tensor(delimiter)).all(dim=2)
        begins[:, : matching.shape[1]] = matching
    delimited = begins.any(dim=1)
    behind = (begins.int().argmax(dim=1) + len(delimiter)) * delimited
    is_end = (rows == eos) & (column >= behind[:, None])
    has_end = is_end.any(dim=1)
    text = torch.where(has_end, is_end.int().argmax(dim=1), width)
    ended = has_end & (delimited | (sep != eos))
    last = torch.where(begins & (column < text[:, None]), column, -1).amax(dim=1)
    before = torch.where(last >= 0, last, text)
    separated = ((rows == sep) & (column < before[:, None])).any(dim=1)
    return Ends(before, text, torch.where(ended, text + 1, width), ended, separated)
