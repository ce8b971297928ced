"""Schematic pictures: readable at every width, in grey and in words, and without results."""

import itertools
import re

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch, Patch

from icotlib.errors import ConfigError
from icotlib.reporting import figures
from icotlib.reporting.figures.base import COLUMN
from icotlib.reporting.figures.ideas.canvas import WIDTH
from icotlib.reporting.figures.ideas.pictures import PICTURES

WIDTHS = {"usual": {}, "column": {"width": "column"}, "page": {"width": "page"}}
EACH = pytest.mark.parametrize("name", PICTURES)


def drawn(name, **kwargs):
    figure = figures.idea(name, **kwargs)
    figure.draw_without_rendering()
    return figure, [text for text in figure.axes[0].texts if text.get_text()]


def boxes_of(texts):
    """What the letters of some texts cover, in pixels, a pixel less at each side."""
    return [mpl.text.Text.get_window_extent(text).padded(-1) for text in texts]


def within(box, frame):
    """Whether a box lies in another one."""
    upright = frame.y0 <= box.y0 and box.y1 <= frame.y1
    return frame.x0 <= box.x0 and box.x1 <= frame.x1 and upright


@EACH
@pytest.mark.parametrize("width", WIDTHS)
def test_words_touch_neither_each_other_nor_the_edge(name, width):
    figure, texts = drawn(name, **WIDTHS[width])
    boxes = boxes_of(texts)
    for (one, first), (other, second) in itertools.combinations(zip(texts, boxes, strict=True), 2):
        assert not first.overlaps(second), (one.get_text(), other.get_text())
    for text, box in zip(texts, boxes, strict=True):
        assert within(box, figure.bbox), text.get_text()
        assert text.get_fontsize() >= 6


@EACH
@pytest.mark.parametrize("width", WIDTHS)
def test_words_stay_inside_their_boxes(name, width):
    figure, texts = drawn(name, **WIDTHS[width])
    frames = [
        patch.get_window_extent()
        for patch in figure.axes[0].patches
        if isinstance(patch, FancyBboxPatch)
    ]
    for text, box in zip(texts, boxes_of(texts), strict=True):
        middle = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        for frame in frames:
            if frame.contains(*middle):
                assert within(box, frame), text.get_text()


@EACH
def test_a_picture_keeps_its_proportions_and_holds_no_result(name):
    sizes = [figures.idea(name, **kwargs).get_size_inches() for kwargs in WIDTHS.values()]
    assert [size[0] for size in sizes] == [WIDTH, COLUMN, figures.PAGE]
    assert np.allclose([size[1] / size[0] for size in sizes], PICTURES[name].height / WIDTH)
    for text in drawn(name)[1]:
        assert not re.search(r"%|\d[.,]\d|\d{2}", text.get_text())


@EACH
def test_a_picture_is_described_and_has_no_colour_in_grey(name):
    text = figures.alt_text(figures.idea(name))
    described = PICTURES[name].described
    assert text.endswith(described)
    assert 100 < len(described) < 600
    figure, texts = drawn(name, grey=True)
    patches = figure.findobj(Patch)
    colors = [*(text.get_color() for text in texts), *(patch.get_edgecolor() for patch in patches)]
    colors += [patch.get_facecolor() for patch in patches]
    colors += [line.get_color() for line in figure.axes[0].lines]
    assert all(np.ptp(to_rgb(color)) < 0.07 for color in colors)


def test_an_unknown_picture_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no picture 'stepwize'.*Did you mean 'stepwise'"):
        figures.idea("stepwize")


def test_a_picture_is_saved_like_every_figure(tmp_path):
    written = figures.save(figures.idea("tour"), "tour", width="column", folder=tmp_path)
    assert {path.suffix for path in written} == {".pdf", ".svg", ".png", ".json"}
