"""Figures of latent thoughts: what the output head reads in them, and what replacing them does."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icotlib.reporting.figures.base import (
    ACCENT,
    CONTROL,
    PAGE,
    color_bar,
    interval,
    legend_outside,
    new_figure,
    percent,
)
from icotlib.reporting.figures.styled import styled

#: How replacements look: label, colour, marker, line.
_REPLACED = {
    "other": ("another question's thoughts", ACCENT, "o", "-"),
    "mean": ("the mean thought", "#E69F00", "s", "--"),
    "noise": ("noise of their norm", CONTROL, "^", ":"),
    "zero": ("zeros", "#000000", "x", "-."),
}


@styled
def thought_readout(table: pd.DataFrame) -> Figure:
    """How often the output head reads each chain token in each thought, beside its control.

    Args:
        table: of `interp.head_table`.
    """
    figure, axes = new_figure(PAGE, 2.6, columns=2, sharey=True)
    panels = (("share", "the question's own chain"), ("control", "another question's chain"))
    tokens = list(dict.fromkeys(table.token))
    for ax, (column, title) in zip(axes, panels, strict=True):
        grid = table.pivot(index="place", columns="token", values=column)[tokens]
        image = ax.imshow(grid, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        ax.set_xticks(range(len(tokens)), tokens, rotation=90)
        ax.set_yticks(range(len(grid)), [f"thought {place}" for place in grid.index])
        ax.set_title(title)
        ax.grid(False)
    color_bar(figure, image, axes, "share of questions", fraction=0.03, pad=0.02)
    return figure


@styled
def thought_replacement(table: pd.DataFrame) -> Figure:
    """Answer symbols that stay, and that become another question's, by the place replaced.

    Bars are 95% intervals over questions.

    Args:
        table: of `interp.replacement_table`.
    """
    figure, axes = new_figure(PAGE, 2.8, columns=2, sharey=True)
    titles = {"own": "symbols that stay as they were", "other": "that become the other question's"}
    table = table.assign(accuracy=table.effect, ci_low=table.low, ci_high=table.high)
    places = sorted(table.place.unique())
    for ax, (kind, title) in zip(axes, titles.items(), strict=True):
        for name, look in _REPLACED.items():
            rows = table[(table.replacement == name) & (table.answers == kind)]
            _draw_places(ax, rows.sort_values("place"), *look, named=kind == "own")
        ax.set_xticks(places, ["all" if place == 0 else str(place) for place in places])
        ax.set_xlabel("place replaced")
        ax.set_title(title)
        percent(ax, "share of symbols" if kind == "own" else "")
    legend_outside(figure, loc="outside lower center", ncols=2)
    return figure


def _draw_places(
    ax: Axes, rows: pd.DataFrame, label: str, color: str, marker: str, line: str, named: bool
) -> None:
    """One replacement: of all places at once, a point by itself, and of single ones."""
    for part, drawn in ((rows[rows.place == 0], ""), (rows[rows.place > 0], line)):
        look: dict[str, Any] = {"color": color, "marker": marker, "ls": drawn, "ms": 4}
        look["label"] = label if named and drawn else None
        ax.errorbar(part.place, part.accuracy, yerr=interval(part), capsize=2, **look)
