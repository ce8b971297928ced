"""Figures below the cells of a notebook: sharp, and with a description for who cannot see them."""

import sys
from typing import Any

from matplotlib.figure import Figure

from icotlib.reporting.figures.drawings import alt_text


def show_in_notebooks() -> None:
    """Have a notebook, if this is one, show figures that pyplot does not know; else do nothing.

    The description is in the image's metadata (`alt`), where converters look for it, and is the
    text that stands for the image.
    """
    if "IPython" not in sys.modules:
        return
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        formatters = shell.display_formatter.formatters
        formatters["image/png"].for_type(Figure, as_image)
        formatters["text/plain"].for_type(Figure, _as_text)


def as_image(figure: Figure) -> tuple[str, dict[str, Any]] | None:
    """A figure as PNG of twice the screen's density, in base64, with its size and description;
    None if it is empty."""
    from IPython.core.pylabtools import retina_figure  # a terminal does without

    image = retina_figure(figure, base64=True)
    return image and (image[0], image[1] | {"alt": alt_text(figure)})


def _as_text(figure: Figure, printer: Any, cycle: bool) -> None:
    printer.text(alt_text(figure))
