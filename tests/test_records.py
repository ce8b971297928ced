"""The record table: seconds until a model answers with everything removed."""

from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from icotlib import experiments, paths
from icotlib.benchmarks.records import record_line, sentence
from icotlib.cli import main
from icotlib.errors import ConfigError
from icotlib.publishing.speed_blocks import records
from icotlib.system.added_rows import add_rows
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


def test_an_imported_run_has_no_date(runs_folder):
    run = smoke_record(0.0)
    (run.folder / "history.jsonl").unlink()
    assert record_line(run)["date"] == ""


def test_a_run_that_went_on_has_a_record_too(runs_folder, tmp_path):
    run = smoke_record(None)
    line = record_line(run)
    final = run.metrics[run.metrics.removed == run.metrics.removed.max()]
    reached = final[final.valid_match >= 0.95]
    assert line["target"] == 0.95
    assert line["seconds"] == (round(float(reached.seconds.iloc[0]), 1) if len(reached) else "")
    table = tmp_path / "mine.csv"
    assert main(["record", "--of", run.name, "--out", str(table)]) == 0
    assert pd.read_csv(table).run.tolist() == [run.name]
    for ignored in (["--set", "train.steps=3"], ["--seed", "0"], ["--preset", "smoke"]):
        assert main(["record", "--of", run.name, *ignored]) == 1
    assert main(["record", "mult-4x4", "--of", run.name]) == 1


def test_the_page_shows_the_records_of_a_machine_together(runs_folder, tmp_path, monkeypatch):
    lines = [record_line(smoke_record(target)) for target in (0.0, 1.0)]
    table = pd.DataFrame([lines[0], lines[1] | {"target": 0.0, "seed": 1}])
    add_rows(tmp_path / "records.csv", table)
    monkeypatch.setattr(paths, "FIGURES", tmp_path)
    header, _, row = records().splitlines()
    shown = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert shown["seconds by seed"] == f"{lines[0]['seconds']:,.0f}, not reached"
    assert shown["examples by seed"] == f"{lines[0]['examples']:,}"
    assert shown["test at the end"].count("%") == 2


@pytest.mark.usefixtures("shared_worker")
def test_the_command_prints_the_sentence_and_adds_the_line(runs_folder, tmp_path, capsys):
    table = tmp_path / "mine.csv"
    words = ["record", "--preset", "smoke", "--out", str(table), "--set", "train.precision=fp32"]
    words += ["--set", "train.stop_accuracy=0"]
    for seed in ("0", "1"):
        assert main([*words, "--seed", seed]) == 0
    assert "test questions right at the end" in capsys.readouterr().out
    assert pd.read_csv(table).seed.tolist() == [0, 1]


def test_a_table_of_something_else_gets_no_line(runs_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("icotlib.running.jobs.ensure", lambda *given: 1 / 0)
    table = tmp_path / "results.csv"
    table.write_text("run,accuracy\nx,0.5\n")
    assert main(["record", "--out", str(table)]) == 1
    assert "is another table, without the columns task" in capsys.readouterr().err
    table.write_bytes(b"\xff\xfe\x00")
    assert main(["benchmark", "--out", str(table)]) == 1
    assert "cannot be read as a CSV table" in capsys.readouterr().err
    assert table.read_bytes() == b"\xff\xfe\x00"


def test_rows_of_two_processes_are_all_added_and_older_ones_stay_as_they_are(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("a,b\n007,1.50\n")
    rows = [pd.DataFrame([{"a": number, "b": ""}]) for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda row: add_rows(table, row), rows))
    first, *others = table.read_text().splitlines()[1:]
    assert first == "007,1.50"
    assert sorted(others) == [f"{number}," for number in range(8)]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
    link = tmp_path / "link.csv"
    link.symlink_to(table)
    add_rows(link, rows[0])
    assert link.is_symlink()
    assert len(table.read_text().splitlines()) == 11
    table.write_text("a,b\n1,2,\n")
    with pytest.raises(ConfigError, match="line 2 has 3 fields, and the header 2"):
        add_rows(table, rows[0])
    assert table.read_text() == "a,b\n1,2,\n"


@pytest.mark.parametrize(("task", "method"), [("mult-4x2", "one_model"), ("mult-4x4", "icot_si")])
def test_a_record_is_of_its_task_by_the_method_that_learns_it(task, method):
    config = experiments.record(task, "fast", 3, {"train.batch_size": 32})
    assert (config.method, config.task, config.seed) == (method, task, 3)
    assert (config.train.stop_accuracy, config.train.batch_size) == (0.95, 32)
    if method == "icot_si":  # behind a true chain nearly every answer is right
        assert config.removal.measure == "all"


def test_only_known_tasks_have_a_record():
    with pytest.raises(ConfigError, match=r"no record is kept of 'mult-4x5'.*mult-4x4"):
        experiments.record("mult-4x5", "fast")
