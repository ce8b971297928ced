"""Figures and tables below the cells of a notebook, also for who cannot see or point at them.

Figures are sharp and have a description; wide tables scroll by keyboard.
"""

import html
import sys
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.reporting.figures.drawings import alt_text
from icotlib.reporting.scrolling import scrolling
from icotlib.running.progress import is_live


def show_in_notebooks() -> None:
    """Have a notebook, if this is one, show figures that pyplot does not know; else do nothing.

    The description is in the image's metadata (`alt`), where converters look for it, and is the
    text that stands for the image. JupyterLab looks at neither, so that a notebook that a person
    runs gets the image as HTML besides.
    """
    if "IPython" not in sys.modules:
        return
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        formatters = shell.display_formatter.formatters
        formatters["image/png"].for_type(Figure, as_image)
        formatters["text/plain"].for_type(Figure, _as_text)
        formatters["text/html"].for_type(Figure, as_html)
        formatters["text/html"].for_type(pd.DataFrame, lambda frame: scrolling(frame._repr_html_()))


def as_image(figure: Figure) -> tuple[str, dict[str, Any]] | None:
    """A figure as PNG of twice the screen's density, in base64, with its size and description;
    None if it is empty."""
    from IPython.core.pylabtools import retina_figure  # a terminal does without

    image = retina_figure(figure, base64=True)
    return image and (image[0], image[1] | {"alt": alt_text(figure)})


def as_html(figure: Figure) -> str | None:
    """The same image as HTML with its description, where a person runs the notebook; else None."""
    image = as_image(figure) if is_live() else None
    if image is None:
        return None
    data, said = image
    size = f"width='{said['width']}' height='{said['height']}'"
    source = f"data:image/png;base64,{data.strip()}"
    return f"<img alt='{html.escape(said['alt'])}' {size} src='{source}'>"


def _as_text(figure: Figure, printer: Any, cycle: bool) -> None:
    printer.text(alt_text(figure))
