"""What all figures share: style, sizes, and saving with table and provenance."""

import functools
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from icotlib import paths
from icotlib.reporting.results import provenance_of
from icotlib.runs import Run
from icotlib.system.seals import write_json
from icotlib.system.spreadsheets import inert

#: Widths of one and of two columns of a page, in inches.
COLUMN, PAGE = 3.35, 6.9
#: The colour of what a figure is about, where it compares no methods, and of controls beside it.
ACCENT, CONTROL = "#0072B2", "#999999"

FORMATS = ("pdf", "svg", "png")


def show_in_notebooks() -> None:
    """Have a notebook, if this is one, show figures that pyplot does not know; else do nothing."""
    if "IPython" not in sys.modules:
        return
    from IPython import get_ipython
    from IPython.core.pylabtools import select_figure_formats

    shell = get_ipython()
    if shell is not None:
        select_figure_formats(shell, {"retina"})


#: Every figure by its name, filled by `styled`.
FIGURES: dict[str, Callable[..., Figure]] = {}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator: a figure, drawn in the project's style, that `figures` knows by its name."""

    @functools.wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> Figure:
        show_in_notebooks()
        with matplotlib.style.context(paths.STYLE):
            return draw(*args, **kwargs)

    FIGURES[draw.__name__] = wrapped
    return wrapped


def new_figure(width: float, height: float, columns: int = 1, **kwargs: Any) -> tuple[Figure, Any]:
    """A figure and its axes, outside pyplot: a notebook shows it once, and can free it then."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(1, columns, **kwargs)


def percent(ax: Axes, label: str = "exact match") -> None:
    """A vertical axis of shares, from 0 to 100%."""
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_ylabel(label)


def interval(table: pd.DataFrame) -> np.ndarray:
    """Distances from accuracy to the ends of its interval, as error bars want them: `[2, n]`."""
    low, high = table.accuracy - table.ci_low, table.ci_high - table.accuracy
    return np.array([low.clip(lower=0), high.clip(lower=0)])


def save(
    figure: Figure,
    name: str,
    table: pd.DataFrame,
    runs: Iterable[Run],
    folder: Path | None = None,
    measured: dict[str, Any] | None = None,
) -> list[Path]:
    """Write a figure as pdf, svg and png, its table as csv, its provenance as json.

    Files of the same name are replaced; earlier ones are in git. Equal input gives equal bytes.

    Args:
        runs: the runs that the table comes from.
        folder: by default the repository's `figures/`.
        measured: commit, device and versions of numbers that no run holds.

    Returns the paths of the files.
    """
    folder = folder or paths.FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    origin = provenance_of(runs) | ({"measured": measured} if measured else {})
    source = json.dumps(origin, sort_keys=True)
    metadata = {
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Subject": source},
        "svg": {"Date": None, "Creator": None, "Source": source},
        "png": {"Software": None, "Source": source},
    }
    written = []
    with matplotlib.style.context(paths.STYLE):
        for kind in FORMATS:
            written.append(folder / f"{name}.{kind}")
            figure.savefig(written[-1], format=kind, metadata=metadata[kind])
    inert(table).to_csv(folder / f"{name}.csv", index=False)
    write_json(folder / f"{name}.json", origin)
    return [*written, folder / f"{name}.csv", folder / f"{name}.json"]
