"""Blocks of the page on speed, drawn from its tables."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from icotlib.publishing import published
from icotlib.publishing.blocks import block, markdown
from icotlib.publishing.study_tables import by_group
from icotlib.reporting.results import method_label
from icotlib.system.wording import counted

#: Columns of the table of speed: examples per second, and ratios of them, by what pages call them.
SPEEDS = {"ours": "ours", "reference": "reference", "ratio": "ratio", "ours to bare": "to_bare"}


@block
def benchmark() -> str:
    """Examples per second beside plain loops: a table for each machine and commit."""
    groups = published.read("benchmark").groupby(["device", "commit"], sort=False)
    return "\n\n".join(
        f"{device}, commit `{commit[:7]}`:\n\n{_speeds(rows)}" for (device, commit), rows in groups
    )


def _speeds(table: pd.DataFrame) -> str:
    rows = []
    for row in table.to_dict("records"):
        what = {
            "what": row["what"],
            "method": method_label(row["method"]) if row["what"] == "training" else "any",
            "model": f"`{row['model']}`",
            "threads": row["threads"],
            "precision": row["precision"],
        }
        speeds = {name: row[column] for name, column in SPEEDS.items()}
        shown = {name: "-" if x == "" else f"{float(x):,.2f}" for name, x in speeds.items()}
        rows.append(what | shown)
    return markdown(rows)


@block
def records() -> str:
    """Seconds until a model answers with all chain tokens removed, by task, machine and setting."""
    columns: dict[str, Callable[..., Any]] = {
        "task": lambda rows: f"`{rows.task.iloc[0]}`",
        "tokens removed": lambda rows: rows.removed.iloc[0],
        "match": lambda rows: f"{float(rows.target.iloc[0]):.0%}",
        "seconds by seed": lambda rows: ", ".join(map(_reached, rows.seconds)),
        "examples by seed": lambda rows: ", ".join(f"{x:,.0f}" for x in rows.examples.dropna()),
        "test at the end": lambda rows: ", ".join(f"{x:.1%}" for x in rows.accuracy),
        "precision": lambda rows: rows.precision.iloc[0],
        "machine": lambda rows: (
            f"{rows.device.iloc[0]}, {counted(int(rows.threads.iloc[0]), 'threads')} used"
        ),
        "commit": lambda rows: f"`{rows.commit.iloc[0][:7]}`, {rows.date.iloc[0]}",
    }
    equal = ["task", "target", "removed", "precision", "threads", "device", "commit", "date"]
    return by_group(published.read("records", "seconds", "accuracy", "examples"), equal, columns)


def _reached(seconds: float) -> str:
    return "not reached" if pd.isna(seconds) else f"{seconds:,.0f}"


@block
def times() -> str:
    """Minutes of the commands of the workbook."""
    return markdown(
        {
            "command": f"`{row['command']}`",
            "minutes": row["minutes"],
            "machine": row["device"],
            "commit": f"`{row['commit']}`",
        }
        for row in published.read("times").to_dict("records")
    )


@block
def series() -> str:
    """Seconds of the series beside those of an earlier commit, on each machine, seed by seed."""
    table = published.read("series")
    keys = ["device", "date", "commit", "precision"]
    groups = {key: rows.set_index("seed") for key, rows in table.groupby(keys, sort=False)}
    shown = []
    for (device, date, commit, precision), rows in groups.items():
        before = groups.get((device, date, "b780830", "fp32"))
        if commit == "b780830" or before is None:
            continue
        before = before.loc[rows.index]
        (seconds, right), (seconds_before, right_before) = _by_seed(rows), _by_seed(before)
        shown.append(
            {
                "machine": device,
                "commit": f"`{commit}`",
                "precision": precision,
                "seconds by seed": seconds,
                "one model for all k, exact match": right,
                "seconds at `b780830`": seconds_before,
                "exact match there": right_before,
                "share of the time": f"{rows.seconds.sum() / before.seconds.sum():.0%}",
            }
        )
    return markdown(shown)


def _by_seed(rows: pd.DataFrame) -> tuple[str, str]:
    """Seconds and accuracy of each seed."""
    seconds = ", ".join(f"{one:.0f}" for one in rows.seconds)
    return seconds, ", ".join(f"{one:.1%}" for one in rows.one_model)
