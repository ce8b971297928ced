"""Sweeps: their cells, their table, and what they survive."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import icotlib as icot
from icotlib import experiments
from icotlib.cli import main
from icotlib.errors import ConfigError, DataError, RunError
from icotlib.reporting.results import final_rows, results_table
from icotlib.running import notebooks, sweeps
from icotlib.running.grids import draw_cells, grid_cells, parse_grid, read_cells
from icotlib.running.sweeps import Sweep, execute_cell, several, sweep_names, sweeps_root
from icotlib.runs import Run, all_runs
from icotlib.widgets import live
from tests.clusters import Cluster
from tests.helpers import wait_until

#: Settings of a cell of a second.
QUICK = {"train.steps": 12, "train.eval_every": 6, "data.test_examples": 10}


# --- cells -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "grid"),
    [
        (["seed=0..2"], {"seed": [0, 1, 2]}),
        (["removal.pace=1,2.5"], {"removal.pace": [1, 2.5]}),
        (["removal.side=left,right", "seed=3"], {"removal.side": ["left", "right"], "seed": [3]}),
        (["optim.lr=1.0e-3, 0.01"], {"optim.lr": [0.001, 0.01]}),
        (["train.stop_accuracy=null,0.9"], {"train.stop_accuracy": [None, 0.9]}),
        (["seed=[1, 2]"], {"seed": [1, 2]}),
        (["x=[1, 2], [3]"], {"x": [[1, 2], [3]]}),
    ],
)
def test_a_grid_is_read_from_text(pairs, grid):
    assert parse_grid(pairs) == grid


def test_a_grid_is_every_combination():
    assert grid_cells({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]
    with pytest.raises(ConfigError, match=r"200 of a times 51 of b has 10,200 cells, and at most"):
        grid_cells({"a": range(200), "b": range(51)})


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["seed"], r"--grid needs SETTING=VALUES, such as seed=0\.\.4"),
        (["seed="], "--grid needs SETTING=VALUES"),
        (["seed=1", "seed=2"], "names seed twice"),
        (["optim.lr=0.1..0.2"], "counts whole numbers"),
        (["seed=3..1"], "the range must rise: 1..3"),
        (["seed=1..9:log"], ":log belongs to --draw"),
        (["x={1"], "cannot be read as values"),
        (["removal={pace: 1},{pace: 2}"], "one setting at a time"),
        (["x=[1,2],[3"], "cannot be read as values"),
    ],
)
def test_a_wrong_grid_says_what_is_wrong(pairs, message):
    with pytest.raises(ConfigError, match=message):
        parse_grid(pairs)


def test_cells_are_read_from_files(tmp_path):
    (tmp_path / "cells.csv").write_text("seed,removal.pace,removal.side\n0,1,\n1,2.5,right\n")
    cells = [{"seed": 0, "removal.pace": 1}, {"seed": 1, "removal.pace": 2.5}]
    cells[1]["removal.side"] = "right"
    assert read_cells(tmp_path / "cells.csv") == cells
    (tmp_path / "cells.json").write_text(json.dumps(cells))
    assert read_cells(tmp_path / "cells.json") == cells


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("no.csv", None, "no.csv: no such file"),
        ("empty.csv", "", "holds no cell"),
        ("header.csv", "seed\n", "holds no cell"),
        ("cells.yml", "seed: 1", "must hold a list of mappings"),
        ("cells.yml", "{a", "cannot be read"),
        ("points.csv", "seed;optim.lr\n0;1e-3\n", r"its fields have ';' between them"),
        ("tabs.csv", "seed\toptim.lr\n0\t1e-3\n", r"its fields have '\\t' between them"),
    ],
)
def test_a_wrong_list_of_cells_is_named(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_cells(tmp_path / name)


def test_cells_in_another_encoding_are_refused(tmp_path):
    (tmp_path / "cells.csv").write_text("label\n\xe9\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"cells\.csv: is no text in UTF-8"):
        read_cells(tmp_path / "cells.csv")


def test_a_row_with_a_field_too_many_is_named(tmp_path):
    path = tmp_path / "cells.csv"
    path.write_text("seed,removal.pace\n0,1,\n1,2,\n")
    with pytest.raises(DataError, match=r"cells\.csv: .*line 2 has 3 fields, and the header 2"):
        read_cells(path)
    path.write_text("seed, seed\n0,1\n")
    with pytest.raises(DataError, match="two columns are called 'seed'"):
        read_cells(path)
    path.write_text("seed, removal.pace\n0,2\n\n1,\n")
    assert read_cells(path) == [{"seed": 0, "removal.pace": 2}, {"seed": 1}]


def test_what_is_varied_cannot_be_given_for_all_cells_too(runs_folder, capsys):
    words = ["sweep", "icot_si", "--grid", "seed=0..1", "--seed", "7"]
    assert main(words) == 1
    assert (
        "seed: varied between the cells, and given for all of them too" in capsys.readouterr().err
    )
    assert sweep_names() == []


@pytest.mark.usefixtures("shared_worker")
def test_a_finished_cell_shows_no_error_of_before(swept):
    cell = swept.cells[0]
    cell.note(state="failed", error="RunError: the disk was full", time=0.0)
    try:
        row = cell.row()
        assert (row["state"], row["error"]) == ("finished", "")
    finally:
        cell.forget()


def test_draws_are_seeded_and_stay_in_their_range():
    pairs = ["optim.lr=1e-4..1e-2:log", "model.width=64,128", "train.steps=10..12", "x=0.5..1.0"]
    pairs += ["train.batch_size=8..128:log"]
    cells = draw_cells(pairs, 200)
    assert draw_cells(pairs, 300)[:200] == cells != draw_cells(pairs, 200, seed=1)
    rates = pd.Series([cell["optim.lr"] for cell in cells])
    assert rates.between(1e-4, 1e-2).all()
    assert 0.4 < (rates < 1e-3).mean() < 0.6  # half of the draws in each decade
    assert {cell["model.width"] for cell in cells} == {64, 128}
    assert {cell["train.steps"] for cell in cells} == {10, 11, 12}
    assert all(0.5 <= cell["x"] <= 1 for cell in cells)
    sizes = {cell["train.batch_size"] for cell in cells}
    assert all(isinstance(size, int) for size in sizes)
    assert (min(sizes), max(sizes)) >= (8, 100)
    with pytest.raises(ConfigError, match="positive for :log"):
        draw_cells(["optim.lr=0..1:log"], 1)
    with pytest.raises(ConfigError, match=r"a range is low\.\.high or low\.\.high:log"):
        draw_cells(["optim.lr=1e-3..1:lg"], 1)
    with pytest.raises(ConfigError, match=r"optim\.lr is given twice"):
        draw_cells(["optim.lr=1e-4..1e-2", "optim.lr=1..2"], 1)


def test_a_grid_of_values_that_stand_alone(runs_folder):
    assert several(3) == [3]
    assert several("mult-1x2") == ["mult-1x2"]
    assert several(range(2)) == [0, 1]
    for wrong in ({"grid": {}}, {"grid": {"seed": []}}, {"cells": []}):
        with pytest.raises(ConfigError, match="the sweep has no cell"):
            icot.sweep("icot_si", **wrong, preset="smoke")
    for seed in (0.7, "x"):
        with pytest.raises(ConfigError, match="seed must be a whole number"):
            icot.sweep("icot_si", {"seed": [seed]}, preset="smoke")
    with pytest.raises(ConfigError, match="each cell of a sweep is a mapping"):
        icot.sweep("icot_si", cells=["seed"], preset="smoke")
    assert sweep_names() == []


# --- sweeps ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished sweep of four cells at smoke."""
    patch = pytest.MonkeyPatch()
    patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("runs")))
    grid = {"seed": [0, 1], "removal.schedule": ["linear", "geometric"]}
    yield icot.sweep("icot_si", grid, preset="smoke", overrides=QUICK)
    patch.undo()


