"""The results of many runs as one row per configuration, with intervals over seeds."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from icotlib.errors import ConfigError
from icotlib.reporting.groups import told_apart, value_of
from icotlib.reporting.results import final_rows, method_label, results_table
from icotlib.reporting.samples import sample_of
from icotlib.reporting.statistics import SUCCESS, mean_interval, success_rate
from icotlib.runs import Run, all_runs


def summary(
    runs: Iterable[Run] | pd.DataFrame | None = None,
    by: str | Sequence[str] = (),
    stages: Literal["last", "all"] | int = "last",
    threshold: float = SUCCESS,
) -> pd.DataFrame:
    """One row per configuration, or per configuration and stage, over its seeds, best first.

    Configurations are told apart by every setting but seed, label and preset, never by label
    alone: those of one method and label name the settings in which they differ in `settings`.
    `accuracy` is the mean over seeds in percent with its 95% interval, `accuracy_low` and
    `accuracy_high` (`mean_interval`; `interval_over` says over what); `lowest` and `highest` are
    single seeds; `success` is the percentage of seeds that reach the threshold, with Wilson's
    interval. Speed and training are means. `runs` names the runs of the row.

    Args:
        runs: finished runs or rows of `results_table`; by default every finished run.
        by: settings by dotted name, such as `removal.pace`, that get columns and sort the rows.
        stages: the last removal stage of each run, all of them, or one.
        threshold: the accuracy from which a seed counts as a success.

    Raises `ConfigError` for a setting that none of these runs reads, for a stage that none has, and
    for a table that is older than the column `configuration`.
    """
    table = _table(runs)
    by = [by] if isinstance(by, str) else list(by)
    table = table.assign(differs=told_apart(table))
    # One seed that was trained under two labels is one seed.
    table = table.sort_values(["variant", "run"], kind="stable")
    table = table.drop_duplicates(["configuration", "seed", "removed"])
    keys = ["configuration"]
    if stages == "last":
        table = final_rows(table)
    elif stages == "all":
        keys.append("removed")
    else:
        known = sorted(table.removed.unique())
        if stages not in known:
            raise ConfigError(
                f"stages={stages!r}: give 'last', 'all' or a stage that these runs have, one of "
                f"{', '.join(map(str, known))}"
            )
        table = table[table.removed == stages]
    groups = table.groupby(keys, sort=False)
    rows = [_row(group.sort_values("seed"), by, threshold) for _, group in groups]
    _check_read(rows, by)
    found = pd.DataFrame(rows, columns=_row_columns(by))
    order = [*by, *(["configuration", "removed"] if stages == "all" else ["accuracy"])]
    ascending = [True] * len(by) + ([True, True] if stages == "all" else [False])
    return found.sort_values(order, ascending=ascending, ignore_index=True, kind="stable")


def _table(runs: Iterable[Run] | pd.DataFrame | None) -> pd.DataFrame:
    if not isinstance(runs, pd.DataFrame):
        return results_table(all_runs() if runs is None else runs)
    if "configuration" not in runs:
        raise ConfigError(
            "this table does not say which rows are seeds of one configuration: make it with "
            "icot.results_table"
        )
    return runs.fillna({"variant": "", "schedule": ""})  # empty text, as CSV was read


def _row_columns(by: Sequence[str]) -> list[str]:
    return [
        *("task", "method", "schedule", "variant", "settings", *by, "removed", "unit", "seeds"),
        *("accuracy", "accuracy_low", "accuracy_high", "interval_over", "lowest", "highest"),
        *("success", "success_low", "success_high", "relative_speed"),
        *("train_examples", "train_seconds", "configuration", "runs"),
    ]


def _row(rows: pd.DataFrame, by: Sequence[str], threshold: float) -> dict[str, Any]:
    """The summary of one configuration at one stage.

    Args:
        rows: of `results_table`, one for each seed.
    """
    first, sample = rows.iloc[0], sample_of(rows)
    settings = json.loads(first.settings)
    return {
        **{name: first[name] for name in ("task", "schedule", "variant", "unit", "configuration")},
        "method": method_label(first.method),
        "settings": first.differs,
        **{name: value_of(settings, name) for name in by},
        "removed": _one_or_range(rows.removed),
        "seeds": sample.seeds,
        **mean_interval(sample).in_percent("accuracy"),
        "interval_over": _over(sample.n, sample.seeds),
        "lowest": round(100 * sample.accuracy.min(), 1),
        "highest": round(100 * sample.accuracy.max(), 1),
        **success_rate(sample.accuracy, threshold).in_percent("success"),
        "relative_speed": round(rows.relative_speed.astype(float).mean(), 2),
        "train_examples": round(rows.train_examples.mean()),
        "train_seconds": round(rows.train_seconds.mean()),
        "runs": " ".join(rows.run),
    }


def _over(n: np.ndarray, seeds: int) -> str:
    """What an interval covers, in words."""
    questions = _one_or_range(pd.Series(n))
    if seeds == 1:
        return f"{questions} questions, one seed"
    return f"{seeds} seeds, {questions} questions"


def _one_or_range(values: pd.Series) -> Any:
    """A number that all share, or the range as text."""
    low, high = int(values.min()), int(values.max())
    return low if low == high else f"{low} to {high}"


def _check_read(rows: Sequence[dict[str, Any]], by: Sequence[str]) -> None:
    for name in by:
        if rows and all(row[name] is None for row in rows):
            raise ConfigError(f"none of these runs reads the setting {name!r}")
