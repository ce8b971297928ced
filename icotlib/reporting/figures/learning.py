"""Training: what is learned against examples and seconds, and while steps are removed."""

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from icotlib.reporting.figures.base import (
    PAGE,
    empty_figure,
    is_narrow,
    legend_outside,
    new_figure,
    percent,
    plain_numbers,
)
from icotlib.reporting.figures.from_runs import drawn_from
from icotlib.reporting.figures.style import color_of, seeds_text, series_name, style_of
from icotlib.reporting.figures.styled import styled
from icotlib.reporting.groups import distinct_variants

#: Characters of a line in the title of a small panel.
TITLE = 30


def draw_learning(ax: Axes, learning: pd.DataFrame, x: str = "seconds") -> None:
    """Teacher-forced match on the validation set while training, against seconds or examples: the
    mean over the seeds of one configuration, in a band from the lowest to the highest.

    It ends where the first seed does. It is drawn thin before the last removal stage: only there
    does it compare with other methods.
    """
    learning = distinct_variants(learning)
    scale = 60 if x == "seconds" else 1000
    for (method, variant), rows in learning.groupby(["method", "variant"], sort=False):
        style, name = style_of(learning, method, variant), series_name(method, variant)
        means = rows.groupby("step").agg(
            at=(x, "mean"),
            mean=("valid_match", "mean"),
            low=("valid_match", "min"),
            high=("valid_match", "max"),
            removed=("removed", "min"),
            seeds=("run", "nunique"),
        )
        whole = means[means.seeds == rows.run.nunique()]
        means = whole if len(whole) else means
        is_last = means.removed >= rows.final_stage.iloc[0]
        at = means["at"] / scale
        thin = style | {"lw": 0.5, "marker": ""}
        ax.plot(at, means["mean"].where(~is_last), **thin)
        late = style | {"markevery": _every(means)}
        ax.plot(at, means["mean"].where(is_last), label=f"{name} ({seeds_text(rows)})", **late)
        if rows.run.nunique() > 1:
            ax.fill_between(at, means.low, means.high, color=style["color"], alpha=0.12, lw=0)
    ends = learning.groupby("run")[x].max()
    if ends.max() > 4 * ends.median():
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(ScalarFormatter())
    else:
        ax.set_xlim(left=0)
    ax.set_xlabel("training time (minutes)" if x == "seconds" else "training examples (thousands)")
    several = (learning.groupby(["method", "variant"]).run.nunique() > 1).any()
    percent(ax, "validation match" + ("\n(and lowest to highest seed)" if several else ""))


def _every(rows: pd.DataFrame) -> int:
    """Which rows of a line get a marker: about seven of them."""
    return max(1, len(rows) // 6)


@drawn_from(learning="learning")
@styled
def accuracy_vs_seconds(learning: pd.DataFrame) -> Figure:
    """Validation match while training, against examples and against seconds.

    Args:
        learning: rows of `learning_table`.
    """
    figure, (left, right) = new_figure(PAGE, 2.5, 2, sharey=True)
    draw_learning(left, learning, "examples")
    draw_learning(right, learning, "seconds")
    right.set_ylabel("")
    entries = left.get_legend_handles_labels()
    legend_outside(figure, *entries, loc="outside upper center", ncols=3)
    return figure


@drawn_from(learning="learning")
@styled
def learning_curves(learning: pd.DataFrame) -> Figure:
    """Training loss, and teacher-forced match in training and validation, against examples."""
    learning = distinct_variants(learning)
    figure, (left, right) = new_figure(PAGE, 2.7, 2)
    named: set[str] = set()
    for _, run in learning.groupby("run", sort=False):
        thousands, first = run.examples / 1000, run.iloc[0]
        text = series_name(first.method, first.variant)
        name = None if text in named else text
        named.add(text)
        style = style_of(learning, first.method, first.variant)
        style |= {"lw": 1.3, "markevery": _every(run)}
        left.plot(thousands, run.loss, label=name, **style)
        right.plot(thousands, run.valid_match, label=name, **style)
        dotted = {"lw": 0.9, "marker": "", "ls": ":"}
        right.plot(thousands, run.train_match, **style | dotted)
    left.set_yscale("log")
    plain_numbers(left)
    left.set_ylabel("training loss per token")
    for ax in (left, right):
        ax.set_xlabel("training examples (thousands)")
        ax.set_xlim(left=0)
    percent(right, "teacher-forced match\n(dotted: training)")
    entries = left.get_legend_handles_labels()
    legend_outside(figure, *entries, loc="outside upper center", ncols=3)
    return figure


@drawn_from(learning="learning")
@styled
def schedule_ablations(learning: pd.DataFrame) -> Figure:
    """Validation match while tokens are removed, the recipe changed in one way in each panel.

    Shaded is the share of tokens removed, the largest over seeds; a line is the
    teacher-forced match of one seed at that stage.
    """
    learning = distinct_variants(learning)
    panels = list(learning.groupby(["method", "variant"], sort=False))
    methods = learning.method.nunique()
    columns = 2 if is_narrow() else 3
    lines = -(-len(panels) // columns)
    figure = empty_figure(PAGE, 1.75 * lines)
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for ax, ((method, variant), rows) in zip(axes, panels, strict=False):
        for _, run in rows.groupby("run", sort=False):
            share = run.removed / run.chain_length
            ax.fill_between(run.step, 0, share, step="post", color="#dddddd", lw=0)
            ax.plot(run.step, run.valid_match, color=color_of(method))
        name = series_name(method, variant) if methods > 1 else variant.replace("-", " ")
        several = f" ({seeds_text(rows)})" if rows.run.nunique() > 1 else ""
        ax.set_title(textwrap.fill(name + several, TITLE))
        percent(ax, "")
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    for ax in axes[: len(panels)][-columns:]:  # the lowest panel of each column
        ax.set_xlabel("optimizer steps")
        ax.tick_params(axis="x", labelbottom=True)
    for ax in axes[::columns]:
        ax.set_ylabel("match, teacher-forced")
    return figure
