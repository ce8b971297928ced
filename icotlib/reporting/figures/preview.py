"""A figure as `save` would write it, to look at before."""

import io
import struct
from dataclasses import dataclass

from matplotlib.figure import Figure

from icotlib.reporting.figures.base import saved
from icotlib.reporting.figures.export import Export, prepared

#: Pixels per inch of a preview: twice those of a browser, for screens of twice the density.
DENSITY = 192


@dataclass(frozen=True)
class Preview:
    """A figure as PNG, and the size in inches that it has on paper."""

    png: bytes
    width: float
    height: float


def preview(figure: Figure, export: Export | None = None) -> Preview:
    """A figure in the size, type and colours in which `save` would write it.

    Raises `ConfigError` for a size that no figure can have, as `save` does.
    """
    figure, crop = prepared(figure, (export or Export()).look)
    file = io.BytesIO()
    with saved():
        box = "tight" if crop else figure.bbox_inches
        figure.savefig(file, format="png", dpi=DENSITY, bbox_inches=box)
    png = file.getvalue()
    width, height = struct.unpack(">II", png[16:24])  # of the image's header
    return Preview(png, width / DENSITY, height / DENSITY)
