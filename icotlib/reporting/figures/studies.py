"""Figures of the studies, each over its seeds."""

import itertools
import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.transforms import ScaledTranslation

from icotlib.reporting.figures.base import (
    ACCENT,
    COLUMN,
    CONTROL,
    PAGE,
    WITH_BARS,
    beside,
    interval,
    legend_outside,
    new_figure,
    percent,
)
from icotlib.reporting.figures.means import draw_mean, mean_and_error, t_intervals
from icotlib.reporting.figures.style import (
    CYCLE,
    LINES,
    arm_style,
    color_of,
    kinds_of,
    marker_of,
    schedule_label,
    seeds_text,
)
from icotlib.reporting.figures.styled import styled
from icotlib.reporting.results import method_label
from icotlib.reporting.statistics import EQUAL, over_seeds

#: More panels than these beside each other stand in rows of two.
ABREAST = 3

#: More contents of latent places than this have their names upright.
FEW = 3

#: How the rules of routing look: label, colour, marker, line.
_RULES = {
    "confidence": ("asked again where it is unsure", ACCENT, "o", "-"),
    "random": ("asked again at random", CONTROL, "s", "--"),
    "fixed": ("a fixed number of tokens removed", "#E69F00", "^", ":"),
    "oracle": ("asked again where it is wrong", "#000000", "*", ""),
}


@styled
def routing(table: pd.DataFrame) -> Figure:
    """Accuracy against tokens written a question, by the rule that asks questions again.

    Points are means over seeds, bars their 95% intervals.

    Args:
        table: of the study `routing`.
    """
    figure, ax = new_figure(COLUMN, 3.2)
    table = table.assign(kind=table.rule.str.partition(",")[0])
    for kind, (label, color, marker, line) in _RULES.items():
        _draw_rule(ax, table[table.kind == kind], label, color, marker, line)
    ax.set_xlabel("tokens written a question")
    ax.set_ylabel("exact match")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    bars = " (bars: 95% intervals)" if table.seed.nunique() > 1 else ""
    ax.set_title(seeds_text(table) + bars)
    ax.set_ylim(top=min(1.0, ax.get_ylim()[1]) + 0.0005)
    legend_outside(figure, loc="outside lower center")
    return figure


def _draw_rule(
    ax: Axes, rows: pd.DataFrame, label: str, color: str, marker: str, line: str
) -> None:
    """One rule: its points in the order of their tokens, over seeds."""
    rows = rows.assign(point=rows.groupby("seed").cumcount())
    means = t_intervals(rows.accuracy, rows.point)
    means = means.assign(tokens=rows.groupby("point").tokens.mean())
    means = means.rename(columns={"mean": "accuracy"}).sort_values("tokens")
    ax.plot(means.tokens, means.accuracy, color=color, marker=marker, ls=line, label=label, ms=4)
    ax.vlines(means.tokens, means.low, means.high, color=color, lw=0.8, alpha=0.6)


