"""The figures of distillation (ICoT-KD): teacher states, emulation, coupling, ablations."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from icotlib.reporting.figures.base import (
    COLUMN,
    PAGE,
    WITH_BARS,
    interval,
    legend_outside,
    new_figure,
    percent,
    small_type,
)
from icotlib.reporting.figures.means import draw_mean
from icotlib.reporting.figures.style import CYCLE, color_of, marker_of, seeds_text
from icotlib.reporting.figures.styled import styled
from icotlib.reporting.results import method_label


def _layers(ax: Axes) -> None:
    ax.set_xlabel("layer")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def phase_colors() -> tuple[str, str, str]:
    """Colours of a student on true states, of emulated states, and of the coupled model."""
    return color_of("kd_student"), color_of("kd_emulator"), color_of("icot_kd")


def phase_markers() -> tuple[str, str, str]:
    """Their markers, in the same order."""
    return marker_of("kd_student"), marker_of("kd_emulator"), marker_of("icot_kd")


@styled
def probed_teacher_states(table: pd.DataFrame) -> Figure:
    """How well a linear probe predicts chain tokens from the teacher's states, by layer.

    Args:
        table: rows of `interp.distillation.probe_teacher_states`.
    """
    figure, ax = new_figure(PAGE * 0.7, 2.6)
    for color, (name, rows) in zip(CYCLE, table.groupby("states", sort=False), strict=False):
        # Where all examples have the same token, nothing is measured: the line has a gap.
        rows = rows[rows.majority < 1].set_index("layer").reindex(range(table.layer.max() + 1))
        rows = rows.reset_index()
        style = {"color": color, "ls": ":" if "untrained" in name else "-"}
        ax.plot(rows.layer, rows.accuracy, marker=".", label=name, **style)
        ax.fill_between(rows.layer, rows.ci_low, rows.ci_high, color=color, alpha=0.15, lw=0)
    _layers(ax)
    percent(ax, "chain token decoded")
    if (table.majority == 1).any():
        ax.set_title("gaps: layers whose token is the same in all examples", fontsize=small_type())
    legend_outside(figure, loc="outside right center")
    return figure


@styled
def explained(table: pd.DataFrame) -> Figure:
    """Explained variance of each layer's state: during emulation, and at its end.

    Args:
        table: rows of `interp.distillation.explained_table`.
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
    # With hardly any variance it may be far below 0, and the axis ends at -100%.
    right.bar(last.layer, last.explained.clip(lower=-1), color=color_of("icot_kd"), width=0.7)
    _layers(right)
    lowest = max(-1.0, min(0.0, known.explained.min()))
    for ax in (left, right):
        percent(ax, "explained variance")
        ax.set_ylim(lowest - 0.03, 1.03)
    right.set_ylabel("")
    if known.explained.min() < -1:
        left.set_ylabel("explained variance (cut at −100%)")
    return figure


@styled
def coupling(scores: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame) -> Figure:
    """Accuracy on true states, on emulated states and after coupling, and how far states drift.

    Args:
        scores: rows of `interp.distillation.accuracy_by_phase`.
        before, after: rows of `interp.distillation.explained_at_end` for emulation and coupling.
    """
    figure, (left, right) = new_figure(PAGE, 2.4, 2, width_ratios=(1, 1.3))
    names = [name.replace(" ", "\n") for name in scores.states]
    error, colors = interval(scores), phase_colors()
    left.bar(names, scores.accuracy, yerr=error, color=colors, width=0.6, capsize=2)
    percent(left)
    for table, name, color in ((before, "before", colors[1]), (after, "after", colors[2])):
        shown = table.explained.clip(lower=-1)  # with hardly any variance it may be far below
        right.plot(table.layer, shown, marker=".", color=color, label=f"{name} coupling")
    _layers(right)
    right.set_ylim(-1.05, 1.05)
    right.yaxis.set_major_formatter(PercentFormatter(1))
    right.set_ylabel("explained variance (cut at −100%)")
    right.legend(loc="best")
    return figure


