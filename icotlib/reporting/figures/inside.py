"""Figures of the studies of hidden states: what each model encodes, and what its answers follow."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from icotlib.interp.report import MARGIN
from icotlib.registry import METHODS
from icotlib.reporting.figures.base import (
    CONTROL,
    PAGE,
    beside,
    empty_figure,
    legend_outside,
    percent,
)
from icotlib.reporting.figures.means import t_intervals
from icotlib.reporting.figures.style import color_of, marker_of, seeds_text
from icotlib.reporting.figures.styled import styled

#: What follows the name of a model with random weights, in the table of the study `das`.
UNTRAINED = ", untrained"

#: How marks of models are filled: those of a method, and of its controls in their order.
_FILLED = ("full", "none", "top", "bottom")

#: What `decoded_and_used` shows of each chain token, and how the panels are called.
_PANELS = {
    "selectivity": "decoded: probe minus\nbest control (points)",
    "above_chance": "used: steered answers\nminus chance (points)",
}


@styled
def decoded_and_used(table: pd.DataFrame) -> Figure:
    """For each chain token, how far it is decoded beyond its controls, and how often it is used.

    Points are means over seeds, lines their 95% intervals, cut at 100 points. A token counts as
    decodable, or as used, in a seed where the lower end of its own interval lies above the dashed
    line. Chance is what a random direction gives, or a symbol drawn at random, whichever is more.

    Args:
        table: of the study `inside`.
    """
    table = table.assign(above_chance=above_chance(table))
    tokens = _in_order(table.variable)
    figure = empty_figure(PAGE, 4.2)
    axes = figure.subplots(len(_PANELS), 1, sharex=True)
    for ax, (column, label) in zip(axes, _PANELS.items(), strict=True):
        ax.axhline(0, color=CONTROL, lw=0.8)
        line = ax.axhline(MARGIN, color=CONTROL, lw=0.8, ls="--")
        line.set_label(f"threshold ({100 * MARGIN:.0f} points)")
        _draw_models(ax, table, column, tokens, (-1, 1))
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))  # a difference
        ax.set_ylabel(label)
    axes[0].set_title(f"{seeds_text(table)} (bars: 95% intervals)")
    axes[-1].set_xlabel("chain token, which is not written")
    _legend(figure, axes[0])
    return figure


def above_chance(table: pd.DataFrame) -> pd.Series:
    """Steered answers less those of a random direction, or of a symbol drawn at random, whichever
    is more."""
    return table.steering - table[["steering_random", "steering_chance"]].max(axis=1)


def of_trained(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the study `das` that are of trained models."""
    return table[~table.model.str.endswith(UNTRAINED)]


@styled
def exchanged(table: pd.DataFrame, kinds: pd.Series) -> Figure:
    """For each variable, how many answers follow when a learned subspace is exchanged.

    Points are means over seeds, lines their 95% intervals; the dashed line is the mean of random
    subspaces. A panel for each kind of variable. Models with random weights are left out.

    Args:
        table: of the study `das`; kinds: of its rows.
    """
    table = of_trained(table)
    kinds = kinds[table.index]
    shown = list(dict.fromkeys(kinds))
    figure = empty_figure(PAGE, 4.2)
    rows = -(-len(shown) // 2)
    axes = figure.subplots(rows, min(2, len(shown)), squeeze=False)
    for ax, kind in zip(axes.flat, shown, strict=False):
        own = table[kinds == kind]
        _draw_models(ax, own, "accuracy", _in_order(own.variable), (0, 1))
        line = ax.axhline(own.control.mean(), color=CONTROL, lw=0.8, ls="--")
        line.set_label("random subspaces")
        percent(ax, "")
        ax.set_title(kind)
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    size = mpl.rcParams["axes.labelsize"]
    figure.supylabel("answers that follow the exchange", fontsize=size)
    figure.suptitle(f"{seeds_text(table)} (bars: 95% intervals)", fontsize=size)
    _legend(figure, axes[0, 0])
    return figure


def _in_order(variables: pd.Series) -> list[str]:
    """Each variable once: t2 before t10."""
    return sorted(variables.unique(), key=lambda name: (len(name), name))


def _draw_models(
    ax: Axes, table: pd.DataFrame, column: str, variables: list[str], possible: tuple[float, float]
) -> None:
    """A point for each model above each variable, with its interval over seeds as far as such
    values are possible."""
    models = list(dict.fromkeys(table.model))
    methods = [_method_of(model) for model in models]
    for number, (model, method) in enumerate(zip(models, methods, strict=True)):
        own = table[table.model == model]
        found = t_intervals(own[column], own.variable).reindex(variables)
        at = np.arange(len(variables)) + beside(number, len(models), 0.7)
        color, fill = color_of(method), _FILLED[methods[:number].count(method)]
        ends = (found[end].clip(*possible) for end in ("low", "high"))
        ax.vlines(at, *ends, color=color, lw=0.8)
        marks = ax.plot(at, found["mean"], marker_of(method), color=color, fillstyle=fill, ms=4)
        marks[0].set_label(model)
    ax.set_xticks(range(len(variables)), variables)


def _method_of(model: str) -> str:
    """The method of a model by its name in a study, which begins as the method's label does."""
    name = model.partition(",")[0]
    labels = {method: one.label for method, one in METHODS.items().items()}
    exact = [method for method, label in labels.items() if label == name]
    near = [method for method, label in labels.items() if label.startswith(name)]
    return next(iter([*exact, *near]), "")


def _legend(figure: Figure, ax: Axes) -> None:
    """Each model once, below the panels."""
    entries = ax.get_legend_handles_labels()
    legend_outside(figure, *entries, loc="outside lower center", ncols=len(entries[1]))
