"""Figures of the studies that have a row for each arm."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from icotlib.reporting.figures.base import (
    ACCENT,
    CONTROL,
    PAGE,
    beside,
    legend_outside,
    new_figure,
)
from icotlib.reporting.figures.means import mean_and_error
from icotlib.reporting.figures.style import schedule_label, seeds_text
from icotlib.reporting.figures.styled import styled


@styled
def success_by_arm(table: pd.DataFrame, success: float) -> Figure:
    """Accuracy of every seed with the whole chain removed, by arm, and how many seeds succeed.

    The seeds of an arm stand below each other, the lowest number on top.

    Args:
        table: of the study `stability`.
        success: the accuracy from which a seed counts as one.
    """
    arms = list(dict.fromkeys(table.arm))
    figure, ax = _rows_of([schedule_label(arm) for arm in arms])
    for row, arm in enumerate(arms):
        own = table[table.arm == arm].sort_values("seed", ignore_index=True)
        own = own.assign(at=[row + beside(i, len(own), 0.6) for i in own.index])
        looks = {True: (ACCENT, "o"), False: (CONTROL, "x")}
        for reached, rows in own.groupby("success"):
            color, marker = looks[bool(reached)]
            ax.plot(rows.accuracy, rows["at"], ls="", marker=marker, ms=3, color=color)
        ax.text(1.02, row, f"{own.success.sum()} of {len(own)}", va="center", clip_on=False)
    ax.axvline(success, color=CONTROL, lw=0.8, ls=":")
    ax.set_xlim(-0.02, 1.01)
    ax.set_xlabel("exact match without any step, a mark for each seed")
    ax.text(1.02, -0.6, f"reach {success:.0%}", va="bottom", clip_on=False)
    return figure


@styled
def levers(table: pd.DataFrame) -> Figure:
    """Accuracy with one setting changed at a time, beside the whole recipe.

    Points are means over seeds, bars their 95% intervals, small dots single seeds.

    Args:
        table: of the study `levers`.
    """
    return _by_arm(table.assign(arm=table.lever + ": " + table.value), ["recipe: whole"])


@styled
def auxiliary(table: pd.DataFrame) -> Figure:
    """Accuracy with the auxiliary loss, beside none and beside its control.

    Points are means over seeds, bars their 95% intervals, small dots single seeds.

    Args:
        table: of the study `auxiliary`.
    """
    names = table.loss.map(lambda loss: _LOSSES.get(loss, loss))
    controls = [_LOSSES[loss] for loss in ("none", "shuffled sums")]
    return _by_arm(table.assign(arm=names), controls)


@styled
def distillation_arms(table: pd.DataFrame, controls: Sequence[str]) -> Figure:
    """Accuracy of ICoT-KD with something left out or changed, beside the whole method and No CoT.

    Points are means over seeds, bars their 95% intervals, small dots single seeds.

    Args:
        table: of the study `ablations`; controls: its arms that others are compared with.
    """
    return _by_arm(table, controls)


@styled
def mixtures(table: pd.DataFrame) -> Figure:
    """Accuracy with every mixture where questions have two valid chains, before and after coupling.

    Points are means over seeds, bars their 95% intervals, small dots single seeds.

    Args:
        table: of the study `mixtures`.
    """
    arms = list(dict.fromkeys(table.arm))
    figure, ax = _rows_of(arms, 0.45)
    looks = {"emulated": (CONTROL, "s", "before coupling"), "coupled": (ACCENT, "o", "coupled")}
    for (states, (color, marker, label)), shift in zip(looks.items(), (-0.2, 0.2), strict=True):
        for row, arm in enumerate(arms):
            own = table[(table.arm == arm) & (table.states == states)]
            look = {"color": color, "marker": marker, "label": None if row else label}
            _draw_row(ax, row + shift, own, look, 0.12)
    ax.set_xlabel(f"exact match ({seeds_text(table)}: dots; bars: 95% intervals)")
    legend_outside(figure, *ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


#: What the figure calls the losses of the study `auxiliary`.
_LOSSES = {
    "none": "No CoT",
    "running sums": "No CoT, loss on running sums",
    "shuffled sums": "No CoT, loss on another question's sums",
}


def _by_arm(table: pd.DataFrame, controls: Sequence[str]) -> Figure:
    """Accuracy by `arm`, a row for each; the first control, if it is there, on top."""
    arms = sorted(dict.fromkeys(table.arm), key=lambda arm: arm != controls[0])
    figure, ax = _rows_of(arms)
    for row, arm in enumerate(arms):
        color, marker = (CONTROL, "s") if arm in controls else (ACCENT, "o")
        look = {"color": color, "marker": marker}
        _draw_row(ax, row, table[table.arm == arm], look, 0.22)
    ax.set_xlabel(f"exact match ({seeds_text(table)}: dots; bars: 95% intervals)")
    return figure


def _draw_row(ax: Axes, at: float, own: pd.DataFrame, look: dict[str, Any], below: float) -> None:
    """The mean of some seeds with its interval, and each seed as a dot so far below."""
    mean, error = mean_and_error(own)
    dots = np.full(len(own), at + below)
    ax.plot(own.accuracy, dots, ls="", marker=".", ms=4, color=look["color"])
    ax.errorbar([mean], [at], xerr=error, ls="", ms=5, capsize=2, **look)


def _rows_of(arms: Sequence[str], inches: float = 0.32) -> tuple[Figure, Axes]:
    """A panel of shares with a row of so many inches for each arm, the first one on top."""
    figure, ax = new_figure(PAGE, 0.5 + inches * len(arms))
    ax.set_yticks(range(len(arms)), arms)
    ax.set_ylim(len(arms) - 0.5, -0.5)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    return figure, ax
