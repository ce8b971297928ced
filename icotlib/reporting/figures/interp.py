"""Figures of interpretability: what is readable, what is used, and the shape of digits."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from icotlib.registry import METHODS
from icotlib.reporting.figures.base import (
    ACCENT,
    CONTROL,
    PAGE,
    empty_figure,
    legend_outside,
    new_figure,
    percent,
)
from icotlib.reporting.figures.styled import styled


@styled
def probe_scores(tables: dict[str, pd.DataFrame]) -> Figure:
    """The score of every variable where it is most selective, and the best control there.

    Args:
        tables: rows of `interp.best_positions`, by the name of the model.
    """
    longest = max(len(table) for table in tables.values())
    figure, axes = new_figure(
        PAGE, 0.7 + 0.15 * longest, len(tables), squeeze=False, sharex=True, sharey=False
    )
    for ax, (name, table) in zip(axes[0], tables.items(), strict=True):
        y = np.arange(len(table))
        error = [(table.score - table.low).clip(lower=0), (table.high - table.score).clip(lower=0)]
        ax.errorbar(table.score, y, xerr=error, fmt="o", color=ACCENT, label="probe")
        ax.scatter(table.control_score, y, marker="|", s=40, color="#222222", zorder=3)
        ax.set_yticks(y, list(table.variable))
        ax.invert_yaxis()
        ax.set_xlim(-0.03, 1.03)
        ax.set_title(name)
        ax.set_xlabel("accuracy, or R² of numbers (bar: best control)")
    return figure


@styled
def probes_through_removal(table: pd.DataFrame) -> Figure:
    """Probe accuracy of each chain token against the number of tokens removed.

    Solid lines are tokens already removed, dotted lines tokens still written. In brackets: the
    accuracy of the best probe of the input alone.

    Args:
        table: rows of `interp.through_removal`.
    """
    figure, axes = new_figure(PAGE, 2.6, 2, sharey=True)
    titles = {
        "separator": "at the separator, before anything is written",
        "unseen": "at the best position before the token is visible",
    }
    variables = list(pd.unique(table.variable))
    for ax, (where, title) in zip(axes, titles.items(), strict=True):
        states = table[table["where"] == where]
        for i, variable in enumerate(variables):
            rows = states[states.variable == variable].sort_values("removed")
            color = mpl.colormaps["viridis"](0.92 * i / max(1, len(variables) - 1))
            removed = rows[~rows.written]
            written = rows[rows.written | (rows.removed == removed.removed.min())]
            ax.plot(written.removed, written.score, ":", color=color, lw=0.9)
            label = f"{variable} ({rows.control.mean():.0%})"
            ax.plot(removed.removed, removed.score, "-o", color=color, label=label)
        ax.set_title(title)
        ax.set_xlabel("chain tokens removed")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        percent(ax, "token decoded")
    axes[1].set_ylabel("")
    handles, labels = axes[0].get_legend_handles_labels()
    title = "token (input alone)"
    size = mpl.rcParams["legend.fontsize"]
    legend_outside(
        figure, handles, labels, loc="outside right center", title=title, title_fontsize=size
    )
    return figure


def _groups(table: pd.DataFrame, near: float = 0.06) -> list[pd.DataFrame]:
    """Rows of `interp.probing_table` whose points nearly coincide, so that they share a label."""
    groups: list[list[int]] = []
    points = table[["selectivity", "steering"]].to_numpy()
    for row in np.argsort(points[:, 0]):
        close = (group for group in groups if np.abs(points[group[0]] - points[row]).max() < near)
        group = next(close, None)
        if group is None:
            groups.append([row])
        else:
            group.append(row)
    return [table.iloc[group] for group in groups]


@styled
def readable_vs_used(tables: dict[str, pd.DataFrame]) -> Figure:
    """Selectivity of the probe against the effect of steering, one point per chain token.

    Args:
        tables: rows of `interp.probing_table`, by the name of the model.
    """
    figure, ax = new_figure(PAGE * 0.7, 3.0)
    colors = {spec.label: spec.color for spec in METHODS.items().values()}
    for number, (name, table) in enumerate(tables.items()):
        error = [table.steering - table.steering_low, table.steering_high - table.steering]
        error = np.clip(error, 0, None)
        style: dict[str, Any] = {
            "color": colors.get(name, CONTROL),
            "label": name,
            "fmt": "o",
            "capsize": 1.5,
        }
        ax.errorbar(table.selectivity, table.steering, yerr=error, **style)
        above = number % 2 == 0  # one model's labels above its points, the next one's below
        for rows in _groups(table):
            y = rows.steering_high.max() if above else rows.steering_low.min()
            where: dict[str, Any] = {
                "xytext": (0, 4 if above else -5),
                "textcoords": "offset points",
            }
            where |= {"ha": "center", "va": "center", "fontsize": 5.5}
            ax.annotate(", ".join(rows.variable), (rows.selectivity.mean(), y), **where)
        ax.scatter(table.selectivity, table.steering_random, marker="x", s=9, color=CONTROL)
    ax.axvline(0, color="#cccccc", lw=0.8, zorder=0)
    ax.set_xlabel("readable: probe minus best control")
    percent(ax, "used: steered answers (×: random direction)")
    ax.legend(loc="best")
    return figure


@styled
def digit_shapes(shapes: dict[str, tuple[pd.DataFrame, pd.DataFrame]]) -> Figure:
    """The ten digits on two principal components, and their Fourier spectrum.

    Args:
        shapes: what `interp.digit_geometry` returns, by title.
    """
    figure = empty_figure(PAGE, 3.4)
    axes = figure.subplots(2, len(shapes), squeeze=False)
    for column, (title, (points, spectrum)) in zip(axes.T, shapes.items(), strict=True):
        top, bottom = column
        top.plot(*np.vstack([points, points.iloc[:1]])[:, 1:3].T, color=CONTROL, lw=0.6)
        for row in points.itertuples():
            top.text(row.pc1, row.pc2, row.digit, ha="center", va="center")
        top.margins(0.15)
        top.set_title(title.replace(", ", ",\n"), fontsize=mpl.rcParams["legend.fontsize"])
        top.set_xticks([])
        top.set_yticks([])
        top.spines[:].set_visible(False)
        bottom.set_xticks(spectrum.frequency)
        bottom.bar(spectrum.frequency, spectrum.share, color=ACCENT, width=0.6)
        bottom.step(spectrum.frequency, spectrum.unordered, where="mid", color="#222222", lw=0.9)
        bottom.set_ylim(0, 1)
        bottom.yaxis.set_major_formatter(PercentFormatter(1))
        bottom.set_xlabel("frequency")
    axes[0, 0].set_ylabel("first two components")
    axes[1, 0].set_ylabel("share (line: no order)")
    return figure
