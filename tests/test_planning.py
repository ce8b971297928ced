"""A plan predicts what the run then does."""

import pytest

from icotlib import experiments
from icotlib.cli import main
from icotlib.costs import fitting
from icotlib.costs.cost import cost_of
from icotlib.costs.lengths import NominalLengths
from icotlib.data.files import write_examples
from icotlib.experiments.published import get_paper_result
from icotlib.planning.plan import listed, plan
from icotlib.runs import Run
from icotlib.system.wording import duration
from icotlib.tasks import Example
from icotlib.training.trainer import Trainer, train

QUICK = {"train.steps": 12, "train.eval_every": 12, "data.test_examples": 8}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "method": "icot_si",
            "removal.schedule": "linear",
            "removal.steps_per_epoch": 10,
            "removal.warmup_steps": 2,
        },
        {"method": "no_cot"},
        {"method": "explicit_cot"},
    ],
)
def test_a_plan_predicts_what_the_run_then_does(runs_folder, tiny, changes):
    config = tiny.override(changes | {"train.steps": 12})
    (planned,) = plan(config)
    assert not runs_folder.exists()
    run = train(config)
    totals = run.totals
    assert planned.name == run.name
    assert (planned.steps, planned.examples) == (totals["step"], totals["examples"])
    assert planned.cost.tokens == pytest.approx(totals["tokens"], rel=0.03)
    assert planned.cost.parameters == totals["parameters"]
    assert planned.cost.state >= 3 * 4 * totals["parameters"]  # weights, gradients, momentum
    weights = [*run.folder.glob("model/*.safetensors"), *run.folder.glob("stages/*/*.safetensors")]
    size = sum(path.stat().st_size for path in weights)
    assert planned.cost.disk == pytest.approx(size, rel=0.1)
    if planned.stages:
        # 8 tokens in 10 steps after a warm-up of 2: the first of them at step 4
        assert planned.stages[:3] == ((0, 0), (4, 1), (5, 2))
        assert planned.stages[-1][1] == run.stages.removed.max()
    assert bool(planned.stages) == (changes.get("removal.schedule") == "linear")
    assert plan(config) == []


def test_a_plans_seconds_are_those_of_steps_that_grow_shorter(runs_folder, tiny, monkeypatch):
    """By a clock that only training steps advance: 2 s in the first half, then less and less."""
    clock, step_of = [0.0], Trainer.step

    def step(self, number):
        step_of(self, number)
        clock[0] += 2.0 if number < 50 else 2.0 - (number - 50) / 50

    monkeypatch.setattr(Trainer, "step", step)
    monkeypatch.setattr(Trainer, "clock", lambda self: clock[0])
    (planned,) = plan(tiny.override({"train.steps": 101}))
    # at steps 0, 50 and 100: 2, 2 and 1 s; by trapezoids 101 * (2 + 1.5) / 2
    assert planned.seconds == pytest.approx(101 * 1.75)
    assert planned.device == "this machine"


def test_distillation_is_planned_phase_by_phase(runs_folder):
    """Steps of every phase are timed, whether those before it are trained or not."""
    config = experiments.icot_kd("smoke", overrides=QUICK)
    plans = plan(config)
    phases = list(config.phases.values())
    assert [planned.name for planned in plans] == [x.run_name for x in [*phases, config]]
    assert {planned.device for planned in plans} == {"this machine"}
    assert all(planned.seconds > 0 for planned in plans)
    assert not any(runs_folder.rglob("config.json"))
    for phase in phases:
        train(phase)
    (last,) = plan(config)
    assert last.device == "this machine"
    assert last.cost == plans[-1].cost
    assert not Run.of(config).started
    assert train(config).totals["parameters"] == last.cost.parameters


def test_time_on_a_named_device_is_calculated(runs_folder, tiny):
    (planned,) = plan(tiny, speed="2")
    assert planned.seconds == pytest.approx(planned.cost.flops / 2e12)
    assert "on 2 TFLOP/s (calculated)" in "\n".join(planned.lines())


def test_the_precision_of_a_named_device_is_its_own_and_not_that_of_this_machine(tmp_path):
    config = experiments.icot_si("paper")
    planned, asked = (
        plan(one, "h100")[0] for one in (config, config.override({"train.precision": "bf16"}))
    )
    assert planned.config == config  # which has the name of the run
    assert (planned.cost, planned.times, planned.fit) == (asked.cost, asked.times, asked.fit)
    assert planned.cost.precision == "bf16"


