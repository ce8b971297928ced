"""The widgets in JupyterLab, in a real browser: Debian's chromium, driven by Playwright."""

import re

import pytest

from icotlib import experiments, paths
from icotlib.config import to_dict
from icotlib.runs import Run
from icotlib.training.trainer import train
from tests.browsing import PATIENCE, Page, needs_browser, playwright, write_notebook

pytestmark = needs_browser


PANEL = """\
import icotlib as icot
from icotlib.config import from_dict
panel = icot.training_panel(from_dict({config!r}))
panel"""


def test_a_run_is_started_paused_and_resumed_in_the_panel(
    lab, browser, lab_root, tiny, monkeypatch, tmp_path
):
    config = tiny.override({"train.steps": 1600, "train.eval_every": 400})
    cells = (PANEL.format(config=to_dict(config)), "6 * 7")
    notebook = write_notebook(lab_root / "panel.ipynb", *cells)
    shown = Page(browser, lab, notebook)
    shown.run_cell(0)
    shown.press("Start")
    shown.sees("1 training")
    shown.picture("panel-training")
    shown.run_cell(1)
    shown.page.get_by_text("42", exact=True).wait_for()  # the kernel is free
    shown.press("Pause")
    shown.sees("1 paused")
    shown.picture("panel-paused")
    shown.close()

    again = Page(browser, lab, notebook, width=900)  # another page, in which the cell is run again
    again.run_cell(0)
    again.press("Resume")
    again.sees("1 finished")
    again.page.get_by_role("img", name="learning curves").wait_for()
    again.picture("panel-finished")
    again.close()

    monkeypatch.setenv("ICOT_RUNS", str(lab_root / "runs"))
    run = Run.of(config)
    assert run.history.event.tolist() == ["started", "stopped", "resumed", "finished"]
    metrics = run.metrics.drop(columns="seconds")
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path))
    assert metrics.equals(train(config).metrics.drop(columns="seconds"))


DIAL = """\
import icotlib as icot
icot.dial(icot.find_run("{name}"))"""


def test_the_dial_is_turned_by_mouse_and_keyboard(lab, browser, lab_root, tiny, monkeypatch):
    monkeypatch.setenv("ICOT_RUNS", str(lab_root / "runs"))
    cell = DIAL.format(name=train(tiny).name)
    shown = Page(browser, lab, write_notebook(lab_root / "dial.ipynb", cell), width=900)
    shown.run_cell(0)
    shown.sees("answer")
    slider, named = (
        shown.page.get_by_role("slider", name="Removed"),
        shown.page.get_by_label("The model"),
    )
    width = slider.bounding_box()["width"]
    assert slider.get_attribute("aria-valuetext") == "writes every step"
    slider.focus()
    shown.page.keyboard.press("ArrowRight")
    playwright.expect(named).to_have_value("1 token removed", timeout=PATIENCE)
    shown.page.locator("del").wait_for()
    assert slider.bounding_box()["width"] == width
    shown.picture("dial")
    named.select_option("writes none")
    # All eight tokens are struck through: the answer is there before the next one is asked for.
    whole = re.compile(r"(?:\S+\s+){7}\S+")
    playwright.expect(shown.page.locator("del")).to_have_text(whole, timeout=PATIENCE)
    assert slider.bounding_box()["width"] == width
    field = shown.page.get_by_label("Question")
    field.fill("12 * x")
    field.press("Enter")
    shown.page.get_by_role("alert").wait_for()
    shown.picture("dial-error")
    shown.close()


EXPLORER = """\
import icotlib as icot
from icotlib.interp import explorer
explorer.QUESTIONS = 150
icot.explorer(icot.find_run("{name}"), "12 * 34")"""


