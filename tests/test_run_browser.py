"""The run browser and what it shows: runs as a table, their differences, curves and notebooks."""

import shutil

import nbformat
import pytest

import icotlib as icot
from icotlib import experiments, paths
from icotlib.config import RunConfig
from icotlib.errors import ConfigError
from icotlib.reporting.overview import filtered, runs_table
from icotlib.running.copies import executed_copies
from icotlib.runs import Run
from icotlib.training.trainer import train
from icotlib.widgets.run_browser import Browser, line_of, links_html
from tests.helpers import TINY, TINY_SIZES


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Four runs: two seeds, one with another pace, one with a method that has no removal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("browser") / "runs"))
        tiny = RunConfig().override(TINY)
        configs = [tiny, tiny.override(seed=1), tiny.override({"optim.lr": 0.01, "label": "fast"})]
        configs.append(RunConfig().override(TINY_SIZES | {"method": "no_cot"}))
        yield [train(config) for config in configs]


@pytest.fixture
def begun(trained):
    """A run that has begun and is not finished; it is gone after the test."""
    config = trained[0].config.override(seed=7)
    run = Run.of(config)
    run.begin(config, "cpu", {"data": trained[0].provenance["data"], "trained_with": {}})
    run.report(step=6, seconds=3.0)
    yield run
    shutil.rmtree(run.folder)


def test_every_run_is_a_row_finished_or_not(trained, begun):
    table = runs_table()
    assert set(table.run) == {run.name for run in [*trained, begun]}
    row = table.set_index("run").loc[trained[2].name]
    assert (row.method, row.task, row.variant, row.seed) == ("one_model", "mult-2x2", "fast", 0)
    assert (row.state, row.step, row.steps) == ("finished", 12, 12)
    assert row.accuracy == trained[2].stages.accuracy.iloc[-1]
    assert row.train_seconds == trained[2].totals["seconds"]
    other = table.set_index("run").loc[begun.name]
    assert (other.state, other.step, other.train_seconds) == ("unfinished", 6, 3.0)
    assert other.isna().accuracy
    keys = table.set_index("run").configuration
    assert keys[trained[0].name] == keys[trained[1].name] != keys[trained[2].name]


def test_runs_are_found_by_words_settings_and_columns(trained):
    table = runs_table()

    def names(*words, **equal):
        return set(filtered(table, *words, **equal).run)

    every = [run.name for run in trained]
    assert names() == set(every)
    assert names("FAST mult") == {every[2]}
    assert names("optim.lr=1e-2") == {every[2]}
    assert names("one_model seed=1") == {every[1]}
    assert names(method="no_cot", task=None) == {every[3]}
    assert names(state="unfinished") == set()
    with pytest.raises(ConfigError, match=r"Did you mean 'optim\.lr'"):
        names("optim.lrr=1")


def test_runs_are_sorted(trained):
    table = runs_table()
    best = filtered(table, sort="accuracy").accuracy
    assert best.is_monotonic_decreasing
    assert filtered(table, sort="seconds").train_seconds.is_monotonic_increasing
    assert filtered(table, sort="date").date.is_monotonic_decreasing
    with pytest.raises(ConfigError, match="say one of name, accuracy, seconds, date"):
        filtered(table, sort="best")


def test_differences_are_those_of_single_runs(trained):
    first, second, fast, no_cot = trained
    found = icot.differences([first, second])
    assert found.to_dict("records") == [{"setting": "seed", first.name: "0", second.name: "1"}]
    found = icot.differences([first, fast, no_cot]).set_index("setting")
    assert found.loc["optim.lr"].tolist() == ["0.001", "0.01", "0.001"]
    assert found.loc["label"].tolist() == ["", "fast", ""]
    assert found.loc["method"].tolist() == ["one_model", "one_model", "no_cot"]
    assert found.loc["removal.warmup_steps", no_cot.name] == "-"
    assert icot.differences([first]).empty


def executed(name, **parameters):
    """An executed copy of a notebook, with the parameters that papermill notes."""
    copy = paths.executed_root() / "some" / f"{name}.ipynb"
    copy.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"papermill": {"parameters": parameters}}
    nbformat.write(nbformat.v4.new_notebook(metadata=metadata), copy)
    return copy


def test_executed_notebooks_are_found_by_the_runs_that_they_ask_for(runs_folder):
    stepwise = executed("06_stepwise", preset="smoke", seed=3)
    coupling = executed("05_coupling", preset="smoke", seed=3, overrides={"train.steps": 5})
    executed("01_task_and_data", preset="smoke", seed=3)
    (paths.executed_root() / "some" / "08_removal_curve.ipynb").write_text("{}")  # of other origin
    assert executed_copies(experiments.icot_si("smoke", 3).run_name) == [stepwise]
    assert executed_copies(experiments.icot_si("smoke", 4).run_name) == []
    coupled = experiments.icot_kd("smoke", 3, {"train.steps": 5})
    assert executed_copies(coupled.run_name) == [coupling]
    assert executed_copies(coupled.phases["teacher"].run_name) == [coupling]
    executed("05_coupling", preset="smoke", seed=4)  # in its place
    assert executed_copies(coupled.run_name) == []


# --- the browser -------------------------------------------------------------------------------


def shown(browser: Browser) -> list[str]:
    return [name for _, name in browser.list.options]


