"""Means over seeds with their intervals, in any figure."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from icotlib.reporting.statistics import mean_over_seeds, over_seeds


def draw_mean(ax: Axes, at: float, rows: pd.DataFrame, look: dict[str, Any]) -> None:
    """The mean accuracy of some rows over seeds, with its interval."""
    mean, error = mean_and_error(rows)
    ax.errorbar([at], [mean], yerr=error, ls="", ms=5, capsize=2, **look)


def t_intervals(values: pd.Series, by: pd.Series) -> pd.DataFrame:
    """The mean of numbers in groups, one for each seed, and the ends of its 95% interval (Student's
    t): columns mean, low, high. Of one seed, its number alone."""
    found = {}
    for name, own in values.groupby(by):
        one = own.iloc[0]
        several = len(own) > 1
        found[name] = mean_over_seeds(own.to_numpy(float)) if several else (one, one, one)
    return pd.DataFrame.from_dict(found, orient="index", columns=["mean", "low", "high"])


def mean_and_error(rows: pd.DataFrame) -> tuple[float, list[list[float]]]:
    """The mean accuracy of some rows over seeds, and how far its interval reaches down and up."""
    found = over_seeds(rows)
    return found.value, [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]
