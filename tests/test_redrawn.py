"""Published figures drawn again from the tables beside them."""

import json
import shutil

import pytest
from matplotlib import image

from icotlib import paths
from icotlib.cli import main
from icotlib.errors import ConfigError, DataError
from icotlib.publishing import published, redrawn
from icotlib.reporting import figures


@pytest.fixture
def copied(tmp_path):
    """A folder with one published figure."""
    for file in paths.FIGURES.glob("kd_explained.*"):
        shutil.copy(file, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", redrawn.redrawable())
def test_published_figures_are_those_that_todays_code_draws(name):
    """A figure that was drawn before its function changed shows what is mended since."""
    published_alt = json.loads((paths.FIGURES / f"{name}.json").read_text())["alt"]
    assert figures.alt_text(redrawn.drawn_again(name)) == published_alt, (
        f"draw it again: icot publish --redraw {name}"
    )


@pytest.mark.parametrize("name", redrawn.redrawable())
def test_published_sentences_of_a_table_alone_are_those_that_todays_code_says(name):
    said = redrawn.said_again(name)
    if said:
        assert published.words(name) == said, f"say it again: icot publish --redraw {name}"


def test_sentences_of_states_are_said_from_their_tables():
    assert {name for name in redrawn.redrawable() if redrawn.said_again(name)} >= {"das", "probing"}


def test_a_figure_drawn_again_keeps_its_table_and_its_runs(copied, capsys):
    before = {file.name: file.read_bytes() for file in copied.iterdir()}
    origin = json.loads(before["kd_explained.json"])
    broken = copied / "kd_explained.png"
    broken.write_bytes(b"")
    main(["publish", "--redraw", "kd_explained", "--out", str(copied)])
    assert image.imread(broken).shape[2] == 4
    assert (copied / "kd_explained.csv").read_bytes() == before["kd_explained.csv"]
    assert json.loads((copied / "kd_explained.json").read_text())["runs"] == origin["runs"]
    assert "kd_explained" in capsys.readouterr().out


def test_without_names_every_figure_of_the_folder_is_drawn(copied):
    assert redrawn.redraw(folder=copied) == ["kd_explained"]


def test_a_folder_without_figures_and_a_table_of_other_columns_are_named(copied, tmp_path):
    with pytest.raises(ConfigError, match="holds no table"):
        redrawn.redraw(folder=tmp_path / "nowhere")
    (copied / "kd_explained.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"kd_explained\.csv of .* has no column"):
        redrawn.redraw(folder=copied)


@pytest.mark.parametrize("name", ["kd_explaind", "budget"])
def test_what_cannot_be_drawn_again_is_said_before_anything_is_written(name, copied):
    before = (copied / "kd_explained.png").read_bytes()
    with pytest.raises(ConfigError, match="kd_explained"):
        redrawn.redraw(["kd_explained", name], copied)
    assert (copied / "kd_explained.png").read_bytes() == before


def test_names_of_positions_are_read_as_they_were_before_they_were_written():
    """In CSV files `=` is `'=`, so that no spreadsheet takes it for a formula."""
    assert "=" in set(published.read("probing").position)
