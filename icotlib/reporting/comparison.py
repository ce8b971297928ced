"""Two configurations, or two runs, side by side: settings, metrics, tests, and what they show."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from icotlib.errors import RunError
from icotlib.reporting.conclusions.sentences import decided
from icotlib.reporting.groups import Group, difference_table, find_group
from icotlib.reporting.results import final_rows, method_label, results_table, with_ancestors
from icotlib.reporting.samples import paired_answers, sample_of
from icotlib.reporting.statistics import (
    ALPHA,
    ENOUGH_SEEDS,
    SUCCESS,
    UNKNOWN,
    Interval,
    Sample,
    difference_interval,
    fisher,
    mcnemar,
    mean_interval,
)
from icotlib.system.wording import counted

#: What tables and sentences call the two sides.
SIDES = ("A", "B")

#: What two sides spent and how fast they are, as means over their runs.
SPENT = {
    "training examples": "train_examples",
    "training tokens": "train_tokens",
    "training steps": "train_steps",
    "training seconds": "train_seconds",
    "speed, No CoT = 1": "relative_speed",
}


@dataclass(frozen=True)
class Comparison:
    """How two configurations compare. Accuracies of the tables are in percent; in their columns the
    first is A, and the second B."""

    first: Group
    second: Group
    #: One row per setting in which they differ: setting, and its value in each.
    settings: pd.DataFrame
    #: One row per stage of either: both with intervals, the first less the second with its
    #: interval, runs.
    stages: pd.DataFrame
    #: One row per quantity of `SPENT` at the last stage, as a mean over the runs of each.
    spent: pd.DataFrame
    #: The first less the second at the stage that is tested.
    difference: Interval
    #: Whether both answered the same questions.
    paired: bool
    #: What the tests say, in sentences.
    words: list[str]

    def titled(self, table: pd.DataFrame) -> pd.DataFrame:
        """One of its tables for readers: the columns of each side name its method."""
        names: dict[str, str] = {}
        for side, group in zip(SIDES, (self.first, self.second), strict=True):
            title = f"{side}: {method_label(group.config.method)}"
            names |= {side + end: title + end for end in ("", "_low", "_high")}
        return table.rename(columns=names)


def compare(
    first: str | Group,
    second: str | Group,
    removed: int | None = None,
    threshold: float = SUCCESS,
) -> Comparison:
    """Two configurations, each with all its finished seeds, or two runs.

    Args:
        first, second: how names of runs begin, or the key of a configuration (`find_group`).
        removed: the removal stage that is tested; by default the last of each.
        threshold: the accuracy at which a seed counts as a success.

    Raises `RunError` if a name stands for no finished run or for several configurations, if a side
    has no test scores, or no such stage.
    """
    found = [find_group(one) if isinstance(one, str) else one for one in (first, second)]
    groups = [_whole(group) for group in found]
    tasks = [group.config.task for group in groups]
    if tasks[0] != tasks[1]:
        raise RunError(f"{tasks[0]} and {tasks[1]} are two tasks: only runs of one are compared")
    tables = [results_table(group.runs) for group in groups]
    tested = [_tested_rows(*one, removed) for one in zip(groups, tables, strict=True)]
    samples = [sample_of(rows) for rows in tested]
    difference = difference_interval(samples[0], samples[1])
    names = [[run.name for run in group.runs] for group in groups]
    alike = ["Both sides are the same runs."] if names[0] == names[1] else []
    settings = dict(zip(SIDES, (group.settings for group in groups), strict=True))
    return Comparison(
        first=groups[0],
        second=groups[1],
        settings=difference_table(settings),
        stages=stage_table(tables),
        spent=_spent_table(tables),
        difference=difference,
        paired=samples[0].asked_as(samples[1]),
        words=[*alike, *conclusions(groups, tested, samples, difference, threshold)],
    )


def _whole(group: Group) -> Group:
    """The runs of a group that results can be drawn from."""
    runs = tuple(with_ancestors(group.runs))
    if not runs:
        raise RunError(
            f"{group.runs[0].name} builds on a run that is missing or damaged: put it back, or "
            "train both again"
        )
    return Group(group.key, runs)


def _tested_rows(group: Group, table: pd.DataFrame, removed: int | None) -> pd.DataFrame:
    """The rows of one stage, one for each run. Seeds may end at different stages."""
    if table.empty:
        raise RunError(f"{group.runs[0].name} answers no questions, so that nothing is compared")
    rows = final_rows(table) if removed is None else table[table.removed == removed]
    if len(rows) < len(group.runs):
        stages = ", ".join(map(str, sorted(set(table.removed))))
        asked = "last stage" if removed is None else f"stage with {removed} removed"
        which = f"not every seed has a {asked}" if len(rows) else f"there is no {asked}"
        raise RunError(f"{group.runs[0].name}: {which}; there are {stages}")
    return rows


def stage_table(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Both sides by stage, in percent; the difference where both have the stage.

    Args:
        tables: rows of `results_table`, of the runs of each side.
    """
    found = []
    for removed in sorted({*tables[0].removed, *tables[1].removed}):
        here = [table[table.removed == removed] for table in tables]
        units = dict.fromkeys(unit for rows in here for unit in rows.unit)
        row: dict[str, object] = {"removed": int(removed), "unit": " or ".join(units)}
        for side, rows in zip(SIDES, here, strict=True):
            row |= (mean_interval(sample_of(rows)) if len(rows) else UNKNOWN).in_percent(side)
        row |= _difference_at(here).in_percent("A_less_B")
        row |= {f"{side}_seeds": len(rows) for side, rows in zip(SIDES, here, strict=True)}
        found.append(row | {"runs": " ".join(name for rows in here for name in rows.run)})
    return pd.DataFrame(found)


