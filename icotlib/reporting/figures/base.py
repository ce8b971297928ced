"""What all figures share: widths, type sizes, panels, axes and legends."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, PercentFormatter, StrMethodFormatter

from icotlib import paths

#: Widths of one and of two columns of a page, in inches.
COLUMN, PAGE = 3.35, 6.9
#: Below this width, in inches, panels stand below each other and legends below the panels.
NARROW = 4.5
#: Fonts by what they are like, both of which come with matplotlib; the first is the style's.
FONTS = {"sans": "DejaVu Sans", "serif": "STIXGeneral"}
#: What formulas are set in beside a font, such as powers on an axis.
FORMULAS = {"STIXGeneral": {"mathtext.fontset": "stix"}}
#: The colour of what a figure is about, where it compares no methods, and of controls beside it.
ACCENT, CONTROL = "#0072B2", "#999999"


@dataclasses.dataclass(frozen=True)
class Look:
    """How a figure is drawn; None leaves it to the figure.

    width, height: inches. font_size: points of the type, of which labels of ticks are 7/8 and the
    smallest labels 3/4. grey: without colours. font: a family that matplotlib knows.
    """

    width: float | None = None
    height: float | None = None
    font_size: float | None = None
    grey: bool = False
    font: str | None = None


_LOOK: ContextVar[Look | None] = ContextVar("look", default=None)


@contextlib.contextmanager
def drawn_with(look: Look) -> Iterator[None]:
    """The project's style, in which `new_figure` and its like make figures of this look."""
    token = _LOOK.set(look)
    try:
        with matplotlib.style.context(paths.STYLE):
            settings: Any = mpl.rcParams
            if look.font:
                settings.update({"font.family": look.font} | FORMULAS.get(look.font, {}))
            if look.font_size:
                names = ["font.size", "axes.titlesize", "axes.labelsize", "legend.fontsize"]
                names += ["xtick.labelsize", "ytick.labelsize"]
                factor = look.font_size / settings["font.size"]
                settings.update({name: factor * settings[name] for name in names})
            yield
    finally:
        _LOOK.reset(token)


@contextlib.contextmanager
def saved() -> Iterator[None]:
    """The project's style for files of a figure that is drawn already.

    Matplotlib would give the style's layout to a figure of others that has none, and fail where it
    has a colour bar.
    """
    with drawn_with(Look()), mpl.rc_context({"figure.constrained_layout.use": False}):
        yield


def small_type() -> float:
    """The smallest type of a figure, in points: 6 where nothing else is asked for."""
    return 0.75 * mpl.rcParams["font.size"]


def empty_figure(width: float, height: float) -> Figure:
    """A figure without axes, of this size in inches where no other is asked for."""
    look = _LOOK.get() or Look()
    return Figure(figsize=(look.width or width, look.height or height))


def scaled_figure(width: float, height: float) -> tuple[Figure, float]:
    """A figure without axes that keeps its proportions where another width is asked for, and by how
    much it is larger than this size in inches."""
    look = _LOOK.get() or Look()
    scale = (look.width or width) / width
    figure = Figure(figsize=(look.width or width, look.height or scale * height))
    figure.set_layout_engine("none")
    return figure, scale


def is_narrow(width: float = PAGE) -> bool:
    """Whether a figure of this width, or of that which is asked for, is about a column wide."""
    return ((_LOOK.get() or Look()).width or width) < NARROW


def new_figure(
    width: float, height: float, columns: int = 1, rows: int = 1, **kwargs: Any
) -> tuple[Figure, Any]:
    """A figure and its axes, outside pyplot: a notebook shows it once, and can free it then.

    Panels stand beside each other, or below each other where the figure is narrow.
    """
    if columns == 1 or not is_narrow(width):
        figure = empty_figure(width, height)
        return figure, figure.subplots(rows, columns, **kwargs)
    kwargs.pop("width_ratios", None)
    figure = empty_figure(width, 0.9 * height * columns)
    axes = figure.subplots(rows * columns, 1, **kwargs)
    return figure, axes if axes.ndim == 1 else axes.T


def legend_outside(figure: Figure, *entries: Any, loc: Any, ncols: int = 1, **kwargs: Any) -> None:
    """A legend beside the panels; below those of a narrow figure. Of the columns, at most `ncols`,
    there are as many as fit the figure."""
    if figure.get_figwidth() < NARROW:
        loc, ncols = "outside lower center", 2
    if "right" not in loc:
        kwargs["ncols"] = min(ncols, _fitting(figure, entries))
    figure.legend(*entries, loc=loc, **kwargs)


def _fitting(figure: Figure, entries: Sequence[Any]) -> int:
    """How many columns of a legend fit into a figure, by the length of its longest label."""
    shown = [ax.get_legend_handles_labels()[1] for ax in figure.axes]
    labels = entries[1] if entries else [label for one in shown for label in one]
    size = float(mpl.rcParams["legend.fontsize"])
    column = size * (0.56 * max(map(len, labels), default=1) + 4.5)  # the sample of the line too
    return max(1, int(72 * figure.get_figwidth() / column))


#: The label of such an axis where bars are drawn.
WITH_BARS = "exact match (bars: 95% intervals)"


def plain_numbers(ax: Axes) -> None:
    """Numbers of a logarithmic y axis as 2 and 0.01, not as powers of ten."""
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))


def percent(ax: Axes, label: str = "exact match") -> None:
    """A vertical axis of shares, from 0 to 100%."""
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_ylabel(label)


def color_bar(
    figure: Figure, image: Any, axes: Any, label: str, *, shares: bool = True, **placement: Any
) -> None:
    """What the colours of a map mean.

    Args:
        shares: of one, shown as percentages.
        placement: arguments of `Figure.colorbar`.
    """
    bar = figure.colorbar(image, ax=axes, **placement)
    if shares:
        axis = bar.ax.xaxis if bar.orientation == "horizontal" else bar.ax.yaxis
        axis.set_major_formatter(PercentFormatter(1))
    bar.set_label(label)
    bar.outline.set_visible(False)


def beside(number: int, groups: int, width: float) -> float:
    """How far the marks of a group stand beside their tick, where all groups take up `width`."""
    return width * ((number + 0.5) / groups - 0.5)


def interval(table: pd.DataFrame) -> np.ndarray:
    """Distances from accuracy to the ends of its interval, as error bars want them: `[2, n]`."""
    low, high = table.accuracy - table.ci_low, table.ci_high - table.accuracy
    return np.array([low.clip(lower=0), high.clip(lower=0)])
