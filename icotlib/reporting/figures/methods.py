"""Accuracy against tokens removed, and speed; the figures of every method."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from icotlib.reporting.figures.base import (
    COLUMN,
    PAGE,
    legend_outside,
    new_figure,
    percent,
    small_type,
)
from icotlib.reporting.figures.from_runs import drawn_from
from icotlib.reporting.figures.learning import draw_learning
from icotlib.reporting.figures.style import (
    color_of,
    is_baseline,
    marker_of,
    seeds_text,
    series_name,
    style_of,
)
from icotlib.reporting.figures.styled import styled
from icotlib.reporting.groups import distinct_variants
from icotlib.reporting.results import method_label
from icotlib.reporting.statistics import Interval, Sample, mean_interval

# --- drawings on an axis -----------------------------------------------------------------------


def draw_removed(ax: Axes, table: pd.DataFrame) -> None:
    """Accuracy against tokens removed: the mean over seeds of each method that has several stages.

    Baselines are reference lines at their mean over seeds; other methods with a single stage are
    points. Bands and bars are 95% intervals over seeds and questions.
    """
    table = distinct_variants(table)
    for (method, variant), rows in table.groupby(["method", "variant"]):
        style, name = style_of(table, method, variant), series_name(method, variant)
        if is_baseline(method):
            style.pop("marker")
            _draw_baseline(ax, rows, name, style)
        elif rows.groupby("run").size().max() == 1:
            look = {"color": style["color"], "marker": style["marker"], "ms": 5, "zorder": 3}
            for at, own in rows.groupby("removed"):  # seeds may end at different stages
                mean, low, high = _over_seeds(own)
                label = f"{name} ({seeds_text(own)})"
                ax.errorbar([at], [mean], [[mean - low], [high - mean]], label=label, ls="", **look)
        else:
            schedule = rows.schedule.iloc[0]
            removal = f", {schedule} removal" if schedule else ""
            _draw_stages(ax, rows, series_name(method, variant, removal), style)
    chain = int(table.chain_length.max())
    units = set(table.unit)
    ax.set_xlabel(f"chain {units.pop() if len(units) == 1 else 'units'} removed (of {chain})")
    ax.set_xlim(-0.3, chain + 0.3)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    percent(ax, "exact match\n(with 95% intervals)")


def _draw_baseline(ax: Axes, rows: pd.DataFrame, name: str, style: dict[str, Any]) -> None:
    """A line at the mean over the seeds of one configuration, in a band of its interval."""
    mean, low, high = _over_seeds(rows)
    ax.axhline(mean, lw=1, label=f"{name} ({seeds_text(rows)})", **style)
    ax.axhspan(low, high, color=style["color"], alpha=0.12, lw=0)


def _draw_stages(ax: Axes, rows: pd.DataFrame, name: str, style: dict[str, Any]) -> None:
    """The mean over the seeds of one configuration at each stage, in a band of its interval, and
    each seed as a thin line."""
    # A mean over some of the seeds would not compare with those over all, where there are any.
    tested = rows.groupby("removed").seed.transform("nunique")
    most = rows[tested == tested.max()]
    by_stage = [(removed, *_over_seeds(stage)) for removed, stage in most.groupby("removed")]
    removed, mean, low, high = (np.array(column) for column in zip(*by_stage, strict=True))
    ax.plot(removed, mean, label=f"{name} ({seeds_text(rows)})", alpha=0.9, **style)
    ax.fill_between(removed, low, high, color=style["color"], alpha=0.12, lw=0)
    if rows.seed.nunique() > 1:
        thin = style | {"lw": 0.4, "marker": "", "alpha": 0.6}
        for _, run in rows.groupby("run"):
            run = run.sort_values("removed")
            ax.plot(run.removed, run.accuracy, **thin)


def _over_seeds(rows: pd.DataFrame) -> Interval:
    """The mean over seeds at one stage, with its 95% interval over seeds and questions.

    The figure knows accuracies alone: the interval is close to that of `icot.summary`, which knows
    single answers, and not equal to it.

    Args:
        rows: of `results_table`, of one configuration.
    """
    seeds = rows.drop_duplicates(["configuration", "seed"] if "configuration" in rows else "seed")
    return mean_interval(Sample(seeds.accuracy.to_numpy(float), seeds.n_test.to_numpy(int)))


# --- figures -----------------------------------------------------------------------------------


@drawn_from(table="results", learning="learning")
@styled
def headline(table: pd.DataFrame, learning: pd.DataFrame) -> Figure:
    """Accuracy while steps are removed, and validation match against training time.

    Args:
        table: rows of `results_table`.
        learning: rows of `learning_table`, of runs that take similar time.
    """
    figure, (left, right) = new_figure(PAGE, 2.7, 2, width_ratios=(1, 1))
    draw_removed(left, table)
    draw_learning(right, learning)
    left.set_title("Accuracy while the chain is removed")
    right.set_title("Teacher-forced match on validation data")
    legend_outside(figure, *left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@drawn_from(table="results")
@styled
def accuracy_vs_removed(table: pd.DataFrame) -> Figure:
    """Accuracy at every removal stage, with 95% intervals.

    Args:
        table: rows of `results_table`.
    """
    figure, ax = new_figure(COLUMN, 3.3)
    draw_removed(ax, table)
    legend_outside(figure, loc="outside lower center", ncols=2)
    return figure


@drawn_from(table="speeds")
@styled
def accuracy_vs_speed(table: pd.DataFrame) -> Figure:
    """Accuracy against speed at batch 1, relative to No CoT; one point per run and stage.

    A line joins the stages of a run, from the first to the last of which numbers say how many
    tokens are removed.

    Args:
        table: rows of `results_table` with measured speeds.
    """
    figure, ax = new_figure(COLUMN, 2.6)
    table = table.dropna(subset=["relative_speed"])
    for method, rows in table.groupby("method"):
        ax.scatter(
            rows.relative_speed,
            rows.accuracy,
            s=14,
            color=color_of(method),
            marker=marker_of(method),
            alpha=0.7,
            label=method_label(method),
            lw=0,
        )
        for _, stages in rows.groupby("run"):
            _join_stages(ax, stages.sort_values("removed"), color_of(method))
    ax.set_xlabel("speed relative to No CoT (batch 1)")
    ax.set_xlim(left=0)
    percent(ax)
    ax.legend(loc="best")
    return figure


def _join_stages(ax: Axes, stages: pd.DataFrame, color: str) -> None:
    """A line through the stages of one run, in order; of one stage nothing is drawn."""
    if len(stages) < 2:
        return
    ax.plot(stages.relative_speed, stages.accuracy, color=color, lw=0.5, alpha=0.6)
    ends = stages[["relative_speed", "accuracy", "removed"]].to_numpy(float)[[0, -1]]
    for speed, accuracy, removed in ends:
        ax.annotate(
            f"{removed:.0f}",
            (speed, accuracy),
            xytext=(3, -3),
            textcoords="offset points",
            va="top",
            fontsize=small_type(),
            color=color,
        )


@styled
def digits(stages: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy of each answer symbol at the last stage, a row for each run: which digits are hard.

    Args:
        stages: tables of `Run.stages`, by the names of the rows.
    """
    symbols = (table.by_symbol.iloc[-1].split() for table in stages.values())
    grid = np.array([list(map(float, row)) for row in symbols])
    figure, ax = new_figure(COLUMN, 0.6 + 0.32 * len(grid))
    sns.heatmap(
        grid,
        ax=ax,
        vmin=0,
        vmax=1,
        cmap="cividis",
        annot=100 * grid,
        fmt=".0f",
        annot_kws={"size": small_type()},
        cbar=False,
        yticklabels=list(stages),
        xticklabels=[str(i) for i in range(grid.shape[1])],
    )
    ax.set_xlabel("answer symbol, in the order it is written")
    ax.tick_params(axis="y", rotation=0)
    return figure
