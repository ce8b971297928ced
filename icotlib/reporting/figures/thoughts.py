"""Figures of latent thoughts: what the output head reads in them, and what replacing them does."""

import pandas as pd
from matplotlib.figure import Figure

from icotlib.reporting.figures.base import (
    ACCENT,
    CONTROL,
    PAGE,
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
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02)
    bar.set_label("share of questions")
    bar.outline.set_visible(False)
    return figure


@styled
def thought_replacement(table: pd.DataFrame) -> Figure:
    """Answer symbols that stay, and that become another question's, by the place replaced.

    Bars are 95% intervals over symbols.

    Args:
        table: of `interp.replacement_table`.
    """
    figure, axes = new_figure(PAGE, 2.8, columns=2, sharey=True)
    titles = {"own": "symbols that stay as they were", "other": "that become the other question's"}
    places = sorted(table.place.unique())
    for ax, (kind, title) in zip(axes, titles.items(), strict=True):
        for name, (label, color, marker, line) in _REPLACED.items():
            rows = table[(table.replacement == name) & (table.answers == kind)].sort_values("place")
            error = [
                (rows.effect - rows.low).clip(lower=0),
                (rows.high - rows.effect).clip(lower=0),
            ]
            shown = label if kind == "own" else None
            look = {"color": color, "marker": marker, "ls": line, "label": shown}
            ax.errorbar(rows.place, rows.effect, yerr=error, ms=4, capsize=2, **look)
        ax.set_xticks(places, ["all" if place == 0 else str(place) for place in places])
        ax.set_xlabel("place replaced")
        ax.set_title(title)
        percent(ax, "share of symbols" if kind == "own" else "")
    legend_outside(figure, loc="outside lower center", ncols=2)
    return figure
