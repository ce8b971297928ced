"""Every figure by its name: how it was drawn, so that it can be drawn again at another size."""

import dataclasses
import inspect
import io
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from icotlib import paths
from icotlib.reporting.figures.alt_text import describe
from icotlib.reporting.figures.base import Look, drawn_with
from icotlib.reporting.figures.grey import make_grey


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How a figure was drawn: by which function, from what, in which look."""

    draw: Callable[..., Figure]
    arguments: dict[str, Any]
    look: Look

    @property
    def name(self) -> str:
        return self.draw.__name__

    @property
    def about(self) -> str:
        """The first sentence of what the function says about its figure."""
        return (inspect.getdoc(self.draw) or "").partition("\n\n")[0].replace("\n", " ")

    def again(self, look: Look) -> Figure:
        """The same figure from the same tables in another look."""
        with drawn_with(look):
            figure = self.draw(**self.arguments)
            if look.grey:
                make_grey(figure)
        _DRAWINGS[figure] = dataclasses.replace(self, look=look)
        return figure

    def made(self, figure: Figure) -> bool:
        """Whether a figure still looks as it was drawn: nobody has changed it by hand since."""
        now, before = _pixels(figure), _pixels(self.again(self.look))
        return now.shape == before.shape and bool((np.abs(now - before) < 16).all())

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables that the figure was drawn from, by the name of the function's argument."""
        found = {name: _as_table(value) for name, value in self.arguments.items()}
        return {name: table for name, table in found.items() if table is not None}


_DRAWINGS: WeakKeyDictionary[Figure, Drawing] = WeakKeyDictionary()


def drawing_of(figure: Figure) -> Drawing | None:
    """How a figure of this library was drawn; None for any other."""
    return _DRAWINGS.get(figure)


def remember(draw: Callable[..., Figure], arguments: dict[str, Any], look: Look) -> Figure:
    """Draw a figure that `drawing_of` knows."""
    return Drawing(draw, arguments, look).again(look)


def bound(draw: Callable[..., Figure], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments of a call by their names. Raises `TypeError` if the call does not fit."""
    return dict(inspect.signature(draw).bind(*args, **kwargs).arguments)


def alt_text(figure: Figure) -> str:
    """A figure in words: what it is about, and what is seen in it."""
    drawing = drawing_of(figure)
    return describe(figure, drawing.about if drawing else "")


def _pixels(figure: Figure) -> np.ndarray:
    """A figure as pixels from 0 to 255, its layout settled."""
    with matplotlib.style.context(paths.STYLE):
        for _ in range(3):
            figure.draw_without_rendering()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="raw", dpi=60, bbox_inches=None)
    return np.frombuffer(buffer.getvalue(), np.uint8).astype(int)


def _as_table(value: Any) -> pd.DataFrame | None:
    """An argument as one table: a dictionary's tables below each other, an array cell by cell."""
    if isinstance(value, pd.DataFrame):
        return value
    if isinstance(value, np.ndarray):
        names = [f"axis_{number}" for number in range(value.ndim)]
        places = np.indices(value.shape).reshape(value.ndim, -1)
        columns = dict(zip(names, places, strict=True)) | {"value": value.reshape(-1)}
        return pd.DataFrame(columns)
    if isinstance(value, dict):
        parts = []
        for key, one in value.items():
            members = one if isinstance(one, tuple) else (one,)
            name = " and ".join(map(str, key)) if isinstance(key, tuple) else str(key)
            tables = [table for member in members if (table := _as_table(member)) is not None]
            parts += [table.assign(of=name, part=i) for i, table in enumerate(tables)]
        if parts:
            whole = pd.concat(parts, ignore_index=True)
            return whole if whole.part.any() else whole.drop(columns="part")
    return None
