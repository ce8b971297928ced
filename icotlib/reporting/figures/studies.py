"""Figures of the studies, each over its seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from icotlib.reporting.figures.base import (
    ACCENT,
    COLUMN,
    CONTROL,
    PAGE,
    WITH_BARS,
    beside,
    legend_outside,
    new_figure,
    percent,
)
from icotlib.reporting.figures.style import CYCLE, arm_style, color_of, marker_of, seeds_text
from icotlib.reporting.figures.styled import styled
from icotlib.reporting.results import method_label
from icotlib.reporting.statistics import over_seeds

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

    Points are means over seeds, bars the range of single seeds.

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
    several = table.seed.nunique() > 1
    ax.set_title(seeds_text(table) + (": mean, and lowest to highest" if several else ""))
    legend_outside(figure, loc="outside lower center")
    return figure


def _draw_rule(
    ax: Axes, rows: pd.DataFrame, label: str, color: str, marker: str, line: str
) -> None:
    """One rule: its points in the order of their tokens, over seeds."""
    rows = rows.assign(point=rows.groupby("seed").cumcount())
    means = rows.groupby("point").agg(
        tokens=("tokens", "mean"),
        accuracy=("accuracy", "mean"),
        low=("accuracy", "min"),
        high=("accuracy", "max"),
    )
    means = means.sort_values("tokens")
    ax.plot(means.tokens, means.accuracy, color=color, marker=marker, ls=line, label=label, ms=4)
    ax.vlines(means.tokens, means.low, means.high, color=color, lw=0.8, alpha=0.6)


@styled
def accuracy_vs_milliseconds(table: pd.DataFrame) -> Figure:
    """Accuracy against the time of an answer, a panel for each task and budget.

    Methods with a budget of their own are in every panel. Points are means over seeds, bars their
    95% intervals.

    Args:
        table: of the study `methods`.
    """
    own = table.budget == "own"
    panels = []
    for task in sorted(set(table.task), reverse=True):
        budgets = set(table.budget[~own & (table.task == task)])
        panels += [(task, one) for one in sorted(budgets, reverse=True) or ["own"]]
    figure, axes = new_figure(PAGE, 3.2, columns=len(panels), squeeze=False, sharey=True)
    named: set[str] = set()
    for ax, (task, budget) in zip(axes.flat, panels, strict=True):
        rows = table[(table.task == task) & (own | (table.budget == budget))]
        for method, each in rows.groupby("method", sort=False):
            look = arm_style(str(method))
            if method in named:  # the legend has each method once
                look.pop("label")
            named.add(str(method))
            _draw_mean(ax, each.milliseconds.astype(float).mean(), each, look)
        ax.set_xlim(left=0)
        ax.set_xlabel("milliseconds an answer")
        unit = budget.partition(" ")[0]
        equal = "" if budget == "own" else f"equal {unit}, "
        ax.set_title(f"{task}\n{equal}{seeds_text(rows)}")
        percent(ax, WITH_BARS)
        ax.label_outer(remove_inner_ticks=False)
    legend_outside(figure, loc="outside right center")
    return figure


#: How the splits of the study `contents` look, and the groups of `anytime`.
_MARKERS = ("o", "^", "s", "D", "v", "P")
_COLORS = (ACCENT, CONTROL, *CYCLE[2:6])


@styled
def contents(table: pd.DataFrame) -> Figure:
    """Accuracy by what the latent places hold, in distribution and out of it.

    Points are means over seeds, bars their 95% intervals, small dots single seeds.

    Args:
        table: of the study `contents`.
    """
    tasks, splits = list(dict.fromkeys(table.task)), list(dict.fromkeys(table.split))
    figure, axes = new_figure(PAGE, 3.2, columns=len(tasks), squeeze=False)
    for ax, task in zip(axes.flat, tasks, strict=True):
        rows = table[table.task == task]
        order = list(dict.fromkeys(rows.content))
        for number, split in enumerate(splits):
            _draw_split(ax, rows[rows.split == split], order, (number, split, len(splits)))
        ax.set_xticks(range(len(order)), [name.replace(" ", "\n") for name in order])
        ax.set_title(f"{task} ({seeds_text(rows)})")
        percent(ax, WITH_BARS)
    legend_outside(figure, loc="outside lower center", ncols=2)
    return figure


def _draw_split(
    ax: Axes, rows: pd.DataFrame, order: Sequence[str], place: tuple[int, str, int]
) -> None:
    """One split of a panel: its number and name among so many."""
    number, split, splits = place
    color = _COLORS[number % len(_COLORS)]
    offset = beside(number, splits, 0.5)
    look = {"marker": _MARKERS[number % len(_MARKERS)], "color": color, "label": split}
    for at, content in enumerate(order):
        own = rows[rows.content == content]
        if own.empty:
            continue
        each = own.accuracy.to_numpy(float)
        places = np.full(len(each), at + offset + 0.15 / splits)
        ax.plot(places, each, ls="", marker=".", ms=3, color=color)
        _draw_mean(ax, at + offset, own, look)
        look.pop("label", None)


@styled
def success_by_arm(table: pd.DataFrame, success: float) -> Figure:
    """Accuracy of every seed with the whole chain removed, by arm, and how many seeds succeed.

    Args:
        table: of the study `stability`.
        success: the accuracy from which a seed counts as one.
    """
    arms = list(dict.fromkeys(table.arm))
    figure, ax = _rows_of(arms)
    for row, arm in enumerate(arms):
        own = table[table.arm == arm]
        looks = {True: (ACCENT, "o"), False: (CONTROL, "x")}
        for reached, rows in own.groupby("success"):
            color, marker = looks[bool(reached)]
            ax.plot(rows.accuracy, np.full(len(rows), row), ls="", marker=marker, color=color)
        ax.text(1.02, row, f"{own.success.sum()} of {len(own)}", va="center", clip_on=False)
    ax.axvline(success, color=CONTROL, lw=0.8, ls=":")
    ax.set_xlim(-0.02, 1.01)
    ax.set_xlabel("exact match at the last stage, a mark for each seed")
    ax.set_title(f"seeds that reach {success:.0%} without any step", loc="right")
    return figure


@styled
def levers(table: pd.DataFrame) -> Figure:
    """Accuracy with one setting changed at a time, beside the whole recipe.

    Points are means over seeds, bars their 95% intervals, small dots single seeds.

    Args:
        table: of the study `levers`.
    """
    return _by_arm(table.assign(arm=table.lever + ": " + table.value), "recipe: whole")


@styled
def auxiliary(table: pd.DataFrame) -> Figure:
    """Accuracy with the auxiliary loss, beside none and beside its control.

    Points are means over seeds, bars their 95% intervals, small dots single seeds.

    Args:
        table: of the study `auxiliary`.
    """
    return _by_arm(table.assign(arm=table.loss), "none")


def _by_arm(table: pd.DataFrame, reference: str) -> Figure:
    """Accuracy by `arm`, a row for each, that of the reference on top if it is there."""
    arms = sorted(dict.fromkeys(table.arm), key=lambda arm: arm != reference)
    figure, ax = _rows_of(arms)
    for row, arm in enumerate(arms):
        own = table[table.arm == arm]
        mean, error = _mean_and_error(own)
        look: dict[str, Any] = {
            "color": CONTROL if arm == reference else ACCENT,
            "marker": "s" if arm == reference else "o",
        }
        ax.plot(own.accuracy, np.full(len(own), row), ls="", marker=".", ms=2, color=look["color"])
        ax.errorbar([mean], [row], xerr=error, ls="", ms=5, capsize=2, **look)
    ax.set_xlabel(f"exact match at the last stage ({seeds_text(table)}, bars: 95% intervals)")
    return figure


def _rows_of(arms: Sequence[str]) -> tuple[Figure, Axes]:
    """A panel of shares with a row for each arm, the first one on top."""
    figure, ax = new_figure(PAGE, 0.5 + 0.32 * len(arms))
    ax.set_yticks(range(len(arms)), arms)
    ax.set_ylim(len(arms) - 0.5, -0.5)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    return figure, ax


@styled
def anytime(table: pd.DataFrame) -> Figure:
    """Accuracy against tokens removed: one model for every stage, and a specialist for each.

    Points are means over seeds, bars their 95% intervals.

    Args:
        table: of the study `anytime`.
    """
    figure, ax = new_figure(COLUMN, 3.0)
    groups = list(table.groupby(["kind", "budget"]))
    for number, ((kind, budget), rows) in enumerate(groups):
        alone = table[table.kind == kind].budget.nunique() == 1
        look = {"color": _COLORS[number], "marker": _MARKERS[number]}
        look["label"] = kind if alone else f"{kind}, {budget} budget"
        offset = 0.15 * (number - (len(groups) - 1) / 2)
        for removed, own in rows.groupby("removed"):
            _draw_mean(ax, removed + offset, own, look)
            look.pop("label", None)
    ax.set_xlabel("tokens removed")
    ax.set_title(seeds_text(table))
    percent(ax, WITH_BARS)
    legend_outside(figure, loc="outside lower center")
    return figure


def _draw_mean(ax: Axes, at: float, rows: pd.DataFrame, look: dict[str, Any]) -> None:
    """The mean accuracy of some rows over seeds, with its interval."""
    mean, error = _mean_and_error(rows)
    ax.errorbar([at], [mean], yerr=error, ls="", ms=5, capsize=2, **look)


def _mean_and_error(rows: pd.DataFrame) -> tuple[float, list[list[float]]]:
    """The mean accuracy of some rows over seeds, and how far its interval reaches down and up."""
    found = over_seeds(rows)
    return found.value, [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]


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
        found = {name: _mean_and_error(one) for name, one in rows.groupby("shift", sort=False)}
        means, errors = zip(*found.values(), strict=True)
        look = {"color": color_of(method), "fmt": marker_of(method), "ms": 3.5, "capsize": 2}
        places, label = [at[name] for name in found], method_label(method)
        ax.errorbar(places, means, yerr=np.hstack(errors), label=label, **look)
        if rows.seed.nunique() > 1:
            seeds = rows["shift"].map(at) + 0.25 / len(methods)
            ax.plot(seeds, rows.accuracy, ls="", marker=".", ms=2, color=look["color"])
    ax.set_title(seeds_text(table))
    ax.set_xticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names])
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.axvline(0.5, color="#999999", lw=0.8)  # in distribution on the left of it
    ax.grid(visible=False, axis="x")
    percent(ax, WITH_BARS)
    legend_outside(figure, loc="outside upper center", ncols=len(methods))
    return figure
