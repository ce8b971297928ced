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
        shown = shell.display_formatter
        shown.mimebundle_formatter.for_type(Figure, as_bundle)
        html_of = shown.formatters["text/html"]
        html_of.for_type(pd.DataFrame, lambda frame: scrolling(frame._repr_html_()))


def as_bundle(figure: Figure, **chosen: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A figure, drawn once, in every form that a notebook shows, by type, and their metadata.

    Args:
        chosen: the types that are wanted or not, which IPython sees to itself.
    """
    forms, image = {"text/plain": alt_text(figure)}, as_image(figure)
    if image is None:
        return forms, {}
    forms["image/png"], about = image
    if is_live():
        forms["text/html"] = _as_html(*image)
    return forms, {"image/png": about}


def as_image(figure: Figure) -> tuple[str, dict[str, Any]] | None:
    """A figure as PNG of twice the screen's density, in base64, with its size and description;
    None if it is empty."""
    from IPython.core.pylabtools import retina_figure  # a terminal does without

    image = retina_figure(figure, base64=True)
    return image and (image[0], image[1] | {"alt": alt_text(figure)})


def _as_html(data: str, said: dict[str, Any]) -> str:
    """An image and its description (`as_image`) as HTML."""
    size = f"width='{said['width']}' height='{said['height']}'"
    source = f"data:image/png;base64,{data.strip()}"
    return f"<img alt='{html.escape(said['alt'])}' {size} src='{source}'>"
