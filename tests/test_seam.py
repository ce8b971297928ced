"""The seam for a method: one file, imported by path, goes the whole way without another line."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from icotlib import experiments, registry
from icotlib.cli import main
from icotlib.cli.train import fields
from icotlib.config import RunConfig, from_dict, to_dict
from icotlib.data.files import write_examples
from icotlib.errors import ConfigError
from icotlib.evaluation.ood import shift_table
from icotlib.evaluation.stage_model import StageModel, load
from icotlib.models.loading import load_model
from icotlib.planning.plan import plan
from icotlib.reporting import figures
from icotlib.reporting.results import final_rows, learning_table, results_table
from icotlib.reporting.speed import record_speed
from icotlib.reporting.summary import summary
from icotlib.runs import Run, all_runs
from icotlib.training.trainer import train

TOY = Path(__file__).with_name("toy_method.py")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The toy method, and its run at smoke, trained by the command line after a SIGKILL."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("seam")
        patch.setenv("ICOT_RUNS", str(folder))
        patch.setenv(registry.IMPORTS, "")
        registry.import_file(TOY)
        config = experiments.run_config("toy", "smoke", overrides={"train.steps": 90})
        kill_once(config, folder)
        yield config, Run.of(config)
        del registry.METHODS._items["toy"]
        del sys.modules["icotlib_user_toy_method"]


def kill_once(config: RunConfig, folder: Path) -> None:
    """Train in workers of the command; kill it after a checkpoint, then ask again."""
    command = [sys.executable, "-m", "icotlib", "train", "toy", "--preset", "smoke"]
    command += ["--import", str(TOY), "--set", "train.steps=90", "--jobs", "1"]
    environment = os.environ | {"ICOT_RUNS": str(folder), registry.IMPORTS: ""}
    run = Run.of(config)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while not list(run.folder.glob("checkpoint/step-*")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < limit
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not run.done
    time.sleep(0.5)  # its worker ends with it
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert run.done


def test_a_method_is_one_short_file():
    assert len(TOY.read_text().splitlines()) <= 60


def test_a_killed_run_ends_with_the_numbers_of_an_uninterrupted_one(toy, tmp_path, monkeypatch):
    config, run = toy
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "whole"))
    whole = train(config)
    assert whole.folder != run.folder
    pd.testing.assert_frame_equal(
        run.metrics.drop(columns="seconds"), whole.metrics.drop(columns="seconds")
    )
    pd.testing.assert_frame_equal(
        run.stages.drop(columns="train_seconds"), whole.stages.drop(columns="train_seconds")
    )
    weights = "model/model.safetensors"
    assert (run.folder / weights).read_bytes() == (whole.folder / weights).read_bytes()


@pytest.mark.parametrize("preset", ["smoke", "fast", "paper"])
def test_it_has_a_run_at_every_preset_on_any_data(toy, preset):
    changes = {"data.task": "mult-2x2", "toy.drop": 0.2}
    if preset != "paper":
        changes |= {"model.width": 96, "model.heads": 4}
    config = experiments.run_config("toy", preset, 1, changes)
    teacher = config.phases["teacher"]
    assert config.data.task == teacher.data.task == "mult-2x2"
    assert config.model == teacher.model
    assert config.toy.drop == 0.2


def test_its_config_is_like_any_other(toy):
    config, run = toy
    assert config.toy.drop == 0.7  # its own preset
    assert run.name.startswith("toy-mult-1x2-s0-v")
    assert from_dict(to_dict(config)) == run.config == config
    assert config.override({"toy.drop": 0.1}).run_name != run.name
    with pytest.raises(ConfigError, match=r"toy\.drop must be at most 1"):
        config.override({"toy.drop": 2})
    with pytest.raises(ConfigError, match=r"unknown setting 'toy\.dorp'.*'toy\.drop'"):
        config.override({"toy.dorp": 0.2})
    with pytest.raises(ConfigError, match="'icot_si' does not read it; it is a setting of toy"):
        RunConfig().override({"toy.drop": 0.2})
    assert "toy.drop  (number; default 0.5; here 0.7; 0 to 1)" in fields(config)


def test_its_table_counts_what_it_builds_on(toy):
    config, _ = toy
    rows = results_table(all_runs())
    rows = rows[rows.method == "toy"]
    assert rows.removed.tolist() == [6]
    teacher = Run.of(config.phases["teacher"])
    assert rows.train_steps.iloc[0] == 90 + teacher.totals["step"]
    assert summary(rows).method.tolist() == ["Toy method"]


def test_it_is_drawn_in_every_general_figure(toy, tmp_path):
    _, run = toy
    no_cot = experiments.no_cot("smoke")
    runs = [run, train(no_cot), Run.of(run.config.phases["teacher"])]
    record_speed(runs, reference=runs[1], rounds=1, examples=2)
    table, learning = results_table(runs), learning_table(runs)
    drawn = {
        "headline": figures.headline(table, learning),
        "accuracy_vs_removed": figures.accuracy_vs_removed(table),
        "accuracy_vs_seconds": figures.accuracy_vs_seconds(learning),
        "accuracy_vs_speed": figures.accuracy_vs_speed(table),
        "learning_curves": figures.learning_curves(learning),
        "shifts": figures.shifts(shift_table(runs, n=20)),
    }
    for name, figure in drawn.items():
        named = {text.get_text() for legend in legends(figure) for text in legend.get_texts()}
        assert any(text.startswith("Toy method") for text in named), name
        paths = figures.save_published(figure, name, final_rows(table), runs, tmp_path)
        assert all(path.stat().st_size for path in paths)


def legends(figure):
    return [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]


def test_it_answers_and_is_evaluated(toy, tmp_path, capsys):
    _, run = toy
    model = load("toy")
    assert model.run.name == run.name
    assert model.answer("7 * 84").truth == "8 8 5"
    assert model.evaluate().accuracy == run.stages.accuracy.iloc[-1]
    assert main(["ask", "toy", "7 * 84"]) == 0
    assert "question  7 * 4 8" in capsys.readouterr().out
    write_examples(tmp_path / "test.txt", model.task.text(model.task.render(model.task.sample(
        __import__("numpy").random.default_rng(0), 5))))  # fmt: skip
    assert main(["evaluate", "toy", str(tmp_path / "test.txt")]) == 0
    assert "of 5 answers right" in capsys.readouterr().out


def test_it_is_exported_and_reloaded(toy, tmp_path):
    _, run = toy
    assert main(["export", "toy", "--out", str(tmp_path / "out")]) == 0
    model, layout = load_model(tmp_path / "out")
    again = StageModel.of(run)
    batch = again.encode(["7 * 84", "3 * 11"])
    exported = dataclasses.replace(again, model=model, layout=layout)
    assert layout.texts(exported.generate(batch)) == again.layout.texts(again.generate(batch))
    assert sum(x.numel() for x in model.parameters()) == run.totals["parameters"]
    assert "# Toy method on mult-1x2" in (tmp_path / "out" / "README.md").read_text()


def test_it_is_planned(toy):
    config, _ = toy
    (planned,) = plan(config.override(seed=5))[-1:]
    assert planned.steps == 90
    assert planned.cost.flops > 0
    assert "no chain from the first step on" in "\n".join(planned.lines())


def test_two_files_cannot_take_one_name(toy, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(TOY.read_text())
    with pytest.raises(ConfigError, match="two files register the method 'toy'"):
        registry.import_file(other)


def test_a_file_that_fails_is_named(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("1 / 0")
    with pytest.raises(ConfigError, match=r"bad\.py: ZeroDivisionError"):
        registry.import_file(bad)
    with pytest.raises(ConfigError, match="no such file"):
        registry.import_file(tmp_path / "missing.py")


TASK = """
import numpy as np
from icotlib.tasks import SymbolBatch, Task, register

