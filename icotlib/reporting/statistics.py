"""Intervals and tests over seeds and test questions.

A number that a paper reports is a mean over seeds of a share of questions. Both vary: another seed
trains another model, another test set asks other questions. `mean_interval` and
`difference_interval` resample both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from icotlib.errors import RunError
from icotlib.evaluation.scoring import wilson_interval

#: Draws of every bootstrap, and where they start.
DRAWS, SEED = 2000, 0

#: Numbers that a bootstrap holds at a time.
BLOCK = 2_000_000

#: The level of every interval.
LEVEL = 0.95

#: Tests call a difference shown below this p-value.
ALPHA = 0.05

#: The accuracy from which a seed counts as a success. Studies ask for the whole chain removed too.
SUCCESS = 0.95

#: Budgets are called equal if they differ by no more than this share.
EQUAL = 0.02

#: With fewer seeds than this, no claim about a method is supported.
ENOUGH_SEEDS = 3


class Interval(NamedTuple):
    """A number and the ends of its 95% interval."""

    value: float
    low: float
    high: float

    def in_percent(self, name: str) -> dict[str, float]:
        """A share as the columns `name`, `name_low` and `name_high` of a table, in percent."""
        names = (name, f"{name}_low", f"{name}_high")
        return {key: round(100 * x, 1) for key, x in zip(names, self, strict=True)}


#: What stands where nothing was measured.
UNKNOWN = Interval(np.nan, np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class Sample:
    """What the seeds of one configuration answer at one removal stage."""

    #: `[seeds]`, the share of questions that each seed answers right.
    accuracy: np.ndarray
    #: `[seeds]`, the number of questions that each was asked.
    n: np.ndarray
    #: `[seeds, questions]`, whether each answer is right; None if single answers are not known.
    right: np.ndarray | None = None
    #: A hash of the questions in their order; empty where `right` is None.
    questions: str = ""

    def __post_init__(self) -> None:
        if not len(self.accuracy):
            raise RunError("there is no seed to take a mean over: no such run is finished")

    @classmethod
    def of(cls, right: np.ndarray, questions: str = "same") -> "Sample":
        """The sample of answers `[seeds, questions]`."""
        right = np.atleast_2d(right)
        n = np.full(len(right), right.shape[1])
        return cls(right.mean(axis=1), n, right, questions)

    @property
    def seeds(self) -> int:
        return len(self.accuracy)

    @property
    def mean(self) -> float:
        return float(self.accuracy.mean())

    def asked_as(self, other: "Sample") -> bool:
        """Whether both were asked the same questions, and every answer is known."""
        known = self.right is not None and other.right is not None
        return known and self.questions == other.questions


def mean_interval(sample: Sample, draws: int = DRAWS, seed: int = SEED) -> Interval:
    """The mean over seeds with its 95% interval over seeds and questions.

    One seed says nothing about others: its interval is Wilson's, over questions alone. So is that
    of seeds that are all right, or all wrong, on every question: nothing varies in them.
    """
    if sample.seeds == 1 or sample.mean in (0, 1):
        questions = int(sample.n.min())
        return Interval(sample.mean, *wilson_interval(sample.mean * questions, questions))
    low, high = _bootstrap([sample], [1], draws, seed)
    return Interval(sample.mean, max(0.0, low), min(1.0, high))


def sample_of_rows(rows: pd.DataFrame) -> Sample:
    """The sample of a published table's rows: columns accuracy and n, a row for each seed."""
    return Sample(rows.accuracy.to_numpy(float), rows.n.to_numpy(int))


def over_seeds(rows: pd.DataFrame) -> Interval:
    """`mean_interval` of a published table's rows."""
    return mean_interval(sample_of_rows(rows))


def spent(rows: pd.DataFrame, reference: pd.DataFrame, column: str) -> float:
    """What an arm spent, as a share of a reference's: a column that both have, over seeds."""
    return float(rows[column].mean() / reference[column].mean())