def test_a_plan_counts_the_examples_that_files_hold(runs_folder, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    for split, number in (("train", 40), ("valid", 10), ("test", 10)):
        rows = [Example(f"{split} {i}", "1", "2") for i in range(number)]
        write_examples(folder / f"{split}.txt", rows)
    few = {"data.path": str(folder), "data.valid_examples": 10, "data.test_examples": 10}
    many = few | {"data.valid_examples": 500, "data.test_examples": 1000}
    costs = [plan(experiments.icot_si("smoke", 0, own), with_times=False)[0] for own in (few, many)]
    assert costs[0].cost.evaluation == costs[1].cost.evaluation > 0
    assert costs[0].peaks == costs[1].peaks


def test_a_run_too_large_for_a_device_is_planned_over_several(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "icot-si/gsm8k/mistral-7b"
    assert main(["train", name, "--plan", "--speed", "h100"]) == 0
    printed = capsys.readouterr().out
    assert "a device of 80 GB has 72.0 for tensors" in printed
    sharded = f"--use_fsdp --fsdp_version 2 --num_processes 4 -m icotlib train {name}\n"
    assert sharded in printed
    assert f"icot train {name} --set 'model.lora={{r: 16}}'\n" in printed
    assert "1,106.1 GiB of weights on disk, 27.0 with train.stage_weights=last" in printed
    assert main(["train", name, "--plan", "--speed", "h100", "--memory", "160"]) == 0
    assert "fits a device of 160 GB" in capsys.readouterr().out
    assert main(["train", name, "--memory", "24"]) == 1
    assert "add --plan" in capsys.readouterr().err


def test_what_fsdp_needs_of_each_device():
    config = get_paper_result("icot-si/gsm8k/mistral-7b").config()
    cost, parameters = cost_of(config, NominalLengths(config)), 7_241_732_096
    embeddings, layer = 2 * 32_000 * 4096, 218_103_808
    assert cost.gathered == pytest.approx(2 * (3 * layer + embeddings), rel=0.01)
    per_example = (cost.activations - 2 * parameters) / 16  # two micro-batches of a batch of 32
    divided = 16 * parameters / 4
    evaluation = 2 * parameters + 2**30  # in bf16, and logits
    assert fitting.per_device(config, cost, 4) == divided + evaluation
    large = config.override({"train.batch_size": 1024})
    cost = cost_of(large, NominalLengths(large))
    wanted = divided + 256 * per_example + cost.gathered  # one micro-batch of a quarter
    assert fitting.per_device(large, cost, 4) == pytest.approx(wanted, rel=0.05)


def test_a_plan_says_what_does_not_fit_at_all():
    config = get_paper_result("icot-si/gsm8k/mistral-7b").config()
    small = config.override({"train.batch_size": 4})  # no rows for more than four processes
    source = NominalLengths(small)
    found = fitting.fit(small, source, cost_of(small, source), memory=24)
    assert (found.sharded, found.lora) == (None, None)
    assert "gradient_checkpointing" in "\n".join(found.lines("x"))
    recomputed = small.override({"train.gradient_checkpointing": True})
    found = fitting.fit(recomputed, source, cost_of(recomputed, source), memory=24)
    assert "gradient_checkpointing" not in "\n".join(found.lines("x"))
    source = NominalLengths(config)
    found = fitting.fit(config, source, cost_of(config, source), memory=24)
    assert (found.sharded, found.lora) == (None, None)
    assert "train x --set train.stage_weights=last" in "\n".join(found.lines("x"))
    muon = fitting.Fit(80, 2e11, (4, 6e10), None, needs_adamw=True)
    assert "icotlib train x --set optim.name=adamw" in "\n".join(muon.lines("x"))


def test_many_stages_are_listed_from_both_ends():
    text = listed([(100 * i, i) for i in range(40)])
    assert text.startswith("0 from step 0, 1 from step 100, ")
    assert ", ..., " in text
    assert text.endswith("39 from step 3,900")


def test_the_command_prints_it(runs_folder, capsys):
    command = ["train", "one_model", "--preset", "smoke", "--plan"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "40 steps, 1,280 examples" in printed
    assert "0 to 6 tokens removed, drawn for each example" in printed
    assert "MiB for weights" in printed
    assert not runs_folder.exists()
    command[1] = "icot_si"
    assert main([*command, "--set", "removal.schedule=adaptive"]) == 0
    printed = capsys.readouterr().out
    assert "whenever accuracy allows" in printed
    assert "with train.stage_weights=last" in printed
    assert main([*command, "--set", "removal.schedule=rollback"]) == 0
    assert "back to the last good stage" in capsys.readouterr().out


def test_durations_are_rounded():
    assert [duration(s) for s in (12, 100, 3000, 20_000)] == ["12 s", "2 min", "50 min", "5.6 h"]


def test_no_memory_at_all_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["train", "icot_si", "--plan", "--memory", "0"])
    assert "--memory: must be more than 0" in capsys.readouterr().err
