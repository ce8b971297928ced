"""Every picture by its name, and the figure that draws one."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from icotlib.errors import ConfigError, did_you_mean
from icotlib.reporting.figures.ideas.canvas import Canvas, Draw
from icotlib.reporting.figures.styled import styled


@dataclass(frozen=True)
class Picture:
    """How a picture is drawn, and its height in inches."""

    draw: Draw
    height: float

    @property
    def described(self) -> str:
        """What is drawn, in words."""
        return " ".join((inspect.getdoc(self.draw) or "").split())


#: Every picture by its name, filled by `picture`.
PICTURES: dict[str, Picture] = {}


def picture(height: float) -> Callable[[Draw], Draw]:
    """Decorator: a picture of this height in inches, which `figures.idea` knows by its name."""

    def add(draw: Draw) -> Draw:
        PICTURES[draw.__name__] = Picture(draw, height)
        return draw

    return add


@styled
def idea(name: str) -> Figure:
    """A schematic picture of a notebook's idea, without results.

    Args:
        name: of the picture, such as "stepwise".

    Raises `ConfigError` with the nearest name if there is no such picture.
    """
    if name not in PICTURES:
        known = ", ".join(sorted(PICTURES))
        raise ConfigError(
            f"there is no picture {name!r}; there are {known}.{did_you_mean(name, PICTURES)}"
        )
    chosen = PICTURES[name]
    canvas = Canvas(chosen.height, chosen.described)
    chosen.draw(canvas)
    return canvas.figure
