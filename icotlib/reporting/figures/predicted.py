"""Measured seconds of training steps beside predicted ones."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from icotlib.reporting.figures.base import COLUMN, new_figure
from icotlib.reporting.figures.styled import styled


@styled
def costs(table: pd.DataFrame) -> Figure:
    """Seconds of a training step as predicted without its model size, and as measured.

    Args:
        table: rows of `icotlib.benchmarks.costs.costs`.
    """
    figure, ax = new_figure(COLUMN, 2.8)
    ends = [
        table[["seconds", "predicted"]].min(axis=None),
        table[["seconds", "predicted"]].max(axis=None),
    ]
    ax.plot(ends, ends, color="#999999", lw=0.8, zorder=0)
    looks = zip(sns.color_palette("colorblind"), "osDv^Xphd*", strict=True)
    for (model, rows), (color, marker) in zip(
        table.groupby("model", sort=False), looks, strict=False
    ):
        style = {"s": 14, "color": color, "marker": marker, "lw": 0}
        ax.scatter(rows.predicted, rows.seconds, label=model, **style)
    error = (table.predicted / table.seconds - 1).abs().median()
    ax.set_title(f"Median error {error:.0%}, each model held out")
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("seconds per step, predicted")
    ax.set_ylabel("seconds per step, measured")
    ax.legend(loc="best", title="layers x width")
    return figure
