"""Figures as a user saves them: at the width of a paper, described, and never over others."""

import io
import itertools
import json
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import seaborn
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from icotlib import paths
from icotlib.errors import ConfigError
from icotlib.registry import METHODS
from icotlib.reporting import figures
from icotlib.reporting.figures import grey, notebook, style
from icotlib.reporting.figures.base import NARROW
from icotlib.reporting.figures.drawings import drawing_of
from tests.test_figures import DRAWN, made_learning, made_shifts, made_table


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def inches(path):
    with Image.open(path) as image:
        return [round(pixels / 300, 2) for pixels in image.size]


# --- files -------------------------------------------------------------------------------------


def test_a_figure_is_saved_at_the_width_of_a_column_beside_its_data(working_directory, capsys):
    written = figures.save(figures.shifts(made_shifts()), "lengths", width="column", height=2)
    folder = working_directory / "saved_figures"
    assert {path.name for path in written} == {f"lengths.{kind}" for kind in
                                              ("pdf", "svg", "png", "csv", "json")}  # fmt: skip
    assert all(path.parent == folder and path.stat().st_size for path in written)
    assert inches(folder / "lengths.png") == [3.35, 2]
    box = re.search(
        rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", (folder / "lengths.pdf").read_bytes()
    )
    assert [float(x) / 72 for x in box.groups()] == pytest.approx([3.35, 2], abs=0.01)
    assert pd.read_csv(folder / "lengths.csv").accuracy.tolist()[:2] == [0.5, 0.5]
    line = r"\includegraphics[width=\columnwidth]{saved_figures/lengths.pdf}"
    assert capsys.readouterr().out == line + "\n"


def test_one_argument_saves_the_figure_of_a_cell(working_directory, capsys):
    figure = figures.headline(made_table(), made_learning(), save="first", width="page", grey=True)
    assert figure.get_figwidth() == figures.PAGE
    assert r"[width=\textwidth]" in capsys.readouterr().out
    folder = working_directory / "saved_figures"
    assert len(pd.read_csv(folder / "first.csv")) == len(made_table())
    assert len(pd.read_csv(folder / "first-learning.csv")) == len(made_learning())
    pixels = np.asarray(Image.open(folder / "first.png").convert("RGB")).astype(int)
    assert np.ptp(pixels, axis=2).max() == 0  # no colour anywhere


@pytest.mark.parametrize("name", ["probe_map", "digit_shapes", "decodable_vs_used", "mixtures"])
def test_every_kind_of_figure_fits_a_column_and_has_data(name, working_directory):
    written = figures.save(DRAWN[name](), name, width="column", folder="mine")
    assert inches(next(path for path in written if path.suffix == ".png"))[0] == 3.35
    assert sum(path.suffix == ".csv" for path in written) >= 1


def test_panels_of_a_narrow_figure_stand_below_each_other():
    wide, narrow = (
        figures.headline(made_table(), made_learning(), width=width) for width in (6, 3)
    )
    rows = [[ax.get_subplotspec().rowspan.start for ax in figure.axes] for figure in (wide, narrow)]
    assert rows == [[0, 0], [0, 1]]
    assert narrow.get_figwidth() == 3 < NARROW


def test_what_was_changed_by_hand_is_kept(working_directory):
    figure = figures.accuracy_vs_removed(made_table())
    figure.axes[0].set_title("a title of mine")
    figures.save(figure, "mine", width="page", font_size=10)
    svg = (working_directory / "saved_figures" / "mine.svg").read_text()
    assert "a title of mine" in svg
    assert figure.get_figwidth() == figures.COLUMN  # the figure itself stays
    assert drawing_of(figure).made(figures.accuracy_vs_removed(made_table()))
    assert not drawing_of(figure).made(figure)


def test_the_type_gets_the_size_that_is_asked_for():
    sizes = [
        figures.shifts(made_shifts(), font_size=size).axes[0].yaxis.label.get_fontsize()
        for size in (None, 8, 10)
    ]
    assert sizes == [8, 8, 10]


def fonts(figure):
    return {text.get_fontname() for text in figure.findobj(Text) if text.get_text()}


