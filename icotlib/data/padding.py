"""Rows of unequal length in one array, padded on the right."""

from collections.abc import Callable, Sequence

import numpy as np

from icotlib.errors import DataError
from icotlib.system import memory
from icotlib.system.wording import gib

#: Arrays of fewer bytes are made without a look at the memory.
SMALL = 2**28


def padded(
    rows: Sequence[Sequence[int]], padding: int, question: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows as an array `[n, longest]`, and their lengths `[n]`.

    Args:
        question: the text by which an error names a row.

    Raises `DataError` as `check_room` does.
    """
    lengths = np.array([len(row) for row in rows])
    check_room(lengths, np.dtype(np.int64).itemsize, question)
    array = np.full((len(rows), lengths.max()), padding)
    array[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate(rows)
    return array, lengths


def stacked(blocks: Sequence[np.ndarray], padding: int | None = None) -> np.ndarray:
    """Blocks `[n, width]` of different width, one below the other.

    Args:
        padding: fills narrow blocks; by default their last column is repeated.
    """
    width = max(block.shape[1] for block in blocks)
    how = {"mode": "edge"} if padding is None else {"constant_values": padding}
    return np.concatenate(
        [np.pad(block, ((0, 0), (0, width - block.shape[1])), **how) for block in blocks]
    )


def check_room(lengths: np.ndarray, size: int, question: Callable[[int], str]) -> None:
    """Whether rows fit into the free memory when all are as long as the longest.

    Args:
        lengths: of the rows, in tokens.
        size: bytes of a token.
        question: as for `padded`.

    Raises `DataError`, which names the longest row, if they do not.
    """
    longest = int(lengths.max())
    needed = len(lengths) * longest * size
    if needed < SMALL or needed < (free := memory.available()):
        return
    raise DataError(
        f"the example with the question {question(int(lengths.argmax()))[:60]!r} has {longest:,} "
        f"tokens, half of the {len(lengths):,} examples at most {int(np.median(lengths)):,}. "
        f"Padded to its length they take {gib(needed)}, and {gib(free)} of memory are free: "
        "shorten it, or leave it out"
    )
