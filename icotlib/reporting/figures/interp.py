"""Figures of interpretability: probes, interventions, attention and geometry."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator, PercentFormatter

from icotlib.registry import METHODS
from icotlib.reporting.figures.base import ACCENT, CONTROL, PAGE, new_figure, percent, styled


def _sheet(columns: int, rows: int, height: float, width: float = PAGE) -> tuple[Figure, Any]:
    """A figure of many panels with common axes, `[rows, columns]`."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, squeeze=False, sharex="col", sharey=True)


def _heat(ax: Axes, table: pd.DataFrame, column: str, **kwargs: Any) -> AxesImage:
    """A column as colours by layer and position, the lowest layer at the bottom."""
    grid = table.pivot(index="layer", columns="position", values=column)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_facecolor("#eeeeee")  # visible where the column is NaN
    return ax.imshow(grid, origin="lower", aspect="auto", interpolation="nearest", **kwargs)


def _position_names(ax: Axes, names: Sequence[str]) -> None:
    """Position names along the horizontal axis."""
    short = [name.replace("####", "#") for name in names]
    ax.set_xticks(range(len(names)), short, rotation=90, fontsize=4.5)


@styled
def probe_map(table: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Probe, best control and selectivity by layer and position, one row of panels per variable.

    Args:
        table: rows of `interp.probe_with_controls`.
        names: names of the positions.
    """
    variables = list(pd.unique(table.variable))
    layers = table.layer.max() + 1
    figure, axes = _sheet(3, len(variables), 0.6 + len(variables) * (0.18 + 0.045 * layers))
    panels = {
        "probe": ("score", {"vmin": 0, "vmax": 1, "cmap": "viridis"}),
        "best control": ("control_score", {"vmin": 0, "vmax": 1, "cmap": "viridis"}),
        "selectivity": ("selectivity", {"vmin": -0.6, "vmax": 0.6, "cmap": "RdBu_r"}),
    }
    for row, variable in zip(axes, variables, strict=True):
        rows = table[table.variable == variable]
        images = [
            _heat(ax, rows, column, **style)
            for ax, (column, style) in zip(row, panels.values(), strict=True)
        ]
        row[0].set_ylabel(variable, rotation=0, ha="right", va="center")
        row[0].yaxis.set_major_locator(MaxNLocator(2, integer=True))
    for ax, title in zip(axes[0], panels, strict=True):
        ax.set_title(title)
    for ax in axes[-1]:
        _position_names(ax, names)
    for image, columns in ((images[0], axes[:, :2]), (images[2], axes[:, 2:])):
        bar = figure.colorbar(
            image, ax=columns, location="bottom", fraction=0.02, aspect=30, shrink=0.5, pad=0.02
        )
        bar.outline.set_visible(False)
    figure.supylabel("layer", fontsize=7)
    return figure


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
    figure.legend(handles, labels, loc="outside right center", title=title, title_fontsize=7)
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
def patching_map(table: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Effect of activation patching by layer and position.

    Args:
        table: rows of `interp.patch_entries`; one row of panels per changed digit, one column per
            symbol of the answer. A panel is empty where no answer changed.
        names: names of the positions.
    """
    changed, symbols = list(pd.unique(table.changed)), sorted(table.symbol.unique())
    layers = table.layer.max() + 1
    height = 0.8 + len(changed) * (0.3 + 0.045 * layers)
    figure, axes = _sheet(len(symbols), len(changed), height)
    for row, digit in zip(axes, changed, strict=True):
        for ax, symbol in zip(row, symbols, strict=True):
            rows = table[(table.changed == digit) & (table.symbol == symbol)]
            image = _heat(ax, rows, "effect", vmin=0, vmax=1, cmap="viridis")
        row[0].set_ylabel(digit, rotation=0, ha="right", va="center")
        row[0].yaxis.set_major_locator(MaxNLocator(2, integer=True))
    for ax, symbol in zip(axes[0], symbols, strict=True):
        ax.set_title(f"s{symbol}")
    for ax in axes[-1]:
        _position_names(ax, names)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, aspect=40, pad=0.01)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
    bar.outline.set_visible(False)
    figure.supylabel("digit changed; layer", fontsize=7)
    return figure


