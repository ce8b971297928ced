"""Runs are found by their config, trained when missing, and listed."""

import io
import itertools
import json
import os
import re
from typing import ClassVar

import pytest
import tqdm
from jupyter_client.manager import start_new_kernel

from icotlib import experiments, paths
from icotlib.cli import main
from icotlib.config import RunConfig, settings_of, to_dict
from icotlib.errors import ConfigError, RunError, StoppedError, TrainingError
from icotlib.evaluation.stage_model import StageModel
from icotlib.reporting.results import final_rows, learning_table, results_table
from icotlib.reporting.speed import measure_speed, record_speed
from icotlib.reporting.summary import summary
from icotlib.running import progress
from icotlib.running.jobs import ensure
from icotlib.running.progress import ProgressBars, is_live, line_of
from icotlib.runs import Run, all_runs, find_run, unfinished
from icotlib.system.seals import sealed, write_json
from icotlib.training.trainer import Trainer, train
from tests.helpers import TINY


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three tiny finished runs of the same size, one per method."""
    patch = pytest.MonkeyPatch()
    patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("runs")))
    base = RunConfig().override(TINY)
    yield [train(base.override({"method": x})) for x in ("one_model", "no_cot", "explicit_cot")]
    patch.undo()


# --- asking for runs ---------------------------------------------------------------------------


def test_ensure_trains_what_is_missing_side_by_side_and_in_order(runs_folder, tiny, capsys):
    configs = [tiny.override(seed=seed) for seed in (1, 0, 1)]
    runs = ensure(configs, jobs=2)
    assert [run.config.seed for run in runs] == [1, 0, 1]
    assert all(run.done for run in runs)
    assert len(all_runs()) == 2
    lines = capsys.readouterr().out.splitlines()
    assert sum(tiny.override(seed=0).run_name in line for line in lines) == 3  # one per evaluation
    ensure(configs)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("shared_worker")
def test_an_error_in_a_worker_reaches_the_caller(runs_folder, tiny):
    bad = tiny.override({"data.valid_examples": 9000})
    with pytest.raises(ConfigError, match="has only 8100 questions"):
        ensure([bad])
    diverging = tiny.override({"optim.lr": 1e6, "optim.clip": 0, "optim.name": "adamw"})
    with pytest.raises(TrainingError, match="the loss at step"):
        ensure([diverging])


@pytest.mark.usefixtures("shared_worker")
def test_a_failing_run_does_not_stop_another_one(runs_folder, tiny):
    bad = tiny.override({"data.valid_examples": 9000})
    with pytest.raises(ConfigError):
        ensure([bad, tiny], jobs=1)
    assert Run.of(tiny).done


def test_a_run_that_is_asked_for_twice_is_missing_once(runs_folder):
    student, coupled = experiments.kd_student("smoke"), experiments.icot_kd("smoke")
    names = [config.method for config in unfinished([student, coupled, student])]
    assert names == ["explicit_cot", "kd_student", "kd_emulator", "icot_kd"]


def test_whether_a_user_watches_can_be_set(monkeypatch):
    for value, expected in (("1", True), ("0", False)):
        monkeypatch.setenv("ICOT_LIVE", value)
        assert is_live() is expected


#: What a kernel is asked: whether somebody watches, in a cell and in the callback of a widget.
WATCHED = """
import icotlib as icot
print(icot.is_live())
kernel = get_ipython().kernel
asked_by = kernel.get_parent
kernel.get_parent = lambda *channel: asked_by(*channel) | {"msg_type": "comm_msg"}
print(icot.is_live())
del kernel.get_parent
"""


def test_a_notebook_is_live_where_its_frontend_can_ask_its_user(monkeypatch):
    """Whatever the environment says: papermill inherits that of the JupyterLab it is started in."""
    monkeypatch.setenv("JPY_SESSION_NAME", "a notebook in JupyterLab")
    monkeypatch.delenv("ICOT_LIVE", raising=False)
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(paths.PROJECT))
    try:
        for can_ask in (True, False):
            said = []
            client.execute_interactive(
                WATCHED,
                allow_stdin=can_ask,
                timeout=60,
                output_hook=lambda message, said=said: said.append(message["content"].get("text")),
            )
            assert "".join(filter(None, said)).split() == [str(can_ask), "True"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


class Reported(Run):
    """A run in training that says of itself what a test wants."""

    state: ClassVar[dict] = {}
    done = False
    in_training = True
    progress = property(lambda self: self.state)


@pytest.fixture
def bars(runs_folder, tiny, monkeypatch):
    """Bars of one run in a terminal of 80 columns, with a clock and an output of the test's own."""
    monkeypatch.setenv("ICOT_LIVE", "1")
    clock, written = [100.0], io.StringIO()
    monkeypatch.setattr(tqdm.std, "time", lambda: clock[0])

    def made(**options):
        options.pop("dynamic_ncols")
        return tqdm.std.tqdm(**options, ncols=80, file=written, mininterval=0)

    monkeypatch.setattr(progress, "terminal_tqdm", made)
    config = tiny.override(train={"steps": 10_000}, label="a-label-of-many-words-and-more")
    shown = ProgressBars([config])
    run = Reported(Run.of(config).folder)
    shown.runs = {run.name: run}
    return shown, run, clock, written