def test_the_font_is_the_one_that_is_asked_for(working_directory):
    table = made_table()
    assert fonts(figures.accuracy_vs_removed(table)) == {"DejaVu Sans"}
    assert fonts(figures.accuracy_vs_removed(table, font="serif")) == {"STIXGeneral"}
    figures.accuracy_vs_removed(table, save="serif", font="serif")
    assert b"STIXGeneral" in (working_directory / "saved_figures" / "serif.pdf").read_bytes()
    other = Figure()
    other.subplots().set_title("a title")
    figures.save(other, "other", font="serif", data=pd.DataFrame({"x": [1]}))
    assert b"STIXGeneral" in (working_directory / "saved_figures" / "other.pdf").read_bytes()
    assert fonts(other) == {"DejaVu Sans"}  # a copy has the other font
    with pytest.raises(ConfigError, match="Did you mean 'STIXGeneral'"):
        figures.save(other, "other", font="STIXGenera")


def test_only_the_formats_that_are_asked_for_are_written(working_directory, capsys):
    figure = figures.shifts(made_shifts())
    written = figures.save(figure, "shifts", width=2, formats=["svg", "png"])
    assert {path.suffix for path in written} == {".svg", ".png", ".csv", ".json"}
    assert capsys.readouterr().out.startswith(
        r"\includegraphics[width=2in]{saved_figures/shifts.png}"
    )
    figures.save(figure, "svg", formats=["svg"])
    assert capsys.readouterr().out == "\\includesvg{saved_figures/svg.svg}\n"
    for formats in ([], ["jpg"], "pdf"):
        with pytest.raises(ConfigError, match="say some of pdf, svg, png"):
            figures.save(figure, "none", formats=formats)
    assert not (working_directory / "saved_figures" / "none.csv").exists()


@pytest.mark.parametrize("look", [{}, {"width": "column"}, {"width": 5.0, "height": 2}])
def test_a_preview_is_as_large_as_the_file(look, working_directory):
    figure = figures.accuracy_vs_removed(made_table())
    shown = figures.preview(figure, figures.Export(**look))
    figures.save(figure, "made", **look)
    size = inches(working_directory / "saved_figures" / "made.png")
    assert [shown.width, shown.height] == pytest.approx(size, abs=0.02)
    with Image.open(io.BytesIO(shown.png)) as image:
        assert image.size[0] == pytest.approx(192 * size[0], abs=4)


def test_a_figure_of_others_is_saved_with_their_data(working_directory):
    figure = Figure()
    figure.subplots().plot([1, 2], [3, 4], label="theirs")
    data = pd.DataFrame({"x": ["=1+1"], "run": ["no-such-run"]})
    figures.save(figure, "theirs", width=2.5, font_size=6, data=data)
    folder = working_directory / "saved_figures"
    assert inches(folder / "theirs.png")[0] == 2.5
    assert (folder / "theirs.csv").read_text().splitlines()[1] == "'=1+1,no-such-run"
    origin = json.loads((folder / "theirs.json").read_text())
    assert origin["runs"] == []
    assert origin["runs not here"] == ["no-such-run"]


def test_a_heatmap_of_seaborn_is_saved_as_it_is_laid_out(working_directory):
    figure = Figure(figsize=(4, 3))
    seaborn.heatmap(pd.DataFrame(np.eye(3)), ax=figure.subplots())  # labels that are numbers
    for width in (None, "column"):
        figures.save(figure, f"map-{width}", width=width)
        assert figures.preview(figure, figures.Export(width=width)).png
    assert figure.get_layout_engine() is None
    assert "row 0, column 0" in figures.alt_text(figure)
    assert inches(working_directory / "saved_figures" / "map-column.png")[0] == 3.35


def test_nothing_is_written_over_what_differs(working_directory):
    draw = DRAWN["shifts"]
    first = figures.save(draw(), "twice")
    before = [path.read_bytes() for path in first]
    assert figures.save(draw(), "twice") == first  # the same again: a notebook run twice
    assert [path.read_bytes() for path in first] == before
    with pytest.raises(
        ConfigError, match=r"twice\.pdf is there already, and differs.*replace=True"
    ):
        figures.save(draw(), "twice", grey=True)
    assert [path.read_bytes() for path in first] == before
    figures.save(draw(), "twice", grey=True, replace=True)
    assert [path.read_bytes() for path in first] != before