@styled
def time_spent(table: pd.DataFrame) -> Figure:
    """The shares of a coupled model's parts in its time, operations and parameters.

    Args:
        table: rows of `interp.time_spent.time_by_part`.
    """
    figure, ax = new_figure(COLUMN, 1.7)
    sizes = sorted(table.batch_size.unique())
    bars = {f"time, batch {size}": table[table.batch_size == size] for size in sizes}
    first = table[table.batch_size == sizes[0]]
    bars = {name: rows.set_index("part").milliseconds for name, rows in bars.items()}
    bars |= {"operations": first.set_index("part").flops}
    bars |= {"parameters": first.set_index("part").parameters}
    student, between, coupled = phase_colors()
    colors = {"emulator": coupled, "state_mlps": between, "student": student}
    for row, values in enumerate(bars.values()):
        left = 0.0
        for part, share in (values / values.sum()).items():
            label = None if row else part.replace("_mlps", " MLPs")
            ax.barh(row, share, left=left, color=colors[part], label=label, height=0.6)
            left += share
    ax.set_yticks(range(len(bars)), list(bars))
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    legend_outside(figure, loc="outside upper center", ncols=3)
    return figure


@styled
def depth_over_seeds(table: pd.DataFrame) -> Figure:
    """Accuracy of distillation by depth, and by how far along the chain its last state is taken.

    Points are means over seeds, bars their 95% intervals. Methods that read no states stand beside
    distillation in the model of the same shape.

    Args:
        table: of the study `depth`.
    """
    figure, (left, right) = new_figure(PAGE, 3.0, 2, width_ratios=(1.4, 1), sharey=True)
    distilled, others = table[table.coverage.notna()], table[table.coverage.isna()]
    whole = distilled.groupby("layers").coverage.transform("max")
    phases = dict.fromkeys(distilled.phase)
    looks = [
        {"color": color, "marker": marker, "label": phase}
        for color, marker, phase in zip(phase_colors(), phase_markers(), phases, strict=False)
    ]
    by_depth, deepest = distilled[distilled.coverage == whole], distilled.layers.max()
    edge = table.layers.max()
    _draw_groups(left, by_depth, "layers", looks, 0.12)
    for number, (method, rows) in enumerate(others.groupby("method", sort=False)):
        look = {"color": color_of(str(method)), "marker": marker_of(str(method))}
        look["label"] = method_label(str(method))
        draw_mean(left, edge + 1 + 0.5 * number, rows, look)
    depths, kinds = sorted(distilled.layers.unique()), others.method.nunique()
    ticks = {depth: f"{depth:.0f}" for depth in depths}
    if kinds:
        ticks[edge + 1 + 0.25 * (kinds - 1)] = f"{others.layers.max():.0f},\nno states\nread"
    left.set_xticks(list(ticks), list(ticks.values()))
    left.set_xlabel("layers")
    left.set_title(seeds_text(table))
    _draw_groups(right, distilled[distilled.layers == deepest], "coverage", looks, 0.012)
    right.xaxis.set_major_formatter(PercentFormatter(1))
    right.set_xlabel("last state, as a share of the chain")
    right.set_title(f"ICoT-KD, {deepest:.0f} layers" if len(distilled) else "no run of ICoT-KD")
    percent(left, WITH_BARS)
    entries = left.get_legend_handles_labels()
    legend_outside(figure, *entries, loc="outside lower center", ncols=5)
    return figure


def _draw_groups(
    ax: Axes, table: pd.DataFrame, column: str, looks: Sequence[dict[str, Any]], apart: float
) -> None:
    """Means by phase at each value of a column, the phases beside each other."""
    for number, look in enumerate(looks):
        own = dict(look)
        for at, rows in table[table.phase == own["label"]].groupby(column):
            draw_mean(ax, float(str(at)) + apart * (number - 1), rows, own)
            own["label"] = "_"
