"""All runs as one table, to filter and to sort, and the settings in which single runs differ."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from icotlib import paths
from icotlib.config import parse_overrides
from icotlib.errors import ConfigError
from icotlib.reporting.groups import (
    NOT_COMPARED,
    configuration_key,
    difference_table,
    settings_of_run,
)
from icotlib.reporting.orders import ORDERS
from icotlib.reporting.selection import date_of, last_accuracy, matching, seconds_of
from icotlib.runs import Run, all_runs
from icotlib.values import Typed

COLUMNS = [
    *("run", "method", "task", "preset", "variant", "seed", "state", "step", "steps"),
    *("accuracy", "train_seconds", "date", "configuration"),
]

#: The states of a run.
STATES = ("finished", "training", "unfinished")


def runs_table(runs: Iterable[Run] | None = None) -> pd.DataFrame:
    """One row per run, finished or not, by name.

    `accuracy` is that of the last removal stage, empty before the test; `train_seconds` are those
    so far, without those of the runs that it builds on; `date` is when it ended, or was heard of
    last. Runs of one `configuration` differ in their seed alone.

    Args:
        runs: by default all, as `icot runs` lists them.
    """
    rows = [_row(run) for run in (all_runs(finished=False) if runs is None else runs)]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("run", ignore_index=True)


def _row(run: Run) -> dict[str, Any]:
    config, done, state = run.config, run.done, "finished"
    if not done:
        state = "training" if run.in_training else "unfinished"
    return {
        "run": run.name,
        "method": config.method,
        "task": config.task,
        "preset": config.preset,
        "variant": config.label,
        "seed": config.seed,
        "state": state,
        "step": run.totals["step"] if done else run.progress.get("step", 0),
        "steps": config.train.steps,
        "accuracy": last_accuracy(run),
        "train_seconds": seconds_of(run),
        "date": pd.Timestamp(date_of(run), unit="s").floor("s"),
        "configuration": configuration_key(settings_of_run(run)),
    }


def filtered(
    table: pd.DataFrame,
    text: str = "",
    sort: str = "name",
    among: Iterable[Run] | None = None,
    **equal: Any,
) -> pd.DataFrame:
    """Rows of `runs_table` that are asked for, in order.

    Args:
        text: words that names of runs must all have; a word such as `removal.pace=8` is a setting
            with its value instead.
        sort: "name", "accuracy" (best first), "seconds" (quickest first) or "date" (newest first).
        among: the runs of the table; by default those of these names in the folder of runs.
        equal: values of columns, such as `method="icot_si"`; None takes all.

    Raises `ConfigError` for an order or a setting that does not exist.
    """
    if sort not in ORDERS:
        raise ConfigError(f"sort={sort!r}: say one of {', '.join(ORDERS)}")
    kept = pd.Series(True, index=table.index)
    for column, value in equal.items():
        if value is not None:
            kept &= table[column] == value
    where: dict[str, Any] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if equals:
            where |= parse_overrides({name: Typed(value)})
        else:
            kept &= table.run.str.contains(word, case=False, regex=False)
    found = table[kept]
    if where:
        if among is None:
            among = (Run(paths.runs_root() / name) for name in found.run)
        runs = matching((run for run in among if run.name in set(found.run)), where)
        found = found[found.run.isin([run.name for run in runs])]
    column, ascending = ORDERS[sort]
    return found.sort_values(column, ascending=ascending, kind="stable", ignore_index=True)


def differences(runs: Iterable[Run]) -> pd.DataFrame:
    """The settings in which some runs differ, seed, label and preset too: a row for each, with the
    column `setting` and one column per run, by its name.

    A run that does not read a setting has `-` there; `data` is the hash of its data, `numerics` the
    version of the code's numbers.
    """
    return difference_table({run.name: _every_setting(run) for run in runs})


def _every_setting(run: Run) -> dict[str, Any]:
    config = run.config
    return settings_of_run(run) | {name: getattr(config, name) for name in NOT_COMPARED}
