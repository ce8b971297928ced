"""The figure desk: a figure of chosen runs, previewed as it is saved."""

import re

import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import icotlib as icot
from icotlib import paths
from icotlib.errors import ConfigError, RunError
from icotlib.registry import METHODS
from icotlib.reporting import figures
from icotlib.reporting.figures import FROM_RUNS, of_runs
from icotlib.reporting.figures.drawings import drawing_of
from icotlib.training.trainer import train
from icotlib.widgets.figure_desk import Desk, offered
from tests.helpers import TINY, TINY_SIZES


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one task, the newer of another preset."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("desk") / "runs"))
        base = icot.RunConfig()
        configs = [base.override(TINY_SIZES | {"method": "no_cot"}), base.override(TINY)]
        configs[1] = configs[1].override(preset="fast")
        yield [train(config) for config in configs]


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- figures of runs ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({*FROM_RUNS} - {"accuracy_vs_speed"}))
def test_figures_are_drawn_from_runs_alone(runs, name):
    figure = of_runs(name, runs, width="column")
    assert figure.get_figwidth() == figures.COLUMN
    assert drawing_of(figure).name == name
    for table in drawing_of(figure).tables().values():
        assert set(table.run) == {run.name for run in runs}


def test_what_runs_do_not_have_is_said(runs):
    with pytest.raises(RunError, match=r"accuracy_vs_speed shows measured speeds.*record_speed"):
        of_runs("accuracy_vs_speed", runs)
    with pytest.raises(RunError, match="headline shows test results"):
        of_runs("headline", [])
    with pytest.raises(ConfigError, match="Did you mean 'headline'"):
        of_runs("headlin", runs)
    with pytest.raises(ConfigError, match="'mixture' is drawn from runs alone"):
        of_runs("mixture", runs)


# --- the desk ----------------------------------------------------------------------------------


def width_of(desk: Desk) -> float:
    """The width of the preview, in inches."""
    return float(re.search(r"width:([\d.]+)in", desk.preview.value).group(1))


def test_the_preview_has_the_size_that_is_chosen(runs):
    desk = Desk("accuracy_vs_removed", runs)
    assert desk.runs.value == tuple(run.name for run in runs)
    for label, inches in (("column", 3.35), ("page", 6.9)):
        desk.width.value = label
        assert width_of(desk) == pytest.approx(inches, abs=0.01)
        assert desk.inches.disabled
    desk.width.value = "own"
    assert not desk.inches.disabled
    assert width_of(desk) == pytest.approx(5, abs=0.01)
    desk.inches.value, desk.height.value = "4", "2"
    assert "4.00 by 2.00 inches" in desk.said.value
    assert desk.figure.get_size_inches().tolist() == [4, 2]
    assert 'alt="' in desk.preview.value


def test_type_font_and_grey_are_those_of_the_figure(runs):
    desk = Desk("accuracy_vs_removed", runs)
    desk.font_size.value, desk.font.value, desk.grey.value = "11", "serif", True
    look = drawing_of(desk.figure).look
    assert (look.font_size, look.font, look.grey) == (11, "STIXGeneral", True)
    colors = {to_rgb(line.get_color()) for line in desk.figure.axes[0].lines}
    assert all(len(set(color)) == 1 for color in colors)


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("height", "high", "height must be a number, got 'high'"),
        ("height", "99", "height=99.0 must be a number from 0.5 to 40 inches"),
        ("font_size", "1", "font_size=1.0 must be a number from 3 to 40 points"),
    ],
)
def test_a_size_that_no_figure_has_is_said_and_not_drawn(runs, field, text, said):
    desk = Desk("accuracy_vs_removed", runs)
    getattr(desk, field).value = text
    assert 'role="alert"' in desk.said.value
    assert said in desk.said.value.replace("&#x27;", "'")
    assert desk.preview.value == ""
    getattr(desk, field).value = ""
    assert "<img" in desk.preview.value


