"""Figures in words: a description computed from what is drawn, for whoever cannot see it."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.category import StrCategoryFormatter
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, PercentFormatter

#: At most so many panels, series of a panel and values of a series are described one by one.
PANELS, SERIES, VALUES = 6, 8, 4
#: And so many names of an axis at which no series has a name of its own.
NAMES = 20


def describe(figure: Figure, about: str = "") -> str:
    """What a figure shows, in sentences.

    Args:
        about: a sentence that comes first.
    """
    panels = [ax for ax in figure.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]
    maps = [ax for ax in panels if _grid(ax) is not None]
    others = [ax for ax in panels if _grid(ax) is None]
    sentences = [about.rstrip(".")] if about else []
    if len(maps) > PANELS:
        sentences.append(_many_maps(maps))
    else:
        sentences += [_map(ax) for ax in maps]
    sentences += [text for ax in others[:PANELS] if (text := _curves(ax))]
    if len(others) > PANELS:
        sentences.append(f"{len(others) - PANELS} more panels")
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in sentences if text)


def _title(ax: Axes) -> str:
    """The name of a panel: its title, or that of its column in a grid of panels."""
    above = [other.get_title() for other, own, at in _grid_of(ax) if _same_column(own, at)]
    return next((title.replace("\n", " ") for title in [ax.get_title(), *above] if title), "")


def _row_name(ax: Axes) -> str:
    """The label of the row that a panel stands in, where panels form a grid."""
    left = (other.get_ylabel() for other, own, at in _grid_of(ax) if own.rowspan == at.rowspan)
    return next((label for label in left if label), "")


def _same_column(own: SubplotSpec, other: SubplotSpec) -> bool:
    return own.colspan == other.colspan and own.rowspan != other.rowspan


def _grid_of(ax: Axes) -> Iterator[tuple[Axes, SubplotSpec, SubplotSpec]]:
    """The panels of the grid that a panel is in, with its own place and theirs."""
    figure, own = ax.get_figure(), ax.get_subplotspec()
    for other in figure.axes if figure is not None else []:
        at = other.get_subplotspec()
        if own is not None and at is not None and at.get_gridspec() is own.get_gridspec():
            yield other, own, at


def _word(axis: Axis, value: float) -> str:
    """A value as the labels of an axis would write it; where they are names, the nearest one."""
    formatter = axis.get_major_formatter()
    if isinstance(formatter, PercentFormatter):
        return percentage(value / formatter.xmax)
    if isinstance(formatter, StrCategoryFormatter):
        return formatter.format_ticks([value])[0].replace("\n", " ")
    if isinstance(formatter, (FixedFormatter, FuncFormatter)):
        ticks = _ticks(axis)
        if _has_names(axis) and len(ticks):
            nearest = int(_nearest(ticks, value))
            return str(formatter(ticks[nearest], nearest)).replace("\n", " ")
        return str(formatter(value, 0))
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _ticks(axis: Axis) -> np.ndarray:
    return np.asarray(axis.get_majorticklocs(), float)


def _nearest(ticks: np.ndarray, values: Any) -> Any:
    """The number of the tick that is nearest to a value, or to each of several."""
    return np.abs(np.asarray(values)[..., None] - ticks).argmin(axis=-1)


def _place(axis: Axis, value: float) -> str:
    """A place on an axis: its tick, where points are only drawn beside it for room."""
    ticks = _ticks(axis)
    if isinstance(axis.get_major_locator(), FixedLocator) and len(ticks) > 1:
        nearest = ticks[_nearest(ticks, value)]
        if abs(nearest - value) < 0.4 * np.diff(np.sort(ticks)).min():
            return _word(axis, float(nearest))
    return _word(axis, value)


def percentage(share: float) -> str:
    """A share in percent, with a decimal where it is nearly none or nearly all."""
    near = 0 < abs(share) < 0.01 or 0.99 < share < 1
    return f"{share:.1%}" if near else f"{share:.0%}"


def _has_names(axis: Axis) -> bool:
    """Whether the labels of an axis are names, not numbers."""
    formatter = axis.get_major_formatter()
    if isinstance(formatter, StrCategoryFormatter):
        return True
    named = isinstance(formatter, (FixedFormatter, FuncFormatter))
    return named and isinstance(axis.get_major_locator(), FixedLocator)


# --- maps --------------------------------------------------------------------------------------


def _grid(ax: Axes) -> np.ndarray | None:
    """The values of a panel that shows colours by row and column."""
    for artist in [*ax.images, *(one for one in ax.collections if isinstance(one, QuadMesh))]:
        values = artist.get_array()
        if values is not None and values.ndim == 2:
            return np.ma.filled(np.ma.asarray(values, float), np.nan)
    return None


def _map(ax: Axes) -> str:
    grid, name = _grid(ax), _title(ax) or " by ".join(filter(None, _labels(ax)))
    if grid is None or np.isnan(grid).all():
        return f"{name or 'a map'}: no values"
    rows, columns = grid.shape
    if np.nanmin(grid) == np.nanmax(grid):
        return f"{name or 'a map'}: {rows} rows by {columns} columns, all {np.nanmax(grid):.2g}"
    start = f"{name}: " if name else ""
    spread = f"values from {np.nanmin(grid):.2g} to {np.nanmax(grid):.2g}"
    return f"{start}{rows} rows by {columns} columns, {spread}, {_highest(ax, grid)}"


def _labels(ax: Axes) -> tuple[str, str]:
    return ax.get_ylabel().replace("\n", " "), ax.get_xlabel().replace("\n", " ")


def _many_maps(maps: list[Axes]) -> str:
    grids = [(ax, grid) for ax in maps if (grid := _grid(ax)) is not None]
    known = [(ax, grid) for ax, grid in grids if not np.isnan(grid).all()]
    text = f"{len(maps)} maps"
    if known:
        ax, grid = max(known, key=lambda pair: np.nanmax(pair[1]))
        where = ", ".join(word for word in (_row_name(ax), _title(ax)) if word)
        text += f", {_highest(ax, grid)} in the panel {where}"
    return text


def _highest(ax: Axes, grid: np.ndarray) -> str:
    row, column = map(int, np.unravel_index(int(np.nanargmax(grid)), grid.shape))
    middle = 0 if ax.images else 0.5  # where the middle of the first cell is
    place = f"row {_word(ax.yaxis, row + middle)}, column {_word(ax.xaxis, column + middle)}"
    return f"highest ({grid[row, column]:.2g}) at {place}"


# --- curves, points and bars -------------------------------------------------------------------


@dataclasses.dataclass
class _Series:
    """What one label of a legend stands for: one curve, set of points or bars, or several."""

    label: str
    look: tuple[Any, ...]
    curves: list[tuple[Any, Any]]
    across: bool = False
    bars: bool = False
    #: Whether it is drawn in parts that belong to one curve, and not a curve for each seed.
    parts: bool = False

    @property
    def named(self) -> bool:
        return bool(self.label) and not self.label.startswith("_")


def _curves(ax: Axes) -> str:
    if not len(ax.get_xticks()) and not len(ax.get_yticks()):
        return str(ax.get_label()).rstrip(".")  # places without meaning: a drawing may be described
    found = _series(ax)
    shown = [one for one in found if one.named] or [one for one in found if one.bars] or found
    if len(shown) > 1 and not shown[0].named and not shown[0].bars:
        named = _has_names(ax.yaxis) or _has_names(ax.xaxis)
        words = _by_name(ax, found) if named else [f"{len(shown)} lines"]
        if named and len(words) <= NAMES:
            words = ["; ".join(words)]
    else:
        words = [_in_words(ax, one) for one in shown]
    if not words:
        return ""
    place, value = ax.get_xlabel(), ax.get_ylabel()
    if _has_names(ax.yaxis):
        place, value = value, place
    what = f"{value} against {place}" if value and place else value or place
    head = ", ".join(word.replace("\n", " ") for word in (_title(ax), what) if word)
    more = f"; {len(words) - SERIES} more" if len(words) > SERIES else ""
    return f"{head}: {'; '.join(words[:SERIES])}{more}" if head else "; ".join(words[:SERIES])


def _by_name(ax: Axes, found: list[_Series]) -> list[str]:
    """What is drawn at each name of an axis: its mean where one has an error bar, else the range of
    its points."""
    means = [one for one in found if one.parts and not one.bars]
    drawn = [curve for one in means or found if not one.across for curve in one.curves]
    x, y = (np.concatenate([np.asarray(curve[i], float) for curve in drawn]) for i in (0, 1))
    known = np.isfinite(x) & np.isfinite(y)
    axes: list[tuple[Axis, np.ndarray]] = [(ax.yaxis, y[known]), (ax.xaxis, x[known])]
    (place, at), (value, values) = axes if _has_names(ax.yaxis) else axes[::-1]
    ticks = _ticks(place)
    nearest = _nearest(ticks, at)
    return [
        f"{_word(place, tick)} {_span(value, values[nearest == number].tolist())}"
        for number, tick in enumerate(ticks)
        if (nearest == number).any()
    ]


def _series(ax: Axes) -> list[_Series]:
    """The series of a panel; curves that look alike are one, as those of several seeds."""
    found: list[_Series] = []
    inside: set[Line2D] = set()
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer) and container[0] is not None:
            line = container[0]
            inside.add(line)
            seen, label = (line.get_color(), line.get_marker()), str(container.get_label())
            _add(found, _Series(label, seen, [line.get_data()], parts=True))
        elif isinstance(container, BarContainer):
            color = to_hex(container.patches[0].get_facecolor()) if container.patches else ""
            label, drawn = str(container.get_label()), [_bars(container)]
            _add(found, _Series(label, (color,), drawn, bars=True, parts=True))
    for line in ax.lines:
        is_rule = line.get_transform() == ax.get_xaxis_transform(which="grid")  # from top to bottom
        if line not in inside and not is_rule:
            look = (line.get_color(), line.get_linestyle(), line.get_linewidth(), line.get_marker())
            across = line.get_transform() == ax.get_yaxis_transform(which="grid")
            _add(found, _Series(str(line.get_label()), look, [line.get_data()], across))
    for points in ax.collections:
        if isinstance(points, PathCollection):
            x, y = np.ma.filled(np.ma.asarray(points.get_offsets(), float), np.nan).T
            found.append(_Series(str(points.get_label()), (), [(x, y)]))
    return found


def _add(found: list[_Series], one: _Series) -> None:
    for other in found:
        alike = other.named and other.look == one.look
        if alike and (not one.named or one.label == other.label):
            other.curves += one.curves
            if one.parts and other.parts:
                x, y = (np.concatenate(parts) for parts in zip(*other.curves, strict=True))
                other.curves = [(x, y)]
            return
    found.append(one)


def _bars(bars: BarContainer) -> tuple[np.ndarray, np.ndarray]:
    """Places and lengths of upright bars; lengths and places of lying ones."""
    patches: Any = bars.patches
    if bars.orientation == "horizontal":
        pairs = [(bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in patches]
    else:
        pairs = [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in patches]
    x, y = np.array(pairs, float).reshape(-1, 2).T
    return x, y


def _in_words(ax: Axes, series: _Series) -> str:
    """One series: its value, its values, or where it begins, ends and is lowest and highest."""
    name = f"{series.label} " if series.named else ""
    lying = _has_names(ax.yaxis)
    place, value = (ax.yaxis, ax.xaxis) if lying else (ax.xaxis, ax.yaxis)
    curves = [_sorted(place, value, *(curve[::-1] if lying else curve)) for curve in series.curves]
    curves = [(at, values) for at, values in curves if len(values)]
    if not curves:
        return f"{name}without values"
    at, values = curves[0]
    if series.across:
        return f"{name}{_word(value, values[0])} throughout"
    if len(curves) > 1:
        first, last = (_span(value, [v[i] for _, v in curves]) for i in (0, -1))
        end = _span(place, [a[-1] for a, _ in curves])
        start = f"{name}({len(curves)} curves) from {first} at {_word(place, at[0])}"
        return f"{start} to {last} at {end}"
    if len(values) <= (2 * VALUES if _has_names(place) else VALUES):
        pairs = zip(values, at, strict=True)
        return name + ", ".join(f"{_word(value, v)} at {_place(place, a)}" for v, a in pairs)
    low, high = _word(value, values.min()), _word(value, values.max())
    ends = f"from {_word(value, values[0])} at {_place(place, at[0])} "
    ends += f"to {_word(value, values[-1])} at {_place(place, at[-1])}"
    return f"{name}{ends} (lowest {low}, highest {high})"


def _span(axis: Axis, values: list[float]) -> str:
    low, high = _word(axis, min(values)), _word(axis, max(values))
    return low if low == high else f"{low} to {high}"


def _sorted(place: Axis, value: Axis, at: Any, values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Known values in the order of their places, as numbers."""
    at, values = (
        np.asarray(axis.convert_units(x), float) for axis, x in ((place, at), (value, values))
    )
    kept = np.isfinite(at) & np.isfinite(values)
    at, values = at[kept], values[kept]
    order = np.argsort(at, kind="stable")
    return at[order], values[order]