def _difference_at(here: Sequence[pd.DataFrame]) -> Interval:
    """The difference at a stage that both sides have, in one unit; else unknown."""
    units = {unit for rows in here for unit in rows.unit}
    if not all(len(rows) for rows in here) or len(units) > 1:
        return UNKNOWN
    return difference_interval(sample_of(here[0]), sample_of(here[1]))


def _spent_table(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    last = [final_rows(table) for table in tables]
    columns = {
        side: [_rounded(float(rows[column].mean())) for column in SPENT.values()]
        for side, rows in zip(SIDES, last, strict=True)
    }
    # Objects: whole numbers stay whole beside fractions.
    return pd.DataFrame({"mean over runs": list(SPENT), **columns}, dtype=object).dropna()


def _rounded(mean: float) -> float:
    """A mean of counts or of seconds; small ones keep their fraction."""
    return round(mean) if mean >= 100 else mean


# --- in words ----------------------------------------------------------------------------------


def conclusions(
    groups: Sequence[Group],
    tested: Sequence[pd.DataFrame],
    samples: Sequence[Sample],
    difference: Interval,
    threshold: float,
) -> list[str]:
    """What the tests show, one sentence or two for each. The first side is A, the second B."""
    paired = samples[0].asked_as(samples[1])
    words = [_measured(tested, samples), _difference(samples, difference)]
    if paired:
        asked = f"Both answered the same {samples[0].n[0]} questions, and the difference is paired."
    else:
        asked = _not_paired(groups, tested)
    words.append(asked)
    if all(sample.seeds == 1 for sample in samples) and paired:
        words.append(_mcnemar(groups, tested))
    if any(sample.seeds > 1 for sample in samples):
        words.append(_success(samples, threshold))
    return words


def _measured(tested: Sequence[pd.DataFrame], samples: Sequence[Sample]) -> str:
    parts = []
    for name, rows, sample in zip(SIDES, tested, samples, strict=True):
        mean, low, high = (100 * x for x in mean_interval(sample))
        stages = " or ".join(str(int(x)) for x in sorted(set(rows.removed)))
        of = "questions alone, one seed" if sample.seeds == 1 else f"{sample.seeds} seeds"
        parts.append(
            f"{name}: {mean:.1f}% right with {stages} {rows.unit.iloc[0]} removed "
            f"(95% interval {low:.1f} to {high:.1f}, {of})."
        )
    return " ".join(parts)


def _difference(samples: Sequence[Sample], difference: Interval) -> str:
    value, low, high = (100 * x for x in difference)
    numbers = [sample.seeds for sample in samples]
    seeds = f"{counted(numbers[0], 'seeds')} each"
    if numbers[0] != numbers[1]:
        seeds = f"{numbers[0]} and {numbers[1]} seeds"
    measured = f"A minus B is {value:.1f} points, 95% interval {low:.1f} to {high:.1f}, {seeds}"
    if min(numbers) < ENOUGH_SEEDS:
        return (
            f"{measured}. A claim about the two configurations needs at least {ENOUGH_SEEDS} seeds "
            "of each: another seed may differ by more."
        )
    if not decided(difference):
        return f"No difference is shown: {measured}."
    return f"{SIDES[0] if low > 0 else SIDES[1]} is better: {measured}."


def _not_paired(groups: Sequence[Group], tested: Sequence[pd.DataFrame]) -> str:
    """Why answers are not paired, and what follows."""
    stages = int(tested[0].removed.iloc[0]), int(tested[1].removed.iloc[0])
    reason = "seeds of one side were tested on different questions, or at different stages"
    for first in groups[0].runs:
        for second in groups[1].runs:
            try:
                paired_answers(first, second, stages)
            except RunError as error:
                reason = str(error)
                break
    return f"Not paired, so that the interval is wider: {reason}."


def _mcnemar(groups: Sequence[Group], tested: Sequence[pd.DataFrame]) -> str:
    stages = int(tested[0].removed.iloc[0]), int(tested[1].removed.iloc[0])
    only_first, only_second, p = mcnemar(
        *paired_answers(groups[0].runs[0], groups[1].runs[0], stages)
    )
    shown = "these two trained models differ" if p < ALPHA else "no difference is shown"
    return (
        f"Only A is right on {only_first} questions, only B on {only_second}: {shown} "
        f"(McNemar's exact test, {_p(p)})."
    )


def _success(samples: Sequence[Sample], threshold: float) -> str:
    a, b, p, least = fisher(samples[0].accuracy, samples[1].accuracy, threshold)
    shown = "the success rates differ" if p < ALPHA else "no difference in success is shown"
    so_few = f"; with so few seeds, p is at least {_number(least)}" if least >= ALPHA else ""
    return (
        f"{a} of {samples[0].seeds} seeds of A and {b} of {samples[1].seeds} of B reach "
        f"{100 * threshold:g}%: {shown} (Fisher's exact test, {_p(p)}{so_few})."
    )


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {_number(p)}"


def _number(p: float) -> str:
    return f"{p:.2f}" if p >= 0.095 else f"{p:.3f}"
