"""Figures as they stand, in another look: those of other libraries, and those changed by hand."""

import contextlib
import pickle
import sys
from collections.abc import Iterator

from matplotlib.figure import Figure
from matplotlib.text import Text

from icotlib.errors import ConfigError
from icotlib.reporting.figures.base import Look
from icotlib.reporting.figures.grey import make_grey


def resized(figure: Figure, look: Look) -> Figure:
    """A copy of a figure in another size, its type larger or smaller, without its colours.

    Raises `ConfigError` if it cannot be copied.
    """
    try:
        copy = pickle.loads(pickle.dumps(figure))
    except Exception as error:
        raise ConfigError(
            f"this figure cannot be copied to change its size ({error}): draw it at the size that "
            "it is to have, and save it without width, height, font_size and grey"
        ) from None
    with _not_shown(copy):
        width, height = copy.get_size_inches()
        copy.set_size_inches(look.width or width, look.height or height)
        if look.font_size:
            _scale_type(copy, look.font_size)
        if look.font:
            _set_family(copy, look.font)
        if look.grey:
            make_grey(copy)
    return copy


@contextlib.contextmanager
def _not_shown(figure: Figure) -> Iterator[None]:
    """Keep pyplot, if it is in use, from showing a copy of a figure."""
    try:
        yield
    finally:
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            pyplot.close(figure)


def _scale_type(figure: Figure, font_size: float) -> None:
    """Have the labels of a figure's axes this size in points, and all other type in proportion."""
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    factor = font_size / (_size(axes[0].label) if axes else 8)
    ticks = {label for axis in axes for label in axis.get_ticklabels()}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text not in ticks:
            text.set_fontsize(_size(text) * factor)
    for axis in axes:
        for label in axis.get_ticklabels()[:1]:
            axis.set_tick_params(labelsize=_size(label) * factor)


def _set_family(figure: Figure, font: str) -> None:
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_fontfamily(font)
    for ax in figure.axes:
        ax.tick_params(labelfontfamily=font)


def _size(text: Text) -> float:
    return float(text.get_fontsize())