def test_no_file_of_another_figure_stays_beside_its_origin(working_directory):
    folder = working_directory / "saved_figures"
    figures.save(DRAWN["shifts"](), "one")
    figures.save(DRAWN["shifts"](), "one", formats=["pdf"])  # the same figure: all stays
    assert (folder / "one.svg").exists()
    with pytest.raises(ConfigError, match=r"one\.(pdf|png|svg|csv) is there already"):
        figures.save(DRAWN["digits"](), "one", formats=["png"])
    figures.save(DRAWN["shifts"](), "one-more")  # a figure of its own
    figures.save(DRAWN["digits"](), "one", formats=["png"], replace=True)
    assert {path.suffix for path in folder.glob("one.*")} <= {".png", ".csv", ".json"}
    assert (folder / "one-more.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folder": paths.FIGURES}, "published figures, which only `icot publish` writes"),
        ({"folder": paths.FIGURES / "mine"}, "published figures"),
        ({"name": "a/b"}, "cannot name a figure's files"),
        ({"name": "a.pdf"}, "no ending"),
        ({"width": "colum"}, r"width='colum' is no width: say 'column' \(3.35 inches\)"),
        ({"width": 0.2}, "width=0.2 must be a number from 1 to 30 inches"),
        ({"font_size": "large"}, "font_size='large' must be a number from 3 to 40 points"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_anything_is_written(
    arguments, message, working_directory
):
    before = sorted(paths.FIGURES.iterdir())
    with pytest.raises(ConfigError, match=message):
        figures.save(DRAWN["shifts"](), **{"name": "x"} | arguments)
    assert sorted(paths.FIGURES.iterdir()) == before
    assert list(working_directory.iterdir()) == []


# --- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_says_what_it_shows(name):
    text = figures.alt_text(DRAWN[name]())
    about, _, seen = text.partition(". ")
    assert about == figures.FIGURES[name].__doc__.partition(".")[0].partition("\n")[0].rstrip(".")
    assert re.search(r"\d", seen), text
    assert "\n" not in text
    assert len(text) < 2500


def test_the_words_say_what_the_data_say():
    table = made_table()
    table.loc[table.method == "icot_si", "accuracy"] = [1, 0.9, 0.8] * 4
    table.loc[table.method == "no_cot", "accuracy"] = 0.25
    text = figures.alt_text(figures.accuracy_vs_removed(table))
    assert "ICoT-SI, random removal (2 seeds) 100% at 0, 90% at 1, 80% at 2" in text
    assert "No CoT, about equal seconds (2 seeds) 25% throughout" in text
    lengths = made_shifts()
    lengths.loc[lengths["shift"] == "3x2", "accuracy"] = 0.125
    assert "12% at 3x2" in figures.alt_text(figures.shifts(lengths))
    shares = {"a": "0.1 0.5", "b": "0.0 0.75"}
    grid = {name: pd.DataFrame({"by_symbol": [each]}) for name, each in shares.items()}
    assert "highest (0.75) at row b, column 1" in figures.alt_text(figures.digits(grid))


def test_rows_with_names_are_described_one_by_one():
    rows = [("none", 10, 0.2), ("none", 11, 0.4), ("other", 10, 0.9), ("other", 11, 0.9)]
    table = pd.DataFrame(rows, columns=["loss", "seed", "accuracy"]).assign(n=50)
    assert "No CoT 30%; other 90%" in figures.alt_text(figures.auxiliary(table))
    table = table.assign(arm=table.loss, success=table.accuracy >= 0.95)
    said = figures.alt_text(figures.success_by_arm(table, 0.95))
    assert "none 20% to 40%; other 90%" in said  # the line at 95% is none of them


def test_points_that_are_drawn_beside_a_tick_are_described_at_it():
    rows = [
        (removed, kind, budget, seed, removed / 12)
        for removed in (0, 6, 12)
        for kind, budget in (("one model", "whole"), ("specialist", "whole"))
        for seed in (10, 11)
    ]
    table = pd.DataFrame(rows, columns=["removed", "kind", "budget", "seed", "accuracy"])
    said = figures.alt_text(figures.anytime(table.assign(n=100, examples=9)))
    assert "one model 0% at 0, 50% at 6, 100% at 12" in said
    assert "specialist 0% at 0, 50% at 6, 100% at 12" in said


def test_the_words_are_in_the_files(working_directory):
    figure = DRAWN["shifts"]()
    text = figures.alt_text(figure)
    figures.save(figure, "x")
    folder = working_directory / "saved_figures"
    assert Image.open(folder / "x.png").text["Description"] == text
    svg = ET.parse(folder / "x.svg").getroot()
    assert svg.find("{http://www.w3.org/2000/svg}title").text == text
    assert json.loads((folder / "x.json").read_text())["alt"] == text


def test_a_notebook_shows_the_words_with_the_image():
    figure = DRAWN["shifts"]()
    data, metadata = notebook.as_image(figure)
    assert data.startswith("iVBOR")
    assert metadata["alt"] == figures.alt_text(figure)
    assert metadata["width"] > 100
    assert notebook.as_image(Figure()) is None


# --- colours and type --------------------------------------------------------------------------

#: How colours look to whoever lacks one kind of cones (Machado et al. 2009, severity 1), in linear
#: light.
SEEN = {
    "all": np.eye(3),
    "no long": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998]],
    "no medium": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                  [-0.011820, 0.042940, 0.968881]],
}  # fmt: skip


