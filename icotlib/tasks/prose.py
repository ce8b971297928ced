"""Questions in plain sentences about fictional concepts: words, and rows made of them."""

import re
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from icotlib.tasks.base import PADDING, Task

#: Who is asked about.
PEOPLE = ("Alex", "Fae", "Max", "Polly", "Rex", "Sally", "Sam", "Stella")
#: Every word and mark that the sentences use beside people, concepts and properties.
FRAME = ("Every", "is", "a", ".")

_ONSETS = (
    *("b", "br", "d", "dr", "f", "g", "gr", "h", "j", "k", "l", "m"),
    *("n", "p", "r", "s", "sh", "st", "t", "tr", "v", "w", "y", "z"),
)
#: Words that mean nothing, after Saparov & He (arXiv 2210.01240); all of them follow `a`.
CONCEPTS = tuple(f"{onset}{vowel}mpus" for vowel in "uoeia" for onset in _ONSETS)


def sentences(symbols: Sequence[str], *words: str | np.ndarray) -> np.ndarray:
    """One sentence for every entry of the arrays: `[..., len(words)]`, numbers of symbols.

    Args:
        words: in their order; a word that is the same in every sentence, or an array `[...]` of
            symbol numbers, `PADDING` where a sentence lacks the word.
    """
    numbers = [np.array(symbols.index(w)) if isinstance(w, str) else w for w in words]
    return np.stack(np.broadcast_arrays(*numbers), axis=-1)


def join(width: int, *parts: np.ndarray) -> np.ndarray:
    """Sentences `[n, ...]` one behind the other, without gaps: `[n, width]`."""
    rows = np.hstack([part.reshape(len(part), -1) for part in parts])
    order = np.argsort(rows == PADDING, axis=1, kind="stable")
    return np.take_along_axis(rows, order[:, :width], axis=1)


def permutations(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """n orders of `size` things: `[n, size]`."""
    return rng.permuted(np.tile(np.arange(size), (n, 1)), axis=1)


def split_marks(typed: str) -> str:
    """Text as a person types it, with words and marks separated by single spaces."""
    return " ".join(re.findall(r"\w+|[^\w\s]", typed))


def typeset(text: str) -> str:
    """The opposite: marks stand directly behind their word."""
    return re.sub(r" (?=[.?:])", "", text)


def split_sentences(text: str) -> list[str]:
    """Typeset sentences, each with its full stop."""
    return re.findall(r"[^.]+\.", text.replace(". ", "."))


class ProseTask(Task):
    """A task in sentences: its symbols are words of the frame, then those that questions number."""

    #: The words that no question numbers; the rest of the symbols follow them.
    _frame: tuple[str, ...]

    @cached_property
    def example_question(self) -> str:
        one = self.text(self.render(self.sample(np.random.default_rng(0), 1)))[0]
        return typeset(one.question)

    @property
    def question_names(self) -> tuple[str, ...]:
        return tuple(f"q{i}" for i in range(self.widths[0]))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """What a question holds for each word that is not of the frame."""
        return {word: i for i, word in enumerate(self.symbols[len(self._frame) :])}
