"""Means over seeds with their intervals, in any figure."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from icotlib.reporting.statistics import mean_over_seeds, over_seeds


def draw_mean(ax: Axes, at: float, rows: pd.DataFrame, look: dict[str, Any]) -> None:
    """The mean accuracy of some rows over seeds, with its interval."""
    mean, error = mean_and_error(rows)
    ax.errorbar([at], [mean], yerr=error, ls="", ms=5, capsize=2, **look)


def t_interval(values: pd.Series) -> pd.Series:
    """The mean of one number for each seed, and the ends of its 95% interval (Student's t): mean,
    low, high. Of one seed, its number alone."""
    if len(values) == 1:
        return pd.Series([values.iloc[0]] * 3, ["mean", "low", "high"])
    return pd.Series(mean_over_seeds(values.to_numpy(float)), ["mean", "low", "high"])


def mean_and_error(rows: pd.DataFrame) -> tuple[float, list[list[float]]]:
    """The mean accuracy of some rows over seeds, and how far its interval reaches down and up."""
    found = over_seeds(rows)
    return found.value, [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]
