"""The record table: seconds until a model answers with everything removed."""

import pandas as pd
import pytest

from icotlib import experiments
from icotlib.cli import main
from icotlib.errors import ConfigError
from icotlib.reporting.records import record_line, sentence
from icotlib.training.trainer import train

FP32 = {"train.precision": "fp32"}


def smoke_record(target):
    overrides = FP32 | {"train.stop_accuracy": target}
    return train(experiments.record("mult-4x2", "smoke", 0, overrides))


def test_the_line_tells_when_the_target_was_first_reached(runs_folder):
    run = smoke_record(0.0)
    line = record_line(run)
    first = run.metrics.iloc[0]
    assert (line["examples"], line["seconds"]) == (first.examples, round(first.seconds, 1))
    assert len(run.metrics) == 1  # training stopped there
    last = run.stages.iloc[-1]
    assert (line["removed"], line["accuracy"], line["n"]) == (last.removed, last.accuracy, 50)
    assert line["commit"] == run.provenance["commit"]
    assert "with all 6 tokens removed after 0 min" in sentence(line)


def test_a_target_that_is_not_reached_is_said(runs_folder):
    line = record_line(smoke_record(1.0))
    assert line["seconds"] == ""
    assert "100% was not reached" in sentence(line)


def test_an_imported_run_has_no_date_and_one_without_a_target_no_record(runs_folder):
    run = smoke_record(0.0)
    (run.folder / "history.jsonl").unlink()
    assert record_line(run)["date"] == ""
    with pytest.raises(ConfigError, match=r"train\.stop_accuracy"):
        record_line(smoke_record(None))


def test_the_command_prints_the_sentence_and_adds_the_line(runs_folder, tmp_path, capsys):
    table = tmp_path / "mine.csv"
    words = ["record", "--preset", "smoke", "--out", str(table), "--set", "train.precision=fp32"]
    words += ["--set", "train.stop_accuracy=0"]
    for seed in ("0", "1"):
        assert main([*words, "--seed", seed]) == 0
    assert "test questions right at the end" in capsys.readouterr().out
    assert pd.read_csv(table).seed.tolist() == [0, 1]


def test_only_known_tasks_have_a_record():
    with pytest.raises(ConfigError, match=r"no record is kept of 'mult-4x5'.*mult-4x4"):
        experiments.record("mult-4x5", "fast")
