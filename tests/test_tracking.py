"""Trackers get every row once, change no number, and cannot stop a run."""

import shutil

import pytest
from accelerate import tracking as accelerate_tracking
from accelerate.tracking import GeneralTracker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from icotlib.cli import main
from icotlib.errors import ConfigError, StoppedError
from icotlib.runs import Run
from icotlib.training import tracking
from icotlib.training.tracking import Tracking, trackers_asked_for
from icotlib.training.trainer import Trainer, train


class Failing(GeneralTracker):
    """Has no connection after its first row."""

    name = "failing"
    requires_logging_directory = False
    main_process_only = True

    def __init__(self, project, **kwargs):
        super().__init__()
        self.rows = 0

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        assert values["optim.lr"] == 1e-3

    def log(self, values, step=None, **kwargs):
        self.rows += 1
        if self.rows == 2:
            raise ConnectionError("no route to host")


def scalars(run, tag):
    events = EventAccumulator(str(run.folder.parent / "tracking" / run.name))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_a_resumed_run_sends_every_row_once(runs_folder, tiny, monkeypatch):
    step = Trainer.step

    def stop_at(number):
        def stopped(self, at):
            if at == number:
                raise KeyboardInterrupt
            step(self, at)

        monkeypatch.setattr(Trainer, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(tiny)

    stop_at(5)  # started without a tracker: its first row comes later
    monkeypatch.setenv("ICOT_TRACK", "tensorboard")
    stop_at(10)
    monkeypatch.setattr(Trainer, "step", step)
    run = train(tiny)
    sent = scalars(run, "loss")
    assert [one for one, _ in sent] == run.metrics.step.tolist() == [4, 8, 12]
    assert [value for _, value in sent] == pytest.approx(run.metrics.loss.tolist())
    monkeypatch.delenv("ICOT_TRACK")
    monkeypatch.setenv("ICOT_RUNS", str(runs_folder / "again"))
    assert train(tiny).metrics.loss.tolist() == run.metrics.loss.tolist()


def test_a_run_that_is_trained_again_sends_its_rows_again(runs_folder, tiny, monkeypatch):
    monkeypatch.setenv("ICOT_TRACK", "tensorboard")
    run = train(tiny)
    shutil.rmtree(run.folder)
    train(tiny)
    assert [step for step, _ in scalars(run, "loss")] == 2 * [4, 8, 12]


def test_a_tracker_that_fails_is_left_out(runs_folder, tiny, monkeypatch):
    monkeypatch.setitem(accelerate_tracking.LOGGER_TYPE_TO_CLASS, "failing", Failing)
    monkeypatch.setenv("ICOT_TRACK", "failing, tensorboard")
    with pytest.warns(UserWarning, match="'failing' failed and is left out: no route to host"):
        run = train(tiny)
    assert run.done
    assert len(scalars(run, "valid_match")) == 3


def test_a_tracker_whose_notes_are_gone_does_not_end_the_training(runs_folder, tiny, monkeypatch):
    monkeypatch.setenv("ICOT_TRACK", "tensorboard")
    real, rows = tracking.Tracking.log, []

    def log(self, row):
        rows.append(row)
        if len(rows) == 2:
            (self.folder / "logged.json").write_text("")
        real(self, row)

    monkeypatch.setattr(tracking.Tracking, "log", log)
    with pytest.warns(UserWarning, match="'tensorboard' failed and is left out"):
        assert train(tiny).done
    assert len(rows) == 3


def test_trackers_end_with_a_run_that_fails(runs_folder, tiny, monkeypatch):
    """The next run of the same worker starts its own."""
    ended = []
    leave = Tracking.__exit__

    def noted(self, kind, *raised):
        ended.append(kind)
        return leave(self, kind, *raised)

    monkeypatch.setattr(Tracking, "__exit__", noted)
    monkeypatch.setenv("ICOT_TRACK", "tensorboard")
    with pytest.raises(StoppedError):
        train(tiny, should_stop=lambda: Run.of(tiny).started)  # after the first step
    assert ended == [StoppedError]


def test_an_unknown_tracker_is_named_before_anything_starts(runs_folder, monkeypatch, capsys):
    monkeypatch.setenv("ICOT_TRACK", "")
    assert main(["train", "icot_si", "--preset", "smoke", "--track", "tensorbord"]) == 1
    assert "Did you mean 'tensorboard'?" in capsys.readouterr().err
    assert not runs_folder.exists()
    monkeypatch.setenv("ICOT_TRACK", "comet_ml")
    with pytest.raises(ConfigError, match=r"'comet_ml' is not installed.*tensorboard"):
        trackers_asked_for()


@pytest.mark.usefixtures("shared_worker")
def test_the_command_tracks_in_its_workers(runs_folder, monkeypatch):
    monkeypatch.setenv("ICOT_TRACK", "")
    small = ["--set", "train.steps=10", "--set", "data.test_examples=5"]
    assert main(["train", "no_cot", "--preset", "smoke", "--track", "tensorboard", *small]) == 0
    (folder,) = runs_folder.glob("no_cot-*")
    assert len(scalars(Run(folder), "loss")) == 1
