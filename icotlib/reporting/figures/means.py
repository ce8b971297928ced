"""Means over seeds with their intervals, in any figure."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from icotlib.reporting.statistics import over_seeds


def draw_mean(ax: Axes, at: float, rows: pd.DataFrame, look: dict[str, Any]) -> None:
    """The mean accuracy of some rows over seeds, with its interval."""
    mean, error = mean_and_error(rows)
    ax.errorbar([at], [mean], yerr=error, ls="", ms=5, capsize=2, **look)


def mean_and_error(rows: pd.DataFrame) -> tuple[float, list[list[float]]]:
    """The mean accuracy of some rows over seeds, and how far its interval reaches down and up."""
    found = over_seeds(rows)
    return found.value, [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]
