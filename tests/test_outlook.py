"""What several runs will take together."""

import dataclasses
import re
from dataclasses import replace

import pytest

import icotlib as icot
from icotlib import experiments
from icotlib.cli import main
from icotlib.planning import outlook as module
from icotlib.planning.outlook import Outlook, outlook
from icotlib.planning.plan import plan
from icotlib.planning.timed import Seconds
from icotlib.running.notebooks import notebooks
from icotlib.studies.of_notebooks import studies_of
from icotlib.training.trainer import train


def test_runs_that_differ_in_seed_and_rate_alone_are_planned_once(runs_folder, tiny, monkeypatch):
    planned = []
    real = module.plan_run
    monkeypatch.setattr(module, "plan_run", lambda *a: planned.append(a[0]) or real(*a))
    alike = [tiny.override(seed=seed, label=f"l{seed}") for seed in (0, 1, 2)]
    alike.append(tiny.override({"optim.lr": 0.5}))
    longer = tiny.override({"train.steps": 2 * tiny.train.steps})
    found = outlook([*alike, longer], speed="1")
    assert planned == [alike[0].pinned(), longer.pinned()]
    assert found.table.runs.tolist() == [4, 1]
    each = found.table.seconds
    assert found.seconds == pytest.approx(4 * each[0] + each[1])
    assert not runs_folder.exists()


def test_finished_runs_are_left_out(runs_folder, tiny):
    train(tiny)
    other = tiny.override(seed=1)
    assert [one.seed for one in outlook([tiny, other], speed="1").runs] == [1]
    assert list(outlook([tiny]).lines()) == ["every run is finished"]


def test_steps_are_timed_where_no_speed_is_named(runs_folder, tiny):
    found = icot.outlook([tiny])
    (planned,) = found.plans.values()
    assert planned.device == "this machine"
    assert found.seconds > 0
    assert re.search(r"1 run to train: .* of computing on this machine", repr(found))


@pytest.mark.parametrize(("workers", "hours"), [(1, 11.0), (2, 6.0), (3, 5.0)])
def test_a_run_waits_for_those_that_it_builds_on(runs_folder, workers, hours):
    """A chain of four runs, 1 + 1 + 1 + 2 hours, beside two runs of 3 hours."""
    chain = list(experiments.icot_kd("smoke").family().values())
    alone = [experiments.no_cot("smoke"), experiments.no_cot("smoke", 1)]
    (planned,) = plan(alone[0], speed="1")
    none = {part.name: 0.0 for part in dataclasses.fields(planned.times)}
    plans = {
        config.run_name: replace(planned, times=Seconds(**none | {"training": 3600.0 * hours}))
        for config, hours in zip([*chain, *alone], [1, 1, 1, 2, 3, 3], strict=True)
    }
    assert Outlook([*chain, *alone], plans, workers).wall_seconds() == 3600 * hours


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (["study", "depth", "--arms", "ICoT-SI, 3 layers"], 1),
        (["study", "depth", "--seeds", "10", "--arms", "ICoT-KD, 3 layers"], 4),
        (["sweep", "no_cot", "--grid", "seed=0..2", "--grid", "optim.lr=0.1,0.2"], 6),
        (["notebook", "02"], 2),
        (["notebook", "21"], 2 * 3),  # two seeds of its study
        (["sweep", "21", "--grid", "seed=0..1"], 3 * 3),  # of four, two are the same
        (["shifts"], 8),
    ],
)
def test_commands_say_what_they_would_train(runs_folder, capsys, words, runs):
    assert main([*words, "--preset", "smoke", "--plan", "--speed", "1"]) == 0
    said = f"{runs} run to train" if runs == 1 else f"{runs} runs to train"
    assert said in capsys.readouterr().out
    assert not runs_folder.exists()


def test_notebooks_ask_for_the_studies_whose_runs_are_planned():
    for path in notebooks():
        names = re.findall(r'icot\.study\(\\"(\w+)', path.read_text())
        assert {study.name for study in studies_of(path.stem)} == set(names), path.stem


def test_a_plan_says_what_it_does_not_count(runs_folder, capsys):
    assert main(["notebook", "14", "--plan"]) == 0
    printed = capsys.readouterr().out
    assert "which 14_your_own makes, is not counted" in printed
    assert "finished" not in printed


def test_a_plan_of_the_workbook_has_its_runs(runs_folder, capsys):
    assert main(["workbook", "--series", "--preset", "smoke", "--plan", "--speed", "1"]) == 0
    number = len(icot.outlook(experiments.series("smoke"), speed="1").runs)
    assert f"{number} runs to train" in capsys.readouterr().out


def test_a_sweep_that_is_there_is_planned_by_its_name(runs_folder, tiny, capsys):
    icot.Sweep.make("no_cot", [{"seed": 0}, {"seed": 1}], {"preset": "smoke"}, "mine")
    assert main(["sweep", "--again", "mine", "--plan", "--speed", "1"]) == 0
    assert "2 runs to train" in capsys.readouterr().out
    assert main(["sweep", "--show", "mine", "--plan"]) == 1
    assert "leave out --plan" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["study", "main"], ["workbook"], ["shifts"], ["sweep"]])
def test_a_speed_without_a_plan_is_refused(words, capsys):
    assert main([*words, "--speed", "h100"]) == 1
    assert "add --plan" in capsys.readouterr().err
