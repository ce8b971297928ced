"""Figures of interpretability: what is decodable, what is used, and the shape of digits."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import PercentFormatter

from icotlib.registry import METHODS
from icotlib.reporting.figures.base import (
    ACCENT,
    CONTROL,
    PAGE,
    color_bar,
    empty_figure,
    legend_outside,
    new_figure,
    percent,
    small_type,
)
from icotlib.reporting.figures.labels import label_apart
from icotlib.reporting.figures.styled import styled


@styled
def probe_scores(tables: dict[str, pd.DataFrame]) -> Figure:
    """The score of every variable where it is read best, and the best control there.

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
    """Probe accuracy in percent of each chain token against the number of tokens removed.

    Right of the stairs a token is removed already, left of them it is still written. The last
    column is the accuracy of the best probe of the input alone.

    Args:
        table: rows of `interp.through_removal`.
    """
    variables = list(pd.unique(table.variable))
    figure, axes = new_figure(PAGE, 0.9 + 0.17 * len(variables), 2, sharey=True)
    titles = {
        "separator": "at the separator, before anything is written",
        "unseen": "at the best position before the token is visible",
    }
    for ax, (where, title) in zip(axes, titles.items(), strict=True):
        rows = table[table["where"] == where]
        image = _draw_stages(ax, rows, variables)
        ax.set_title(title)
        ax.set_xlabel("chain tokens removed")
    color_bar(figure, image, list(axes), "probe accuracy", fraction=0.03, pad=0.01)
    keys = "right of the red line: the token is removed; input: the best probe of the question"
    figure.suptitle(keys, fontsize=small_type())
    return figure


def _draw_stages(ax: Axes, rows: pd.DataFrame, variables: Sequence[str]) -> AxesImage:
    """Scores by token and stage, stairs where tokens come to be removed, and the control."""
    by_stage = rows.pivot(index="variable", columns="removed", values="score").loc[variables]
    written = rows.pivot(index="variable", columns="removed", values="written").loc[variables]
    control = rows.groupby("variable").control.mean().loc[variables].to_numpy()[:, None]
    gap = np.full_like(control, np.nan)
    grid, stages = np.hstack([by_stage, gap, control]), by_stage.shape[1]
    image = ax.imshow(grid, vmin=0, vmax=1, cmap="cividis", aspect="auto")
    for (row, column), score in np.ndenumerate(grid):
        if np.isfinite(score):
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": small_type()}
            color = "white" if score < 0.5 else "black"
            ax.text(column, row, f"{100 * score:.0f}", color=color, **style)
    removed_from = written.sum(axis=1).to_numpy() - 0.5
    edges = np.arange(len(variables) + 1) - 0.5
    ax.stairs(removed_from, edges, orientation="horizontal", baseline=None, color="red", lw=1.2)
    ax.set_xticks([*range(stages), stages + 1], [*map(str, by_stage.columns), "input"])
    ax.set_yticks(range(len(variables)), variables)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return image


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
def decodable_vs_used(tables: dict[str, pd.DataFrame]) -> Figure:
    """Selectivity of the probe against the effect of steering, one point per chain token.

    Args:
        tables: rows of `interp.probing_table`, by the name of the model.
    """
    figure, ax = new_figure(PAGE * 0.7, 3.0)
    looks = {spec.label: (spec.color, spec.marker) for spec in METHODS.items().values()}
    control: dict[str, Any] = {"marker": "x", "s": 9, "color": CONTROL}
    covered, labels = [], []  # places that no label may cover, and the labels
    for number, (name, table) in enumerate(tables.items()):
        color, marker = looks.get(name, ("#000000", "o"))
        error = [table.steering - table.steering_low, table.steering_high - table.steering]
        style: dict[str, Any] = {"color": color, "fmt": marker, "ms": 4, "capsize": 1.5}
        ax.errorbar(
            table.selectivity, table.steering, yerr=np.clip(error, 0, None), label=name, **style
        )
        control["label"] = None if number else "random direction"
        ax.scatter(table.selectivity, table.steering_random, **control)
        bars = np.linspace(table.steering_low, table.steering_high, 12)
        for heights in (table.steering_random, *bars):
            covered += list(zip(table.selectivity, heights, strict=True))
        for rows in _groups(table):
            middle = rows[["selectivity", "steering"]].mean()
            labels.append((", ".join(rows.variable), middle, color))
    ax.axvline(0, color="#cccccc", lw=0.8, zorder=0)
    ax.set_xlabel("decodable: probe minus best control")
    percent(ax, "used: steered answers")
    ax.set_ylim(-0.1, 1.1)
    ax.margins(x=0.08)
    ax.set_yticks(np.linspace(0, 1, 6))
    legend_outside(figure, loc="outside upper center", ncols=len(tables) + 1)
    label_apart(ax, labels, covered)
    return figure


@styled
def digit_shapes(shapes: dict[str, tuple[pd.DataFrame, pd.DataFrame]]) -> Figure:
    """The ten digits on the plane of their strongest frequency and on parity, and their spectrum.

    Even digits stand in front, odd ones behind. Each polygon joins them in the order of the
    frequency: where both are regular, they form a prism.

    Args:
        shapes: what `interp.digit_geometry` returns, by title.
    """
    figure = empty_figure(PAGE, 3.4)
    axes = figure.subplots(2, len(shapes), squeeze=False)
    for column, (title, (points, spectrum)) in zip(axes.T, shapes.items(), strict=True):
        top, bottom = column
        _draw_prism(top, points)
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
    axes[0, 0].set_ylabel("mean states\n(blue: even digits)")
    axes[1, 0].set_ylabel("share of variance\n(line: no order)")
    return figure


#: How far to the right and upwards a unit of parity is drawn.
DEPTH = (0.5, 0.3)


def _draw_prism(ax: Axes, points: pd.DataFrame) -> None:
    """The digits' places in an oblique view: parity goes to the back."""
    turns = int(points.turns.iloc[0])
    x, y = points.x + DEPTH[0] * points.parity, points.y + DEPTH[1] * points.parity
    for parity, color in enumerate((ACCENT, CONTROL)):
        order = sorted(range(parity, 10, 2), key=lambda digit: turns * digit % 10)
        ring = [*order, order[0]]
        ax.plot(x[ring], y[ring], color=color, lw=0.8)
    if turns % 2 == 0:  # digits that differ by 5 have the same place in both
        for digit in range(0, 10, 2):
            pair = [digit, (digit + 5) % 10]
            ax.plot(x[pair], y[pair], color=CONTROL, lw=0.5, ls=":")
    for digit in range(10):
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": small_type()}
        ground = {"boxstyle": "circle,pad=0.15", "fc": "white", "ec": "none"}
        ax.text(x[digit], y[digit], str(digit), bbox=ground, **style)
    ax.set_aspect("equal")
    ax.margins(0.15)
    ax.set_xlabel(f"frequency {turns} and parity", fontsize=small_type())
