"""What schematic pictures are made of: boxes, cells, grids, arrows and words, placed in inches."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from icotlib.reporting.figures.base import ACCENT, scaled_figure, small_type

#: The width at which pictures are drawn, in inches; at others they keep their proportions.
WIDTH = 4.6

#: Greys of words, lines and what is in the background, and the colour of a second thing.
INK, LINE, FAINT, SECOND = "#222222", "#777777", "#eeeeee", "#E69F00"

Point = tuple[float, float]

#: How a cell looks: what fills it, its words, its edge, and the style of its edge.
LOOKS = {
    "plain": ("white", INK, LINE, "-"),
    "faint": (FAINT, INK, LINE, "-"),
    "marked": (ACCENT, "white", ACCENT, "-"),
    "second": (SECOND, INK, SECOND, "-"),
    "gone": ("none", LINE, LINE, (0, (2, 2))),
}


@dataclass(frozen=True)
class Grid:
    """A grid of a model's states: a column for each position, a row for each layer."""

    left: float
    bottom: float
    #: The distance between two cells, and the side of a cell, in inches.
    step: float
    side: float
    columns: int
    rows: int

    def at(self, layer: int, position: int) -> Point:
        """The middle of a state; layer -1 is the row of tokens below the grid."""
        return self.left + self.step * (position + 0.5), self.bottom + self.step * (layer + 0.5)

    @property
    def right(self) -> float:
        return self.left + self.step * self.columns

    @property
    def top(self) -> float:
        return self.bottom + self.step * self.rows

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


class Canvas:
    """A figure of one panel without axes, in inches from its lower left corner.

    Args:
        height: in inches, at the width of `WIDTH`.
        described: what is drawn, for whoever cannot see it.
    """

    def __init__(self, height: float, described: str):
        self.figure, scale = scaled_figure(WIDTH, height)
        self.ax = _panel(self.figure, height, described)
        #: Type gets smaller with the picture, as far as it can be read, and never larger.
        shrunk = min(scale, 1)
        usual: Any = mpl.rcParams
        self.size = max(small_type(), shrunk * usual["font.size"])
        self.small = max(small_type(), shrunk * 7 / 8 * usual["font.size"])

    def words(self, x: float, y: float, text: str, small: bool = False, **kwargs: Any) -> None:
        """Text around a point; `ha` and `va` move it aside."""
        look: dict[str, Any] = {"ha": "center", "va": "center", "color": INK, "linespacing": 1.15}
        look["fontsize"] = self.small if small else self.size
        self.ax.text(x, y, text, **(look | kwargs))

    def title(self, x: float, y: float, text: str, **kwargs: Any) -> None:
        """The name of a part of the picture."""
        self.words(x, y, text, **({"fontweight": "bold"} | kwargs))

    def box(
        self, x: float, y: float, width: float, height: float, text: str, look: str = "plain"
    ) -> None:
        """A box with rounded corners around a point, and words in it."""
        fill, ink, edge, line = LOOKS[look]
        corner = (x - width / 2, y - height / 2)
        style = "round,pad=0,rounding_size=0.05"
        patch = FancyBboxPatch(corner, width, height, style, fc=fill, ec=edge, ls=line, lw=0.8)
        self.ax.add_patch(patch)
        if text:
            self.words(x, y, text, small=True, color=ink)

    def cell(self, at: Point, side: float, look: str = "plain", text: str = "") -> None:
        """A square around a point: a token, or a state."""
        fill, ink, edge, line = LOOKS[look]
        corner = (at[0] - side / 2, at[1] - side / 2)
        self.ax.add_patch(Rectangle(corner, side, side, fc=fill, ec=edge, ls=line, lw=0.7))
        if text:
            self.words(*at, text, small=True, color=ink)

    def tokens(
        self,
        left: float,
        y: float,
        names: Sequence[str],
        looks: Sequence[str],
        step: float = 0.25,
        side: float = 0.21,
    ) -> list[Point]:
        """A row of tokens from left to right; the middle of each."""
        places = [(left + step * (number + 0.5), y) for number in range(len(names))]
        for at, name, look in zip(places, names, looks, strict=True):
            self.cell(at, side, look, name)
        return places

    def grid(
        self,
        left: float,
        bottom: float,
        names: Sequence[str],
        layers: int,
        marked: Iterable[Point] = (),
        look: str = "marked",
        step: float = 0.25,
        side: float = 0.15,
    ) -> Grid:
        """The states of a model: layers above each other, and a token below each column.

        Args:
            marked: layer and position of states that look otherwise (`look`).
        """
        grid = Grid(left, bottom, step, side, len(names), layers)
        special = set(marked)
        for layer in range(layers):
            for position in range(len(names)):
                chosen = look if (layer, position) in special else "faint"
                self.cell(grid.at(layer, position), side, chosen)
        for position, name in enumerate(names):
            self.words(*grid.at(-1, position), name, small=True)
        return grid

    def arrow(
        self,
        start: Point,
        end: Point,
        color: str = LINE,
        style: str = "-|>",
        bend: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """An arrow, or a line (`style="-"`), that bends to one side."""
        look: dict[str, Any] = {
            "arrowstyle": style,
            "color": color,
            "lw": 0.9,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        look |= {"connectionstyle": f"arc3,rad={bend}", "mutation_scale": 7} | kwargs
        self.ax.add_patch(FancyArrowPatch(start, end, **look))

    def line(self, points: Sequence[Point], color: str = LINE, **kwargs: Any) -> None:
        """A line through points."""
        x, y = zip(*points, strict=True)
        look: dict[str, Any] = {"color": color, "lw": 1.0, "zorder": 0.9}
        self.ax.plot(x, y, **(look | kwargs))

    def span(self, left: float, right: float, y: float, text: str, below: bool = False) -> None:
        """A bracket over some columns, or below them, and what they are."""
        tick = 0.05 if below else -0.05
        self.line([(left, y + tick), (left, y), (right, y), (right, y + tick)], lw=0.7)
        self.words((left + right) / 2, y - 1.8 * tick, text, small=True)


def _panel(figure: Figure, height: float, described: str) -> Axes:
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(0, height), aspect="equal", xticks=[], yticks=[])
    ax.set_axis_off()
    ax.set_label(described)
    return ax


Draw = Callable[[Canvas], None]