def mean_over_seeds(values: np.ndarray, shared: float = 0.0) -> Interval:
    """The mean of a number for each seed, with its 95% interval over seeds (Student's t).

    Args:
        values: `[seeds]`, two or more.
        shared: the standard error of what all seeds share, such as their questions.
    """
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    half = np.hypot(half, stats.norm.ppf((1 + LEVEL) / 2) * shared)
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def by_seed(first: pd.DataFrame, second: pd.DataFrame, column: str = "accuracy") -> pd.Series:
    """A column of the first rows less that of the second, means by seed, of each seed that both
    have."""
    means = (rows.groupby("seed")[column].mean() for rows in (first, second))
    return next(means).sub(next(means)).dropna()


def less_by_seed(
    first: pd.DataFrame, second: pd.DataFrame, column: str = "accuracy", shared: float = 0.0
) -> Interval | None:
    """The mean of `by_seed` with its interval as of `mean_over_seeds`; None for fewer than
    `ENOUGH_SEEDS` seeds."""
    apart = by_seed(first, second, column).to_numpy(float)
    return mean_over_seeds(apart, shared) if len(apart) >= ENOUGH_SEEDS else None


def paired_interval(first: pd.DataFrame, second: pd.DataFrame) -> Interval | None:
    """`less_by_seed` of accuracies, over questions too, which all seeds share: how the two differ
    from seed to seed does not show what other questions would change.

    The two count as asked different questions, so that the interval is too wide rather than too
    narrow where these are the same.
    """
    return less_by_seed(
        first, second, shared=math.hypot(_question_error(first), _question_error(second))
    )


def _question_error(rows: pd.DataFrame) -> float:
    """The standard error of an accuracy over questions (Agresti and Coull: not 0 where all are
    right)."""
    n = float(rows.n.min())
    share = (rows.accuracy.mean() * n + 2) / (n + 4)
    return math.sqrt(share * (1 - share) / n)


def difference_interval(
    first: Sample, second: Sample, draws: int = DRAWS, seed: int = SEED
) -> Interval:
    """The mean of the first less that of the second, with its 95% interval.

    Where both answered the same questions, each draw asks both the same ones (paired); else the
    questions of each are drawn by themselves. A side of one seed adds no variation over seeds.
    """
    value = first.mean - second.mean
    low, high = _bootstrap([first, second], [1, -1], draws, seed)
    # Not narrower than what the number of questions permits where no two answers differ.
    n = int(min(first.n.min(), second.n.min()))
    least = wilson_interval(0, n)[1]
    low, high = min(low, value - least), max(high, value + least)
    return Interval(value, max(-1.0, low), min(1.0, high))


def _bootstrap(
    samples: Sequence[Sample], signs: Sequence[int], draws: int, seed: int
) -> tuple[float, float]:
    """The percentiles of a signed sum of means, seeds and questions drawn with replacement.

    Seeds of one test set are crossed with its questions, not nested: a draw asks all its seeds the
    same questions (the pigeonhole bootstrap: Owen 2007, Annals of Applied Statistics 1(2)).
    Questions whose right and wrong answers fall on the same seeds are interchangeable, so that
    numbers of such patterns are drawn rather than questions.

    Few seeds vary less among themselves than seeds at large. The deviations that come from drawing
    seeds are therefore widened by sqrt(n / (n - 1)) and the ratio of Student's t to the normal
    quantile (the narrowness of bootstrap intervals: Hesterberg 2015, The American Statistician
    69(4)), with Welch's degrees of freedom for two samples.
    """
    rng = np.random.default_rng(seed)
    # [draws, seeds]: how often each seed is drawn, as a share.
    drawn = [
        rng.multinomial(one.seeds, np.full(one.seeds, 1 / one.seeds), draws) / one.seeds
        for one in samples
    ]
    means = [share @ one.accuracy for share, one in zip(drawn, samples, strict=True)]
    asked = _over_questions(samples, drawn, rng)
    total = np.zeros(draws)
    variances, freedom = [], []
    seeds_part = np.zeros(draws)
    for sign, one, mean, answered in zip(signs, samples, means, asked, strict=True):
        total += sign * (one.mean + answered - mean)
        if one.seeds > 1:
            seeds_part += sign * (mean - one.mean) * np.sqrt(one.seeds / (one.seeds - 1))
            variances.append(one.accuracy.var(ddof=1) / one.seeds)
            freedom.append(one.seeds - 1)
    total += seeds_part * _widening(np.array(variances), np.array(freedom))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(total, [tail, 1 - tail])
    return float(low), float(high)


