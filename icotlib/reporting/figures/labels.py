"""Labels beside points, placed where they cover neither points nor each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from icotlib.reporting.figures.base import small_type

#: Directions in which a label may stand from its point, the usual ones first, and how far, in
#: points of type.
DIRECTIONS = tuple(np.deg2rad([90, 270, 0, 180, 45, 135, 225, 315]))
DISTANCES = (8, 14, 22, 32)


def label_apart(
    ax: Axes, labels: Sequence[tuple[str, Any, str]], avoid: np.ndarray | Sequence[Any]
) -> None:
    """Write labels near their points, each where it covers least; a line leads to a distant one.

    Args:
        labels: text, point in the units of the axes, and colour of each.
        avoid: points that no label should cover, `[n, 2]`.
    """
    figure = ax.get_figure(root=True)
    if figure is None or not labels:
        return
    figure.draw_without_rendering()  # the layout, and with it places in pixels, is known from here
    pixels = figure.dpi / 72
    size = small_type()
    taken = [Bbox.from_extents(*(p - 3 * pixels), *(p + 3 * pixels))
             for p in ax.transData.transform(np.asarray(avoid, float))]  # fmt: skip
    inside = ax.get_window_extent()
    for text, point, color in labels:
        width, height = 0.62 * size * len(text) * pixels, 1.3 * size * pixels
        start = ax.transData.transform(np.asarray(point, float))
        boxes = [
            (distance, _box(start, distance * pixels, angle, width, height))
            for distance in DISTANCES
            for angle in DIRECTIONS
        ]
        distance, box = min(boxes, key=lambda one: (_covered(one[1], taken, inside), one[0]))
        taken.append(box)
        offset = (np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2 - start) / pixels
        line = {"arrowstyle": "-", "color": color, "lw": 0.4, "shrinkA": 0, "shrinkB": 3}
        ax.annotate(
            text,
            tuple(point),
            xytext=tuple(offset),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=size,
            color=color,
            arrowprops=line if distance > DISTANCES[1] else None,
        )


def _box(start: np.ndarray, distance: float, angle: float, width: float, height: float) -> Bbox:
    """The box of a label at a distance from its point, all in pixels."""
    away = np.array([np.cos(angle), np.sin(angle)])
    x, y = start + away * (distance + np.array([width, height]) / 2 * 0.8)
    return Bbox.from_extents(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _covered(box: Bbox, taken: Sequence[Bbox], inside: Bbox) -> float:
    """Square pixels of others that a label would cover, and of itself that would be outside."""
    shared = (Bbox.intersection(box, other) for other in taken)
    covered = sum(one.width * one.height for one in shared if one is not None)
    within = Bbox.intersection(box, inside)
    kept = within.width * within.height if within is not None else 0
    return covered + 3 * (box.width * box.height - kept)