def test_every_cell_is_a_run(swept):
    table = swept.table()
    assert table.state.tolist() == ["finished"] * 4
    assert table[["seed", "removal.schedule"]].to_numpy().tolist() == [
        [0, "linear"],
        [0, "geometric"],
        [1, "linear"],
        [1, "geometric"],
    ]
    expected = experiments.icot_si("smoke", 1, {**QUICK, "removal.schedule": "linear"})
    assert table.runs[2] == expected.run_name
    assert table.accuracy[2] == Run.of(expected).stages.accuracy.iloc[-1]
    written = pd.read_csv(swept.folder / "table.csv")
    assert written.runs.tolist() == table.runs.tolist()
    assert repr(swept).endswith(": 4 finished)")


@pytest.mark.usefixtures("shared_worker")
def test_the_seconds_of_a_cell_are_those_of_all_its_phases(runs_folder):
    table = icot.sweep("icot_kd", {"seed": [0]}, preset="smoke").table()
    run = Run.of(experiments.icot_kd("smoke", 0))
    rows = final_rows(results_table([run]))
    assert table.seconds[0] == pytest.approx(rows.train_seconds.iloc[0], rel=0.01)


def test_nothing_is_done_again_and_sweeps_share_runs(swept):
    cell = {"seed": 1, "removal.schedule": "geometric"}
    other = icot.sweep("icot_si", cells=[cell], preset="smoke", overrides=QUICK, name="other")
    swept.run()
    assert other.table().state.tolist() == ["finished"]
    assert sweep_names() == sorted(["other", swept.folder.name])
    assert len(all_runs()) == 4
    for run in all_runs():
        assert run.history.event.tolist() == ["started", "finished"]


