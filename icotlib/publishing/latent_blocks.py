"""Blocks of the page on latent thoughts, drawn from the tables of its studies."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from icotlib.publishing import published
from icotlib.publishing.blocks import block, markdown
from icotlib.publishing.study_tables import (
    EXACT_MATCH,
    best_first,
    by_group,
    each,
    examples,
    on_file,
    with_interval,
)
from icotlib.reporting.figures.style import arm_style
from icotlib.reporting.statistics import by_seed, over_seeds

#: How budgets are named: whole steps take about as many seconds.
BUDGETS = {"own": "own", "examples": "equal examples", "seconds": "about equal seconds"}

#: What thoughts are replaced by, in the study of them.
REPLACED = {
    "other": "those of the corrupted question",
    "mean": "the mean thought",
    "noise": "noise of their norm",
    "zero": "zeros",
}


@block
def quarrel() -> str:
    """What one curriculum gives with different contents of the latent places."""
    table = published.read("quarrel", "seed", "accuracy", "n")
    table = table[table.accuracy.groupby([table.task, table.split]).transform("max") > 0]
    recycled = dict(list(table[table.content == "recycled"].groupby(["task", "split"])))

    def less(rows: pd.DataFrame) -> str:
        apart = by_seed(recycled[rows.task.iloc[0], rows.split.iloc[0]], rows)
        return ", ".join(f"{100 * value:+.1f}" for value in apart) if apart.any() else ""

    columns: dict[str, Callable[..., Any]] = {
        "task": lambda rows: rows.task.iloc[0],
        "test": lambda rows: rows.split.iloc[0],
        "places hold": lambda rows: rows.content.iloc[0],
        "forward passes": lambda rows: rows.passes.iloc[0],
        EXACT_MATCH: lambda rows: with_interval(over_seeds(rows)),
        "each seed": each,
        "accuracy with recycled states minus this row's, points by seed": less,
    }
    tests = pd.concat(rows for _, rows in table.groupby(["task", "split"], sort=False))
    return by_group(tests, ["task", "split", "content"], columns)


@block
def methods() -> str:
    """The methods of the field beside each other, the most accurate one of a budget first."""
    table = published.read(
        "methods", "seed", "examples", "seconds", "milliseconds", "tokens", "accuracy", "n"
    )
    order = ["task", "budget", "seed"]
    table = table.sort_values(order, ascending=[False, False, True], kind="stable")
    shown = []
    for (task, budget), rows in table.groupby(["task", "budget"], sort=False):
        for method, own in best_first(rows).groupby("method", sort=False):
            first, unit = own.iloc[0], str(budget).partition(" ")[0]
            shown.append(
                {
                    "task": task,
                    "budget": BUDGETS[unit],
                    "method": arm_style(method)["label"],
                    "latent places": first.latents,
                    "passes before the answer": first.passes,
                    "tokens written": f"{own.tokens.mean():.1f}",
                    "ms an answer": f"{first.milliseconds:.1f}",
                    "training examples": examples(own),
                    "training seconds": f"{own.seconds.mean():,.0f}",
                    EXACT_MATCH: with_interval(over_seeds(own)),
                    "each seed": each(own),
                }
            )
    return markdown(shown)


@block
def graph_file() -> str:
    """What each method answers of the published file of graphs."""
    return on_file("graph_file")


@block
def thoughts() -> str:
    """How many answers become those of the question whose thoughts a model gets, by place."""
    table = published.read("thoughts", "seed", "place", "accuracy", "answered", "n")
    table = table[(table.answers == "other") & (table.n > 0)]
    shown = []
    for (model, replacement), rows in table.groupby(["model", "replacement"], sort=False):
        found: dict[str, Any] = {
            "method": model,
            "accuracy": f"{100 * rows.groupby('seed').answered.first().mean():.1f}%",
            "thoughts replaced by": REPLACED[str(replacement)],
        }
        for place, own in rows.groupby("place"):
            where = f"in place {place:.0f}" if place else "in all places"
            found[where] = with_interval(over_seeds(own))
        found["all places, each seed"] = each(rows[rows.place == 0])
        shown.append(found)
    return markdown(shown)
