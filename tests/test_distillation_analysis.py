"""What distillation leaves inside: measured right, on runs of a second."""

import numpy as np
import pytest
import torch

from icotlib import experiments
from icotlib.errors import RunError
from icotlib.interp import ablation_tables, distillation, time_spent
from icotlib.models.loading import load_model
from icotlib.models.parameters import count_parameters
from icotlib.reporting.results import results_table
from icotlib.reporting.speed import record_speed
from icotlib.runs import Run, ancestors
from icotlib.training.trainer import train

QUICK = {"train.steps": 4, "train.eval_every": 2, "data.test_examples": 20, "model.layers": 3}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A coupled run of a second, and No CoT beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("runs")))
        coupled = train(experiments.icot_kd("smoke", overrides=QUICK))
        yield coupled, train(experiments.kd_no_cot("smoke", overrides=QUICK))


def test_a_probe_reads_what_is_there_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (400,), generator=generator)
    noise = torch.randn(400, 6, generator=generator)
    planted = noise.clone()
    planted[:, :3] += 6 * torch.nn.functional.one_hot(labels, 3)
    truth = labels.numpy()
    for states, low, high in ((planted, 0.98, 1.0), (noise, 0.2, 0.47)):
        right = distillation.probe(states[:200], truth[:200], states[200:], truth[200:])
        assert low <= right.mean() <= high


def test_a_probe_of_a_constant_token_is_right_where_the_token_is_the_same():
    right = distillation.probe(
        torch.zeros(3, 2), np.array([7, 7, 7]), torch.zeros(2, 2), np.array([7, 1])
    )
    assert right.tolist() == [True, False]


def test_the_ladder_ends_with_what_the_run_reports(finished):
    run = finished[0]
    accuracy_by_phase = distillation.accuracy_by_phase(run)
    assert accuracy_by_phase.states.tolist() == ["true states", "emulated states", "coupled"]
    assert accuracy_by_phase.accuracy.iloc[2] == run.stages.accuracy.iloc[-1]
    assert accuracy_by_phase.accuracy.iloc[0] == Run.of(run.config.student).stages.accuracy.iloc[-1]


def test_the_uncoupled_system_is_emulator_and_student_as_they_were(finished):
    config = finished[0].config
    model = distillation.before_coupling(config).state_dict()
    student = distillation.load_weights(distillation.Student, Run.of(config.student).weights())
    assert all(torch.equal(model[f"student.{k}"], v) for k, v in student.state_dict().items())
    with pytest.raises(RunError, match="skipped a stage"):
        distillation.before_coupling(config.override({"student": None}))


def test_explained_variance_is_tabled_by_layer(finished):
    table = distillation.explained_table(finished[0])
    assert table.layer.tolist() == [0, 1, 2] * 2
    assert table.step.tolist() == [2] * 3 + [4] * 3
    assert table[table.layer == 0].explained.isna().all()


def test_costs_add_up(finished):
    run = finished[0]
    table = time_spent.costs(run, batch_sizes=(1, 4), rounds=1)
    model = load_model(run.weights())[0]
    one = table[table.batch_size == 1]
    assert one.parameters.sum() == count_parameters(model)
    assert (table.milliseconds > 0).all()
    # Three state_mlps of d -> 4d -> d, two operations per weight, for one position of one example.
    state_mlps = one[one.part == "state_mlps"].flops.iloc[0]
    assert state_mlps == 3 * 2 * (32 * 128 + 128 * 32)


def test_results_count_the_examples_of_every_stage(finished):
    coupled, bare = finished
    table = results_table([coupled, bare]).set_index("method")
    assert len(ancestors(coupled.config)) == 3
    assert table.train_examples["icot_kd"] == 4 * 4 * 32
    assert table.train_examples["no_cot"] == 4 * 4 * 32
    assert results_table([Run.of(coupled.config.emulator)]).empty


def test_speed_is_relative_to_no_cot_in_the_same_layout(finished):
    coupled, bare = finished
    student = Run.of(coupled.config.student)
    table = record_speed([coupled, student, bare], bare, rounds=1, examples=2)
    assert set(table.run) == {coupled.name, bare.name}
    assert table[table.run == bare.name].relative_speed.tolist() == [1.0]
    assert not (student.folder / "speed.json").exists()


def test_every_table_of_the_studies_has_its_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path))
    mixed = experiments.mixtures("smoke", overrides={**QUICK, "train.steps": 2})
    few = experiments.limited("smoke", overrides={**QUICK, "train.steps": 2})
    for config in [*mixed.values(), *few.values()]:
        train(config)
    scores, learning = ablation_tables.mixture_tables([mixed])
    assert len(scores) == 2 * len(mixed)
    assert set(learning.name) == set(mixed)
    used = learning.groupby("name").components.last()
    assert used["no mixture"] == pytest.approx(1)
    assert 1 <= used["2 components"] <= 2
    ablation_table = ablation_tables.ablation_table(few)
    assert ablation_table.name.tolist() == list(few)
    assert ablation_table[["student", "explained", "explained_after_coupling"]].notna().all().all()
    assert set(ablation_tables.coupling_curves(few).name) == set(few)