def test_the_table_is_live_in_a_notebook(swept, monkeypatch):
    shown = []

    def display(table, display_id):
        shown.append(table)
        return SimpleNamespace(update=shown.append)

    monkeypatch.setattr("IPython.display.display", display)
    on_change = icot.live_table()
    on_change(swept)
    assert shown == []  # nobody would see it
    monkeypatch.setattr(live, "in_notebook", lambda: True)
    for _ in range(2):
        on_change(swept)
    assert [table.state.tolist() for table in shown] == [["finished"] * 4] * 2


def test_another_plan_under_the_same_name_is_refused(swept):
    with pytest.raises(ConfigError, match="has another plan: choose another --name"):
        Sweep.make("icot_si", [{"seed": 5}], name=swept.folder.name)
    with pytest.raises(RunError, match=rf"no sweep 'x'; sweeps here: .*{swept.folder.name}"):
        Sweep(sweeps_root() / "x")


@pytest.mark.parametrize(
    "plan",
    [
        "[]",
        "{}",
        "{",
        '{"target": "icot_si", "notebook": false, "fixed": {}, "cells": [3]}',
        '{"target": "icot_si", "notebook": "no", "fixed": {}, "cells": []}',
    ],
)
def test_a_damaged_plan_is_named(runs_folder, capsys, plan):
    file = sweeps_root() / "mine" / "plan.json"
    file.parent.mkdir(parents=True)
    file.write_text(plan)
    for option in ("--show", "--again"):
        assert main(["sweep", option, "mine"]) == 1
        assert str(file) in capsys.readouterr().err
    assert file.read_text() == plan


def test_a_setting_that_the_target_does_not_read_leaves_nothing_behind(runs_folder):
    with pytest.raises(ConfigError, match=r"removal\.pase"):
        Sweep.make("icot_si", [{"removal.pase": 1}])
    with pytest.raises(ConfigError, match=r"distill\.delta"):
        Sweep.make("06", [{"distill.delta": 1}])
    with pytest.raises(ConfigError, match=r"'icot_is' names no run .*Did you mean 'icot_si'"):
        Sweep.make("icot_is", [{"seed": 1}])
    assert sweep_names() == []


def test_grids_hold_numbers_of_numpy_and_nothing_that_json_cannot(runs_folder):
    made = Sweep.make("icot_si", grid_cells({"seed": list(np.arange(2))}), {"preset": "smoke"})
    assert [cell.settings for cell in made.cells] == [{"seed": 0}, {"seed": 1}]
    fixed = {"preset": "smoke", "optim.lr": np.float64(1e-3)}
    assert Sweep.make("icot_si", [{"seed": 0}], fixed).plan["fixed"]["optim.lr"] == 1e-3
    assert sweeps._plain(Path("mine"), "data.path") == "mine"
    with pytest.raises(ConfigError, match="seed: a cell cannot hold a set"):
        Sweep.make("icot_si", [{"seed": {1}}])


@pytest.mark.parametrize("text", ["optim.lr=1.2.3..4", "train.steps=1..1e400"])
def test_bounds_that_are_no_numbers_are_named(text):
    with pytest.raises(ConfigError, match=f"--draw {text}: .* are no two numbers"):
        draw_cells([text], 2)


