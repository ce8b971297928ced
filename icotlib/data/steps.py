"""Where the steps of a chain end, in its text and in its symbols (`removal.step_end`)."""

import re
from collections.abc import Iterator

import numpy as np

#: A full stop alone ends sentences: it is also a decimal point, and a part of abbreviations.
FULL_STOP = "."

#: Abbreviations, without their last full stop: those that end no sentence, those before a number,
#: and those before a name.
_NEVER_LAST = re.compile(r"e\.g|i\.e|cf|vs|approx|resp", re.IGNORECASE)
_BEFORE_NUMBER = re.compile(r"no|nr|figs?|eqs?|sec|ch|vol|p|pp|ca", re.IGNORECASE)
_BEFORE_NAME = re.compile(r"Mr|Mrs|Ms|Dr|Prof|St|Mt|[A-Z]")

#: A full stop that may end a sentence, with the marks that close behind it.
_CANDIDATE = re.compile(r"\.[\"'”’»)\]}]*(?=\s|$)")


def step_cuts(text: str, step_end: str) -> list[int]:
    """Where in the text of a chain its steps end: the positions behind each `step_end`.

    A full stop counts only where it ends a sentence: not in `1.50`, `e.g.`, `J. Smith`, in the
    number of a listed step (`1. Add 2 and 3.`) or within a sentence that waits (`he waits... and`).
    """
    if step_end != FULL_STOP:
        return [match.end() for match in re.finditer(re.escape(step_end), text)]
    return list(_sentence_ends(text))


def _sentence_ends(text: str) -> Iterator[int]:
    start = 0
    for match in _CANDIDATE.finditer(text):
        sentence = text[start : match.start()]
        if _ends_sentence(sentence, text[match.end() :].lstrip()):
            start = match.end()
            yield start


def _ends_sentence(sentence: str, rest: str) -> bool:
    """Whether a sentence ends with the full stop between these two texts."""
    words = sentence.split()
    if not words or sentence[-1].isspace():  # a full stop between spaces is a symbol of its own
        return True
    last = words[-1].lstrip("([{\"'“‘«")
    if not rest:
        return True
    if last.endswith("..") and rest[0].islower():
        return False
    if _NEVER_LAST.fullmatch(last) or (_BEFORE_NUMBER.fullmatch(last) and rest[0].isdecimal()):
        return False
    if len(words) == 1 and re.fullmatch(r"\(?\d{1,3}\)?|[a-z]", last):  # a listed step
        return False
    is_name = rest[0].isupper() and (len(last) > 1 or len(words) == 1 or words[-2][0].isupper())
    return not (_BEFORE_NAME.fullmatch(last) and is_name)


def count_steps(text: str, step_end: str) -> int:
    """The number of steps in the text of a chain; what follows the last `step_end` is one more."""
    cuts = step_cuts(text, step_end)
    rest = text[cuts[-1] :] if cuts else text
    return len(cuts) + bool(rest.strip())


def step_ends_of_text(text: str, offsets: list[tuple[int, int]], step_end: str) -> np.ndarray:
    """The number of tokens of a chain up to the end of each of its steps.

    Args:
        offsets: where in the text each token begins and ends.
    """
    cuts = step_cuts(text, step_end)
    counts = np.searchsorted([start for start, _ in offsets], cuts)
    # A space behind the last step is no step of its own.
    last = len(offsets) - (text[cuts[-1] :].isspace() if cuts else 0)
    return np.unique([*counts[(counts > 0) & (counts < last)], len(offsets)])


def step_ends_of_symbols(ends_step: np.ndarray, is_symbol: np.ndarray) -> np.ndarray:
    """The number of tokens of each chain up to the end of each of its steps, `[n, most steps]`.

    Args:
        ends_step: `[n, width]`, whether a step ends with this symbol of the chain.
        is_symbol: `[n, width]`, False in the padding at the end of each row.
    """
    length = is_symbol.sum(axis=1, keepdims=True)
    counts = np.arange(1, ends_step.shape[1] + 1)
    ends = np.sort(np.where(ends_step & (counts < length), counts, length), axis=1)
    most = int((ends < length).sum(axis=1).max()) + 1
    return ends[:, :most]