def test_the_time_left_is_that_of_the_steps_done(bars):
    """However often the runs are looked at between two reports."""
    shown, run, clock, written = bars
    for step in range(0, 110, 10):
        state = {"step": step, "steps": 10_000, "loss": 1.0, "removed": 2, "chain": 8}
        run.state = state if step else {}
        for _ in range(10):
            shown.update()
            clock[0] += 1.0
    shown.update()
    *_, last = written.getvalue().split("\r")
    assert "loading data and model" in written.getvalue()
    assert re.search(r"2:(4\d|50):\d\d left, loss 1.000, removed 2/8", last)  # 9,900 steps of 1 s
    assert max(map(len, written.getvalue().split("\r"))) <= 80


def test_a_resumed_run_shows_only_new_evaluations(runs_folder, tiny, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_finish", lambda self, rows: None)
        train(tiny)
    bars = ProgressBars([tiny])
    assert bars.evaluations == 3
    train(tiny)
    bars.update()
    assert capsys.readouterr().out == ""
    assert not bars.runs  # it is finished, and no longer read


def test_an_evaluation_is_one_line_with_the_time_left(runs_folder, tiny, capsys, monkeypatch):
    monkeypatch.setenv("ICOT_LIVE", "0")
    bars = ProgressBars([tiny])
    train(tiny)
    bars.update()
    lines = capsys.readouterr().out.splitlines()
    assert [re.search(r"step (\d+)/12", line)[1] for line in lines] == ["4", "8", "12"]
    assert lines[2].endswith("about 0.0 min left")
    row = Run.of(tiny).metrics.iloc[0].copy()
    row["seconds"] = 60.0
    assert line_of("name", row, 12).endswith("about 2.0 min left")  # 8 of 12 steps are left


# --- finding and describing --------------------------------------------------------------------


def test_runs_are_found_by_the_beginning_of_their_name(trained):
    assert find_run("no_cot").name == trained[1].name
    with pytest.raises(RunError, match=r"no run under .* begins with 'nothing'"):
        find_run("nothing")
    with pytest.raises(RunError, match="the name of a run is empty"):
        find_run("")


def test_a_name_finds_the_run_of_its_method_and_of_the_usual_preset(begun_runs):
    usual = begun_runs[0]
    assert find_run("icot_si").name == find_run("icot_si-linear").name == usual.name


def begin(config):
    run = Run.of(config)
    run.begin(config, "cpu", {"data": "hash"})
    return run


def test_a_run_of_minutes_goes_before_a_toy_of_the_usual_seed(runs_folder):
    begin(experiments.icot_si("smoke"))
    other = begin(experiments.icot_si("fast", 1))
    assert find_run("icot_si").name == other.name


@pytest.fixture
def begun_runs(runs_folder):
    """The main run of ICoT-SI at two presets, those that the workbook trains beside it, and one of
    a method whose name begins alike."""
    configs = [experiments.icot_si(preset) for preset in ("fast", "smoke")]
    configs += [*experiments.schedule_ablations("fast").values(), experiments.tour("fast")]
    return [begin(config) for config in configs]


def test_provenance_holds_no_path_of_this_machine(trained):
    for run in trained:
        text = (run.folder / "provenance.json").read_text()
        assert str(run.folder.parent) not in text
        assert ' "/' not in text


def test_an_unfinished_or_damaged_run_says_so(runs_folder, tiny):
    run = Run.of(tiny)
    with pytest.raises(RunError, match="no run, or not finished"):
        run.totals  # noqa: B018
    with pytest.raises(RunError, match="no saved weights"):
        run.weights()
    run.folder.mkdir(parents=True)
    (run.folder / "config.json").write_text(json.dumps(to_dict(tiny))[:40])
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        run.config  # noqa: B018


# --- tables ------------------------------------------------------------------------------------


def test_the_results_table_has_a_row_per_stage(trained):
    table = results_table(trained)
    assert len(table) == 9 + 1 + 1
    assert set(table[table.method == "no_cot"].removed) == {8}
    assert set(table[table.method == "explicit_cot"].removed) == {0}
    assert table.ci_low.le(table.accuracy).all()
    assert table.ci_high.ge(table.accuracy).all()
    last = final_rows(table).set_index("method").removed.to_dict()
    assert last == {"one_model": 8, "no_cot": 8, "explicit_cot": 0}
    assert set(summary(table).method) == {"One model for all k", "No CoT", "Explicit CoT"}


def test_the_learning_table_knows_the_last_stage_of_a_run_in_training(tiny, runs_folder):
    steps = itertools.count(1)
    with pytest.raises(StoppedError):
        train(tiny, should_stop=lambda: next(steps) == 5)
    begun, finished = learning_table([Run.of(tiny)]), learning_table([train(tiny)])
    assert len(begun) == 1
    columns = ["chain_length", "final_stage"]
    assert begun[columns].iloc[0].tolist() == finished[columns].iloc[0].tolist() == [8, 8]


def test_the_learning_table_has_a_row_per_evaluation(trained):
    learning = learning_table(trained)
    assert len(learning) == 9
    assert learning.groupby("run").step.apply(list).tolist() == [[4, 8, 12]] * 3


def test_speed_is_relative_to_no_cot_and_measured_once(trained):
    table = record_speed(trained, reference=trained[1], rounds=1, examples=2)
    assert len(table) == 11
    speeds = results_table(trained).set_index("method").relative_speed
    assert speeds["no_cot"] == 1
    assert speeds.notna().all()
    stamps = [(run.folder / "speed.json").stat().st_mtime_ns for run in trained]
    record_speed(trained, reference=trained[1])
    assert stamps == [(run.folder / "speed.json").stat().st_mtime_ns for run in trained]
    measured = trained[0].measured / "speed.json"
    rows = json.loads(measured.read_text())["rows"]
    write_json(measured, sealed({"rows": rows, "reference": "another"}))
    record_speed(trained[:1], reference=trained[1], rounds=1, examples=2)
    assert trained[1].name in measured.read_text()  # what is relative to another run is measured
    with pytest.raises(RunError, match="the reference of relative speed writes no chain"):
        record_speed(trained, reference=trained[0])


def test_a_test_set_smaller_than_what_is_timed_is_timed_as_it_is(trained, monkeypatch):
    asked, generate = [], StageModel.generate

    def counted(model, batch):
        asked.append(len(batch))
        return generate(model, batch)

    monkeypatch.setattr(StageModel, "generate", counted)
    measure_speed({"only": StageModel.of(trained[1])}, batch_size=20, examples=100, rounds=1)
    assert asked == [16, 20, 4]  # the test has 24 questions; the first ones warm up


# --- the command line --------------------------------------------------------------------------


def test_runs_and_show_print_what_is_there(trained, capsys):
    assert main(["runs"]) == 0
    assert trained[0].name in capsys.readouterr().out
    assert main(["show", trained[1].name]) == 0
    shown = capsys.readouterr().out
    assert "removed" in shown
    assert "removal:" in shown
    assert main(["runs", "--csv"]) == 0
    assert capsys.readouterr().out.startswith("method,schedule,variant,task")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "icot_si", "--set", "train.stepz=5"], "Did you mean 'train.steps'"),
        (["train", "icot_si", "--set", "train.steps"], "--set needs SETTING=VALUE"),
        (["show", "nothing"], "begins with 'nothing'"),
        (["notebook", "77"], "names no notebook: 00_tour"),
        (["notebook", "mine.ipynb"], "papermill mine.ipynb copy.ipynb -p seed 1"),
        (["notebook", "copies/06_stepwise.ipynb"], "is no notebook of the workbook"),
        (["notebook", "14", "--set", "sorce=x"], "Did you mean 'source'?"),
        (["notebook", "06", "--set", "sead=1"], "Did you mean 'seed'?"),
        (["train"], "say which run"),
        (["train", "--fields"], "--fields needs the name of a run"),
        (["runs", "--summary", "--tex", "table.md"], "give a name that ends in .tex"),
        (["publish"], "smoke runs are never published"),
    ],
)
def test_a_users_mistake_ends_in_one_clear_line(arguments, message, runs_folder, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("icot: ")
    assert message in error


def test_data_writes_files_once(tmp_path, capsys):
    command = ["data", "mult-2x2", "--out", str(tmp_path / "d"), "--train", "50"]
    command += ["--valid", "5", "--test", "5"]
    assert main(command) == 0
    assert len((tmp_path / "d" / "train.txt").read_text().splitlines()) == 50
    assert main(command) == 1
    assert "exists; give --out another folder" in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "icot workbook" in text


def test_the_command_explains_every_setting_of_a_run(runs_folder, capsys):
    command = ["train", "icot_si", "--preset", "smoke", "--set", "train.steps=7", "--fields"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    settings = settings_of("icot_si")
    headings = re.findall(r"^(\S+)  \((.*)\)$", printed, re.MULTILINE)
    assert [name for name, _ in headings] == [one.name for one in settings]
    assert "; here 7; 1 to " in dict(headings)["train.steps"]
    words = " ".join(printed.split())
    assert all(" ".join(one.help.split()) in words for one in settings)
    assert not runs_folder.exists()  # and trains nothing


@pytest.mark.usefixtures("shared_worker")
def test_the_command_trains_the_run_of_a_preset(runs_folder, capsys):
    assert main(["train", "explicit_cot", "--preset", "smoke", "--jobs", "1"]) == 0
    assert Run.of(experiments.explicit_cot("smoke")).done


def test_published_figures_are_replaced_by_those_of_their_own_task_alone(capsys):
    for out in ([], ["--out", str(paths.FIGURES)], ["--out", os.path.relpath(paths.FIGURES)]):
        assert main(["publish", "--task", "mult-3x3", *out]) == 1
        assert "go to another folder: --out FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["figures", "./figures", "other"])
def test_pages_follow_the_published_figures_however_their_folder_is_written(
    out, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    done = []
    publish = "icotlib.publishing.publish.publish"
    monkeypatch.setattr(publish, lambda folder, task: results_table([]))
    monkeypatch.setattr("icotlib.publishing.guide.update_pages", lambda: done.append(out))
    assert main(["publish", "--out", out]) == 0
    assert done == ([] if out == "other" else [out])