def cielab(color, seen):
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = to_xyz @ np.clip(seen @ linear, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_methods_differ_in_colour_to_every_eye_and_in_marker():
    known = METHODS.items()
    ours = [name for name in METHODS.names() if known[name].__module__.startswith("icotlib.")]
    markers = [style.marker_of(name) for name in ours]
    assert len(set(markers)) == len(ours) >= 6
    colors = [style.color_of(name) for name in ours] + [style.UNKNOWN, *style.FURTHER[:1]]
    for seen in map(np.array, SEEN.values()):
        places = [cielab(color, seen) for color in colors]
        for i, place in enumerate(places):
            assert all(np.linalg.norm(place - other) > 15 for other in places[:i]), colors[i]


def test_points_of_methods_differ_in_shape_where_they_stand_beside_each_other():
    lines = [bars[0] for bars in figures.shifts(made_shifts()).axes[0].containers]
    assert len({line.get_marker() for line in lines}) == len(lines) == 2


def test_greys_keep_apart_what_colours_keep_apart():
    figure = Figure()
    ax = figure.subplots()
    colors = ["#0072B2", "#009E73", "#D55E00", "#E69F00"]
    lines = [ax.plot([0, 1], [i, i], color=color)[0] for i, color in enumerate(colors)]
    image = ax.imshow([[0, 1]], cmap="viridis")
    grey.make_grey(figure)
    shades = sorted(to_rgb(line.get_color())[0] for line in lines)
    assert all(len(set(to_rgb(line.get_color()))) == 1 for line in lines)
    assert min(np.diff(shades)) > 0.15
    ramp = image.get_cmap()(np.linspace(0, 1, 5))[:, 0]
    assert (np.diff(ramp) > 0.05).all()


@pytest.mark.parametrize("name", DRAWN)
def test_no_type_is_smaller_than_six_points(name):
    figure = DRAWN[name]()
    figure.draw_without_rendering()
    shown = (
        text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text()
    )
    assert min(text.get_fontsize() for text in shown) >= 6


def test_names_along_an_axis_do_not_touch():
    names = [f"p{i}" for i in range(60)]
    figure = figures.probe_map(
        pd.DataFrame([
            {"variable": "t1", "layer": layer, "position": position, "score": 0.5,
             "control_score": 0.1, "selectivity": 0.4}
            for layer in range(2) for position in range(60)
        ]),
        names,
        width="column",
    )  # fmt: skip
    figure.draw_without_rendering()
    labels = [text for text in figure.axes[0].get_xticklabels() if text.get_text()]
    boxes = [text.get_window_extent() for text in labels]
    assert next(text.get_text() for text in labels) == "p0"
    assert 3 < len(labels) < 60
    assert all(a.x1 <= b.x0 + 1 for a, b in itertools.pairwise(boxes))


def test_labels_of_points_cover_neither_each_other_nor_points():
    rows = pd.DataFrame(
        {"variable": [f"t{i}" for i in range(8)], "selectivity": np.linspace(0, 0.2, 8),
         "steering": 0.1, "steering_low": 0.08, "steering_high": 0.12, "steering_random": 0.0}
    )  # fmt: skip
    figure = figures.decodable_vs_used({"ICoT-SI": rows, "ICoT-KD": rows.assign(steering=0.15)})
    figure.draw_without_rendering()
    ax = figure.axes[0]
    boxes = [mpl.text.Text.get_window_extent(text) for text in ax.texts]
    assert len(boxes) >= 4
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        points = ax.transData.transform(rows[["selectivity", "steering"]])
        assert not any(box.contains(*point) for point in points)


def test_a_json_file_of_the_users_is_never_replaced(working_directory):
    own = working_directory / "package.json"
    own.write_text('{"name": "mine"}')
    for replace in (False, True):
        with pytest.raises(ConfigError, match=r"package\.json exists and is no provenance file"):
            figures.save(DRAWN["digits"](), "package", folder=".", replace=replace)
    assert {path.name for path in working_directory.iterdir()} == {"package.json"}
    for _ in range(2):  # its own it may replace
        figures.save(DRAWN["digits"](), "mine", folder=".")
