"""Damaged files of runs and checkpoints: the same numbers, or an error that names the file."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from icotlib import run_files
from icotlib.cli import main
from icotlib.cli.train import print_lost_weights
from icotlib.config import RunConfig
from icotlib.data.layout import Layout
from icotlib.errors import RunError, RunWarning
from icotlib.evaluation.stage_model import StageModel
from icotlib.models.loading import load_model, load_stage, save_model
from icotlib.reporting.cleanup import removable
from icotlib.reporting.results import learning_table, results_table
from icotlib.reporting.speed import record_speed
from icotlib.runs import Run, all_runs
from icotlib.system import contents, seals
from icotlib.training import checkpoints
from icotlib.training.trainer import Trainer, train
from tests.helpers import TINY, TINY_SIZES

#: One removal stage for every two tokens, so that a run has three.
STAGES = {
    "method": "icot_si",
    "removal.schedule": "linear",
    "removal.pace": 2,
    "removal.steps_per_epoch": 2,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    """A finished run with weights of its stages and its speed, and one to compare it with."""
    patch = pytest.MonkeyPatch()
    patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("runs")))
    run = train(RunConfig().override(TINY | STAGES))
    other = train(RunConfig().override(TINY_SIZES | {"method": "no_cot"}))
    record_speed([run], reference=other, rounds=1, examples=2)
    yield run
    patch.undo()


@pytest.fixture
def copied(finished, tmp_path, monkeypatch) -> Run:
    """A copy of the folder of runs, which a test may damage."""
    shutil.copytree(finished.folder.parent, tmp_path / "runs")
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "runs"))
    return Run(tmp_path / "runs" / finished.name)


# --- damage ------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def edit(path: Path) -> None:
    """Another digit in the place of the last one; of equal size, at the same time."""
    data, before = bytearray(path.read_bytes()), path.stat()
    last = max(place for place, byte in enumerate(data) if 48 <= byte < 58)
    data[last] = 48 + (data[last] - 47) % 10
    path.write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut": cut,
    "flipped bit": flip,
    "edited": edit,
    "emptied": empty,
    "deleted": Path.unlink,
}

FILES = [
    *("config.json", "provenance.json", "done.json", "speed.json"),
    *("metrics.csv", "stages.csv", "samples.jsonl", "answers.parquet"),
    *("model/model.safetensors", "model/config.json", "model/tokenizer.json", "model/sha256.json"),
    *("stages/removed-002/model.safetensors", "stages/removed-002/config.json"),
    *("stages/removed-002/tokenizer.json", "stages/removed-002/sha256.json"),
]


def numbers_of(run: Run) -> list[str]:
    """Everything that a run says: tables, single answers, weights and tokenizer."""
    tables = [results_table([run]), learning_table([run]), run.samples, run.answers]
    found = [table.to_json() for table in tables] + [str(run.totals), str(run.provenance)]
    for removed in (None, 2):
        model, layout = load_stage(run, removed)
        found.append(f"{layout.fingerprint} {model.config.to_json_string()}")
        found += [str(float(x.double().sum())) for x in model.state_dict().values()]
    return found


@pytest.fixture(scope="module")
def numbers(finished) -> list[str]:
    return numbers_of(finished)


def test_training_a_finished_run_says_that_its_weights_are_lost(copied, capsys):
    print_lost_weights(copied)
    assert capsys.readouterr().out == ""
    (copied.folder / "model" / "model.safetensors").unlink()
    print_lost_weights(copied)
    assert f"delete {copied.folder} and train it again" in capsys.readouterr().out


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_run_says_which_file(file, damage, copied, numbers):
    contents._known.clear()
    DAMAGES[damage](copied.folder / file)
    if (file, damage) == ("speed.json", "deleted"):
        assert results_table([copied]).relative_speed.isna().all()  # it can be measured again
        return
    with pytest.raises(RunError) as error:
        assert numbers_of(copied) == numbers
    named = "the weights of stage 2 are not here" if damage == "deleted" else Path(file).name
    assert named in str(error.value) or Path(file).name in str(error.value)


def test_an_undamaged_copy_says_the_same(copied, numbers):
    assert numbers_of(copied) == numbers


def test_the_final_weights_do_not_stand_for_a_stage_that_was_not_copied(copied):
    shutil.rmtree(copied.folder / "stages")
    last = int(copied.stages.removed.max())
    assert copied.stages_with_weights == [last]
    assert copied.weights(last) == copied.folder / "model"
    with pytest.raises(RunError, match=r"the weights of stage 0 are not here"):
        StageModel.of(copied, 0)


def test_a_marker_that_may_not_be_read_is_named(copied, monkeypatch):
    real = run_files.file_hash

    def refuse(path):
        if path.name == "done.json":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(run_files, "file_hash", refuse)
    assert "done.json cannot be read: Permission denied" in copied.problem
    with pytest.warns(RunWarning, match="cannot be read"):
        assert copied.name not in [run.name for run in all_runs()]


def test_a_run_from_before_there_were_hashes_is_read(copied, numbers):
    for path in [copied.folder / "done.json", *copied.folder.glob("stages/*/counters.json")]:
        values = json.loads(path.read_text())
        path.write_text(
            json.dumps({x: y for x, y in values.items() if x not in ("files", "sha256")})
        )
    for path in copied.folder.rglob(seals.SEAL):
        path.unlink()
    rows = json.loads((copied.folder / "speed.json").read_text())["rows"]
    (copied.folder / "speed.json").write_text(json.dumps(rows))
    config = json.loads((copied.folder / "config.json").read_text())
    for section in ("data", "model"):
        del config[section]["content"]
    (copied.folder / "config.json").write_text(json.dumps(config))
    assert numbers_of(copied) == numbers
    assert copied.config.run_name == copied.name


# --- the others --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("config.json", "emptied"),
        ("config.json", "deleted"),
        ("config.json", "edited"),
        ("provenance.json", "deleted"),
        ("done.json", "cut"),
        ("stages.csv", "cut"),
        ("answers.parquet", "flipped bit"),
    ],
)
def test_a_damaged_run_does_not_hide_the_others(file, damage, copied, capsys):
    other = next(run for run in all_runs() if run.name != copied.name)
    DAMAGES[damage](copied.folder / file)
    with pytest.warns(RunWarning, match=copied.name):
        assert [run.name for run in all_runs()] == [other.name]
    for command in (["runs"], ["runs", "--csv"], ["runs", "--summary"], ["show", other.name]):
        assert main(command) == 0
        out, err = capsys.readouterr()
        assert "No CoT" in out or other.name in out or "removed" in out
        assert copied.name not in out
        if command[0] == "show":  # of another run nothing needs to be said
            assert err == ""
            continue
        assert err.startswith(f"icot: left out: {copied.name}: "), command
        assert file in err
        assert "train the run again" in err
    assert main(["compare", other.name, other.name]) == 0
    assert main(["runs", "clean"]) == 0


def test_a_run_without_settings_is_cleaned_up_or_trained_again(copied, numbers):
    config = copied.config
    (copied.folder / "config.json").unlink()
    assert not copied.done
    paths_ = {item.path for item in removable([], days=0)}
    assert copied.folder in paths_
    assert copied.folder not in {item.path for item in removable([], days=1)}
    (copied.folder / "stages" / ".removed-004.part").mkdir()
    again = train(config)
    assert results_table([again]).accuracy.tolist() == results_table([copied]).accuracy.tolist()
    assert again.answers.equals(copied.answers)
    assert not list(again.folder.rglob("*.part"))


@pytest.mark.parametrize("step", ["provenance.json", "config.json"])
def test_a_run_that_is_killed_as_it_begins_begins_again(step, runs_folder, monkeypatch):
    """Its settings come last, so that no run is without its origin."""
    config = RunConfig().override(TINY | STAGES)
    real, written = seals.write_json, []

    def until(path: Path, value: object) -> None:
        if path.name == step:
            raise KeyboardInterrupt
        written.append(path.name)
        real(path, value)

    with monkeypatch.context() as patch:
        patch.setattr("icotlib.runs.write_json", until)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert written == ["provenance.json"][: step == "config.json"]
    assert all_runs(finished=False) == []
    run = train(config)
    assert run.problem is None
    assert run.provenance["data"]


# --- checkpoints -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Run:
    """A run that was killed before its end."""
    patch = pytest.MonkeyPatch()
    patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("runs")))
    with patch.context() as killed:
        killed.setattr(Trainer, "_finish", lambda self, rows: None)
        run = train(RunConfig().override(TINY | STAGES | {"train.stage_weights": "last"}))
    yield run
    patch.undo()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["model.safetensors", "optimizers.pt", "state.json", seals.SEAL])
def test_a_damaged_checkpoint_is_refused(file, damage, stopped, tmp_path):
    run = Run(tmp_path / stopped.name)
    shutil.copytree(stopped.folder, run.folder)
    DAMAGES[damage](run.folder / "checkpoint" / "step-00000012" / file)
    with pytest.raises(
        RunError, match=f"{'' if file == seals.SEAL else file}.*delete {run.folder} to train"
    ):
        checkpoints.load(run, torch.nn.Linear(1, 1), [])


def test_a_lost_checkpoint_is_said(stopped, tmp_path):
    run = Run(tmp_path / stopped.name)
    lost = shutil.ignore_patterns("checkpoint")
    shutil.copytree(stopped.folder, run.folder, ignore=lost)
    with pytest.warns(RunWarning, match=f"{run.name}: it was evaluated .*trained from its start"):
        assert checkpoints.load(run, torch.nn.Linear(1, 1), []) is None


@pytest.mark.parametrize("file", ["score.json", "counters.json"])
@pytest.mark.parametrize("damage", ["cut", "edited", "emptied"])
def test_a_damaged_score_of_a_stage_is_refused(file, damage, stopped, tmp_path, monkeypatch):
    shutil.copytree(stopped.folder, tmp_path / stopped.name)
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path))
    DAMAGES[damage](tmp_path / stopped.name / "stages" / "removed-000" / file)
    with pytest.raises(RunError, match=file):
        train(stopped.config)


# --- folders and files -------------------------------------------------------------------------


def test_a_damaged_cache_is_made_again(tmp_path):
    made = []

    def make(part: Path) -> None:
        part.mkdir()
        (part / "ids").write_text("right")
        made.append(part)

    for expected in (1, 1):
        assert (seals.cached(tmp_path / "cache", make) / "ids").read_text() == "right"
        assert len(made) == expected
    for number, damage in enumerate(DAMAGES.values(), 2):
        (tmp_path / "cache" / "ids").write_text("wrong 55")
        damage(tmp_path / "cache" / "ids")
        assert (seals.cached(tmp_path / "cache", make) / "ids").read_text() == "right"
        assert len(made) == number
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_file_of_equal_size_and_time_is_read_again(tmp_path):
    path = tmp_path / "x"
    path.write_text("one")
    os.utime(path, (1e9, 1e9))
    before = contents.file_hash(path)
    path.write_text("two")
    os.utime(path, (1e9, 1e9))
    assert contents.file_hash(path) != before


def test_how_a_model_is_asked_is_saved_with_its_weights(tmp_path, pretrained):
    folder = pretrained("gpt2")
    model, plain = load_model(Path(folder))
    spaced = Layout(plain.tokenizer, spaced_separators=True, step_end=">>")
    save_model(tmp_path / "saved", model, spaced)
    assert load_model(tmp_path / "saved")[1].fingerprint == spaced.fingerprint != plain.fingerprint
    assert load_model(tmp_path / "saved", False)[1].settings["spaced_separators"] is False
