"""Training in a process of its own: started, paused, resumed and stopped from any process."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from icotlib.cli import main
from icotlib.config import to_dict
from icotlib.errors import ConfigError, RunError, StoppedError
from icotlib.running import background
from icotlib.running.background import Training
from icotlib.runs import Run
from icotlib.training.trainer import train
from tests.helpers import wait_until

#: Columns of metrics.csv that are a function of the config alone.
SAME = ["step", "examples", "tokens", "rate", "loss", "valid_match"]


@pytest.fixture
def longer(tiny):
    """A run of some seconds, which can be paused in between."""
    return tiny.override({"train.steps": 600, "train.eval_every": 200})


#: What another process does to start a run, whose settings it is given.
START = """
import json, sys
from icotlib.config import from_dict
from icotlib.running.background import Training
Training(from_dict(json.loads(sys.argv[1]))).start()
"""


def reached(training: Training, step: int) -> bool:
    return training.progress[-1].step >= step


def test_a_paused_run_ends_with_the_numbers_of_an_uninterrupted_one(
    runs_folder, longer, tmp_path, monkeypatch
):
    training = Training(longer)
    assert [one.state for one in training.progress] == ["not started"]
    values = json.dumps(to_dict(longer))
    subprocess.run([sys.executable, "-c", START, values], check=True)  # and outlives this process
    try:
        assert training.progress[0].state == "waiting"
        training.start()  # it is under way
        wait_until(lambda: reached(training, 20))
        other = Training(longer)  # as after the kernel was restarted
        assert other.active
        assert other.progress[0].loss > 0
        assert other.progress[0].left > 0
        other.pause()
        assert {one.state for one in training.progress} <= {"pausing", "paused"}
        training.wait(60)
        [paused] = training.progress
        assert paused.state == "paused"
        assert 20 <= paused.step < 600
        other.start()
        training.wait(120)
    finally:
        training.stop()
    run = Run.of(longer)
    assert run.history.event.tolist() == ["started", "stopped", "resumed", "finished"]
    [done] = training.progress
    assert (done.state, done.step, done.removed, done.chain) == ("finished", 600, 8, 8)
    assert done.valid_match == run.metrics.valid_match.iloc[-1]
    metrics = run.metrics
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "uninterrupted"))
    assert metrics[SAME].equals(train(longer).metrics[SAME])


def test_stopping_ends_it_at_once(runs_folder, longer):
    training = Training(longer.override(train={"steps": 100_000}))
    training.start()
    wait_until(lambda: reached(training, 20))
    training.stop()
    training.wait(30)
    assert [(one.state, one.step) for one in training.progress] == [("not started", 0)]
    assert training.error is None
    assert next(iter(training.runs.values())).history.event.tolist() == ["started"]


def test_runs_that_are_in_hand_stay_where_they_are(runs_folder, tiny, monkeypatch):
    """Of two runs, one of which trains already, the other is started; the method's phases that
    another process happens to train are not steered with it."""
    process = SimpleNamespace(pid=os.getpid())
    monkeypatch.setattr(subprocess, "Popen", lambda *command, **how: process)
    other, teacher = tiny.override(seed=1), tiny.override(method="explicit_cot")
    student = tiny.override({"method": "kd_student", "phases": {"teacher": teacher}})
    for asked in (tiny, [tiny, other], other, student):
        Training(asked).start()
    orders = runs_folder.glob(".background/*.json")
    started = sorted(json.loads(path.read_text())["runs"] for path in orders)
    expected = [[tiny], [other], [teacher, student]]
    assert started == sorted([config.pinned().run_name for config in one] for one in expected)
    assert [one.state for one in Training([tiny, student]).progress] == ["waiting"] * 3
    assert [one.state for one in Training(teacher).progress] == ["waiting"]
    assert [one.state for one in Training(tiny.override(seed=2)).progress] == ["not started"]


def test_a_failure_is_over_once_the_run_is_finished(runs_folder, tiny, monkeypatch):
    process = SimpleNamespace(pid=os.getpid())
    training = Training(tiny)
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", lambda *command, **how: process)
        training.start()
    (order,) = runs_folder.glob(".background/*.json")
    order.with_suffix(".error").write_text("the disk is full")
    assert training.error == "the disk is full"
    train(tiny)
    assert training.error is None


def test_an_order_of_another_machine_stays(runs_folder, tiny, monkeypatch):
    process = SimpleNamespace(pid=os.getpid())
    monkeypatch.setattr(subprocess, "Popen", lambda *command, **how: process)
    Training(tiny).start()
    (order,) = runs_folder.glob(".background/*.json")
    content = json.loads(order.read_text()) | {"machine": "another"}
    order.write_text(json.dumps(content))
    Training(tiny).start()
    assert order.is_file()


def test_what_failed_says_why_until_it_is_started_again(runs_folder, tiny):
    bad = tiny.override({"data.valid_examples": 9000})
    training = Training(bad)
    training.start()
    with pytest.raises(RunError, match=r"9,?000"):
        training.wait(120)
    assert training.progress[0].state == "failed"
    assert "Traceback" not in training.error


def test_a_killed_process_says_what_it_wrote_last(runs_folder, longer):
    training = Training(longer)
    training.start()
    wait_until(lambda: reached(training, 20))
    (order,) = runs_folder.glob(".background/*.json")
    order.with_suffix(".log").open("a").write("Killed by the kernel\n")
    os.killpg(json.loads(order.read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: not training.active)
    assert training.progress[0].state == "failed"
    assert "the last line of its log: Killed by the kernel" in training.error
    assert str(order.with_suffix(".log")) in training.error


def order_of(config, folder):
    """The file of a process that would train a config."""
    folder.mkdir(parents=True)
    order = folder / "order.json"
    content = {"runs": [config.run_name], "configs": [to_dict(config)], "workers": 1}
    order.write_text(json.dumps(content))
    return order


def test_a_run_that_was_asked_to_stop_has_not_failed(runs_folder, tiny, monkeypatch):
    order = order_of(tiny, runs_folder / ".background")
    stopped = background.jobs.Outcome(SimpleNamespace(name="a"), error=StoppedError("stopped"))
    monkeypatch.setattr(background.jobs, "run_jobs", lambda *jobs, on_end: [stopped])
    assert background.main(order) == 130
    assert not list(order.parent.iterdir())
    assert Training(tiny).progress[0].state == "not started"


def test_a_run_that_has_failed_is_shown_so_while_others_go_on(runs_folder, tiny, monkeypatch):
    process = SimpleNamespace(pid=os.getpid())
    other = tiny.override(seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", lambda *command, **how: process)
        Training([tiny, other]).start()
    (order,) = runs_folder.glob(".background/*.json")
    seen = []

    def run_jobs(jobs, workers, on_end):
        on_end(background.jobs.Outcome(jobs[0], error=RunError("no memory")))
        seen.extend(one.state for one in Training([tiny, other]).progress)
        return []

    monkeypatch.setattr(background.jobs, "run_jobs", run_jobs)
    background.main(order)
    assert seen == ["failed", "waiting"]


def test_an_order_that_cannot_be_read_says_so(runs_folder, tiny):
    order = order_of(tiny, runs_folder / ".background")
    content = json.loads(order.read_text())
    content["configs"][0]["method"] = "defined_in_a_cell"
    order.write_text(json.dumps(content))
    with pytest.raises(ConfigError):
        background.main(order)
    assert "defined_in_a_cell" in Training(tiny).error


def test_the_time_left_is_that_of_the_wall_clock(runs_folder, tiny, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(background.time, "monotonic", lambda: clock[0])
    training = Training(tiny)
    said = {"step": 100, "steps": 1000, "seconds": 50.0}
    assert training._seconds_left("run", "training", said) == 450  # half a second a step
    clock[0] = 200.0
    assert training._seconds_left("run", "training", said | {"step": 200}) == 1600  # two seconds
    assert training._seconds_left("run", "paused", said) is None
    assert training._seconds_left("run", "training", said) == 450  # resumed


def test_a_run_in_hand_that_has_not_begun_can_be_paused_and_stopped(runs_folder, tiny, capsys):
    """Its process holds the lease and loads data, and there is no folder yet."""
    run, other = Run.of(tiny), Run.of(tiny.override(seed=1))
    with run.lock():
        assert not run.folder.exists()
        Training(tiny).pause()
        assert run.stop_requested
        run.clear_stop()
        assert main(["stop", "one_model"]) == 0
        assert run.stop_requested
    assert not other.folder.exists()
    capsys.readouterr()
    assert main(["stop", "--all"]) == 1
    assert "no run is in training" in capsys.readouterr().err
