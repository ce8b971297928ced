"""The figures of distillation (ICoT-KD): what the teacher thinks, what is lost, what matters."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from icotlib.reporting.figures.base import (
    COLORS,
    COLUMN,
    PAGE,
    interval,
    new_figure,
    percent,
    styled,
)

#: One colour per row of a small table, in the order they come.
CYCLE = ("#882255", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#666666")


def _layers(ax: Axes) -> None:
    ax.set_xlabel("layer")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


@styled
def probed_teacher_states(table: pd.DataFrame) -> Figure:
    """What a linear probe reads from the teacher's states, layer by layer.

    Args:
        table: rows of `anatomy.probe_teacher_states`.
    """
    figure, ax = new_figure(PAGE * 0.7, 2.6)
    for color, (name, rows) in zip(CYCLE, table.groupby("states", sort=False), strict=False):
        rows = rows[rows.majority < 1]  # elsewhere there is nothing to tell apart
        style = {"color": color, "ls": ":" if "untrained" in name else "-"}
        ax.plot(rows.layer, rows.accuracy, marker=".", label=name, **style)
        ax.fill_between(rows.layer, rows.ci_low, rows.ci_high, color=color, alpha=0.15, lw=0)
    _layers(ax)
    percent(ax, "chain token read")
    figure.legend(loc="outside right center")
    return figure


@styled
def explained(table: pd.DataFrame) -> Figure:
    """How well each layer's state is predicted: while it is learned, and at the end.

    Args:
        table: rows of `anatomy.explained_table`.
    """
    figure, (left, right) = new_figure(PAGE, 2.4, 2)
    known = table.dropna(subset=["explained"])
    layers = sorted(known.layer.unique())
    for layer in layers:
        rows = known[known.layer == layer]
        color = mpl.colormaps["viridis"](0.9 * layer / max(layers[-1], 1))
        label = f"layer {layer}" if layer in (layers[0], layers[-1]) else None
        left.plot(rows.examples / 1000, rows.explained, color=color, lw=1, label=label)
    left.set_xlabel("training examples (thousands)")
    left.legend(loc="lower right")
    last = known[known.step == known.step.max()]
    right.bar(last.layer, last.explained.clip(lower=0), color=COLORS["icot_kd"], width=0.7)
    _layers(right)
    for ax in (left, right):
        percent(ax, "explained variance")
    right.set_ylabel("")
    return figure


@styled
def coupling(accuracy_by_phase: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame) -> Figure:
    """What is lost from true to emulated states, what coupling regains, and what it lets drift.

    Args:
        accuracy_by_phase: rows of `anatomy.accuracy_by_phase`.
        before, after: rows of `anatomy.explained_table` at the end of emulation and of coupling.
    """
    figure, (left, right) = new_figure(PAGE, 2.4, 2, width_ratios=(1, 1.3))
    names = [name.replace(" ", "\n") for name in accuracy_by_phase.states]
    colors = [COLORS["mind_reading"], "#999999", COLORS["icot_kd"]]
    left.bar(
        names,
        accuracy_by_phase.accuracy,
        yerr=interval(accuracy_by_phase),
        color=colors,
        width=0.6,
        capsize=2,
    )
    percent(left)
    for table, name, color in ((before, "before", "#999999"), (after, "after", COLORS["icot_kd"])):
        shown = table.explained.clip(lower=-1)  # a layer with hardly any variance may fall far
        right.plot(table.layer, shown, marker=".", color=color, label=f"{name} coupling")
    _layers(right)
    right.set_ylim(-1.05, 1.05)
    right.yaxis.set_major_formatter(PercentFormatter(1))
    right.set_ylabel("explained variance (cut at −100%)")
    right.legend(loc="best")
    return figure


@styled
def time_spent(table: pd.DataFrame) -> Figure:
    """Where a coupled system's time and operations go, as shares.

    Args:
        table: rows of `anatomy.costs`.
    """
    figure, ax = new_figure(COLUMN, 1.7)
    sizes = sorted(table.batch_size.unique())
    bars = {f"time, batch {size}": table[table.batch_size == size] for size in sizes}
    first = table[table.batch_size == sizes[0]]
    bars = {name: rows.set_index("part").milliseconds for name, rows in bars.items()}
    bars |= {"operations": first.set_index("part").flops}
    bars |= {"parameters": first.set_index("part").parameters}
    colors = {
        "emulator": COLORS["icot_kd"],
        "state_mlps": "#999999",
        "student": COLORS["mind_reading"],
    }
    for place, values in enumerate(bars.values()):
        left = 0.0
        for part, value in (values / values.sum()).items():
            label = None if place else part
            ax.barh(place, value, left=left, color=colors[part], label=label, height=0.6)
            left += value
    ax.set_yticks(range(len(bars)), list(bars))
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@styled
def ablations(table: pd.DataFrame) -> Figure:
    """Test accuracy of every ablation, coupled, and the student's on true states.

    Args:
        table: columns `name`, `accuracy`, `ci_low`, `ci_high`, and `student` (NaN where there is
            none).
    """
    figure, ax = new_figure(PAGE * 0.7, 0.5 + 0.24 * len(table))
    place = np.arange(len(table))
    ax.barh(place, table.accuracy, xerr=interval(table), color=COLORS["icot_kd"], capsize=2)
    ax.scatter(table.student, place, color=COLORS["mind_reading"], zorder=3, s=18)
    ax.set_yticks(place, list(table.name))
    ax.invert_yaxis()
    ax.set_xlim(0, 1.03)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.set_xlabel("exact match, coupled (dots: student on the teacher's true states)")
    return figure


@styled
def depth(table: pd.DataFrame) -> Figure:
    """Accuracy of student, emulated states and coupled system against depth.

    Args:
        table: columns `layers`, `states`, `accuracy`, `ci_low`, `ci_high`.
    """
    figure, ax = new_figure(COLUMN, 2.4)
    for color, (name, rows) in zip(
        (COLORS["mind_reading"], "#999999", COLORS["icot_kd"]),
        table.groupby("states", sort=False),
        strict=False,
    ):
        rows = rows.sort_values("layers")
        error = interval(rows)
        ax.errorbar(
            rows.layers, rows.accuracy, yerr=error, color=color, marker="o", capsize=2, label=name
        )
    ax.set_xlabel("layers")
    ax.set_xticks(sorted(table.layers.unique()))
    percent(ax)
    ax.legend(loc="best")
    return figure


@styled
def mixture(table: pd.DataFrame, learning: pd.DataFrame) -> Figure:
    """What a mixture buys where questions have two valid chains, and how much of it is in use.

    Args:
        table: columns `name`, `seed`, `states` (emulated or coupled), `accuracy`.
        learning: columns `name`, `seed`, `examples`, `components`, while emulators train.
    """
    figure, (left, right) = new_figure(PAGE, 3.0, 2, width_ratios=(1.2, 1))
    names = list(dict.fromkeys(table.name))
    for shift, (states, color) in zip(
        (-0.12, 0.12), (("emulated", "#999999"), ("coupled", COLORS["icot_kd"])), strict=True
    ):
        rows = table[table.states == states]
        place = rows.name.map(names.index) + shift
        left.scatter(rows.accuracy, place, color=color, s=16, label=states)
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set_xlim(-0.03, 1.03)
    left.xaxis.set_major_formatter(PercentFormatter(1))
    left.set_xlabel("exact match, one point per seed")
    left.legend(loc="best")
    for color, (name, rows) in zip(CYCLE, learning.groupby("name", sort=False), strict=False):
        for number, (_, run) in enumerate(rows.groupby("seed")):
            label = None if number else name
            right.plot(run.examples / 1000, run.components, color=color, lw=1, label=label)
    right.set_yscale("log")
    right.set_xlabel("emulation, examples (thousands)")
    right.set_ylabel("components in use")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@styled
def overfitting(learning: pd.DataFrame) -> Figure:
    """Training and validation accuracy while coupling on few examples; one panel per remedy.

    Args:
        learning: columns `name`, `examples`, `train_accuracy`, `valid_accuracy`.
    """
    names = list(dict.fromkeys(learning.name))
    figure, axes = new_figure(PAGE, 2.1, len(names), sharey=True, squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        rows = learning[learning.name == name]
        ax.plot(rows.examples / 1000, rows.train_accuracy, color="#999999", label="training")
        ax.plot(rows.examples / 1000, rows.valid_accuracy, color=COLORS["icot_kd"], label="unseen")
        ax.set_title(name)
        ax.set_xlabel("examples (thousands)")
        percent(ax, "")
    axes[0][0].set_ylabel("exact match")
    axes[0][0].legend(loc="best")
    return figure
