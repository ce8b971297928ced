"""Figures of the studies, each over its seeds."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from icotlib.reporting.figures.base import ACCENT, COLUMN, CONTROL, legend_outside, new_figure
from icotlib.reporting.figures.styled import styled

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
    ax.set_title(f"{table.seed.nunique()} seeds: mean and range")
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