@styled
def ablation_maps(tables: dict[str, pd.DataFrame], names: Sequence[str]) -> Figure:
    """Accuracy of the whole answer without one state, or without attention to one position.

    Args:
        tables: rows of `interp.ablate` or `interp.knock_out`, by title.
        names: names of the positions.
    """
    layers = max(table.layer.max() for table in tables.values()) + 1
    figure, axes = new_figure(PAGE, 0.9 + 0.12 * layers, len(tables), squeeze=False)
    for ax, (title, table) in zip(axes[0], tables.items(), strict=True):
        rows = table[table.symbol == -1]
        image = _heat(ax, rows, "accuracy", vmin=0, vmax=1, cmap="magma")
        _position_names(ax, names)
        ax.set_title(title)
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes[0][0].set_ylabel("layer")
    bar = figure.colorbar(image, ax=list(axes[0]), fraction=0.04, pad=0.01)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
    bar.set_label("exact match left")
    bar.outline.set_visible(False)
    return figure


@styled
def attention_map(weights: np.ndarray, names: Sequence[str]) -> Figure:
    """Attention by head, averaged over questions; one row of panels per layer.

    Args:
        weights: `[layers, heads, queries, keys]`, of `interp.attention`.
        names: names of the positions.
    """
    layers, heads = weights.shape[:2]
    side = min(1.6, (PAGE - 1) / heads)
    figure, axes = _sheet(heads, layers, layers * (side + 0.15) + 0.5, heads * side + 1)
    for layer, row in enumerate(axes):
        for head, ax in enumerate(row):
            image = ax.imshow(weights[layer, head], vmin=0, vmax=1, cmap="Greys")
            ax.grid(False)
            ax.set_title(f"layer {layer}, head {head}", fontsize=6, pad=2)
            ax.set_yticks(range(len(names)), names, fontsize=4)
            ax.set_xticks(range(len(names)), names, rotation=90, fontsize=4)
    bar = figure.colorbar(image, ax=axes, fraction=0.02, pad=0.01)
    bar.outline.set_visible(False)
    figure.supxlabel("position attended to", fontsize=7)
    figure.supylabel("position that attends", fontsize=7)
    return figure


@styled
def attention_trees(trees: dict[str, pd.DataFrame], names: Sequence[str], layers: int) -> Figure:
    """Where each answer symbol gets its information from: attention edges, layer by layer.

    Args:
        trees: rows of `interp.attention_tree`, by title.
        names: names of the positions.
        layers: of the model.
    """
    rows = (len(trees) + 2) // 3
    figure = Figure(figsize=(PAGE, 2.2 * rows))
    axes = figure.subplots(rows, 3, squeeze=False, sharey=True)
    for ax in axes.flat[len(trees) :]:
        ax.set_visible(False)
    for ax, (title, tree) in zip(axes.flat, trees.items(), strict=False):
        for edge in tree.itertuples():
            ax.plot(
                (edge.source, edge.to), (edge.layer, edge.layer + 1), color=ACCENT,
                alpha=min(1.0, edge.weight), lw=0.5 + 2 * edge.weight,
            )  # fmt: skip
        ax.set_title(title)
        ax.grid(False)
        _position_names(ax, names)
        ax.set_yticks(range(layers + 1))
    for ax in axes[:, 0]:
        ax.set_ylabel("layer")
    return figure


@styled
def cka_maps(tables: dict[tuple[str, str], pd.DataFrame]) -> Figure:
    """CKA of every layer of one model with every layer of another.

    Args:
        tables: rows of `interp.cka_table`, by the names of the first and the second model.
    """
    figure, axes = new_figure(PAGE, 2.0, len(tables), squeeze=False)
    for ax, ((first, second), table) in zip(axes[0], tables.items(), strict=True):
        grid = table.pivot(index="first", columns="second", values="cka")
        image = ax.imshow(grid, origin="lower", vmin=0, vmax=1, cmap="viridis")
        ax.grid(False)
        ax.set_facecolor("#eeeeee")
        ax.set_ylabel(first)
        ax.set_xlabel(second)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(5, integer=True))
    bar = figure.colorbar(image, ax=list(axes[0]), fraction=0.03, pad=0.01)
    bar.set_label("CKA")
    bar.outline.set_visible(False)
    return figure


@styled
def digit_shapes(shapes: dict[str, tuple[pd.DataFrame, pd.DataFrame]]) -> Figure:
    """The ten digits on two principal components, and their Fourier spectrum.

    Args:
        shapes: what `interp.digit_geometry` returns, by title.
    """
    figure = Figure(figsize=(PAGE, 3.4))
    axes = figure.subplots(2, len(shapes), squeeze=False)
    for column, (title, (points, spectrum)) in zip(axes.T, shapes.items(), strict=True):
        top, bottom = column
        top.plot(*np.vstack([points, points.iloc[:1]])[:, 1:3].T, color=CONTROL, lw=0.6)
        for row in points.itertuples():
            top.text(row.pc1, row.pc2, row.digit, ha="center", va="center")
        top.margins(0.15)
        top.set_title(title.replace(", ", ",\n"), fontsize=7)
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
