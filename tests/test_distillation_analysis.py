"""Analysis of distillation: probes, explained variance, accuracy by phase, time; tiny runs."""

import numpy as np
import pandas as pd
import pytest
import torch

import icotlib as icot
from icotlib import experiments
from icotlib.errors import RunError
from icotlib.interp import distillation, time_spent
from icotlib.methods.distillation.student import Student
from icotlib.models.loading import load_model, load_weights
from icotlib.models.parameters import count_parameters
from icotlib.reporting.results import results_table
from icotlib.reporting.speed import record_speed
from icotlib.runs import Run
from icotlib.studies import get_study
from icotlib.training.trainer import train

QUICK = {"train.steps": 4, "train.eval_every": 2, "data.test_examples": 20, "model.layers": 3}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A coupled run of a second, and No CoT in the same layout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("runs")))
        coupled = train(experiments.icot_kd("smoke", overrides=QUICK))
        yield coupled, train(experiments.kd_no_cot("smoke", overrides=QUICK))


def test_logistic_regression_predicts_what_is_planted_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (400,), generator=generator)
    noise = torch.randn(400, 6, generator=generator)
    planted = noise.clone()
    planted[:, :3] += 6 * torch.nn.functional.one_hot(labels, 3)
    truth = labels.numpy()
    for states, low, high in ((planted, 0.98, 1.0), (noise, 0.2, 0.47)):
        right = distillation.logistic_regression_hits(
            states[:200], truth[:200], states[200:], truth[200:]
        )
        assert low <= right.mean() <= high


def test_a_constant_token_is_predicted_where_it_stays_the_same():
    right = distillation.logistic_regression_hits(
        torch.zeros(3, 2), np.array([7, 7, 7]), torch.zeros(2, 2), np.array([7, 1])
    )
    assert right.tolist() == [True, False]


def test_accuracy_by_phase_ends_with_what_the_runs_report(finished):
    run = finished[0]
    student = Run.of(run.config.phases["student"])
    table = distillation.accuracy_by_phase(run)
    assert table.states.tolist() == ["true states", "emulated states", "coupled"]
    assert table.accuracy.iloc[2] == run.stages.accuracy.iloc[-1]
    assert table.accuracy.iloc[0] == student.stages.accuracy.iloc[-1]


def test_the_system_before_coupling_answers_as_the_table_of_phases_says(finished):
    run = finished[0]
    score = distillation.uncoupled(run).evaluate()
    table = distillation.accuracy_by_phase(run).set_index("states")
    assert score.accuracy == table.accuracy["emulated states"]
    answers = distillation.answers_by_phase(run)
    assert answers.mean().to_dict() == table.accuracy.to_dict()
    assert answers["emulated states"].tolist() == list(score.right)


@pytest.mark.parametrize("phase", ["emulator", "coupled"])
def test_errors_of_single_questions_add_up_to_the_explained_variance(finished, phase, monkeypatch):
    """As training measured it, on the validation set."""
    run = finished[0] if phase == "coupled" else Run.of(finished[0].config.phases[phase])

    class OnValidation(distillation.RunData):
        def __init__(self, config):
            super().__init__(config)
            self.test = self.valid

    monkeypatch.setattr(distillation, "RunData", OnValidation)
    errors, spreads = distillation.emulation_errors(run, size=7)
    assert errors.shape == spreads.shape == (run.config.data.valid_examples, 3)
    known = distillation.explained_at_end(run).explained.to_numpy()
    assert np.isnan(known[0])
    assert np.isnan(spreads[:, 0]).all()
    explained = 1 - errors.sum(axis=0) / spreads.sum(axis=0)
    np.testing.assert_allclose(explained[1:], known[1:], rtol=1e-3)


def test_before_coupling_emulator_and_student_are_those_of_their_phases(finished):
    config = finished[0].config
    model = distillation.before_coupling(config).state_dict()
    student = load_weights(Student, Run.of(config.phases["student"]).weights())
    assert all(torch.equal(model[f"student.{k}"], v) for k, v in student.state_dict().items())
    skipped = experiments.icot_kd("smoke", overrides=QUICK, skip=["student"])
    with pytest.raises(RunError, match="skipped a phase: it has no student"):
        distillation.before_coupling(skipped)


def test_any_run_of_distillation_has_its_teacher_probed(finished):
    coupled = finished[0]
    teacher = Run.of(coupled.config.phases["teacher"])
    table = distillation.probe_teacher_states(coupled, examples=64)
    assert table.states.unique().tolist() == list(distillation.PROBED)
    assert table.layer.tolist() == [0, 1, 2] * len(distillation.PROBED)
    pd.testing.assert_frame_equal(table, distillation.probe_teacher_states(teacher, examples=64))


def test_explained_variance_is_tabled_by_layer(finished):
    table = distillation.explained_table(finished[0])
    assert table.layer.tolist() == [0, 1, 2] * 2
    assert table.step.tolist() == [2] * 3 + [4] * 3
    assert table[table.layer == 0].explained.isna().all()


def test_time_and_operations_by_part_add_up(finished):
    run = finished[0]
    table = time_spent.time_by_part(run, batch_sizes=(1, 4), rounds=1)
    model = load_model(run.weights())[0]
    one = table[table.batch_size == 1]
    assert one.parameters.sum() == count_parameters(model)
    assert (table.milliseconds > 0).all()
    # Three MLPs of d -> 4d -> d, two operations per weight, for one position of one example.
    state_mlps = one[one.part == "state_mlps"].flops.iloc[0]
    assert state_mlps == 3 * 2 * (32 * 128 + 128 * 32)


def test_results_count_the_examples_of_every_phase(finished):
    coupled, no_cot = finished
    table = results_table([coupled, no_cot]).set_index("method")
    assert len(coupled.config.ancestors()) == 3
    assert table.train_examples["icot_kd"] == 4 * 4 * 32
    assert table.train_examples["no_cot"] == 4 * 4 * 32
    assert results_table([Run.of(coupled.config.phases["emulator"])]).empty


def test_speed_is_relative_to_no_cot_in_the_same_layout(finished):
    coupled, no_cot = finished
    student = Run.of(coupled.config.phases["student"])
    table = record_speed([coupled, student, no_cot], no_cot, rounds=1, examples=2)
    assert set(table.run) == {coupled.name, no_cot.name}
    assert table[table.run == no_cot.name].relative_speed.tolist() == [1.0]
    assert not (student.folder / "speed.json").exists()


def test_tables_of_studies_say_what_each_phase_reaches(tmp_path, monkeypatch):
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path))
    few = {**QUICK, "train.steps": 2}
    mixed = icot.study("mixtures", "smoke", [10], few, jobs=1).table
    assert mixed.groupby("arm").states.apply(set).map(len).eq(2).all()
    used = mixed.drop_duplicates("arm").set_index("arm").components
    assert used["no mixture"] == pytest.approx(1)
    assert 1 <= used["2 components"] <= 2
    study = get_study("ablations")
    members = study.members("smoke", [10], few)
    chosen = [member for member in members if member.arm in ("the whole method", "neither phase")]
    icot.ensure([member.config for member in chosen], jobs=1)
    table = study.answer(chosen).table.set_index("arm")
    phases = table[["student", "explained", "explained_after_coupling"]]
    assert phases.loc["the whole method"].notna().all()
    assert phases.loc["neither phase"].isna().tolist() == [True, True, False]
