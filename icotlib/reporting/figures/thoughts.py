"""Figures of latent thoughts: what the output head reads in them, and what replacing them does."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icotlib.reporting.figures.base import (
    ACCENT,
    COLUMN,
    CONTROL,
    PAGE,
    color_bar,
    interval,
    legend_outside,
    new_figure,
    percent,
)
from icotlib.reporting.figures.means import draw_mean
from icotlib.reporting.figures.style import seeds_text
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


@styled
def followed_thoughts(table: pd.DataFrame) -> Figure:
    """Answers that become another question's when thoughts are replaced, a panel for each model.

    Points are means over seeds, bars their 95% intervals.

    Args:
        table: of the study `thoughts`.
    """
    models = list(dict.fromkeys(table.model))
    width = PAGE if len(models) > 1 else COLUMN
    figure, axes = new_figure(width, 3.0, columns=len(models), squeeze=False, sharey=True)
    table = table[table.answers == "other"]
    entries: dict[str, Any] = {}  # each replacement once, whatever panels it is in
    for number, (ax, model) in enumerate(zip(axes.flat, models, strict=True)):
        rows = table[table.model == model]
        _followed_panel(ax, rows)
        handles, labels = ax.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
        answered = rows.groupby("seed").answered.first().mean()
        ax.set_title(f"{model}, {answered:.0%} right\n{seeds_text(rows)}")
        percent(ax, "answers that become\nthe other question's" if number == 0 else "")
    if entries:
        legend_outside(figure, entries.values(), entries, loc="outside lower center", ncols=2)
    return figure


def _followed_panel(ax: Axes, rows: pd.DataFrame) -> None:
    """One model: shares by the place replaced, those of one place beside each other. Without a pair
    that a model answers differently there is nothing to draw."""
    places = sorted(rows.place.unique())
    for offset, (name, (label, color, marker, _)) in enumerate(_REPLACED.items()):
        look: dict[str, Any] = {"color": color, "marker": marker, "label": label}
        for place, own in rows[(rows.replacement == name) & (rows.n > 0)].groupby("place"):
            draw_mean(ax, float(place) + 0.12 * (offset - 1.5), own, look)
            look["label"] = None
    ax.set_xticks(places, ["all" if place == 0 else str(place) for place in places])
    ax.set_xlim(-0.5, max(places) + 0.5)
    ax.set_xlabel("place replaced")


def _draw_places(
    ax: Axes, rows: pd.DataFrame, label: str, color: str, marker: str, line: str, named: bool
) -> None:
    """One replacement: of all places at once, a point by itself, and of single ones."""
    for part, drawn in ((rows[rows.place == 0], ""), (rows[rows.place > 0], line)):
        look: dict[str, Any] = {"color": color, "marker": marker, "ls": drawn, "ms": 4}
        look["label"] = label if named and drawn else None
        ax.errorbar(part.place, part.accuracy, yerr=interval(part), capsize=2, **look)