@register("echo")
class Echo(Task):
    symbols = ("a", "b")
    def __init__(self, n):
        self.n, self.name, self.n_questions = n, f"echo-{n}", 2**n
        self.example_question = "ab" * n
    @classmethod
    def parse(cls, size):
        return cls(int(size))
    def sample(self, rng, n):
        return rng.integers(0, 2, (n, self.n))
    def render(self, questions, rng=None):
        return SymbolBatch(questions, questions, questions)
    def parse_question(self, typed):
        return np.array([["ab".index(letter) for letter in typed]])
"""


def test_a_task_of_ones_own_is_one_file_too(runs_folder, tmp_path, monkeypatch):
    """It reaches the worker processes in which runs train."""
    monkeypatch.setenv(registry.IMPORTS, "")
    path = tmp_path / "echo_task.py"
    path.write_text(TASK)
    command = ["train", "no_cot", "--preset", "smoke", "--import", str(path)]
    command += ["--set", "data.task=echo-8", "--set", "train.steps=10"]
    assert main(command) == 0
    assert [run.config.data.task for run in all_runs()] == ["echo-8"]
    del registry.TASKS._items["echo"]
    del sys.modules["icotlib_user_echo_task"]


# --- files and packages that cannot be imported ------------------------------------------------


def test_a_missing_file_of_the_users_fails_each_time_and_by_its_name(monkeypatch, tmp_path):
    """Names would be missing without a word if the second question were answered."""
    monkeypatch.setenv(registry.IMPORTS, str(tmp_path / "nowhere.py"))
    fresh = registry.Registry("task", "icotlib.tasks")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"ICOT_IMPORT .*nowhere\.py: no such file"):
            fresh.names()


@pytest.mark.parametrize("error", [ModuleNotFoundError("No module named 'x'"), SystemExit(3)])
def test_a_plugin_that_cannot_be_imported_is_named(monkeypatch, error):
    def load():
        raise error

    point = SimpleNamespace(name="mine", dist=SimpleNamespace(name="my-package"), load=load)
    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda group: [point])
    with pytest.raises(ConfigError, match=f"plugin mine of my-package .*{type(error).__name__}"):
        registry.load_plugins()


def test_a_file_that_ends_the_process_is_an_error(tmp_path):
    (tmp_path / "ends.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(ConfigError, match=r"ends\.py: SystemExit: 3"):
        registry.import_file(tmp_path / "ends.py")