@styled
def accuracy_vs_milliseconds(table: pd.DataFrame) -> Figure:
    """Accuracy against the time of an answer, a panel for each task and budget.

    Methods with a budget of their own are in every panel of their task, hollow. Points are means
    over seeds, bars their 95% intervals. Those of nearly the same time are drawn beside each other.

    Args:
        table: of the study `methods`.
    """
    own = table.budget == "own"
    panels = []
    for task in sorted(set(table.task), reverse=True):
        budgets = set(table.budget[~own & (table.task == task)])
        panels += [(task, one) for one in sorted(budgets, reverse=True) or ["own"]]
    columns = len(panels) if len(panels) <= ABREAST else 2
    below = -(-len(panels) // columns)
    height = 3.2 if below == 1 else 2.4 * below
    figure, axes = new_figure(PAGE, height, columns, below, squeeze=False, sharey=True)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    entries: dict[str, Any] = {}  # each method once, whatever panels it is in
    for ax, (task, budget) in zip(axes.flat, panels, strict=False):
        rows = table[(table.task == task) & (own | (table.budget == budget))]
        means = rows.groupby("method", sort=False).milliseconds.mean().sort_values()
        apart = _set_apart(means.to_numpy(float)) - means
        inches = 0.6 * PAGE / columns / (1.05 * means.max())  # of a millisecond
        for method, at in means.items():
            each, look = rows[rows.method == method], arm_style(str(method))
            aside = ScaledTranslation(apart[method] * inches, 0, figure.dpi_scale_trans)
            look["transform"] = ax.transData + aside
            if each.budget.iloc[0] == "own":
                look["mfc"] = "white"
            draw_mean(ax, at, each, look)
        handles, labels = ax.get_legend_handles_labels()
        entries = dict(zip(labels, handles, strict=True)) | entries
        ax.set_xlim(0, 1.05 * means.max())
        moved = bool((apart.abs() > 0.01 * means.max()).any())
        ax.set_xlabel("milliseconds an answer" + (", near ones set apart" if moved else ""))
        text = ("filled: " if own.any() else "") + _budget_text(rows)
        lines = textwrap.wrap(text, 72 // columns, break_on_hyphens=False)
        ax.set_title("\n".join([f"{task}, {seeds_text(rows)}", *lines]))
        percent(ax, WITH_BARS)
        if not ax.get_subplotspec().is_first_col():
            ax.set_ylabel("")
    if own.any():
        hollow: dict[str, Any] = {"marker": "o", "mfc": "white", "color": CONTROL, "ls": ""}
        entries["hollow: own budget"] = Line2D([], [], ms=5, **hollow)
    legend_outside(figure, entries.values(), entries, loc="outside right center")
    return figure


def _set_apart(at: np.ndarray) -> np.ndarray:
    """Ascending values on an axis, moved so far that neighbours can be told apart."""
    gap, right, left = 0.015 * at.max(), at.copy(), at.copy()
    for number in range(1, len(at)):
        right[number] = max(right[number], right[number - 1] + gap)
        left[-number - 1] = min(left[-number - 1], left[-number] - gap)
    return (right + left) / 2


def _budget_text(rows: pd.DataFrame) -> str:
    """What the methods with a budget of another's spent of it, in words."""
    given = rows[rows.budget != "own"]
    unit, _, of = str(given.budget.iloc[0] if len(given) else "own").partition(" of ")
    reference = rows[(rows.method == of) & (rows.budget == "own")]
    if given.empty:
        return "own budgets"
    means = given.groupby("method")[unit].mean()
    if reference.empty:
        return f"equal {unit}" if means.max() <= (1 + EQUAL) * means.min() else f"similar {unit}"
    shares = means / reference[unit].mean()
    if (shares - 1).abs().max() <= EQUAL:
        return f"as many {unit} as {method_label(of)}"
    return f"{shares.min():.0%} to {shares.max():.0%} of {method_label(of)}'s {unit}"


@styled
def contents(table: pd.DataFrame) -> Figure:
    """Accuracy by what the latent places hold, a panel for each task and split.

    Points are means over seeds, bars their 95% intervals; a thin line joins the runs of one seed.
    Splits of which no run answers any question are left out.

    Args:
        table: of the study `contents`.
    """
    right = table.groupby(["task", "split"], sort=False).accuracy.max()
    panels = [place for place, most in right.items() if most > 0] or list(right.index[:1])
    width = PAGE if len(panels) > 1 else COLUMN
    apart = "\n" if len(panels) > 1 else ", "
    figure, axes = new_figure(width, 3.2, columns=len(panels), squeeze=False, sharey=True)
    for ax, (task, split) in zip(axes.flat, panels, strict=True):
        rows = table[(table.task == task) & (table.split == split)]
        _contents_panel(ax, rows)
        ax.set_title(apart.join([task, split, seeds_text(rows, "content")]))
        ax.label_outer(remove_inner_ticks=False)
    return figure


def _contents_panel(ax: Axes, rows: pd.DataFrame) -> None:
    """Accuracy by content on one test."""
    order = list(dict.fromkeys(rows.content))
    each = rows.pivot(index="content", columns="seed", values="accuracy").loc[order]
    for seed in each:
        ax.plot(range(len(order)), each[seed], color=CONTROL, lw=0.8, marker=".", ms=4)
    for number, content in enumerate(order):
        look = {"marker": "o", "color": ACCENT}
        draw_mean(ax, number - 0.08, rows[rows.content == content], look)
    upright = len(order) > FEW
    names = order if upright else [name.replace(" ", "\n") for name in order]
    ax.set_xticks(range(len(order)), names, rotation=90 if upright else 0)
    ax.set_xlim(-0.4, len(order) - 0.6)
    percent(ax, WITH_BARS)


#: How specialists of the study `anytime` look, whose one model looks as it does everywhere.
_MARKERS = ("s", "D", "v", "P")
_COLORS = (CONTROL, *CYCLE[2:5])


@styled
def anytime(table: pd.DataFrame) -> Figure:
    """Accuracy against tokens removed: one model for every stage, and a specialist for each.

    Points are means over seeds, bars their 95% intervals.

    Args:
        table: of the study `anytime`.
    """
    figure, ax = new_figure(COLUMN, 3.0)
    groups, others = list(table.groupby(kinds_of(table))), zip(_COLORS, _MARKERS, strict=True)
    for number, (kind, rows) in enumerate(groups):
        special = (rows.kind == "specialist").all()
        own_look = color_of("one_model"), marker_of("one_model")
        color, marker = next(others) if special else own_look
        look = {"color": color, "marker": marker, "label": kind}
        offset = 0.15 * (number - (len(groups) - 1) / 2)
        for removed, own in rows.groupby("removed"):
            draw_mean(ax, removed + offset, own, look)
            look.pop("label", None)
    ax.set_xticks(sorted(table.removed.unique()))
    ax.set_xlabel("tokens removed")
    ax.set_title(seeds_text(table))
    percent(ax, WITH_BARS)
    legend_outside(figure, loc="outside lower center")
    return figure


@styled
def long_removal(table: pd.DataFrame) -> Figure:
    """Accuracy while a long chain is removed, and after how many examples each token went.

    Each seed of a method with several stages has a line; others are lines at their mean over seeds,
    in a band of its 95% interval.

    Args:
        table: of the study `four_digits`.
    """
    figure, (left, right) = new_figure(PAGE, 2.7, 2)
    for method, rows in table.groupby("method"):
        name, look = method_label(str(method)), {"color": color_of(str(method)), "lw": 1}
        if rows.groupby("seed").size().max() == 1:
            mean, low, high = over_seeds(rows)
            left.axhline(mean, label=f"{name} ({seeds_text(rows)})", **look)
            left.axhspan(low, high, color=look["color"], alpha=0.12, lw=0)
            continue
        stages = rows.sort_values("removed").groupby("seed")
        for line, (seed, own) in zip(itertools.cycle(LINES), stages):
            look["ls"] = line
            left.plot(own.removed, own.accuracy, label=f"{name}, seed {seed}", **look)
            went = [0, *own.examples / 1e6], [0, *own.removed]
            right.plot(*went, label=f"seed {seed}", drawstyle="steps-pre", **look)
    unit = table.unit.iloc[0]
    left.set_title("Accuracy while the chain is removed")
    left.set_xlabel(f"chain {unit} removed (of {table.chain_length.max()})")
    percent(left)
    right.set_title("Removed during training")
    right.set_xlabel("training examples, millions")
    right.set_ylabel(f"{unit} removed")
    legend_outside(figure, *left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@styled
def stage_ends(table: pd.DataFrame) -> Figure:
    """Accuracy at the end of each stage, a panel for each arm and a line for each seed.

    Bars are 95% intervals over questions.

    Args:
        table: of the study `stages`.
    """
    arms = list(dict.fromkeys(table.arm))
    figure, axes = new_figure(PAGE * 0.7, 2.4, columns=len(arms), squeeze=False, sharey=True)
    for ax, arm in zip(axes.flat, arms, strict=True):
        rows = table[table.arm == arm].sort_values("removed")
        seeds = list(rows.groupby("seed"))
        for number, (seed, own) in enumerate(seeds):
            look: dict[str, Any] = {"color": CYCLE[1 + number % (len(CYCLE) - 1)], "capsize": 1.5}
            look |= {"ls": LINES[number % len(LINES)], "marker": ".", "ms": 3, "lw": 1}
            at = own.removed + beside(number, len(seeds), 0.3)
            ax.errorbar(at, own.accuracy, interval(own), label=f"seed {seed}", **look)
        ax.set_title(f"{schedule_label(str(arm))}\n{rows.examples.max():,} examples")
        ax.set_xlabel(f"{rows.unit.iloc[0]} removed (of {rows.chain_length.max()})")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        percent(ax, "exact match\n(bars: 95% intervals over questions)")
        ax.label_outer(remove_inner_ticks=False)
    legend_outside(figure, *axes.flat[0].get_legend_handles_labels(), loc="outside right center")
    return figure


@styled
def shifts(table: pd.DataFrame) -> Figure:
    """Accuracy in and out of distribution: means over seeds with 95% intervals, and single seeds.

    A shift that no run could be tested on is left out; where only some could, a gap is left.

    Args:
        table: rows of `shift_table`, all of one task.
    """
    table = table.dropna(subset=["accuracy"])
    names, methods = (list(dict.fromkeys(table[column])) for column in ("shift", "method"))
    figure, ax = new_figure(PAGE * 0.7, 2.4)
    for number, method in enumerate(methods):
        rows = table[table.method == method]
        offset = beside(number, len(methods), 0.7)
        at = {name: place + offset for place, name in enumerate(names)}
        found = {name: mean_and_error(one) for name, one in rows.groupby("shift", sort=False)}
        means, errors = zip(*found.values(), strict=True)
        look = arm_style(method) | {"ls": "", "ms": 3.5, "capsize": 2}
        ax.errorbar([at[name] for name in found], means, yerr=np.hstack(errors), **look)
        if rows.seed.nunique() > 1:
            seeds = rows["shift"].map(at) + 0.25 / len(methods)
            ax.plot(seeds, rows.accuracy, ls="", marker=".", ms=2, color=look["color"])
    ax.set_title(seeds_text(table))
    ax.set_xticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names])
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.axvline(0.5, color="#999999", lw=0.8)  # in distribution on the left of it
    ax.grid(visible=False, axis="x")
    percent(ax, WITH_BARS)
    legend_outside(figure, loc="outside upper center", ncols=min(4, len(methods)))
    return figure
