"""Figures without colours, for journals that print none."""

from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import Collection
from matplotlib.colors import Colormap, ListedColormap, to_rgba, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

#: The darkest and the lightest grey that stands for a colour.
DARKEST, LIGHTEST = 0.1, 0.72


def make_grey(figure: Figure) -> None:
    """Give every colour of a figure a grey of its own, darker colours darker ones.

    The greys are as far from each other as they can be. Colour maps become their lightness; those
    that are dark at both ends, such as that of selectivity, become a ramp from white to black.
    """
    places = list(_colored(figure))
    hues = {tuple(row) for colors, _ in places for row in colors[:, :3].round(4) if _is_hue(row)}
    ordered = sorted(hues, key=lambda hue: (luminance(np.array(hue)), hue))
    greys = np.linspace(DARKEST, LIGHTEST, len(ordered)) if len(ordered) > 1 else [0.3]
    table = dict(zip(ordered, greys, strict=False))
    for colors, put in places:
        changed = colors.copy()
        for row in changed:
            row[:3] = table.get(tuple(row[:3].round(4)), luminance(row[:3]))
        put(changed)
    mapped: Any
    for mapped in figure.findobj(lambda artist: isinstance(artist, ScalarMappable)):
        mapped.set_cmap(_grey_map(mapped.get_cmap()))


def luminance(rgb: np.ndarray) -> float:
    """How light a colour looks, 0 to 1, as the grey that looks alike."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    return 12.92 * y if y <= 0.0031308 else 1.055 * y ** (1 / 2.4) - 0.055


def _is_hue(rgb: np.ndarray) -> bool:
    return float(rgb.max() - rgb.min()) > 0.06


def _colored(figure: Figure) -> Iterator[tuple[np.ndarray, Callable[..., Any]]]:
    """The colours of everything drawn, `[n, 4]`, each with what puts others in their place."""

    def one(put: Callable[..., Any]) -> Callable[..., Any]:
        return lambda colors: put(tuple(colors[0]))

    for line in figure.findobj(Line2D):
        yield to_rgba_array(line.get_color()), one(line.set_color)
        for get, put in (
            (line.get_markerfacecolor, line.set_markerfacecolor),
            (line.get_markeredgecolor, line.set_markeredgecolor),
        ):
            if get() != "none":
                yield to_rgba_array(get()), one(put)
    for text in figure.findobj(Text):
        yield to_rgba_array(text.get_color()), one(text.set_color)
    for patch in figure.findobj(Patch):
        yield np.array([to_rgba(patch.get_facecolor())]), one(patch.set_facecolor)
        yield np.array([to_rgba(patch.get_edgecolor())]), one(patch.set_edgecolor)
    for many in figure.findobj(Collection):
        if many.get_array() is None:
            if len(faces := to_rgba_array(many.get_facecolor())):
                yield faces, many.set_facecolor
            if len(edges := to_rgba_array(many.get_edgecolor())):
                yield edges, many.set_edgecolor


def _grey_map(cmap: Colormap) -> Colormap:
    light = np.array([luminance(rgba[:3]) for rgba in cmap(np.linspace(0, 1, 256))])
    steps = np.diff(light)
    if (steps >= -0.01).all() or (steps <= 0.01).all():
        return ListedColormap(np.repeat(light[:, None], 3, axis=1), name=f"{cmap.name} in grey")
    return mpl.colormaps["Greys"]