def test_runs_are_chosen_and_none_is_an_error(runs):
    desk = Desk("learning_curves", runs)
    desk.runs.value = (runs[0].name,)
    [table] = drawing_of(desk.figure).tables().values()
    assert set(table.run) == {runs[0].name}
    desk.runs.value = ()
    assert "choose at least one run" in desk.said.value
    desk.save.click()
    assert desk.box.value == ()


def test_at_first_runs_like_the_newest_are_chosen(runs):
    every, chosen = offered(None)
    assert {run.name for run in every} == {run.name for run in runs}
    assert [run.name for run in chosen] == [runs[1].name]
    assert offered(runs) == (runs, runs)


def test_the_desk_saves_what_it_shows(runs, working_directory, capsys):
    desk = Desk("accuracy_vs_removed", runs)
    desk.formats["svg"].value = False
    desk.save.click()
    folder = working_directory / "saved_figures"
    names = {f"accuracy_vs_removed.{kind}" for kind in ("pdf", "png", "csv", "json")}
    assert {path.name for path in folder.iterdir()} == names
    assert {path.name for path in desk.box.value} == names
    line = r"\includegraphics[width=\columnwidth]{saved_figures/accuracy_vs_removed.pdf}"
    assert desk.latex.value == line
    assert capsys.readouterr().out == ""
    assert "Written to" in desk.said.value
    desk.grey.value = True
    desk.save.click()  # another figure under a name that is there
    assert "is there already, and differs" in desk.said.value
    desk.replace.value = True
    desk.save.click()
    assert "Written to" in desk.said.value


def test_published_figures_are_never_written_over(runs, working_directory, monkeypatch):
    published = working_directory / "figures"
    monkeypatch.setattr(paths, "FIGURES", published)
    desk = Desk("accuracy_vs_removed", runs)
    desk.folder.value = "figures"
    desk.replace.value = True
    desk.save.click()
    assert "holds the published figures" in desk.said.value
    assert not published.exists()


def test_the_name_follows_the_figure_until_its_user_gives_one(runs):
    desk = Desk("accuracy_vs_removed", runs)
    desk.kind.value = "headline"
    assert desk.name.value == "headline"
    assert drawing_of(desk.figure).name == "headline"
    desk.name.value = "mine"
    desk.kind.value = "learning_curves"
    assert desk.name.value == "mine"


def test_a_figure_of_others_is_sized_and_saved(working_directory):
    figure = Figure()
    figure.subplots().plot([1, 2], color="#D55E00")
    desk = Desk(figure)
    assert (desk.kind, desk.runs) == (None, None)
    desk.width.value = "page"
    assert width_of(desk) == pytest.approx(6.9, abs=0.01)
    desk.name.value = "other"
    desk.save.click()
    assert (working_directory / "saved_figures" / "other.pdf").is_file()
    assert figure.get_figwidth() != 6.9  # a copy was


def test_where_nobody_watches_the_desk_is_its_figure(runs):
    figure = icot.figure_desk("learning_curves", runs, headless=True)
    assert drawing_of(figure).name == "learning_curves"
    other = Figure()
    assert icot.figure_desk(other, headless=True) is other
    labels = {METHODS.get(run.config.method).label for run in runs}
    assert labels <= {text.get_text() for text in figure.legends[0].get_texts()}


def test_runs_are_picked_without_a_mouse(runs):
    desk = Desk("learning_curves", runs)
    desk.text.value = "no_cot"
    assert [name for _, name in desk.runs.options] == [runs[0].name]
    assert desk.runs.value == (runs[0].name,)  # what is picked and still shown stays so
    desk.none.click()
    assert "choose at least one run" in desk.said.value
    desk.all.click()
    [table] = drawing_of(desk.figure).tables().values()
    assert set(table.run) == {runs[0].name}
    desk.text.value = "sed=1"
    assert "Did you mean" in desk.said.value
    desk.text.value = ""
    desk.all.click()
    assert desk.runs.value == tuple(run.name for run in runs)