def _over_questions(
    samples: Sequence[Sample], drawn: Sequence[np.ndarray], rng: np.random.Generator
) -> list[np.ndarray]:
    """The mean of each sample in each draw, `[draws]`, with questions drawn too."""
    draws = len(drawn[0])
    if all(one.asked_as(samples[0]) for one in samples):
        rows = np.concatenate([one.right for one in samples])
        patterns, counts = np.unique(rows, axis=1, return_counts=True)
        n = counts.sum()
        block = max(1, BLOCK // len(counts))
        parts = [
            rng.multinomial(n, counts / n, min(block, draws - start)) @ patterns.T / n
            for start in range(0, draws, block)
        ]
        per_seed = np.concatenate(parts)  # [draws, seeds of all samples]
        ends = np.cumsum([one.seeds for one in samples])[:-1]
        each = np.split(per_seed, ends, axis=1)
        return [(share * one).sum(axis=1) for share, one in zip(drawn, each, strict=True)]
    if len(samples) > 1:
        return [_over_questions([x], [y], rng)[0] for x, y in zip(samples, drawn, strict=True)]
    (one,), (share,) = samples, drawn
    # How far seeds fail on the same questions is not known: as if they always did, which is widest.
    n = int(one.n.min())
    return [share @ one.accuracy + rng.binomial(n, one.mean, draws) / n - one.mean]


def _widening(variances: np.ndarray, freedom: np.ndarray) -> float:
    """Student's t over the normal quantile at Welch's degrees of freedom."""
    if not len(variances):
        return 1.0
    total = variances.sum()
    equal = freedom.sum()
    welch = total**2 / (variances**2 / freedom).sum() if total > 0 else equal
    tail = (1 - LEVEL) / 2
    return float(stats.t.ppf(tail, max(welch, 1)) / stats.norm.ppf(tail))


# --- shares and tests --------------------------------------------------------------------------


def success_rate(accuracy: np.ndarray, threshold: float = SUCCESS) -> Interval:
    """The share of seeds that reach a threshold, with Wilson's interval.

    Raises `RunError` if there is no seed.
    """
    if not len(accuracy):
        raise RunError("there is no seed to count: no such run is finished")
    reached = int((np.asarray(accuracy) >= threshold).sum())
    return Interval(reached / len(accuracy), *wilson_interval(reached, len(accuracy)))


def better_by_a_question(gain: np.ndarray, n: int) -> int:
    """The number of seeds that gain a question or more of n; means over draws gain parts of one.

    Args:
        gain: `[seeds]`, differences of accuracies.
    """
    return int((gain > 0.999 / n).sum())


def mcnemar(first: np.ndarray, second: np.ndarray) -> tuple[int, int, float]:
    """McNemar's exact test of two runs on the same questions.

    Args:
        first, second: `[questions]`, whether each answer is right.

    Returns how many questions only the first answers right, how many only the second, and the
    two-sided p-value.

    Raises `RunError` if the numbers of questions differ.
    """
    if len(first) != len(second):
        raise RunError(
            f"a paired test needs the same questions: one run answered {len(first)}, the other "
            f"{len(second)}"
        )
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    n = only_first + only_second
    p = float(stats.binomtest(only_first, n).pvalue) if n else 1.0
    return only_first, only_second, p


def fisher(
    first: np.ndarray, second: np.ndarray, threshold: float = SUCCESS
) -> tuple[int, int, float, float]:
    """Fisher's exact test of two success rates.

    Args:
        first, second: `[seeds]`, accuracies.

    Returns the seeds of each that reach the threshold, the two-sided p-value, and the smallest
    that so few seeds can give.
    """
    a, b = ((np.asarray(one) >= threshold).sum() for one in (first, second))
    table = [[a, len(first) - a], [b, len(second) - b]]
    least = stats.fisher_exact([[len(first), 0], [0, len(second)]]).pvalue
    return int(a), int(b), float(stats.fisher_exact(table).pvalue), float(least)
