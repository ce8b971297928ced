"""Tables over seeds as text, for the blocks of pages."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from icotlib.publishing import published
from icotlib.publishing.blocks import markdown
from icotlib.reporting.results import final_rows, method_label, named
from icotlib.reporting.statistics import EQUAL, Interval, over_seeds, spent

#: What the column of an accuracy over seeds is called.
EXACT_MATCH = "exact match, mean (95% interval)"


def each(rows: pd.DataFrame) -> str:
    """The accuracy of each seed, in percent, in the order of the seeds."""
    return ", ".join(f"{100 * value:.1f}" for value in rows.sort_values("seed").accuracy)


def by_group(
    table: pd.DataFrame, group: str | list[str], columns: dict[str, Callable[..., Any]]
) -> str:
    """A table with a row for each group, in the order in which they occur.

    Args:
        columns: what each column is called, and its text, made of a group's rows.
    """
    return markdown(
        {name: text(rows) for name, text in columns.items()}
        for _, rows in table.groupby(group, sort=False)
    )


def with_interval(found: Interval) -> str:
    """A share and its interval: `97.8% (96.1% to 98.8%)`."""
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


def examples(rows: pd.DataFrame) -> str:
    return f"{rows.examples.mean():,.0f}"


def best_first(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by method, the one with the highest mean accuracy first."""
    means = table.groupby("method").accuracy.mean().sort_values(ascending=False, kind="stable")
    return table.set_index("method").loc[list(means.index)].reset_index()


def share_of(rows: pd.DataFrame, reference: pd.DataFrame, unit: str) -> str:
    """How much of ICoT-SI's examples or seconds was spent, in words."""
    share = spent(rows, reference, unit)
    same = f"as many {unit}"
    return same if abs(share - 1) <= EQUAL else f"{share:.0%} of {method_label('icot_si')}'s {unit}"


def on_file(name: str) -> str:
    """A published table of `icot evaluate --scores`: each method at its last stage, the most
    accurate one first."""
    table = final_rows(published.read(name, "seed", "removed", "accuracy", "n"))
    table["method"] = [named(row.method, row.label) for row in table.itertuples()]
    columns: dict[str, Callable[..., Any]] = {
        "method": lambda rows: method_label(rows.method.iloc[0]),
        EXACT_MATCH: lambda rows: with_interval(over_seeds(rows)),
        "each seed": each,
    }
    return by_group(best_first(table), "method", columns)
