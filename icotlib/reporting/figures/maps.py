"""Maps over layers and positions: probes, interventions, attention, similarity."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator

from icotlib.reporting.figures.base import (
    ACCENT,
    PAGE,
    color_bar,
    empty_figure,
    is_narrow,
    new_figure,
    small_type,
)
from icotlib.reporting.figures.styled import styled


def _sheet(columns: int, rows: int, height: float, width: float = PAGE) -> tuple[Figure, Any]:
    """A figure of many panels with common axes, `[rows, columns]`."""
    figure = empty_figure(width, height)
    return figure, figure.subplots(rows, columns, squeeze=False, sharex="col", sharey=True)


def _heat(ax: Axes, table: pd.DataFrame, column: str, **kwargs: Any) -> AxesImage:
    """A column as colours by layer and position, the lowest layer at the bottom."""
    grid = table.pivot(index="layer", columns="position", values=column)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_facecolor("#eeeeee")  # visible where the column is NaN
    return ax.imshow(grid, origin="lower", aspect="auto", interpolation="nearest", **kwargs)


class _FittingLocator(Locator):
    """Every place from 0 to n - 1, or every second or third one, as their labels fit."""

    def __init__(self, along: Any, n: int) -> None:
        self.along, self.n = along, n

    def __call__(self) -> list[float]:
        box = self.along.axes.get_window_extent()
        pixels = box.width if self.along.axis_name == "x" else box.height
        points = 72 * pixels / self.along.axes.get_figure(root=True).dpi
        size = self.along.get_tick_params()["labelsize"]
        return list(range(0, self.n, max(1, math.ceil(1.2 * size * self.n / max(points, 1)))))

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        return self()


class _NameFormatter(FuncFormatter):
    """The name of a place; can be copied, as a function inside another cannot."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        super().__init__(self.name_at)

    def name_at(self, place: float, number: int | None = None) -> str:
        at = round(place)
        return self.names[at] if 0 <= at < len(self.names) else ""


def _names_along(axis: Any, names: Sequence[str]) -> None:
    """Names at the places 0 to n - 1 of an axis, in the smallest type, as many as fit."""
    axis.set_tick_params(labelsize=small_type())
    axis.set_major_locator(_FittingLocator(axis, len(names)))
    axis.set_major_formatter(_NameFormatter(names))


def _position_names(ax: Axes, names: Sequence[str]) -> None:
    """Position names along the horizontal axis, as many as fit without touching."""
    _names_along(ax.xaxis, [name.replace("####", "#") for name in names])
    ax.tick_params("x", rotation=90)


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
    below: dict[str, Any] = {"location": "bottom", "aspect": 30, "fraction": 0.02, "pad": 0.02}
    bars = {"accuracy, or R²": (images[0], axes[:, :2]), "selectivity": (images[2], axes[:, 2:])}
    for label, (image, columns) in bars.items():
        color_bar(figure, image, columns, label, shares=False, shrink=0.5, **below)
    figure.supylabel("layer")
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
    color_bar(figure, image, axes, "pairs that follow", fraction=0.03, aspect=40, pad=0.01)
    figure.supylabel("digit changed; layer")
    return figure


@styled
def cell_maps(
    probed: pd.DataFrame, patched: pd.DataFrame, names: Sequence[str], layer: int, position: int
) -> Figure:
    """Selectivity of one variable's probe, and what patching does to one answer, a cell outlined.

    Args:
        probed, patched: tables of `interp.CellReader`.
        names: names of the positions.
        layer, position: of the outlined cell.
    """
    [variable] = pd.unique(probed.variable)
    layers = probed.layer.max() + 1
    figure, axes = new_figure(PAGE, 1.1 + 0.12 * layers, 2, squeeze=False)
    panels = {
        f"selectivity, {variable}": (probed, "selectivity", -0.6, 0.6, "RdBu_r"),
        "patching one pair of questions": (patched, "effect", 0, 1, "viridis"),
    }
    for ax, (title, (table, column, low, high, colours)) in zip(
        axes[0], panels.items(), strict=True
    ):
        image = _heat(ax, table, column, vmin=low, vmax=high, cmap=colours)
        for color, width in (("white", 3.0), ("black", 1.2)):
            corner = (position - 0.5, layer - 0.5)
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, color=color, lw=width, clip_on=False))
        _position_names(ax, names)
        ax.set_title(title)
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        color_bar(figure, image, ax, "", fraction=0.04, pad=0.02)
    axes[0][0].set_ylabel("layer")
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
    color_bar(figure, image, list(axes[0]), "exact match left", fraction=0.04, pad=0.01)
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
            ax.set_title(f"layer {layer}, head {head}", fontsize=small_type(), pad=2)
            _position_names(ax, names)
            _names_along(ax.yaxis, names)
    color_bar(figure, image, axes, "attention weight", shares=False, fraction=0.02, pad=0.01)
    figure.supxlabel("position attended to")
    figure.supylabel("position that attends")
    return figure


@styled
def attention_trees(trees: dict[str, pd.DataFrame], names: Sequence[str], layers: int) -> Figure:
    """Where each answer symbol gets its information from: attention edges, layer by layer.

    Args:
        trees: rows of `interp.attention_tree`, by title.
        names: names of the positions.
        layers: of the model.
    """
    columns = 2 if is_narrow() else 3
    rows = -(-len(trees) // columns)
    figure = empty_figure(PAGE, 2.2 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
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
        ax.set_xlim(-0.5, len(names) - 0.5)
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
    color_bar(figure, image, list(axes[0]), "CKA", shares=False, fraction=0.03, pad=0.01)
    return figure