def test_filters_leave_what_was_picked_if_it_is_still_shown(trained):
    browser = Browser()
    assert len(shown(browser)) == 4
    first, second, _, no_cot = (run.name for run in trained)
    browser.list.value = (first, no_cot)
    browser.pickers["method"].value = "one_model"
    assert no_cot not in shown(browser)
    assert browser.list.value == (first,)
    assert [run.name for run in browser.box.value] == [first]
    browser.text.value = "seed=1"
    assert (shown(browser), browser.list.value) == ([second], ())
    browser.text.value = "sed=1"
    assert 'role="alert"' in browser.said.value
    assert "Did you mean" in browser.said.value
    browser.text.value = ""
    assert 'role="status"' in browser.said.value
    assert "3 of 4 runs, 0 picked" in browser.said.value


def test_what_is_left_by_the_filter_is_picked_at_once(trained):
    browser = Browser()
    browser.text.value = "one_model"
    browser.all.click()
    assert {run.name for run in browser.box.value} == {run.name for run in trained[:3]}
    assert "3 of 4 runs, 3 picked" in browser.said.value
    browser.none.click()
    assert browser.box.value == ()


def test_pickers_offer_what_there_is(trained):
    browser = Browser(trained[:3])
    options = {name: [x for x, _ in one.options] for name, one in browser.pickers.items()}
    assert options == {
        "method": ["any", "one_model"],
        "task": ["any", "mult-2x2"],
        "preset": ["any", "none"],
        "state": ["any", "finished"],
    }
    assert all(one.description for one in (browser.text, browser.list, browser.sort))


def test_picked_runs_are_compared(trained):
    browser = Browser()
    assert browser.settings.value == browser.curves.value == ""
    browser.list.value = (trained[0].name,)
    assert browser.settings.value == ""
    assert "<img alt=" in browser.curves.value
    browser.list.value = (trained[0].name, trained[2].name)
    assert "optim.lr" in browser.settings.value
    assert f"<th>{trained[2].name}</th>" in browser.settings.value
    assert "0.01" in browser.settings.value
    alone = browser.curves.value
    browser.list.value = (trained[0].name, trained[1].name, trained[2].name)
    assert browser.curves.value != alone


def test_links_lead_to_notebooks_from_where_the_kernel_is(runs_folder, monkeypatch, tmp_path):
    config = experiments.one_model("smoke", overrides={"train.steps": 2})
    run = train(config)
    executed("06_stepwise", preset="smoke", overrides={"train.steps": 2})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "LAB", tmp_path / "lab")
    browser = Browser()
    browser.list.value = (run.name,)
    [output] = browser.links.outputs
    assert 'href="runs/notebooks/some/06_stepwise.ipynb"' in output["data"]["text/html"]
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "executed").symlink_to(paths.executed_root())  # as `icot lab` does
    assert 'href="lab/executed/some/06_stepwise.ipynb"' in links_html([run])
    browser.list.value = ()
    assert browser.links.outputs == ()


def test_new_runs_appear_when_they_are_looked_for(trained, begun):
    browser = Browser()
    assert begun.name in shown(browser)
    begun.report(step=9, seconds=4.0)
    browser.text.value = "seed=7"
    browser.reload.click()
    [line] = [text for text, _ in browser.list.options]
    assert "4\u00a0s" in line
    offered = [state for state, _ in browser.pickers["state"].options]
    assert offered == ["any", "finished", "unfinished"]


def test_nothing_is_shown_of_runs_that_are_gone(runs_folder, tiny):
    run = train(tiny)
    browser = Browser()
    browser.list.value = (run.name,)
    assert "<img alt=" in browser.curves.value
    shutil.rmtree(run.folder)
    browser.reload.click()
    assert browser.curves.value == ""
    assert browser.box.value == ()


def test_lines_stand_in_columns(trained, begun):
    table = runs_table()
    lines = [line_of(row) for row in table.itertuples()]
    keys = table.configuration
    assert len({line.index(key) for line, key in zip(lines, keys, strict=True)}) == 1
    assert all(" " not in line for line in lines)  # lists of browsers would run them together


def test_a_run_that_is_damaged_meanwhile_is_said(trained):
    browser = Browser()
    path = trained[3].folder / "metrics.csv"
    before = path.read_bytes()
    path.write_bytes(before + b"1,2\n")
    try:
        browser.list.value = (trained[3].name,)
        assert 'role="alert"' in browser.said.value
        assert "metrics.csv" in browser.said.value
    finally:
        path.write_bytes(before)


def test_where_nobody_watches_there_is_a_table(trained):
    assert len(icot.run_browser(trained[:2], headless=True)) == 2
    assert icot.run_browser(headless=True).frame.equals(runs_table())


def test_runs_that_are_given_are_used_wherever_their_folder_is(trained, tmp_path, monkeypatch):
    """As those that come with the workbook; a run of the same name may be in the folder of runs."""
    moved = [Run(shutil.copytree(run.folder, tmp_path / "kept" / run.name)) for run in trained[:3]]
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "runs"))
    browser = Browser(moved)
    browser.list.value = tuple(run.name for run in moved)
    assert {run.folder for run in browser.box.value} == {run.folder for run in moved}
    assert "<img alt=" in browser.curves.value
    assert "optim.lr" in browser.settings.value
    browser.text.value = "optim.lr=0.01"
    assert shown(browser) == [moved[2].name]