def test_a_cell_is_chosen_by_mouse_and_keyboard(lab, browser, lab_root, tiny, monkeypatch):
    monkeypatch.setenv("ICOT_RUNS", str(lab_root / "runs"))
    cells = EXPLORER.format(name=train(tiny).name), "6 * 7"
    shown = Page(browser, lab, write_notebook(lab_root / "explorer.ipynb", *cells), width=900)
    shown.run_cell(0)
    shown.sees("The model answers")
    page, expect = shown.page, playwright.expect
    grid = page.get_by_role("grid", name="selectivity of the probe in percent, t1")
    chosen = grid.locator('[aria-selected="true"]')

    def chosen_is(layer: int, position: int) -> None:
        place = f"layer {layer}, position {position} "
        expect(chosen).to_have_attribute("aria-label", re.compile(f"^{place}"), timeout=PATIENCE)
        expect(chosen).to_be_focused()
        shown.sees(f"at {place}(")

    grid.get_by_role("gridcell", name=re.compile("^layer 0, position 1 ")).click()
    chosen_is(0, 1)
    for key, place in {
        "ArrowRight": (0, 2),
        "ArrowUp": (1, 2),
        "End": (1, grid.get_by_role("columnheader").count() - 1),
        "PageDown": (0, grid.get_by_role("columnheader").count() - 1),
        "ArrowDown": (0, grid.get_by_role("columnheader").count() - 1),  # the lowest layer
        "Home": (0, 0),
        "PageUp": (2, 0),
        "ArrowLeft": (2, 0),
        "Enter": (2, 0),
    }.items():
        page.keyboard.press(key)
        chosen_is(*place)
    assert page.locator(".jp-mod-editMode .jp-CodeCell.jp-mod-active").count() == 0
    assert page.locator(".jp-Notebook .jp-CodeCell").count() == len(cells)
    shown.picture("explorer")
    page.get_by_label("Map", exact=True).select_option("effect of patching")
    page.get_by_role("grid", name="effect of patching in percent").wait_for()
    page.get_by_label("Variable", exact=True).select_option("t2")
    shown.sees("t2 at layer 2, position 0 ")
    page.get_by_label("Patched in", exact=True).select_option(index=1)
    shown.picture("explorer-patching")
    field = page.get_by_label("Question", exact=True)
    field.fill("1 * 2")
    field.press("Enter")
    page.get_by_role("alert").wait_for()
    field.fill("34 * 12")
    field.press("Enter")
    shown.sees("The model answers")
    shown.close()


BROWSER = """\
import icotlib as icot
browser = icot.run_browser()
browser"""


def test_runs_are_found_compared_and_their_notebooks_opened(lab, browser, lab_root, monkeypatch):
    monkeypatch.setenv("ICOT_RUNS", str(lab_root / "runs"))
    asked = {"preset": "smoke", "seed": 20, "overrides": {"train.steps": 2}}
    names = [
        train(make(*asked.values())).name for make in (experiments.one_model, experiments.icot_si)
    ]
    copy = paths.executed_root() / "smoke-s20" / "06_stepwise.ipynb"
    copy.parent.mkdir(parents=True)
    write_notebook(copy, "'an executed copy'", papermill={"parameters": asked})
    cells = (BROWSER, "[run.name for run in browser.value]")
    shown = Page(browser, lab, write_notebook(lab_root / "browser.ipynb", *cells), width=900)
    shown.run_cell(0)
    shown.sees("Pick runs in the list")
    shown.field("Filter").fill("seed=20 mult-1x2")
    shown.sees(re.compile("^2 of "))
    shown.field("Runs").focus()
    shown.page.keyboard.press("Home")
    shown.sees("1 picked")
    shown.press("Pick all shown")
    shown.sees("2 picked")
    shown.page.get_by_role("cell", name="method", exact=True).wait_for()
    shown.page.get_by_role("img", name=re.compile("Training loss")).wait_for()
    shown.picture("run-browser")
    shown.field("Sort by").select_option("accuracy")
    shown.run_cell(1)
    for name in names:
        shown.page.get_by_text(f"'{name}'").wait_for()  # the kernel has sorted them before
    shown.page.get_by_role("link", name="smoke-s20/06_stepwise.ipynb").click()
    shown.page.get_by_text("'an executed copy'").wait_for()  # in a tab of its own
    shown.picture("run-browser-notebook")
    shown.close()


