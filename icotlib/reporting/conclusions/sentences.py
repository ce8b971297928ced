"""Shares, differences and intervals in words, and when the data do not decide."""

import re
import textwrap
from collections.abc import Iterable, Mapping

from icotlib.reporting.statistics import (
    ENOUGH_SEEDS,
    Interval,
    Sample,
    difference_interval,
    mean_interval,
)
from icotlib.system.terminal import text_width

#: Characters that Markdown would read as markup.
_MARKUP = re.compile(r"([\\`*_$<>#\[\]|~])")


class Conclusion:
    """Sentences below a cell: a list in a notebook, lines of text elsewhere."""

    def __init__(self, sentences: Iterable[str]) -> None:
        self.sentences = list(sentences)

    def __repr__(self) -> str:
        return "\n".join(textwrap.fill(one, text_width()) for one in self.sentences)

    def _repr_markdown_(self) -> str:
        return "\n".join("- " + _MARKUP.sub(r"\\\1", one) for one in self.sentences)


def percent(found: Interval) -> str:
    """A share with its interval: `97.8% (95% interval 96.1% to 98.8%)`."""
    return f"{found.value:.1%} (95% interval {found.low:.1%} to {found.high:.1%})"


def points(found: Interval) -> str:
    """A difference of shares with its interval, in points: `-2.0 points (95% interval ...)`."""
    value, low, high = (round(100 * one, 1) + 0.0 for one in found)  # no -0.0
    return f"{value:.1f} points (95% interval {low:.1f} to {high:.1f})"


def size(found: Interval) -> str:
    """A difference whose sign is said elsewhere: `2.0 points (95% interval 1.1 to 3.2)`."""
    negative = found.value < 0
    return points(Interval(-found.value, -found.high, -found.low) if negative else found)


def decided(found: Interval) -> bool:
    """Whether an interval of a difference leaves out 0; not if its ends are unknown."""
    return found.low > 0 or found.high < 0


def doubt(found: Interval) -> str:
    """What follows a difference that is stated whether or not the data decide; empty if they do."""
    return "" if decided(found) else "; the data do not decide between them"


def difference(first: str, second: str, found: Interval) -> str:
    """What a difference of two accuracies says.

    Args:
        found: the first less the second.
    """
    if not decided(found):
        return (
            f"The data do not decide between {first} and {second}: they differ by {points(found)}."
        )
    more = "more" if found.value > 0 else "fewer"
    return f"{capital(first)} answers {more} questions right than {second}, by {size(found)}."


def less(first: str, second: str, one: Sample, other: Sample) -> str:
    """A difference as studies state it: `A minus B: 2.0 points (95% interval ...)`, and whether the
    data decide."""
    found = difference_interval(one, other)
    few = "" if min(one.seeds, other.seeds) >= ENOUGH_SEEDS else "; too few seeds for a claim"
    return f"{first} minus {second}: {points(found)}{doubt(found)}{few}."


def against_first(what: str, samples: Mapping[str, Sample]) -> list[str]:
    """Several samples beside the first: which have fewer or more right, and which do not decide.

    Args:
        what: what these are variants of, as the sentence names it.
    """
    first, *others = samples
    enough = enough_seeds(samples.values())
    few = [name for name in others if min(samples[name].seeds, samples[first].seeds) < enough]
    others = [name for name in others if name not in few]
    found = {name: difference_interval(samples[name], samples[first]) for name in others}
    shown = percent(mean_interval(samples[first]))
    said = [f"{capital(what)}: “{first}” answers {shown} right."]
    for word, sign in (("Fewer", -1), ("More", 1)):
        names = [f"“{name}” by {size(one)}" for name, one in found.items()
                 if decided(one) and sign * one.value > 0]  # fmt: skip
        if names:
            said.append(f"{word} than “{first}”: {listed(names)}.")
    open_ = [f"“{name}” by {points(one)}" for name, one in found.items() if not decided(one)]
    if open_:
        said.append(f"Undecided beside “{first}”: {listed(open_)}.")
    if few:
        open_ = [f"“{name}” ({samples[name].mean:.1%})" for name in few]
        said.append(f"Too few seeds for a comparison: {listed(open_)}.")
    return said


def enough_seeds(samples: Iterable[Sample]) -> int:
    """The seeds that each needs for a comparison. Where all have few, such as one, fewer do: the
    intervals then say nothing of other seeds, as `about_seeds` says."""
    return min(ENOUGH_SEEDS, max(one.seeds for one in samples))


def about_seeds(seeds: int) -> str:
    """What intervals cover, and what they say nothing about."""
    if seeds == 1:
        return (
            "This is one seed: the intervals are over its questions, and say nothing about models "
            "trained with other seeds."
        )
    if seeds < ENOUGH_SEEDS:
        return f"{seeds} seeds are too few for a claim about others."
    return f"The intervals are over {seeds} seeds and their questions."


def about_arms(seeds: Iterable[int]) -> str:
    """`about_seeds` of several arms, each with its own number of seeds."""
    few, *_, many = sorted([*seeds] * 2)
    if few == many:
        return about_seeds(few)
    some = "" if few >= ENOUGH_SEEDS else f"; fewer than {ENOUGH_SEEDS} are too few for a claim"
    return f"The intervals are over {few} to {many} seeds and their questions{some}."


def listed(words: Iterable[str]) -> str:
    """Words in a row: `a`, `a and b`, `a, b and c`."""
    every = list(words)
    return " and ".join(filter(None, [", ".join(every[:-1]), *every[-1:]]))


def capital(text: str) -> str:
    """A text that begins with a capital letter."""
    return text[:1].upper() + text[1:]
