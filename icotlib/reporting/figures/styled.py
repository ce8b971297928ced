"""The decorator that makes a function a figure of the library."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from icotlib.reporting.figures.drawings import bound, remember
from icotlib.reporting.figures.export import Export, save
from icotlib.reporting.figures.notebook import show_in_notebooks

#: The arguments of every figure that say how and where it is saved.
EXPORTED = tuple(field.name for field in dataclasses.fields(Export))

#: Every figure by its name, filled by `styled`.
FIGURES: dict[str, Callable[..., Figure]] = {}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator: a figure, drawn in the project's style, that `figures` knows by its name.

    Such a function takes more arguments than are written there: `save="name"` also saves the
    figure, and the fields of `Export`, such as `width`, `font_size` and `folder`, are arguments of
    `figures.save`.
    """

    @functools.wraps(draw)
    def wrapped(*args: Any, save: str | None = None, **kwargs: Any) -> Figure:
        show_in_notebooks()
        export = Export(**{name: kwargs.pop(name) for name in EXPORTED if name in kwargs})
        figure = remember(draw, bound(draw, *args, **kwargs), export.look)
        if save is not None:
            write(figure, save, export)
        return figure

    FIGURES[draw.__name__] = wrapped
    return wrapped


def write(figure: Figure, name: str, export: Export) -> None:
    """Save a figure that was drawn in the look that it is to have."""
    save(figure, name, **vars(export))
