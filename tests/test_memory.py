"""Memory: what is counted, what evaluations are bounded to, and which runs start side by side."""

import dataclasses

import pytest
import torch

from icotlib import experiments
from icotlib.costs import peaks
from icotlib.costs.cost import cost_of, text_config
from icotlib.costs.peaks import Peaks
from icotlib.data.run_data import RunData
from icotlib.errors import ConfigError
from icotlib.evaluation import bounded
from icotlib.evaluation.generation import generate
from icotlib.experiments import RUNS, run_config
from icotlib.planning import plan as planning
from icotlib.running import admission, jobs
from icotlib.running.admission import Admission, is_small, need_of
from icotlib.system import memory
from icotlib.system.allocations import rehearsal, without_memory
from tests.clusters import job, log
from tests.test_models import EXAMPLES, LAYOUT, make

MIB = 2**20


def test_a_rehearsal_counts_what_is_held_and_not_what_was_dropped():
    with rehearsal() as allocations:
        first = torch.zeros(MIB // 4)
        second = first + 1
        view = second[: MIB // 8]
        assert allocations.held == 2 * MIB
        del first
        assert allocations.held == MIB
        third = torch.cat([second, view])
        assert (allocations.held, allocations.peak) == (2.5 * MIB, 2.5 * MIB)
        del second, view, third
        assert (allocations.held, allocations.peak) == (0, 2.5 * MIB)


def test_a_rehearsal_counts_what_autograd_keeps():
    with torch.device("meta"):
        made = torch.nn.Sequential(torch.nn.Linear(512, 512, bias=False), torch.nn.ReLU())
    with rehearsal() as allocations:
        model = without_memory(made)
        assert allocations.held == MIB  # 512 x 512 weights
        hidden = model(torch.zeros(1024, 512, requires_grad=True))
        del hidden
        loss = model(torch.zeros(1024, 512)).sum()
        kept = allocations.held
        loss.backward()
        del loss
    assert kept >= MIB + 2 * 2 * MIB  # the input and the output of the ReLU
    assert allocations.held == MIB + MIB  # weights and gradients


def test_tied_weights_are_counted_once():
    with torch.device("meta"):
        first, second = torch.nn.Linear(512, 512, bias=False), torch.nn.Linear(512, 512, bias=False)
        second.weight = first.weight
    with rehearsal() as allocations:
        made = without_memory(torch.nn.Sequential(first, second))
        assert made[0].weight is made[1].weight
        assert allocations.held == MIB


@pytest.mark.parametrize("keep_positions", [False, True])
@pytest.mark.parametrize("removed", [0, 2])
def test_answers_in_parts_are_those_of_all_at_once(monkeypatch, removed, keep_positions):
    model, batch = make("gpt2"), LAYOUT.encode(EXAMPLES)
    whole = generate(model, LAYOUT, batch, removed, keep_positions)
    monkeypatch.setattr(bounded, "MAX_BYTES", 1)  # one example at a time
    counted = []
    parts = generate(model, LAYOUT, batch, removed, keep_positions, on_answers=counted.append)
    assert LAYOUT.texts(parts) == LAYOUT.texts(whole)
    assert counted == [1] * len(batch)


def test_an_evaluation_takes_what_its_bound_allows():
    config = make("llama").config
    each = bounded.example_bytes(config, width=300, read=200)
    assert bounded.examples_at_once(config, 300, 200, most=10**9) == bounded.MAX_BYTES // each
    assert bounded.examples_at_once(config, 300, 200) <= bounded.MAX_EXAMPLES
    cached = bounded.example_bytes(config, 300, 1, new=100) - bounded.example_bytes(config, 300, 1)
    # keys and values of both layers, of one head of eight numbers, for 400 tokens
    assert cached >= 4 * 400 * 2 * 2 * 8


# --- peaks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"model.architecture": "llama"}, {"optim.name": "adamw"}])
def test_a_rehearsed_step_holds_its_state_and_activations_for_every_example(tiny, changes):
    def step_bytes(batch_size):
        config = tiny.override(changes | {"method": "explicit_cot", "train.batch_size": batch_size})
        source = RunData(config)
        text = text_config(config, source)
        return peaks._step_bytes(config, source, text), cost_of(config, source)

    few, cost = step_bytes(256)
    many, _ = step_bytes(512)
    activations = few - cost.state
    assert many - cost.state == pytest.approx(2 * activations, rel=0.1)
    # At least what the formula counts, which leaves out norms and activation functions.
    assert cost.activations < activations < 4 * cost.activations


def test_every_phase_of_distillation_is_rehearsed(runs_folder, monkeypatch):
    config = experiments.icot_kd("smoke", overrides={"distill.mixture": 0})
    for phase in [*config.phases.values(), config]:
        source = RunData(phase)
        cost = cost_of(phase, source)
        held = peaks._step_bytes(phase, source, text_config(phase, source)) + cost.frozen
        assert held > cost.state


def test_a_step_that_cannot_be_rehearsed_is_estimated(tiny, monkeypatch):
    def fails(*args):
        raise RuntimeError("needs values")

    source = RunData(tiny)
    cost = cost_of(tiny, source)
    monkeypatch.setattr(peaks, "_step_bytes", fails)
    found = peaks.peaks_of(tiny, source, cost)
    assert found.training > peaks.PROCESS + cost.state + cost.activations


# --- admission ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needs", "running", "admitted"),
    [
        ({"a": 6, "b": 6}, [], True),
        ({"a": 6, "b": 6}, ["b"], False),
        ({"a": 4, "b": 6}, ["b"], True),
        ({"a": 4, "b": 3, "c": 4}, ["b", "c"], False),
        ({"a": 50}, [], True),  # too large alone: tried after a warning
        ({"a": 50}, ["small"], True),  # small runs are not counted
        ({"b": 50}, ["b"], True),  # a itself is small
    ],
)
def test_runs_start_side_by_side_if_they_fit(needs, running, admitted):
    said = []
    given = Admission(needs, 10, said.append)
    assert given.admits("a", running) is admitted
    assert given.admits("a", running) is admitted
    assert len(said) == (not admitted)  # once
    assert all("waits for" in line and "GiB" in line for line in said)


def admit(monkeypatch, needs, said):
    given = Admission(needs, 10, said.append)
    monkeypatch.setattr(Admission, "of", lambda configs, say: given)


def test_a_large_job_waits_for_another_one(runs_folder, tmp_path, monkeypatch):
    """It is handed over once the first has ended; small jobs go past both."""
    end, said = tmp_path / "end", []
    admit(monkeypatch, {"first": 6, "second": 6}, said)
    listed = [job(tmp_path, "first", until=str(end)), job(tmp_path, "second")]
    listed += [job(tmp_path, "small"), job(tmp_path, "after", "second")]

    def on_end(outcome):
        if outcome.job.name == "small":
            assert "second" not in log(tmp_path)
            end.touch()

    outcomes = jobs.run_jobs(listed, workers=2, on_end=on_end)
    assert {outcome.job.name for outcome in outcomes if not outcome.failed} == {
        "first",
        "second",
        "small",
        "after",
    }
    assert log(tmp_path)[-2:] == ["second", "after"]
    assert [line.split()[0] for line in said] == ["second"]


def test_a_large_job_whose_need_failed_is_not_done(runs_folder, tmp_path, monkeypatch):
    admit(monkeypatch, {"student": 6, "coupled": 6}, [])
    listed = [
        job(tmp_path, "teacher", error="on purpose"),
        job(tmp_path, "student", "teacher"),
        job(tmp_path, "coupled", "student"),
    ]
    outcomes = {outcome.job.name: outcome for outcome in jobs.run_jobs(listed, workers=1)}
    assert log(tmp_path) == ["teacher"]
    assert (outcomes["student"].kept_by, outcomes["coupled"].kept_by) == ("teacher", "student")


def test_runs_of_the_workbook_are_never_planned_and_never_wait(monkeypatch):
    monkeypatch.setattr(admission, "RunData", None)  # whose examples a plan would read
    for name in RUNS:
        if not name.startswith("own"):
            config = run_config(name, "fast", 0, {})
            for one in config.family().values():
                assert is_small(one)
                assert need_of(one) == 0


def test_a_run_that_cannot_fit_is_refused_and_one_that_may_not_is_warned_about(
    tiny, monkeypatch, runs_folder
):
    monkeypatch.setattr(admission, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda: 100 * MIB)
    said = []
    given = Admission.of([tiny], said.append)
    assert given.needs[tiny.run_name] > 400 * MIB  # torch and transformers
    assert "the system may end it" in said[0]
    assert "train.gradient_checkpointing=true" in said[0]
    monkeypatch.setattr(memory, "total", lambda: 1000)
    with pytest.raises(ConfigError, match="gradients and moments alone take"):
        Admission.of([tiny], said.append)


def test_phases_side_by_side_are_those_that_do_not_build_on_each_other(monkeypatch, runs_folder):
    config = experiments.icot_kd("smoke")
    sizes = {"kd_student": 5, "kd_emulator": 6, "explicit_cot": 3, "icot_kd": 12}

    @dataclasses.dataclass
    class Planned:
        config: object
        peaks: Peaks

    plans = [Planned(one, Peaks(sizes[one.method], 1)) for one in [*config.phases.values(), config]]
    found = planning.together(plans, workers=2)
    assert {one.config.method for one in found} == {"kd_student", "kd_emulator"}
    assert planning.together(plans, workers=1) == []


# --- this machine ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "limit", "expected"),
    [
        (("memory.max", "memory.current"), "1000", [(1000, 500)]),
        (("memory.limit_in_bytes", "memory.usage_in_bytes"), "1000", [(1000, 500)]),
        (("memory.max", "memory.current"), "max", []),
        (("other", "files"), "1000", []),
    ],
)
def test_what_a_container_leaves(tmp_path, monkeypatch, names, limit, expected):
    """Files that were read and could be dropped do not count as used."""
    for name, text in zip(
        (*names, "memory.stat"), (limit, "700", "anon 500\ninactive_file 200"), strict=True
    ):
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(memory, "_control_groups", lambda root: [tmp_path])
    assert list(memory._container_limits()) == expected
    if expected:
        assert memory.available() <= 500
        assert memory.total() == 1000


@pytest.mark.parametrize(
    ("line", "folders"),
    [
        ("0::/one/two\n", ["one/two", "one", ""]),
        ("0::/\n", [""]),
        ("4:memory:/one\n3:cpuset:/other\n", ["memory/one", "memory"]),
    ],
)
def test_control_groups_of_a_process(tmp_path, line, folders):
    (tmp_path / "cgroup").write_text(line)
    found = list(memory._control_groups(tmp_path, tmp_path / "cgroup"))
    assert found == [tmp_path / folder for folder in folders]
    assert list(memory._control_groups(tmp_path, tmp_path / "none")) == []
