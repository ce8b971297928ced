"""Figures of what is inside: what probes read, what states are used for, who looks where."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from icotlib.reporting.figures.base import COLORS, PAGE, new_figure, percent, styled

CONTROL = "#999999"


def _sheet(columns: int, rows: int, height: float, width: float = PAGE):
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, squeeze=False, sharex="col", sharey=True)


def _heat(ax: Axes, table: pd.DataFrame, column: str, **kwargs):
    """A column as colours, layer over position, the lowest layer below."""
    grid = table.pivot(index="layer", columns="position", values=column)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_facecolor("#eeeeee")  # shows where there is nothing to measure
    return ax.imshow(grid, origin="lower", aspect="auto", interpolation="nearest", **kwargs)


def _position_names(ax: Axes, names: Sequence[str]) -> None:
    short = [name.replace("####", "#") for name in names]
    ax.set_xticks(range(len(names)), short, rotation=90, fontsize=4.5)


@styled
def probe_map(table: pd.DataFrame, names: Sequence[str]) -> Figure:
    """What is read where: one row per variable; the probe, its best control, the difference.

    Args:
        table: rows of `inside.probe_with_controls`.
        names: names of the positions.
    """
    wanted = list(pd.unique(table.variable))
    layers = table.layer.max() + 1
    figure, axes = _sheet(3, len(wanted), 0.6 + len(wanted) * (0.18 + 0.045 * layers))
    panels = {
        "probe": ("score", {"vmin": 0, "vmax": 1, "cmap": "viridis"}),
        "best control": ("control_score", {"vmin": 0, "vmax": 1, "cmap": "viridis"}),
        "selectivity": ("selectivity", {"vmin": -0.6, "vmax": 0.6, "cmap": "RdBu_r"}),
    }
    for row, variable in zip(axes, wanted, strict=True):
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
    """Every variable where it is read best, with its interval, and the best control there.

    Args:
        tables: rows of `inside.best_positions`, by the name of the model.
    """
    longest = max(len(table) for table in tables.values())
    figure, axes = new_figure(
        PAGE, 0.7 + 0.15 * longest, len(tables), squeeze=False, sharex=True, sharey=False
    )
    for ax, (name, table) in zip(axes[0], tables.items(), strict=True):
        position = np.arange(len(table))
        error = [(table.score - table.low).clip(lower=0), (table.high - table.score).clip(lower=0)]
        ax.errorbar(
            table.score, position, xerr=error, fmt="o", color=COLORS["icot_si"], label="probe"
        )
        ax.scatter(table.control_score, position, marker="|", s=40, color="#222222", zorder=3)
        ax.set_yticks(position, list(table.variable))
        ax.invert_yaxis()
        ax.set_xlim(-0.03, 1.03)
        ax.set_title(name)
        ax.set_xlabel("accuracy, or R² of numbers (bar: best control)")
    return figure


@styled
def probes_through_removal(table: pd.DataFrame) -> Figure:
    """How well each token of the chain is read inside, against the number of tokens removed.

    Full lines are tokens already removed, dotted ones those still written. In brackets: what the
    input alone gives away of a token before anything is written.

    Args:
        table: rows of `inside.through_removal`.
    """
    figure, axes = new_figure(PAGE, 2.6, 2, sharey=True)
    titles = {
        "separator": "at the separator, before anything is written",
        "unseen": "at the best position that does not see the token",
    }
    wanted = list(pd.unique(table.variable))
    for ax, (where, title) in zip(axes, titles.items(), strict=True):
        here = table[table["where"] == where]
        for i, variable in enumerate(wanted):
            rows = here[here.variable == variable].sort_values("removed")
            color = mpl.colormaps["viridis"](0.92 * i / max(1, len(wanted) - 1))
            gone = rows[~rows.written]
            kept = rows[rows.written | (rows.removed == gone.removed.min())]
            ax.plot(kept.removed, kept.score, ":", color=color, lw=0.9)
            label = f"{variable} ({rows.control.mean():.0%})"
            ax.plot(gone.removed, gone.score, "-o", color=color, label=label)
        ax.set_title(title)
        ax.set_xlabel("chain tokens removed")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        percent(ax, "token read")
    axes[1].set_ylabel("")
    handles, labels = axes[0].get_legend_handles_labels()
    title = "token (input alone)"
    figure.legend(handles, labels, loc="outside right center", title=title, title_fontsize=7)
    return figure


@styled
def used(tables: dict[str, pd.DataFrame]) -> Figure:
    """Tokens of the chain as two questions: how selectively read, and how often obeyed.

    Args:
        tables: rows of `inside.probing_table`, by the name of the model.
    """
    figure, ax = new_figure(PAGE * 0.7, 3.0)
    colors = dict(zip(tables, (COLORS["icot_si"], COLORS["icot_kd"]), strict=False))
    for name, table in tables.items():
        error = [table.steering - table.steering_low, table.steering_high - table.steering]
        error = np.clip(error, 0, None)
        style = {"color": colors.get(name, CONTROL), "label": name, "fmt": "o", "capsize": 1.5}
        ax.errorbar(table.selectivity, table.steering, yerr=error, **style)
        for row in table.itertuples():
            ax.annotate(
                row.variable, (row.selectivity, row.steering), (3, 3),
                textcoords="offset points", fontsize=5.5,
            )  # fmt: skip
        ax.scatter(table.selectivity, table.steering_random, marker="x", s=9, color=CONTROL)
    ax.axvline(0, color="#cccccc", lw=0.8, zorder=0)
    ax.set_xlabel("readable: probe minus best control")
    percent(ax, "used: steered answers (×: random direction)")
    ax.legend(loc="best")
    return figure


@styled
def patching_map(table: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Effect of one state from a question with one other digit, by layer and position.

    Args:
        table: rows of `inside.patching`; one row of panels per digit changed, one column per
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
    """Accuracy of the whole answer with one state, or one position to look at, taken away.

    Args:
        tables: rows of `inside.ablation` or `inside.knock_out`, by title.
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
    """Attention by head, averaged over examples; one row of panels per layer.

    Args:
        weights: `[layers, heads, queries, keys]`, of `inside.attention`.
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
    """Where an answer's symbols get what they know: edges of attention, layer by layer.

    Args:
        trees: rows of `inside.attention_tree`, by what is being written.
        names: names of the positions.
    """
    rows = (len(trees) + 2) // 3
    figure = Figure(figsize=(PAGE, 2.2 * rows))
    axes = figure.subplots(rows, 3, squeeze=False, sharey=True)
    for ax in axes.flat[len(trees) :]:
        ax.set_visible(False)
    for ax, (title, tree) in zip(axes.flat, trees.items(), strict=False):
        for edge in tree.itertuples():
            ax.plot(
                (edge.source, edge.to), (edge.layer, edge.layer + 1), color=COLORS["icot_si"],
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
def cka_maps(tables: dict[str, pd.DataFrame]) -> Figure:
    """How far the spaces of two models agree, layer by layer.

    Args:
        tables: rows of `inside.cka_table`, by "first, second".
    """
    figure, axes = new_figure(PAGE, 2.0, len(tables), squeeze=False)
    for ax, (title, table) in zip(axes[0], tables.items(), strict=True):
        grid = table.pivot(index="first", columns="second", values="cka")
        image = ax.imshow(grid, origin="lower", vmin=0, vmax=1, cmap="viridis")
        ax.grid(False)
        ax.set_facecolor("#eeeeee")
        first, _, second = title.partition(", ")
        ax.set_ylabel(first)
        ax.set_xlabel(second)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(5, integer=True))
    bar = figure.colorbar(image, ax=list(axes[0]), fraction=0.03, pad=0.01)
    bar.set_label("CKA")
    bar.outline.set_visible(False)
    return figure


@styled
def digit_shapes(found: dict[str, tuple[pd.DataFrame, pd.DataFrame]]) -> Figure:
    """The ten digits on two principal components, and their Fourier spectrum.

    Args:
        found: what `inside.digit_geometry` returns, by title.
    """
    figure = Figure(figsize=(PAGE, 3.4))
    axes = figure.subplots(2, len(found), squeeze=False)
    for column, (title, (points, spectrum)) in zip(axes.T, found.items(), strict=True):
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
        bottom.bar(spectrum.frequency, spectrum.share, color=COLORS["icot_si"], width=0.6)
        bottom.step(spectrum.frequency, spectrum.unordered, where="mid", color="#222222", lw=0.9)
        bottom.set_ylim(0, 1)
        bottom.yaxis.set_major_formatter(PercentFormatter(1))
        bottom.set_xlabel("frequency")
    axes[0, 0].set_ylabel("first two components")
    axes[1, 0].set_ylabel("share (line: no order)")
    return figure
