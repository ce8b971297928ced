"""What a run says of its test: tokens written, right answers, and the same of older runs."""

import math
from dataclasses import asdict

import pandas as pd
import pytest

from icotlib.cli import main
from icotlib.data.corpus import examples_of
from icotlib.evaluation.scoring import Score
from icotlib.evaluation.stage_model import StageModel
from icotlib.reporting.results import learning_table, results_table
from icotlib.runs import Run
from icotlib.system import seals
from icotlib.training import checkpoints
from icotlib.training.results import earlier_scores
from icotlib.training.trainer import Trainer, train


@pytest.fixture
def run(runs_folder, tiny) -> Run:
    """Random weights that write much: more chain than most stages leave."""
    return train(tiny.override({"model.options": {"initializer_range": 0.5}}))


def test_tokens_are_counted_at_every_stage(run, capsys):
    stages, answers = run.stages, run.answers
    for removed, rows in answers.groupby("removed"):
        model = StageModel.of(run, int(removed))
        written = model.generate(model.encode(examples_of(model.corpus.test)), None)
        assert rows.tokens.tolist() == model.layout.measured(written).tokens.tolist()
        stage = stages.set_index("removed").loc[removed]
        assert stage.tokens_mean == pytest.approx(rows.tokens.mean())
        assert (stage.tokens_max, stage.cut) == (rows.tokens.max(), rows.cut.sum())
        assert stage.accuracy == rows.right.mean()
        assert stage.answer_accuracy == rows.answer_right.mean()
        limit = rows.chain_limit
        assert limit.isna().all() if removed == 0 else (limit == 8 - removed).all()
        within = True if removed == 0 else rows.chain <= limit
        assert (rows.right == (rows.answer_right & within)).all()
    columns = ["answer_accuracy", "tokens_mean", "tokens_max", "cut"]
    pd.testing.assert_frame_equal(results_table([run])[columns], stages[columns])
    assert main(["show", run.name]) == 0
    assert "tokens mean" in capsys.readouterr().out


def test_results_of_an_older_version_are_read(run):
    """Files as they were before tokens were counted, and before matches had a name of their own."""
    metrics = run.metrics
    older = {"valid_match": "valid_accuracy", "train_match": "train_accuracy"}
    metrics.rename(columns=older).to_csv(run.folder / "metrics.csv", index=False)
    new = ["answer_accuracy", "tokens_mean", "tokens_max"]
    run.stages.drop(columns=new).to_csv(run.folder / "stages.csv", index=False)
    seals.write_json(run.folder / "done.json", run.totals)  # without hashes
    again = Run(run.folder)
    pd.testing.assert_frame_equal(again.metrics, metrics)
    assert learning_table([again]).valid_match.tolist() == metrics.valid_match.tolist()
    table = results_table([again])
    assert table.accuracy.tolist() == again.stages.accuracy.tolist()
    assert table[new].isna().all(axis=None)
    assert main(["show", again.name]) == 0


def test_a_stage_score_of_an_older_version_is_read(runs_folder, tiny):
    score = Score(0.5, 0.1, 0.9, 2, (0.5,), ("#### 1", "#### 2"), (True, False))
    stored = asdict(score)
    for name in ("answer_right", "tokens", "chain", "chain_limit"):
        del stored[name]
    run = Run.of(tiny)
    folder = run.folder / "stages" / "removed-3"
    folder.mkdir(parents=True)
    seals.write_json(folder / "score.json", seals.sealed(stored))
    assert list(earlier_scores(run)) == [(3, score)]
    assert score.answer_accuracy == score.accuracy
    assert (score.tokens_mean, score.tokens_max) == (None, None)
    counted = Score(**asdict(score) | {"tokens": (3, 4), "chain": (0, 1), "chain_limit": (0, 0)})
    seals.write_json(folder / "score.json", seals.sealed(asdict(counted)))
    assert list(earlier_scores(run)) == [(3, counted)]


def test_a_checkpoint_of_an_older_version_goes_on(runs_folder, tiny, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_finish", lambda self, rows: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(tiny)
    trainer = Trainer(tiny, Run.of(tiny))
    state = checkpoints.load(trainer.run, trainer.method.model, trainer.optimizers, None)
    row = state["rows"][0]
    assert not math.isnan(row["valid_match"])
    (folder,) = (trainer.run.folder / "checkpoint").iterdir()
    saved = seals.read_json(folder / "state.json", "")
    older = {"valid_match": "valid_accuracy", "train_match": "train_accuracy"}
    saved["rows"] = [{older.get(x, x): row[x] for x in row} for row in saved["rows"]]
    seals.write_json(folder / "state.json", saved)
    seals.seal(folder)
    again = checkpoints.load(trainer.run, trainer.method.model, trainer.optimizers, None)
    assert again["rows"] == state["rows"]


def test_stages_are_in_the_order_of_what_is_removed_however_many_digits_it_has(runs_folder, tiny):
    run, score = Run.of(tiny), Score(0.5, 0.1, 0.9, 2, (0.5,), ("#### 1", "#### 2"), (True, False))
    for removed in (1000, 127, 9):
        run.stage_folder(removed).mkdir(parents=True)
    assert run.checkpointed_stages == [9, 127, 1000]
    for removed in (1000, 127, 9):
        values = seals.sealed(asdict(score))
        seals.write_json(run.stage_folder(removed) / "score.json", values)
    assert [removed for removed, _ in earlier_scores(run)] == [9, 127, 1000]


def test_an_unfinished_run_says_how_far_it_is(runs_folder, tiny, capsys):
    run = Run.of(tiny)
    run.begin(tiny, "cpu", {"data": "data"})
    (run.folder / "progress.json").write_text("null")  # of another program
    assert run.progress == {}
    assert main(["show", run.name]) == 0
    assert f"unfinished: 0 of {tiny.train.steps} steps" in capsys.readouterr().out
    assert main(["runs"]) == 0
    assert f"unfinished, step 0 of {tiny.train.steps}" in capsys.readouterr().out
