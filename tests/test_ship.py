"""Models that come with the workbook: made from a run, found by name, asked before any training."""

import shutil
import warnings

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import icotlib as icot
from icotlib import paths
from icotlib.cli import main
from icotlib.errors import RunError, RunWarning
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.activations import stored_activations
from icotlib.runs import Run, all_runs, find_run, shipped, shipped_runs
from icotlib.sharing import ship
from icotlib.sharing.archive import export_runs
from icotlib.training.trainer import train


@pytest.fixture
def run(tiny_run) -> Run:
    return tiny_run


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """An empty folder of shipped models."""
    monkeypatch.setattr(paths, "SHIPPED", tmp_path / "models")
    return tmp_path / "models"


def test_the_shipped_model_answers_without_a_run(runs_folder):
    with pytest.warns(RunWarning, match="comes with the workbook"):
        model = icot.load("one_model")
    answer = model.answer("3719 * 84")
    assert answer.answer
    assert answer.chain == ""
    assert model.at(0).answer("3719 * 84").right
    # The numbers beside it are those of the weights that are there.
    stage = model.run.stages.set_index("removed").loc[12]
    assert model.evaluate().accuracy == stage.accuracy >= 0.95


def test_the_shipped_model_is_tested_on_a_file_without_a_run(runs_folder, tmp_path, capsys):
    file = tmp_path / "test.txt"
    file.write_text("8 6 5 6 * 3 5||4 0 7 9 1 + 0 0 4 8 2 3 #### 4 0 1 8 4 3\n")
    main(["evaluate", "one_model", str(file)])
    said = capsys.readouterr()
    assert "comes with the workbook" in said.err
    assert "of 1 answers right" in said.out


def test_shipped_models_say_where_they_come_from_and_stay_small():
    every = shipped_runs()
    assert {run.name for run in every} == {"one_model"}
    assert sum(f.stat().st_size for f in paths.SHIPPED.rglob("*") if f.is_file()) <= ship.LIMIT
    for run in every:
        assert run.problem is None
        origin = run.provenance
        assert all(origin[name] for name in ("commit", "data", "device"))
        assert "+" not in origin["commit"]  # no change that is not committed
        assert run.config.preset == "fast"
        assert origin["shipped"]["weights"] == "bfloat16"


def test_a_run_of_ones_own_goes_first(run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_run("one_model").folder == run.folder
    assert shipped("one_model").folder.parent == paths.SHIPPED
    assert shipped("one_model").name not in {one.name for one in all_runs()}


def test_it_does_not_answer_for_a_damaged_run_of_ones_own(run):
    with (run.folder / "stages.csv").open("a") as file:
        file.write(" ")
    with pytest.raises(RunError, match=r"stages\.csv has changed"):
        find_run("one_model")


def test_it_goes_before_toys_which_longer_names_find(runs_folder):
    toys = [icot.experiments.tour("fast"), icot.experiments.one_model("smoke")]
    for config in toys:
        Run.of(config).begin(config, "cpu", {"data": "hash"})
    with pytest.warns(RunWarning, match="for your own, of the preset smoke, type more of its name"):
        assert find_run("one_model").is_shipped
    assert find_run("one_model-mult-2x2").name == toys[0].run_name


def test_what_is_measured_of_it_is_not_written_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "data_cache", lambda: tmp_path)
    before = sorted(paths.SHIPPED.rglob("*"))
    model = StageModel.of(shipped("one_model"))
    stored_activations(model, icot.draw_questions(model.task, 3))
    assert sorted(paths.SHIPPED.rglob("*")) == before
    assert list(tmp_path.rglob("*.npy"))


def test_what_is_measured_of_other_weights_is_measured_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "data_cache", lambda: tmp_path)
    shutil.copytree(paths.SHIPPED, tmp_path / "models")
    monkeypatch.setattr(paths, "SHIPPED", tmp_path / "models")
    run = shipped("one_model")
    before = run.measured
    assert before == run.measured
    seal = run.folder / "model" / "sha256.json"
    seal.write_text(seal.read_text().replace("a", "b"))
    assert run.measured != before


def test_shipping_rounds_the_weights_and_repeats_the_test(run, shelf, monkeypatch, capsys):
    assert main(["runs", "ship", run.name]) == 0
    assert "right at its last stage" in capsys.readouterr().out
    copy = shipped("one_model")
    trained = load_file(run.weights() / "model.safetensors")
    rounded = load_file(copy.weights() / "model.safetensors")
    assert trained.keys() == rounded.keys()
    for name, tensor in trained.items():
        assert rounded[name].dtype == torch.bfloat16
        assert torch.equal(rounded[name], tensor.bfloat16())
    model = StageModel.of(copy)
    assert {x.dtype for x in model.model.parameters()} == {torch.float32}
    assert copy.config.digest == run.config.digest
    assert list(copy.stages.removed) == list(run.stages.removed)
    for removed in copy.stages.removed:
        stage = copy.stages.set_index("removed").loc[removed]
        assert model.at(int(removed)).evaluate().accuracy == stage.accuracy
    pd.testing.assert_frame_equal(copy.metrics, run.metrics)
    assert copy.provenance["shipped"]["run"] == run.name


def test_a_shipped_model_is_not_replaced_and_does_not_outgrow_its_clone(run, shelf, monkeypatch):
    ship.ship(run)
    with pytest.raises(RunError, match="is there already"):
        ship.ship(run)
    monkeypatch.setattr(ship, "LIMIT", 10)
    with pytest.raises(RunError, match="are the most"):
        ship.ship(run, shelf.parent / "others")
    assert not list((shelf.parent / "others").iterdir())


def test_only_a_whole_run_with_one_model_is_shipped(runs_folder, tiny, shelf):
    stages = train(tiny.override({"method": "icot_si"}))
    with pytest.raises(RunError, match="weights of its own for each removal stage"):
        ship.ship(stages)
    with pytest.raises(RunError, match="not finished"):
        ship.ship(Run.of(tiny.override({"method": "one_model", "seed": 3})))


def test_a_damaged_shipped_model_is_an_error_that_names_it(run, shelf):
    copy = ship.ship(run)
    (copy.folder / "config.json").write_text("{}")
    with pytest.warns(RunWarning, match="config.json"), pytest.raises(RunError, match="none does"):
        shipped("one_model")


def test_a_shipped_model_is_not_put_into_an_archive_of_runs(tmp_path):
    """Whoever imports the archive has it already, and under a name that is not its settings'."""
    with pytest.raises(RunError, match="one_model comes with the workbook"):
        export_runs([Run(paths.SHIPPED / "one_model")], tmp_path / "runs.tar.gz")
    assert not any(tmp_path.iterdir())