FORM = """\
import icotlib as icot
form = icot.settings_form("icot_si", "smoke")
form"""


def test_settings_are_filled_in_and_the_plan_follows(lab, browser, lab_root):
    cells = (FORM, "form.value")
    shown = Page(browser, lab, write_notebook(lab_root / "form.ipynb", *cells), width=900)
    shown.run_cell(0)
    plan = shown.page.locator(".jp-OutputArea pre").filter(has_text="icot_si-")
    playwright.expect(plan).to_contain_text("40 steps", timeout=PATIENCE)
    field = shown.field("train.steps")
    field.fill("6o")
    alert = shown.page.locator(".jp-OutputArea").get_by_role("alert")
    playwright.expect(alert).to_contain_text("train.steps must be a whole number, got '6o'")
    shown.picture("form-error")
    field.fill("")
    field.press_sequentially("60")  # the plan follows while this is typed
    playwright.expect(plan).to_contain_text("60 steps", timeout=PATIENCE)
    playwright.expect(alert).to_have_count(0)
    shown.field("Show").select_option("removal")
    shown.field("removal.schedule").select_option("adaptive")
    shown.field("removal.threshold").wait_for()
    cell = shown.field("Cell to copy")
    wanted = 'overrides = {"train.steps": 60, "removal.schedule": "adaptive"}'
    playwright.expect(cell).to_have_value(wanted, timeout=PATIENCE)
    playwright.expect(plan).to_contain_text("whenever accuracy allows", timeout=PATIENCE)
    shown.picture("form")
    shown.run_cell(1)
    shown.page.get_by_text("{'train.steps': 60, 'removal.schedule': 'adaptive'}").wait_for()
    shown.press("Time it here")
    playwright.expect(plan).to_contain_text("on this machine", timeout=PATIENCE)
    assert float(shown.field("Time on device").input_value()) > 0
    shown.picture("form-timed")
    shown.close()


DESK = """\
import icotlib as icot
icot.figure_desk("learning_curves", [icot.find_run("{name}")])"""


def test_a_figure_is_seen_at_its_size_and_saved(lab, browser, lab_root, tiny, monkeypatch):
    monkeypatch.setenv("ICOT_RUNS", str(lab_root / "runs"))
    cell = DESK.format(name=train(tiny.override(seed=21)).name)
    shown = Page(browser, lab, write_notebook(lab_root / "desk.ipynb", cell), width=900)
    shown.run_cell(0)
    image = shown.page.get_by_role("img", name=re.compile("Training loss"))
    image.wait_for()
    assert image.bounding_box()["width"] == pytest.approx(3.35 * 96, abs=2)
    shown.field("Width").select_option("page (6.9 in)")
    shown.sees("6.90 by ")
    playwright.expect(image).to_have_attribute("style", re.compile(r"width:6\.[89]"))
    assert image.bounding_box()["width"] == pytest.approx(6.9 * 96, abs=2)
    height = shown.field("Height")
    height.fill("2.5")
    height.press("Enter")
    shown.sees("6.90 by 2.50")
    shown.field("Font").select_option("serif (STIXGeneral)")
    shown.field("Grey, without colours").press("Space")
    name = shown.field("Name")
    name.fill("curves")
    shown.press("Save figure")
    shown.sees("Written to")
    line = r"\includegraphics[width=\textwidth]{saved_figures/curves.pdf}"
    playwright.expect(shown.field("LaTeX")).to_have_value(line, timeout=PATIENCE)
    assert (lab_root / "saved_figures" / "curves.pdf").is_file()
    shown.picture("desk")
    shown.close()
