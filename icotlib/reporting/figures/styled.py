"""The decorator that makes a function a figure of the library."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from icotlib.reporting.figures.drawings import bound, remember
from icotlib.reporting.figures.export import Export, Width, save
from icotlib.reporting.figures.notebook import show_in_notebooks

#: Every figure by its name, filled by `styled`.
FIGURES: dict[str, Callable[..., Figure]] = {}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator: a figure, drawn in the project's style, that `figures` knows by its name.

    Such a function takes more arguments than are written there: `save="name"` also saves the
    figure, and `width`, `height`, `font_size`, `grey`, `folder` and `replace` are those of
    `figures.save`.
    """

    @functools.wraps(draw)
    def wrapped(
        *args: Any,
        save: str | None = None,
        width: Width = None,
        height: float | None = None,
        font_size: float | None = None,
        grey: bool = False,
        folder: str | Path | None = None,
        replace: bool = False,
        **kwargs: Any,
    ) -> Figure:
        show_in_notebooks()
        export = Export(width, height, font_size, grey, folder, replace)
        figure = remember(draw, bound(draw, *args, **kwargs), export.look)
        if save is not None:
            write(figure, save, export)
        return figure

    FIGURES[draw.__name__] = wrapped
    return wrapped


def write(figure: Figure, name: str, export: Export) -> None:
    """Save a figure that was drawn in the look that it is to have."""
    save(figure, name, **vars(export))