def test_random_cells_need_draws(runs_folder, capsys):
    assert main(["sweep", "icot_si", "--random", "3"]) == 1
    assert "--random needs --draw" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["sweep", "icot_si", "--random", "0", "--draw", "seed=0..9"])
    assert "--random: must be at least 1, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--again", "x", "icot_si", "--seed", "0"], "leave out the target, --seed"),
        (["--again", "x", "--grid", "seed=0..1", "--set", "a=1"], "leave out --grid, --set"),
        (["--show", "x", "--retry"], "leave out --retry"),
        (["--show", "x", "--again", "y"], "leave out --again"),
        (["icot_si", "--grid", "seed=0..1", "--draw-seed", "0"], "leave out --draw-seed"),
    ],
)
def test_what_a_sweep_would_ignore_is_refused(runs_folder, capsys, words, said):
    assert main(["sweep", *words]) == 1
    assert said in capsys.readouterr().err


def test_a_sweep_with_nothing_left_needs_no_cluster(swept, monkeypatch):
    monkeypatch.setenv("ICOT_CLUSTER", "tcp://127.0.0.1:1")  # where nothing answers
    assert swept.run().counts()["finished"] == 4


def test_a_cell_that_another_process_has_finished_is_not_executed_again(runs_folder, monkeypatch):
    executed = []

    def execute(path, copy, **values):
        executed.append(path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text('{"metadata": {"papermill": {"end_time": "now", "exception": false}}}')

    monkeypatch.setattr(notebooks, "execute", execute)
    made = Sweep.make("01", [{"seed": 0}], {"preset": "smoke"})
    for _ in range(2):
        execute_cell(made.folder.name, 0)
    assert len(executed) == 1
    assert made.cells[0].state == "finished"


@pytest.mark.usefixtures("shared_worker")
def test_a_notebook_is_swept(runs_folder):
    swept = icot.sweep("01", {"seed": [0, 1]}, preset="smoke")
    assert swept.table().state.tolist() == ["finished", "finished"]
    copies = [json.loads(cell.copy.read_text()) for cell in swept.cells]
    for seed, copy in enumerate(copies):
        given = copy["metadata"]["papermill"]["parameters"]
        assert given == {"preset": "smoke", "seed": seed, "overrides": {}}
    swept.cells[0].copy.unlink()
    assert swept.table().state.tolist() == ["waiting", "finished"]


def test_the_overrides_of_a_cell_are_those_of_its_notebook(runs_folder):
    cells = [{"overrides": {"train.steps": steps}} for steps in (5, 9)]
    made = Sweep.make("06", cells, {"preset": "smoke", "optim.lr": 1e-3})
    own = [cell.parameters["overrides"] for cell in made.cells]
    assert own == [{"train.steps": steps, "optim.lr": 1e-3} for steps in (5, 9)]
    assert [cell.configs[0].train.steps for cell in made.cells] == [5, 9]


def test_a_notebooks_own_parameters_are_read_as_such(runs_folder, monkeypatch):
    monkeypatch.setattr(Sweep, "run", lambda sweep, *more: sweep)
    words = ["sweep", "14", "--preset", "smoke", "--grid", "seed=0..1", "--name", "mine"]
    assert main([*words, "--set", "columns={question: q}", "--set", "train.steps=5"]) == 1
    fixed = Sweep.named("mine").plan["fixed"]
    assert fixed == {"preset": "smoke", "columns": {"question": "q"}, "train.steps": 5}


@pytest.mark.usefixtures("shared_worker")
def test_a_failed_cell_stands_in_the_table_until_it_is_retried(runs_folder, capsys):
    """Its cause is a setting that only training finds wrong."""
    cells = ["--grid", "optim.lr=0.001,1.0e+6", "--set", "optim.clip=0", "--preset", "smoke"]
    quick = [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]
    command = ["sweep", "icot_si", *cells, "--set", "optim.name=adamw", *quick, "--name", "rates"]
    assert main(command) == 1
    swept = Sweep(sweeps_root() / "rates")
    assert swept.table().state.tolist() == ["finished", "failed"]
    assert "TrainingError" in swept.table().error[1]
    said = capsys.readouterr()
    assert "icot sweep --again rates --retry" in said.err
    failed = Run.of(swept.cells[1].configs[0])
    tries = failed.history.event.tolist().count("started")
    assert main(command) == 1  # without --retry, a failed cell is left alone
    assert failed.history.event.tolist().count("started") == tries
    assert main(["sweep", "--again", "rates", "--retry"]) == 1
    assert failed.history.event.tolist().count("started") == tries + 1
    assert main(["sweep", "--show", "rates"]) == 0
    assert "1 finished, 1 failed" in capsys.readouterr().out


# --- what a sweep survives ---------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A running cluster, which `ICOT_CLUSTER` names."""
    made = Cluster(tmp_path)
    made.start()
    monkeypatch.setenv("ICOT_CLUSTER", made.address)
    yield made
    made.stop()


def small_disk(folder):
    """Mount a disk of 64 KiB at a folder; whether this process has the right to."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_a_sweep_survives(runs_folder, outside):
    """A killed worker, an interrupted client, a restarted scheduler, and a full disk in one cell.

    Every cell ends finished once, or failed with its cause; no run is trained twice.
    """
    grid = {"seed": list(range(12)), "removal.schedule": ["linear", "geometric"]}
    fixed = {"preset": "smoke", **QUICK}
    swept = Sweep.make("icot_si", grid_cells(grid), fixed, "survives")
    full = Run.of(swept.cells[11].configs[0]).folder
    mounted = had_small_disk = small_disk(full)
    command = [sys.executable, "-m", "icotlib", "sweep", "--again", "survives"]

    said = runs_folder.parent / "said"

    def ask():
        with said.open("a") as file:
            return subprocess.Popen(command, stdout=file, stderr=file)

    def finished():
        return sum(run.done for run in all_runs())

    try:
        client = ask()
        wait_until(lambda: finished() >= 2)
        working = [run for run in all_runs(finished=False) if not run.history.empty]
        os.kill(int(working[-1].history.process.iloc[-1]), signal.SIGKILL)  # a worker
        wait_until(lambda: finished() >= 6)
        client.send_signal(signal.SIGINT)
        client.wait()
        client = ask()
        wait_until(lambda: finished() >= 10)
        outside.processes["scheduler"].kill()
        outside.processes["scheduler"].wait()
        while client.poll() is None:
            outside.start()  # workers end with their scheduler
            time.sleep(0.5)
        table = swept.table()
        failed = table.state == "failed"
        assert set(table.state) <= {"finished", "failed"}, said.read_text()
        assert failed.sum() == mounted, said.read_text()
        if mounted:
            assert "no space is left on the disk" in table.error[failed].item()
            subprocess.run(["umount", str(full)], check=True)
            mounted = False
            outside.start()
            swept.run(retry=True)
        assert swept.table().state.tolist() == ["finished"] * 24
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(full)], check=False)
    for run in all_runs():
        events = Counter(run.history.event)
        assert events["finished"] == 1
        # Begun once; again from its start only where nothing had been saved when it was killed.
        assert events["started"] <= 1 + (run.history.event.tolist()[:2] == ["started", "started"])
    assert len(all_runs()) == 24
    if not had_small_disk:
        pytest.skip("no rights to mount a small disk: the full disk alone was left out")


def test_files_in_cells_are_found_from_anywhere(runs_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv", "smoke"):  # a file that is called as a preset is none
        (tmp_path / name).write_text("question,answer\n1 + 1,2\n")
    sweep = Sweep.make("14", [{"source": "a.csv"}, {"source": "b.csv"}], {"preset": "smoke"})
    assert sweep.plan["cells"] == [{"source": f"{tmp_path}/{name}.csv"} for name in "ab"]
    assert sweep.plan["fixed"] == {"preset": "smoke"}
    (tmp_path / "held.txt").write_text("1 2 * 3||4 #### 5\n")
    sweep = Sweep.make("one_model", [{"data.hold_out": "held.txt"}], {"preset": "smoke"})
    assert sweep.plan["cells"] == [{"data.hold_out": f"{tmp_path}/held.txt"}]


def test_a_range_of_very_many_values_is_refused_at_once():
    with pytest.raises(ConfigError, match="999,991 values, one for each whole number"):
        parse_grid(["train.steps=10..1000000"])
