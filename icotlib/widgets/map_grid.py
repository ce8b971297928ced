"""A map over layers and positions whose cells are chosen by mouse or arrow keys."""

from collections.abc import Sequence

import anywidget
import matplotlib as mpl
import numpy as np
import traitlets
from matplotlib.colors import to_hex

from icotlib import paths

#: The colour and ink of a cell without a value.
NO_VALUE = ("#eeeeee", "#000000")


class MapGrid(anywidget.AnyWidget):
    """The map in a notebook: one cell is chosen, and `selected` follows.

    Tab reaches the chosen cell; arrows, Home and End, Page Up and Page Down move to others.
    """

    _esm = paths.MAP_GRID.with_suffix(".js")
    _css = paths.MAP_GRID.with_suffix(".css")

    #: What the map shows.
    title = traitlets.Unicode().tag(sync=True)
    #: Names of layers from the lowest, and of positions.
    rows = traitlets.List(traitlets.Unicode()).tag(sync=True)
    columns = traitlets.List(traitlets.Unicode()).tag(sync=True)
    #: By layer and position: text, label (what a screen reader says), colour and ink.
    cells = traitlets.List(traitlets.List()).tag(sync=True)
    #: Layer and position of the chosen cell.
    selected = traitlets.List(traitlets.Int(), default_value=[0, 0]).tag(sync=True)

    def show(
        self,
        title: str,
        values: np.ndarray,
        positions: Sequence[str],
        colours: tuple[str, float, float],
        marked: np.ndarray | None = None,
        unit: str = "percent",
    ) -> None:
        """Show a map.

        Args:
            values: shares `[layers, positions]`, NaN where there is none.
            positions: their names.
            colours: a colour map, and the values at its ends.
            marked: cells that stand out, `[layers, positions]`; they have a dot, and are called
                decodable.
            unit: what a hundred times a value is called.
        """
        marked = np.zeros(values.shape, bool) if marked is None else marked
        painted = paint(values, *colours)
        cells = []
        for layer, row in enumerate(values):
            line = []
            for position, value in enumerate(row):
                text = "" if np.isnan(value) else f"{100 * value:.0f}".replace("-0", "0")
                said = f"{text} {unit}" if text else "no value"
                said += ", decodable" if marked[layer, position] else ""
                label = f"layer {layer}, position {position} {positions[position]}: {said}"
                colour, ink = painted[layer][position]
                text += "•" if marked[layer, position] else ""
                line.append({"text": text, "label": label, "colour": colour, "ink": ink})
            cells.append(line)
        with self.hold_sync():
            self.title = title
            self.rows = [f"layer {layer}" for layer in range(len(values))]
            self.columns = list(positions)
            self.cells = cells


def paint(values: np.ndarray, name: str, low: float, high: float) -> list[list[tuple[str, str]]]:
    """A colour for every value, and black or white ink, whichever is easier to read on it.

    Args:
        name: of a colour map, whose ends are `low` and `high`.
    """
    scaled = ((values - low) / (high - low)).clip(0, 1)
    colours = mpl.colormaps[name](scaled)[..., :3]
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    # Luminance as in WCAG 2; black is easier to read where (L + 0.05) / 0.05 > 1.05 / (L + 0.05).
    dark_ink = (linear @ (0.2126, 0.7152, 0.0722) + 0.05) ** 2 > 0.05 * 1.05
    return [
        [
            NO_VALUE if np.isnan(value) else (to_hex(colour), "#000000" if dark else "#ffffff")
            for value, colour, dark in zip(*row, strict=True)
        ]
        for row in zip(values, colours, dark_ink, strict=True)
    ]
