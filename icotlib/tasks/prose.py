"""What tasks in plain sentences about fictional concepts share: words, and rows of words."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from icotlib.tasks.base import PADDING, Example, Task

#: The people that facts and questions are about.
PEOPLE = ("Alex", "Fae", "Max", "Polly", "Rex", "Sally", "Sam", "Stella")
#: Words and punctuation of the sentences, besides people, concepts and properties.
FRAME = ("Every", "is", "a", ".")

_ONSETS = (
    *("b", "br", "d", "dr", "f", "g", "gr", "h", "j", "k", "l", "m"),
    *("n", "p", "r", "s", "sh", "st", "t", "tr", "v", "w", "y", "z"),
)
#: Made-up nouns after Saparov & He (arXiv 2210.01240); all of them take the article `a`.
CONCEPTS = tuple(f"{onset}{vowel}mpus" for vowel in "uoeia" for onset in _ONSETS)


def sentences(symbols: Sequence[str], *words: str | np.ndarray) -> np.ndarray:
    """One sentence for every entry of the arrays: symbol numbers `[..., len(words)]`.

    Args:
        words: in order, each either a word that all sentences share, or an array `[...]` of symbol
            numbers, with `PADDING` where a sentence lacks the word.
    """
    numbers = [np.array(symbols.index(w)) if isinstance(w, str) else w for w in words]
    return np.stack(np.broadcast_arrays(*numbers), axis=-1)


def join(width: int, *parts: np.ndarray) -> np.ndarray:
    """Sentences `[n, ...]` in one row, one after the other without gaps: `[n, width]`."""
    rows = np.hstack([part.reshape(len(part), -1) for part in parts])
    order = np.argsort(rows == PADDING, axis=1, kind="stable")
    return np.take_along_axis(rows, order[:, :width], axis=1)


def permutations(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """n random permutations of 0 to size - 1: `[n, size]`."""
    return rng.permuted(np.tile(np.arange(size), (n, 1)), axis=1)


def split_marks(typed: str) -> str:
    """Typed text with words and punctuation separated by single spaces."""
    return " ".join(re.findall(r"\w+|[^\w\s]", typed))


def typeset(text: str) -> str:
    """The inverse of `split_marks`: punctuation directly after its word."""
    return re.sub(r" (?=[.?:])", "", text)


def split_sentences(text: str) -> list[str]:
    """The sentences of typeset text, each with its full stop."""
    return re.findall(r"[^.]+\.", text.replace(". ", "."))


def statements_to_json(examples: Sequence[Example]) -> dict[str, Any]:
    """ProntoQA's published form, `{"example1": {"test_example": {...}}, ...}`.

    No examples in context. The statement to judge is in `query`, apart from the facts.
    """
    rows = {}
    for i, example in enumerate(examples, 1):
        facts, instruction, statement = example.question.partition("True or false :")
        published = {
            "question": typeset(facts.strip()),
            "query": typeset(instruction + statement),
            "chain_of_thought": split_sentences(typeset(example.chain)),
            "answer": example.answer,
        }
        rows[f"example{i}"] = {"test_example": published}
    return rows


class ProseTask(Task):
    """A task in sentences; its symbols are fixed words, then those that questions refer to."""

    #: The fixed words, which no entry of a question refers to.
    _frame: tuple[str, ...]

    @cached_property
    def example_question(self) -> str:  # type: ignore[override]  # computed when first read
        example = self.text(self.render(self.sample(np.random.default_rng(0), 1)))[0]
        return typeset(example.question)

    @property
    def question_names(self) -> tuple[str, ...]:
        return tuple(f"q{i}" for i in range(self.widths[0]))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The entry that stands for each word, fixed words excluded."""
        return {word: i for i, word in enumerate(self.symbols[len(self._frame) :])}
