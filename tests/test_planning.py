"""A plan says what the run then does."""

import pytest

from icotlib import experiments
from icotlib.cli import main
from icotlib.running.planning import duration, listed, plan
from icotlib.runs import Run
from icotlib.training.trainer import train

QUICK = {"train.steps": 12, "train.eval_every": 12, "data.test_examples": 8}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"removal.schedule": "linear", "removal.steps_per_epoch": 10, "removal.warmup_steps": 2},
        {"method": "no_cot", "removal.schedule": "all"},
        {"method": "explicit_cot", "removal.schedule": "none"},
    ],
)
def test_a_plan_is_what_the_run_then_does(runs_folder, tiny, changes):
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
    assert 0.1 < planned.seconds / totals["seconds"] < 10
    if config.removal.schedule == "linear":
        # 8 tokens in 10 steps after a warm-up of 2: the first of them at step 4
        assert planned.stages[:3] == ((0, 0), (4, 1), (5, 2))
        assert planned.stages[-1][1] == run.stages.removed.max()
    else:
        assert not planned.stages
    assert plan(config) == []


def test_distillation_is_planned_stage_by_stage(runs_folder):
    config = experiments.icot_kd("smoke", overrides=QUICK)
    plans = plan(config)
    assert [one.name for one in plans] == [
        *(parent.run_name for parent in config.parents.values()),
        config.run_name,
    ]
    assert plans[0].device == "this machine"
    assert {one.device for one in plans[1:]} == {"this machine (calculated from the runs above)"}
    rates = [one.cost.flops / one.seconds for one in plans]
    assert rates[1:] == pytest.approx([rates[0]] * 3)
    for parent in config.parents.values():
        train(parent)
    (last,) = plan(config)
    assert last.device == "this machine"
    assert last.cost == plans[-1].cost
    assert not Run.of(config).started
    assert train(config).totals["parameters"] == last.cost.parameters


def test_time_on_a_named_device_is_calculated(runs_folder, tiny):
    (planned,) = plan(tiny, speed="2")
    assert planned.seconds == pytest.approx(planned.cost.flops / 2e12)
    assert "on 2 TFLOP/s (calculated)" in "\n".join(planned.lines())


def test_many_stages_are_listed_from_both_ends():
    text = listed([(100 * i, i) for i in range(40)])
    assert text.startswith("0 from step 0, 1 from step 100, ")
    assert ", ..., " in text
    assert text.endswith("39 from step 3,900")


def test_the_command_prints_it(runs_folder, capsys):
    command = ["train", "icot_si", "--preset", "smoke", "--plan"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "40 steps, 1,280 examples" in printed
    assert "0 to 6 tokens removed, drawn for each example" in printed
    assert "MiB for weights" in printed
    assert not runs_folder.exists()
    assert main([*command, "--set", "removal.schedule=adaptive"]) == 0
    assert "whenever accuracy allows" in capsys.readouterr().out


def test_durations_are_said_as_people_do():
    assert [duration(s) for s in (12, 100, 3000, 20_000)] == ["12 s", "2 min", "50 min", "5.5 h"]
