"""Studies: their runs, tables and sentences; how sure a model is; budgets."""

import csv
import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import icotlib as icot
from icotlib import experiments, paths, studies
from icotlib.cli import main
from icotlib.config import RunConfig, to_dict
from icotlib.errors import ConfigError, DataError
from icotlib.evaluation.confidence import log_probabilities
from icotlib.evaluation.stage_model import StageModel
from icotlib.experiments import budgets
from icotlib.experiments.graphs import OWN
from icotlib.models.decoding import decoding
from icotlib.planning import calibration
from icotlib.publishing import study_blocks
from icotlib.publishing.guide import BLOCKS
from icotlib.registry import STUDIES, import_file
from icotlib.reporting.figures.style import schedule_label
from icotlib.reporting.statistics import less_by_seed
from icotlib.studies import (
    get_study,
    inside,
    methods,
    routing,
    stability,
    states,
    study_names,
    subspaces,
)
from icotlib.studies.additions import with_published
from icotlib.studies.base import Answer
from icotlib.studies.main import ARMS
from icotlib.studies.routing import Replies, _decided
from icotlib.studies.states import WITHOUT_CONTENT
from icotlib.system.seals import sealed, write_json
from icotlib.training.trainer import train
from tests.helpers import TINY

pytestmark = pytest.mark.usefixtures("shared_worker")

#: The arms without latent places of the study of methods.
PLAIN = ("no_cot", "explicit_cot", "icot_si", "one_model", "icot_kd")

#: Runs of a second.
QUICK = {"train.steps": 12, "train.eval_every": 12, "data.test_examples": 20}


# --- how sure a model is -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def sure_run(tmp_path_factory):
    """A finished run that has learned something."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("sure")))
        return train(RunConfig().override(TINY | {"train.steps": 150, "train.eval_every": 150}))


@pytest.mark.parametrize("removed", [0, 3])
def test_a_models_certainty_is_the_product_of_its_own_steps(sure_run, removed):
    """Beside decoding token by token, which knows nothing of teacher forcing."""
    model = StageModel.of(sure_run, removed)
    questions = icot.draw_questions(model.task, 30)
    answers = model.answer(questions)
    sure = log_probabilities(model, answers)
    batch = model.format.arrange(model.layout.encode(questions.examples()))
    shift = torch.full((30,), removed)
    rows = decoding(model.model, batch, shift, model.layout.pad, model.max_new_tokens)
    steps, written = [], []
    with torch.no_grad():
        for _ in range(model.max_new_tokens):
            logits = rows.logits().float().log_softmax(dim=-1)
            ids = logits.argmax(dim=-1, keepdim=True)
            steps.append(logits.max(dim=-1).values)
            written.append(ids)
            rows.append(ids)
    each = torch.stack(steps, dim=1).double()
    checked = 0
    for row, answer in enumerate(answers):
        if not answer.answer or answer.cut:
            assert sure[row] == -np.inf
            continue
        chain = len(answer.chain.split())
        expected = each[row, chain : answer.tokens].sum().item()
        assert sure[row] == pytest.approx(expected, abs=1e-3)
        checked += 1
    assert checked >= 10


# --- routing -----------------------------------------------------------------------------------


def asked():
    """Four questions: two right without steps, all with them."""
    return Replies(
        np.array([-0.1, -0.2, -3.0, -4.0]),
        np.array([True, True, False, False]),
        np.array([9, 9, 9, 9]),
        np.array([True, True, True, True]),
        np.array([21, 21, 21, 21]),
    )


def test_what_is_asked_again_counts_both_of_its_answers():
    right, tokens = asked().routed(np.array([False, False, True, False]))
    assert right.tolist() == [True, True, True, False]
    assert tokens == 9 + 21 / 4


def test_random_routing_is_its_expectation_at_equal_tokens():
    _, tokens = asked().routed(np.array([False, False, True, False]))
    assert asked().at_random(tokens) == 0.75 * 0.5 + 0.25 * 1.0
    unequal = replace(asked(), explicit_tokens=np.array([21, 21, 210, 210]))
    _, tokens = unequal.routed(np.array([False, False, True, False]))
    share = 210 / 4 / 115.5  # of questions drawn at random, for as many tokens
    assert unequal.at_random(tokens) == pytest.approx((1 - share) * 0.5 + share)


def test_words_say_whether_the_seeds_decide():
    assert _decided(np.array([0.01, 0.02])) == "Too few seeds for a claim."
    assert "do not decide" in _decided(np.array([-0.01, 0.0, 0.02]))
    assert "do not" not in _decided(np.array([0.01, 0.012, 0.011]))


def test_the_share_that_is_asked_again_can_be_chosen(runs_folder, monkeypatch):
    monkeypatch.setattr(routing, "_asked", lambda folder: (asked(), asked()))
    config = experiments.one_model("smoke")
    assert routing.compared(config, 0.5) == (1.0, 0.75, 9 + 21 / 2)
    assert routing.compared(config, 0.25) == (0.75, 0.625, 9 + 21 / 4)


def test_the_least_sure_questions_come_first(runs_folder):
    config = experiments.one_model("smoke", overrides=QUICK)
    train(config)
    table = routing.least_sure(config, 6)
    assert len(table) == 6
    assert table.probability.is_monotonic_increasing
    assert set(table.question) <= set(StageModel.of(icot.Run.of(config)).corpus.test["question"])


# --- studies -----------------------------------------------------------------------------------


def test_every_study_has_runs_of_its_own_seeds(runs_folder):
    for name in study_names():
        study = get_study(name)
        members = study.members("fast")
        assert {member.seed for member in members} == set(study.seeds)
        assert {member.config.data.seed for member in members} == {1}
        assert not set(study.seeds) & {0, 1, 2, 100, 101, 102}  # settings were tuned on these


def test_the_main_study_gives_no_cot_the_budget_of_stepwise_internalization(runs_folder):
    members = {member.arm: member.config for member in get_study("main").members("fast", [10])}
    assert set(members) == set(ARMS)
    implicit, examples = members["icot_si"].train, members["no_cot_examples"].train
    assert examples.steps * examples.batch_size == implicit.steps * implicit.batch_size
    assert members["no_cot_seconds"].train.steps > examples.steps
    baselines = members["no_cot_seconds"].optim, members["no_cot_examples"].optim
    assert baselines[0] == baselines[1]


def test_the_main_study_says_what_it_found(runs_folder, capsys):
    options = [part for name, x in QUICK.items() for part in ("--set", f"{name}={x}")]
    assert main(["study", "main", "--preset", "smoke", "--arms", "icot_kd", "--status"]) == 0
    assert capsys.readouterr().out.count("waiting") == 2
    some = ["study", "main", "--preset", "smoke", "--arms", "icot_si,no_cot_examples"]
    assert main([*some, *options]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"with [0-5] of 6 tokens removed \(2 seeds, lowest", printed)
    assert "No CoT with as many examples as ICoT-SI took 100.0% of its examples." in printed
    assert "ICoT-SI less" not in printed  # it still writes steps
    assert main([*some, "--set", "data.test_examples=20"]) == 0
    printed = capsys.readouterr().out
    assert "ICoT-SI minus No CoT with as many examples as ICoT-SI: " in printed
    assert "too few seeds for a claim" in printed
    (folder, other) = sorted((runs_folder / "studies").iterdir())
    assert all(one.name.startswith("main-smoke-") for one in (folder, other))
    table = pd.read_csv(folder / "budget.csv")
    expected = ["method", "budget", "seed", "examples", "seconds"]
    expected += ["accuracy", "ci_low", "ci_high", "n"]
    assert list(table.columns) == expected
    assert len(table) == 4
    assert (folder / "budget.png").is_file()
    assert (folder / "budget.json").is_file()


def test_routing_has_every_rule_for_every_seed(runs_folder):
    answer = icot.study("routing", "smoke", seeds=[10, 11], overrides=QUICK)
    rules = answer.table.rule.str.partition(",")[0]
    assert set(rules) == {"fixed", "confidence", "random", "oracle"}
    pairs = answer.table[rules.isin(["confidence", "random"])].groupby(["seed", "threshold"])
    assert all(group.tokens.nunique() == 1 for _, group in pairs)
    assert "Too few seeds" in answer.words[-1]


def test_methods_stand_beside_each_other_with_what_they_cost(runs_folder):
    answer = icot.study("methods", "smoke", seeds=[10], overrides=QUICK)
    on_digits = answer.table.task == "mult-1x2"
    table, graphs = (answer.table[x].set_index("method") for x in (on_digits, ~on_digits))
    assert list(answer.table.columns) == [
        *("task", "method", "budget", "seed", "rate", "examples", "seconds", "passes", "latents"),
        *("tokens", "milliseconds", "accuracy", "ci_low", "ci_high", "n"),
    ]
    assert set(table.index) == {*experiments.LATENT, *PLAIN}
    assert set(graphs.index) == set(OWN)
    assert (answer.table.milliseconds > 0).all()
    places = table.loc[["no_cot", "pause", "pause_as_thought", "coconut", "codi"]]
    assert places.latents.tolist() == [0, 6, 3, 3, 6]
    assert places.passes.tolist() == [1, 1, 1, 4, 7]
    # Where all have as many steps, budgets are those of examples, and here ICoT-SI still writes.
    assert set(table.budget) == {"own", "examples of icot_si"}
    assert any(said.startswith("ICoT-SI ended with ") for said in answer.words)
    assert any(said.startswith("No CoT on graphs: ") for said in answer.words)
    titles = [ax.get_title() for ax in answer.figure.axes]
    tasks = [title.partition(",")[0] for title in titles]
    assert tasks == ["mult-1x2", "graph-12-frontier"]
    assert "This is one seed" in answer.words[-1]
    labels = {text.get_text() for text in answer.figure.legends[0].get_texts()}
    assert {"Coconut", "SIM-CoT (Coconut)", "Pause as thought", "No CoT"} <= labels


def test_methods_are_compared_at_equal_seconds_and_at_equal_examples(runs_folder):
    members = get_study("methods").members("fast", [10])
    steps = {member.arm: member.config.train.steps for member in members}
    for method in methods.MATCHED:
        assert steps[f"{method}, equal examples"] == steps["icot_si"] != steps[method]
    configs = {member.arm: member.config for member in members}
    for method in ("no_cot", "coconut", "sim_cot", "codi"):
        whole = configs[f"{method} on graphs"]
        timed = configs[f"{method} on graphs, equal seconds"]
        share = timed.train.steps / whole.train.steps
        assert share != 1
        counted = [("data", "growth_steps")]
        if timed.method == "coconut":
            counted += [("latent", "first_steps"), ("latent", "steps_per_stage")]
        for section, name in counted:
            before, now = (getattr(getattr(one, section), name) for one in (whole, timed))
            assert now == pytest.approx(share * before, abs=0.5)
    few = {"train.eval_every": 40, "data.test_examples": 20}
    study = get_study("methods")
    asked = study.members("smoke", [10], few | {"data.task": "mult-2x1"})
    assert {one.config.task for one in asked} == {"mult-2x1"}
    for name in ("methods", "contents"):
        asked = get_study(name).members("smoke", [10], few | {"data.task": "graph-14"})
        assert {one.config.task for one in asked} == {"graph-14"}
        assert all(" on graphs" in one.arm for one in asked)
    arms = ("icot_si", "pause", "pause, equal examples")
    chosen = [one for one in study.members("smoke", [10], few) if one.arm in arms]
    icot.ensure([one.config for one in chosen])
    answer = study.answer(chosen)
    rows = answer.table.set_index(["method", "budget"])
    assert rows.examples["pause", "examples of icot_si"] == rows.examples["icot_si", "own"]
    assert rows.examples["pause", "seconds of icot_si"] < rows.examples["icot_si", "own"]
    titles = [ax.get_title() for ax in answer.figure.axes]
    assert ["as many examples" in title for title in titles] == [False, True]
    assert any(said.startswith("With as many examples: “ICoT-SI”") for said in answer.words)
    table = answer.table.assign(tokens=3.0).set_index(["method", "budget"])
    table.loc[("pause", "seconds of icot_si"), "seconds"] = 2 * table.seconds["icot_si", "own"]
    table.loc[("pause", "examples of icot_si"), "tokens"] = 5.0
    said = study.words([], table.reset_index())
    assert "Pause tokens took 200% of ICoT-SI's seconds." in said
    unequal = "Pause tokens: 5.0 tokens written for an answer, ICoT-SI: 3.0; they are not compared."
    assert unequal in said
    assert not any(one.startswith("With as many") for one in said)


@pytest.mark.parametrize(
    "name",
    [
        "methods",
        "contents",
        "stability",
        "four_digits",
        "inside",
        "das",
        "shifts",
        "stages",
        "thoughts",
    ],
)
def test_rows_of_a_table_that_takes_arms_name_them(name):
    study = get_study(name)
    members = study.members()
    rows = [
        {
            "arm": x.arm,
            "model": x.arm,
            "task": x.config.task,
            "method": methods.method_of(x.arm),
            "budget": methods.budget_of(x.arm),
            "content": x.arm.removesuffix(" on graphs"),
        }
        for x in members
    ]
    assert study.arms_of(pd.DataFrame(rows)).tolist() == [x.arm for x in members]


def test_thoughts_that_decide_the_answer_are_told_from_those_that_do_not(runs_folder):
    few = {"train.steps": 40, "data.test_examples": 20, "train.eval_every": 40}
    answer = icot.study("thoughts", "smoke", seeds=[10], overrides=few)
    table = answer.table
    assert set(table.model) == {"Coconut", "SIM-CoT (Coconut)", "CODI"}
    assert set(table.task) == {"graph-12-frontier"}
    assert table.groupby("model").place.nunique().gt(2).all()  # all of them, and each
    blind = "answers no question otherwise than the question whose thoughts it gets"
    assert all(blind in said or "Too few seeds" in said for said in answer.words[:3])
    answer.figure.canvas.draw()
    again = icot.study("thoughts", "smoke", seeds=[10], overrides=few)
    pd.testing.assert_frame_equal(table, again.table)  # kept with its runs
    seeds = [table.assign(seed=seed, accuracy=0.5, n=400) for seed in (10, 11, 12)]
    shown = pd.concat(seeds, ignore_index=True)
    followed = (shown.model == "Coconut") & (shown.replacement == "other")
    shown.loc[followed & (shown.answers == "other"), "accuracy"] = 0.99
    said = get_study("thoughts").words([], shown)
    assert "The difference: 49.0 points" in said[0]
    assert "do not show that answers follow thoughts" in said[1]
    on_digits = get_study("thoughts").members("smoke", [10], {"data.task": "mult-1x2"})
    assert {member.config.task for member in on_digits} == {"mult-1x2"}


def test_contents_of_places_share_one_curriculum(runs_folder):
    members = get_study("contents").members("fast", [10])
    plans = {
        (one.task, one.train.steps, one.latent.first_steps, one.latent.steps_per_stage)
        for one in (member.config for member in members)
    }
    assert len(plans) == 2  # on digits, and on graphs
    assert len({x.config.run_name for x in members}) == len(members) == 12
    of_methods = {x.config.run_name for x in get_study("methods").members("fast", [10])}
    shared = {x.arm for x in members if x.config.run_name in of_methods}
    assert shared == {"recycled on graphs", "fixed on graphs"}
    few = {"train.steps": 40, "data.test_examples": 20, "train.eval_every": 40}
    answer = icot.study("contents", "smoke", seeds=[10], overrides=few)
    table = answer.table[answer.table.split == "in distribution"]
    for task, recycled in (("mult-1x2", 4), ("graph-12-frontier", 5)):
        assert table[table.task == task].set_index("content").passes.to_dict() == {
            "recycled": recycled,
            "fixed": 1,
            "noise": 2,
            "others": recycled,
            "refined once": 2,
            "refined twice": 3,
        }
    assert set(answer.table.split) > {"in distribution"}
    assert len(answer.words) >= 2 * 5
    assert all("too few seeds" in said for said in answer.words)
    more = [answer.table.assign(seed=answer.table.seed + 10 * number) for number in range(3)]
    shown = pd.concat(more, ignore_index=True).assign(accuracy=0.5)
    shown.loc[(shown.split == "in distribution") & (shown.content == "recycled"), "accuracy"] = 1.0
    said = get_study("contents").words([], shown)
    tests = shown[["task", "split"]].drop_duplicates()
    assert len(said) == 5 * len(tests) > 5 * 2
    for task in ("mult-1x2", "graph-12-frontier"):
        start = f"On {task}, recycled states (100.0%) minus "
        assert sum(one.startswith(start) for one in said) == 5
        assert all(" seeds in pairs: " in one for one in said)


def test_the_schedules_of_stability_get_equal_examples(runs_folder):
    members = get_study("stability").members("fast")
    of_pace = [x for x in members if x.arm in (stability.OWN_PACE, stability.NO_COT)]
    assert [x.seed for x in of_pace if x.arm == stability.OWN_PACE] == [10, 11, 12]
    assert [x.seed for x in of_pace if x.arm == stability.NO_COT] == [10, 11, 12]
    members = [member for member in members if member not in of_pace]
    assert len({member.config.run_name for member in members}) == len(members) == 9 * 8 + 2 * 3
    assert len({x.config.train.steps * x.config.train.batch_size for x in members}) == 1
    first = {member.arm: member.config for member in members if member.seed == 10}
    of_states = {x.arm: x.config.run_name for x in get_study("inside").members("fast", [10])}
    for arm in WITHOUT_CONTENT:  # runs that the analyses of states have too
        assert first[arm].run_name == of_states[arm]
    paced, baseline = (x.config for x in of_pace if x.seed == 10)
    examples = baseline.train.steps * baseline.train.batch_size
    assert examples / (paced.train.steps * paced.train.batch_size) == pytest.approx(1, abs=1e-4)
    # Its rate falls from the removal of the last of 12 tokens on.
    last = paced.removal.warmup_steps + 12 * paced.removal.steps_per_epoch / paced.removal.pace
    falls = (1 - paced.optim.decay_fraction) * paced.train.steps
    assert falls == pytest.approx(last, abs=10)
    papers, bare = first[stability.PAPERS].removal, first["linear"].removal
    assert papers.smoothing
    assert papers.reset_optimizer
    assert (bare.smoothing, bare.reset_optimizer) == (None, False)
    assert first["longer stages"].removal.steps_per_epoch == 2 * papers.steps_per_epoch
    # The paper's own arm is the run of the main study.
    main_study = {x.arm: x.config for x in get_study("main").members("fast", [10])}
    assert first[stability.PAPERS].run_name == main_study["icot_si"].run_name
    # Schedules that are levers too are trained once for both studies, on the same problem.
    task = {"data.task": "mult-4x2"}
    levers = {x.arm: x.config.run_name for x in get_study("levers").members("fast", [10], task)}
    shared = {"linear, smoothing", "linear, reset", "longer stages"}
    assert {arm for arm, one in first.items() if one.run_name in levers.values()} == {
        stability.PAPERS,
        *shared,
    }
    for arm, config in first.items():  # each has steps left behind its last removal
        if arm in ("one model for all k", stability.AT_ONCE):
            continue
        removal = config.removal
        stage = getattr(removal, "max_steps_per_stage", 0) or getattr(removal, "stage_steps", 0)
        stage = stage or removal.steps_per_epoch / removal.pace
        assert removal.warmup_steps + 12 * stage < 0.7 * config.train.steps
    # The control has as many steps without a chain as the paper's schedule.
    at_once, papers = (
        first[arm].spec.make_schedule(first[arm], 12)
        for arm in (stability.AT_ONCE, stability.PAPERS)
    )
    last = next(step for step in range(1500) if papers.removed_at(step) == 12)
    assert [at_once.removed_at(step) for step in (last - 1, last)] == [0, 12]


def test_stability_counts_a_seed_that_removed_all_and_is_right(runs_folder, monkeypatch):
    few = QUICK | {"train.steps": 60}
    arms = (stability.PAPERS, "adaptive", "one model for all k")
    monkeypatch.setattr(stability, "SUCCESS", 0.0)
    study = get_study("stability")
    members = [x for x in study.members("smoke", [10, 11], few) if x.arm in arms]
    icot.ensure([member.config for member in members])
    answer = study.answer(members)
    table = answer.table
    columns = ["arm", "seed", "accuracy", "success", "examples", "seconds", "seconds_to_90"]
    assert list(table.columns) == columns
    assert table.groupby("arm").size().to_dict() == dict.fromkeys(arms, 2)
    assert table[table.arm != "adaptive"].success.all()  # every chain is gone
    assert table.seconds_to_90.isna().all()  # nobody learns so fast
    assert any("2 of 2 seeds reach" in said for said in answer.words)
    assert any(
        said.startswith("Too few seeds to compare ICoT-SI, adaptive") for said in answer.words
    )
    assert all("linear" not in said for said in answer.words)


def test_every_lever_changes_one_thing(runs_folder):
    members = get_study("levers").members("fast", [10])
    assert len({member.config.run_name for member in members}) == len(members) == 8
    recipe = settings_of(members[0].config)
    changed = {}
    for member in members[1:]:
        own = settings_of(member.config)
        changed[member.arm] = {name for name in own if own[name] != recipe.get(name)} - {"label"}
    both = {"removal.side", "removal.keep_positions"}
    assert changed.pop("side: right") == both  # positions cannot be kept on the right
    assert all(len(names) == 1 for names in changed.values()), changed
    few = QUICK | {"train.steps": 60, "removal.smoothing": 2.0, "removal.reset_optimizer": True}
    answer = icot.study("levers", "smoke", seeds=[10], overrides=few)
    assert list(answer.table.columns) == ["lever", "value", "seed", "removed", "accuracy", "n"]
    assert len(answer.table) == 8
    assert len(answer.words) == 7
    right = next(said for said in answer.words if "side: right" in said)
    assert right.startswith("“kept positions: no” (")  # the recipe differs from it in two settings
    assert answer.table.lever.iloc[0] == "recipe"
    labels = [text.get_text() for text in answer.figure.axes[0].get_yticklabels()]
    assert labels[0] == "recipe: whole"


def test_levers_follow_the_pace_that_is_set_and_leave_out_what_changes_nothing(runs_folder):
    slow = {"removal.steps_per_epoch": 60}
    own = {x.arm: x.config.removal for x in get_study("levers").members("fast", [10], slow)}
    assert own["pace: half"].steps_per_epoch == 120
    schedules = {x.arm: x.config for x in get_study("stability").members("fast", [10], slow)}
    assert schedules["adaptive"].removal.max_steps_per_stage == 120
    # The recipe of `smoke` has neither smoothing nor reset, that of `paper` no decay.
    assert "smoothing: none" not in {x.arm for x in get_study("levers").members("smoke", [10])}
    assert "linear" not in {x.arm for x in get_study("stability").members("smoke", [10])}
    assert "decay: none" not in {x.arm for x in get_study("levers").members("paper", [10])}


def test_what_still_writes_steps_is_compared_with_nothing():
    rows = {"removed": [6, 6], "chain_length": 6, "unit": "tokens", "accuracy": [0.5, 0.6]}
    done = pd.DataFrame(rows | {"seed": [10, 11], "n_test": 100, "run": ["a", "b"]})
    assert "minus" in studies.base.compared("first", done, "second", done)
    writes = done.assign(removed=[6, 4])
    for names in (("first", writes, "second", done), ("second", done, "first", writes)):
        said = studies.base.compared(*names)
        assert said.startswith("First ended with 4 of 6 tokens removed: it is not compared")


def test_settings_of_what_only_studies_train_are_read(runs_folder):
    changes = {"latent.units_per_stage": 3}
    (first, *_) = get_study("contents").members("fast", [10], changes)
    assert first.config.latent.units_per_stage == 3
    weight = {"auxiliary.weight": 0.1}
    own = {x.arm: x.config for x in get_study("auxiliary").members("fast", [10], weight)}
    assert own["running sums"].auxiliary.weight == 0.1
    with pytest.raises(ConfigError, match="unknown setting"):
        get_study("main").members("fast", [10], {"latent.units": 3})


@pytest.mark.parametrize("preset", experiments.PRESETS)
def test_the_arms_of_the_auxiliary_loss_have_one_model(preset):
    own = [x.config for x in get_study("auxiliary").members(preset, [10])]
    assert all(one.model == own[0].model for one in own)


def made_shifts(unseen, seen=(1.0, 1.0, 1.0), n=2000):
    rows = [("in distribution", seen), ("unseen combinations", unseen)]
    return pd.DataFrame(
        {"method": "explicit_cot", "seed": 10 + i, "shift": name, "accuracy": x, "n": n}
        for name, values in rows
        for i, x in enumerate(values)
    )


def test_a_shift_that_helps_is_no_cost_and_one_or_two_questions_decide_nothing():
    study = get_study("shifts")
    (said, _) = study.words([], made_shifts((0.7, 0.72, 0.71)))
    assert "Unseen combinations cost it 29.0 points" in said
    (said, _) = study.words([], made_shifts((0.99, 0.98, 0.99), seen=(0.8, 0.79, 0.8)))
    assert "It answers 19.0 points" in said
    assert "more of those with unseen combinations" in said
    # Every seed answers the same questions: one more of 2,000 may be due to these questions.
    (said, _) = study.words([], made_shifts((0.9995, 0.9995, 0.9995)))
    assert "do not decide" in said


def four_digit_rows(method, seed, stages, n=1000):
    """Rows of the study `four_digits`, one for each stage.

    Args:
        stages: tokens removed, of 3, with the examples at the end of the stage and the accuracy.
    """
    return [
        {
            "method": method,
            "removed": removed,
            "chain_length": 3,
            "unit": "tokens",
            "seed": seed,
            "examples": examples,
            "seconds": examples / 100,
            "accuracy": accuracy,
            "n": n,
        }
        for removed, examples, accuracy in stages
    ]


def test_sentences_on_four_digits_are_of_the_last_stages_and_name_the_longest_before():
    study = get_study("four_digits")
    stages = [(0, 400, 0.9), (1, 500, 0.5), (2, 1500, 0.4), (3, 4000, 0.96)]
    later = [(0, 400, 0.9), (1, 700, 0.6), (2, 1600, 0.5), (3, 4000, 0.98)]
    rows = four_digit_rows("icot_si", 10, stages) + four_digit_rows("icot_si", 11, later)
    rows += four_digit_rows("no_cot", 10, [(3, 4000, 0.01)])
    said = study.words([], pd.DataFrame(rows))
    assert said[0].startswith("ICoT-SI: 97.0% ")
    assert "3 of 3 tokens removed (2 seeds, lowest 96.0%), after 4,000 examples" in said[0]
    assert said[1].startswith("No CoT: 1.0% ")
    assert "(one seed), after" in said[1]
    assert said[2] == (
        "The last token was removed after 1,500 and 1,600 examples. The longest stage until then "
        "lasted 1,000 examples (seed 10, with 2 tokens removed)."
    )
    assert said[3].startswith("ICoT-SI minus No CoT: 96.0 points")
    assert said[4] == (
        "The intervals are over 1 to 2 seeds and their questions; fewer than 3 are too few for a "
        "claim."
    )


def test_four_digits_of_a_seed_that_still_writes_are_compared_with_nothing():
    rows = four_digit_rows("icot_si", 10, [(0, 400, 0.9), (3, 4000, 0.96)])
    rows += four_digit_rows("icot_si", 11, [(0, 400, 0.9), (1, 4000, 0.8)])
    rows += four_digit_rows("no_cot", 10, [(3, 4000, 0.01)])
    said = get_study("four_digits").words([], pd.DataFrame(rows))
    assert "right with 3 and 1 of 3 tokens removed" in said[0]
    assert said[2].startswith("ICoT-SI ended with 1 of 3 tokens removed: it is not compared")
    assert len(said) == 4


def test_the_page_of_a_published_file_takes_the_last_stage_of_each_run(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "FIGURES", tmp_path)
    columns = ["run", "method", "label", "seed", "removed", "accuracy", "n"]
    rows = [
        ["a", "icot_si", "", 10, 0, 1.0, 100],
        ["a", "icot_si", "", 10, 3, 0.5, 100],
        ["b", "icot_si", "", 11, 3, 0.7, 100],
        ["c", "explicit_cot", "", 10, 0, 0.9, 100],
    ]
    table = pd.DataFrame(rows, columns=columns)
    table.to_csv(tmp_path / "graph_file.csv", index=False)
    _, _, first, second = BLOCKS["graph_file"]().splitlines()
    assert first.startswith("| Explicit CoT | 90.0%")
    assert second.endswith("| 50.0, 70.0 |")


def test_pages_say_how_much_of_four_digits_is_removed_and_do_without_an_arm(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "FIGURES", tmp_path)
    rows = four_digit_rows("icot_si", 10, [(0, 400, 0.9), (3, 6000, 0.96)])
    rows += four_digit_rows("icot_si", 11, [(0, 400, 0.9), (1, 6000, 0.8)])
    pd.DataFrame(rows).to_csv(tmp_path / "four_digits.csv", index=False)
    headline = BLOCKS["four_digits_headline"]()
    assert headline == (
        "[On 4x4 digits](notebooks/guide/studies.md#four-digits-by-four), with 3 and 1 of 3 tokens "
        "removed, ICoT-SI answers 88.0% (13.4% to 100.0%) of unseen questions right: mean of 2 "
        "seeds, trained in 1 and 1 minutes of one core."
    )
    rows += four_digit_rows("no_cot", 10, [(3, 6000, 0.01)])
    pd.DataFrame(rows).to_csv(tmp_path / "four_digits.csv", index=False)
    assert BLOCKS["four_digits_headline"]() == (
        f"{headline} No CoT, not tuned, reaches 1.0% (0.5% to 1.8%) after as many examples."
    )
    _, _, *shown = BLOCKS["four_digits"]().splitlines()
    assert [row.split(" | ")[:2] for row in shown] == [["| ICoT-SI", "3 and 1"], ["| No CoT", "3"]]


def test_four_digits_show_every_stage_of_the_chain_and_the_ends_of_the_others(runs_folder):
    answer = icot.study("four_digits", "smoke", seeds=[10])
    table = answer.table
    chain = table.chain_length.iloc[0]
    removed = {method: rows.removed.tolist() for method, rows in table.groupby("method")}
    assert removed["no_cot"] == [chain]
    assert removed["explicit_cot"] == [0]
    assert removed["icot_si"] == list(range(chain + 1))
    spent = table[table.method == "icot_si"].examples
    assert spent.is_monotonic_increasing
    assert spent.max() == table[table.method == "no_cot"].examples.item()
    assert any(said.startswith("ICoT-SI minus No CoT") for said in answer.words)
    left, right = answer.figure.axes[:2]
    assert len(left.get_lines()) == 3
    assert len(right.get_lines()) == 1


def test_specialists_stand_beside_the_one_model_at_their_stage(runs_folder):
    members = get_study("anytime").members("fast", [10])
    config = {member.arm: member.config for member in members}
    assert len({one.run_name for one in config.values()}) == len(members) == 1 + 5 * 2
    steps = config["one model for all k"].train.steps
    assert config["specialist for 6, whole budget"].train.steps == steps
    assert config["specialist for 6, fifth budget"].train.steps == steps // 5
    assert config["specialist for 6, fifth budget"].removal.stage == 6
    few = {"train.eval_every": 40, "data.test_examples": 20}
    answer = icot.study("anytime", "smoke", seeds=[10], overrides=few)
    table = answer.table
    columns = ["kind", "removed", "budget", "seed", "examples", "accuracy", "n"]
    assert list(table.columns) == columns
    stages = table.groupby(["kind", "budget"]).removed.apply(list).to_dict()
    wanted = [0, 2, 3, 4, 6]
    assert stages == {
        ("one model for all k", "whole"): wanted,
        ("specialist", "whole"): wanted,
        ("specialist", "fifth"): wanted,
    }
    assert len(answer.words) == 10
    assert all("too few seeds for a claim" in said for said in answer.words)
    removed = [int(re.search(r"(\d+) removed", said)[1]) for said in answer.words]
    assert removed == sorted(removed)
    steps = {"removal.step_end": "+", "removal.keep_positions": False}
    for other, message in (
        ({"data.path": "mine"}, "single symbols of a generated task"),
        (steps, "removes tokens from the left alone"),
    ):
        with pytest.raises(ConfigError, match=message):
            get_study("anytime").members("smoke", [10], other)


def test_depths_differ_in_layers_and_in_how_far_the_diagonal_goes(runs_folder):
    members = get_study("depth").members("fast", [10])
    config = {member.arm: member.config for member in members}
    assert len({one.run_name for one in config.values()}) == len(members) == 4 + 2 + 3
    own = get_study("main").members("fast", [10])
    assert config["ICoT-KD, 14 layers"] in [member.config for member in own]
    early = config["ICoT-KD, 14 layers, two thirds of the chain"]
    assert early.phases["teacher"] == config["ICoT-KD, 14 layers"].phases["teacher"]
    assert {early.distill.delta, early.phases["student"].distill.delta} == {2 / 3}
    shapes = [(one.model.layers, one.model.width, one.model.options) for one in config.values()]
    assert shapes[-1] == shapes[-2] == shapes[-3] == shapes[3] != shapes[0]
    distilled, alone = config["ICoT-KD, 14 layers"], config["No CoT, 14 layers"]
    phases = (distilled, *distilled.phases.values())
    assert alone.train.steps == sum(one.train.steps for one in phases)
    few = {"train.eval_every": 40, "data.test_examples": 20, "train.steps": 40}
    trained = ("ICoT-KD, 3 layers, a third of the chain", "One model for all k, 3 layers")
    asked = get_study("depth").members("smoke", [10], few)
    asked = [member for member in asked if member.arm in trained]
    icot.ensure([member.config for member in asked])
    table = get_study("depth").answer(asked).table
    columns = ["method", "layers", "coverage", "seed", "phase", "accuracy", "n"]
    assert list(table.columns) == columns
    # Of the seven steps between the separators of 1x2 digits, rounded.
    distilled = table[table.method == "icot_kd"]
    assert distilled.coverage.tolist() == [2 / 7] * 3
    assert distilled.phase.tolist() == ["true states", "emulated states", "coupled"]
    assert table[table.method == "one_model"].coverage.isna().all()
    assert set(get_study("depth").arms_of(table)) == set(trained)
    for member in asked:
        alone = get_study("depth").answer([member])
        assert len(alone.words) == len(alone.figure.axes) - 1 == 1
    for changes, message in (
        ({"model.layers": 5}, "model.layers tells the runs of a study apart"),
        ({"data.path": "mine"}, "chains of one length"),
    ):
        with pytest.raises(ConfigError, match=message):
            get_study("depth").members("smoke", [10], changes)


@pytest.mark.parametrize(
    ("study", "changes"),
    [
        ("auxiliary", {"auxiliary.target": "shuffled"}),
        ("anytime", {"removal.stage": 2}),
        ("depth", {"distill.delta": 1.0}),
        ("stability", {"removal.smoothing": None}),
        ("stability", {"removal.reset_optimizer": False}),
    ],
)
def test_settings_that_tell_arms_apart_are_not_set_for_all(study, changes):
    """An arm would keep its name and its sentences, and be another."""
    with pytest.raises(ConfigError, match=r"tells the runs of a study apart|switched off for all"):
        get_study(study).members("fast", [10], changes)


def settings_of(config):
    """The settings of a config by their dotted names."""
    found = {}
    for name, value in to_dict(config).items():
        inside = value.items() if isinstance(value, dict) else ()
        found |= {f"{name}.{key}": one for key, one in inside} or {name: value}
    return found


def test_every_method_is_asked_every_shift(runs_folder):
    study = get_study("shifts")
    small = QUICK | {"data.task": "mult-1x2"}
    members = [one for one in study.members("smoke", [10, 11], small) if one.arm != "icot_kd"]
    for member in members:
        train(member.config)
    answer = study.answer(members)
    names = ["in distribution", "1x1", "2x2", "1x3", "unseen combinations"]
    assert list(answer.table["shift"].unique()) == names
    asked = answer.table.groupby(["method", "seed"], sort=False)["shift"].agg(list)
    assert all(shifts == names for shifts in asked)
    assert len(asked) == 6 * 2  # two of them with rotary positions too
    assert answer.table.accuracy.notna().all()  # there are positions for all of them
    assert answer.words[0].startswith("Explicit CoT: ")
    assert answer.words[-1].startswith("2 seeds are too few")


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """A folder of runs in which three of those that are analysed are finished; tests copy it."""
    folder = tmp_path_factory.mktemp("analysed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(folder))
        for member in get_study("inside").members("smoke", [10], QUICK):
            if member.arm in ("ICoT-SI", "One model", "No CoT"):
                train(member.config)
    return folder


def test_states_of_each_model_are_analysed_beside_no_cot_and_kept(
    analysed, runs_folder, monkeypatch
):
    study = get_study("inside")
    members = study.members("smoke", [10], QUICK)
    shutil.copytree(analysed, runs_folder)
    answer = study.answer(members)
    assert list(answer.table)[:11] == [
        *("model", "seed", "variable", "layer", "position", "probe", "control"),
        *("patching", "steering", "ci_low", "ci_high"),
    ]
    tokens = answer.table.groupby("model", sort=False).variable.agg(list).to_dict()
    assert list(tokens) == ["ICoT-SI", "One model", "No CoT"]
    for names in tokens.values():  # each token once, the same ones in every model
        assert sorted(names) == sorted(set(tokens["ICoT-SI"]))
    assert "too few" not in answer.words[0]
    assert answer.words[-1].startswith("This is one seed")
    assert not list(runs_folder.glob("*/activations/*/*.npy"))  # gigabytes at `fast`
    monkeypatch.setattr(inside, "_measured", None)  # nothing is computed once more
    pd.testing.assert_frame_equal(study.answer(members).table, answer.table)


def test_other_questions_or_another_control_are_measured_anew(analysed, runs_folder):
    study = get_study("inside")
    members = [one for one in study.members("smoke", [10], QUICK) if "KD" not in one.arm]
    first, control = members[0].config.run_name, members[2].config.run_name
    folder = paths.runs_root()
    shutil.copytree(analysed / first, folder / first)
    study.answer(members)
    assert len(list(folder.glob("*/inside-*.csv"))) == 1
    shutil.copytree(analysed / control, folder / control)
    study.answer(members)
    assert len(list(folder.glob(f"{first}/inside-*.csv"))) == 2


def test_a_control_that_answers_less_is_named_with_what_that_leaves_open():
    right = {"ICoT-SI": [0.99, 1.0], "One model": [0.98, 0.98], "No CoT": [0.2, 0.1]}

    def said():
        rows = [(name, share) for name, shares in right.items() for share in shares]
        return inside.less_accurate(pd.DataFrame(rows, columns=["model", "answered"]))

    (found,) = said()
    assert found.startswith(
        "No CoT answers 15.0% of its test right, ICoT-SI 99.5% and One model 98"
    )
    right["Running sums"] = [0.99, 0.99]
    assert said() == [found]  # as accurate as they are
    right["No CoT"] = [0.97, 0.97]
    assert said() == []


def test_subspaces_of_every_kind_of_variable_are_exchanged_and_kept(
    analysed, runs_folder, monkeypatch
):
    study = get_study("das")
    members = study.members("smoke", [10], QUICK)
    for one in members:
        if one.arm in ("ICoT-SI", "No CoT"):
            name = one.config.run_name
            shutil.copytree(analysed / name, runs_folder / name)
    answer = study.answer(members)
    assert list(answer.table) == [
        *("model", "seed", "variable", "layer", "position", "rank"),
        *("accuracy", "control", "ci_low", "ci_high", "answered"),
    ]
    tested = answer.table[~answer.table.model.str.endswith("untrained")]
    assert tested.groupby("model").answered.first().to_dict() == {
        one.arm: one.run.scores.accuracy.iloc[-1] for one in members if one.run.done
    }
    rows = answer.table.groupby("model", sort=False).variable.agg(list).to_dict()
    assert list(rows) == ["ICoT-SI", "ICoT-SI, untrained", "No CoT"]
    every = rows["ICoT-SI"]
    assert all(names == every for names in rows.values())
    kinds = {subspaces.kind_of(name) for name in every}
    assert kinds == set(subspaces.KINDS)  # chain tokens, sums, carries and products
    assert not any(name.startswith("s") for name in every)  # symbols of the answer are written
    layers = members[0].config.model.layers
    assert answer.table.layer.max() < layers  # what is above has no effect on another position
    assert set(answer.table.seed) == {10}
    said = " ".join(answer.words)
    assert "the untrained model" in answer.words[0]
    assert "No CoT, answers that follow" in said
    assert "less" not in said  # one seed compares no models
    monkeypatch.setattr(subspaces, "_measured", None)  # nothing is measured once more
    pd.testing.assert_frame_equal(study.answer(members).table, answer.table)


def made_seeds(values: dict[int, float], **columns) -> pd.DataFrame:
    """A row for each seed, in this order."""
    return pd.DataFrame({"seed": list(values), "accuracy": list(values.values())} | columns)


def test_models_are_compared_seed_by_seed_whatever_the_order_of_rows():
    one = made_seeds({10: 0.5, 11: 0.7, 12: 0.9})
    other = made_seeds({12: 0.8, 10: 0.3, 11: 0.6, 13: 0.0})
    found = less_by_seed(one, other, "accuracy")
    assert found.value == pytest.approx((0.2 + 0.1 + 0.1) / 3)
    half = 4.302653 * np.std([0.2, 0.1, 0.1], ddof=1) / np.sqrt(3)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))
    assert less_by_seed(one[:2], other, "accuracy") is None


def test_sentences_on_subspaces_say_which_model_is_ahead_and_what_is_undecided():
    follows = {
        ("One model", "t2"): {10: 0.50, 11: 0.52, 12: 0.51},
        ("One model", "c1"): {10: 0.50, 11: 0.10, 12: 0.30},
        ("Running sums", "t2"): {12: 0.11, 11: 0.12, 10: 0.10},
        ("Running sums", "c1"): {12: 0.60, 11: 0.20, 10: 0.10},
    }
    table = pd.concat(
        made_seeds(values, model=model, variable=variable, control=0.0, answered=1.0)
        for (model, variable), values in follows.items()
    )
    said = get_study("das").words([], table)
    (beside,) = [one for one in said if one.startswith("One model minus Running sums")]
    assert "chain tokens 40.0 points" in beside
    assert re.search(r"sums of columns -?0\.0 points \(.*\), undecided", beside)
    assert not re.search(r"chain tokens [^;]*undecided", beside)
    assert states.OWN_STATES in said


def test_sentences_on_states_say_by_how_much_and_whether_it_is_decided():
    columns = {"decodable": True, "used": False, "control": 0.99, "answered": 1.0}
    columns["steering_chance"] = 0.1
    rows = []
    for model, steering in (("ICoT-SI", 0.6), ("Running sums", 0.3)):
        for variable in ("t2", "t3"):
            one = made_seeds({10: 0.0, 11: 0.01, 12: 0.02}, model=model, variable=variable)
            one["steering"] = steering + one.accuracy * (1 if model == "ICoT-SI" else 2)
            one["selectivity"] = {"ICoT-SI": [0.1, 0.2, 0.0]}.get(model, [0.0, 0.1, 0.2])
            # A random direction hits less than a guess does, so that it makes no difference.
            random = {"ICoT-SI": 0.02}.get(model, 0.08)
            rows.append(one.assign(**columns, steering_random=random))
    said = get_study("inside").words([], pd.concat(rows))
    first = "ICoT-SI minus Running sums, "
    steered, selective = (
        next(one for one in said if one.startswith(first + what))
        for what in ("steered answers", "selectivity")
    )
    assert "29.0 points" in steered
    assert "do not decide" not in steered
    assert "0.0 points" in selective
    assert "do not decide" in selective


@pytest.mark.parametrize(
    ("successes", "expected"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 0], "different numbers of seeds (Fisher's exact test, p = 0.00016)"),
        ([1, 1, 1, 1, 1, 1, 1, 0], "Undecided between ICoT-SI, adaptive and ICoT-SI (smoothing"),
        ([0, 0], "Too few seeds"),
    ],
)
def test_schedules_are_told_apart_by_the_seeds_that_succeed(successes, expected):
    rows = {
        arm: pd.DataFrame({"success": one}).astype(bool)
        for arm, one in (("adaptive", successes), (stability.PAPERS, [1] * len(successes)))
    }
    assert expected in stability._compared("adaptive", stability.PAPERS, rows)


def test_runs_at_the_papers_pace_compare_among_themselves():
    arms = (stability.PAPERS, "adaptive", stability.OWN_PACE, stability.NO_COT)
    rows = [
        {"arm": arm, "seed": seed, "accuracy": 1.0, "success": True}
        for arm in arms
        for seed in range(8)
    ]
    said = get_study("stability").words([], pd.DataFrame(rows))
    compared = [one.partition(" (Fisher")[0] for one in said if one.startswith("Undecided")]
    usual, paced, alone = map(schedule_label, (stability.PAPERS, *arms[2:]))
    assert compared == [
        f"Undecided between ICoT-SI, adaptive and {usual}",
        f"Undecided between {alone} and {paced}",
    ]


def test_accuracy_is_said_to_fall_and_to_recover_between_stages():
    def rows(seed, *accuracies):
        return [
            {"arm": "ICoT-SI", "seed": seed, "removed": removed, "accuracy": one, "n": 2000}
            | {"ci_low": one - 0.02, "ci_high": one + 0.02, "chain_length": 4, "unit": "tokens"}
            for removed, one in enumerate(accuracies)
        ]

    study = get_study("stages")
    falls = rows(10, 0.98, 0.5, 0.9, 0.99, 1.0)
    stays = rows(11, 0.98, 0.97, 0.98, 0.97, 0.98)
    lost = rows(12, 0.98, 0.97, 0.5, 0.2, 0.1)
    first, second, third = study.words([], pd.DataFrame(falls + stays + lost))
    assert first.startswith("ICoT-SI: in 2 of 3 seeds some stage ends with fewer right answers")
    assert "in 1 the accuracy then rises at a later stage" in first
    assert "50.0% with 1 token removed (seed 10)" in second
    assert second.endswith("with everything removed: 100.0%, 98.0% and 10.0%.")
    assert "3 seeds" in third
    (unfinished, _) = study.words([], pd.DataFrame(falls[:3]))
    assert unfinished == "ICoT-SI ended with 2 of 4 removed."


def test_the_study_of_stages_tests_the_end_of_each(runs_folder):
    few = {"train.steps": 60, "data.test_examples": 20}
    answer = icot.study("stages", "smoke", seeds=[10], overrides=few)
    assert list(answer.table.columns) == [
        *("arm", "removed", "chain_length", "unit", "seed", "examples", "seconds"),
        *("accuracy", "ci_low", "ci_high", "n"),
    ]
    assert answer.table.removed.is_monotonic_increasing
    assert answer.table.examples.is_monotonic_increasing
    assert len(answer.table) > 2
    arms = {one.arm for one in get_study("stages").members("fast", [10])}
    assert arms == {"ICoT-SI", stability.OWN_PACE}


def test_seconds_to_90_count_from_where_everything_is_removed(monkeypatch):
    table = pd.DataFrame(
        {
            "removed": [11, 12, 12, 12],
            "chain_length": 12,
            "valid_match": [0.95, 0.5, 0.9, 0.99],
            "seconds": [10.0, 20.0, 30.04, 40.0],
        }
    )
    monkeypatch.setattr(stability, "learning_table", lambda runs: table)
    assert stability._seconds_to_90(None) == 30.0
    monkeypatch.setattr(stability, "learning_table", lambda runs: table[:2])
    assert np.isnan(stability._seconds_to_90(None))


def test_what_no_study_has_is_an_error_that_lists_what_there_is(runs_folder, capsys):
    assert main(["study", "mian"]) == 1
    assert "main" in capsys.readouterr().err
    assert main(["study", "main", "--arms", "icot"]) == 1
    assert "icot_si" in capsys.readouterr().err
    for seeds in ("14..10", "ten", "1,,2"):
        assert main(["study", "main", "--seeds", seeds]) == 1
        assert "10..14" in capsys.readouterr().err
    for inside_figures in (paths.FIGURES, paths.FIGURES / "mine"):
        assert main(["study", "main", "--preset", "smoke", "--out", str(inside_figures)]) == 1
        assert "say --publish" in capsys.readouterr().err
    assert main(["study", "main", "--publish", "--arms", "icot_si"]) == 1
    assert "leave out --arms" in capsys.readouterr().err
    assert main(["study", "main", "--publish", "--seeds", "10"]) == 1
    assert "leave out --arms and --seeds" in capsys.readouterr().err
    assert main(["study", "four_digits", "--publish", "--seeds", "20..23"]) == 1
    assert "seed 23 of 'explicit_cot' is no run of four_digits" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"say seeds"):
        get_study("main").members("fast", overrides={"seed": 3})
    assert len(get_study("routing").members("fast", [10, 10])) == 1
    with pytest.raises(ConfigError, match=r"train\.stepz"):
        get_study("main").members("fast", overrides={"train.stepz": 3})


def stability_rows(members, accuracy):
    row = {"success": True, "examples": 1, "seconds": 1.0, "seconds_to_90": 1.0}
    rows = [{"arm": x.arm, "seed": x.seed, "accuracy": accuracy} | row for x in members]
    return pd.DataFrame(rows)


def test_arms_are_added_to_what_is_published(runs_folder, tmp_path):
    study = get_study("stability")
    members = study.members()
    of = {arm: [x for x in members if x.arm == arm] for arm in ("linear", "adaptive", "rollback")}
    names = [x.config.run_name for x in of["linear"] + of["rollback"]]
    origin = {"runs": [{"run": name, "seed": 10} for name in names], "alt": "a figure"}
    (tmp_path / "stability.json").write_text(json.dumps(origin))
    published = stability_rows(of["linear"] + of["rollback"], 0.5)
    published.to_csv(tmp_path / "stability.csv", index=False)

    def added(arm):
        return with_published(Answer(study, of[arm], stability_rows(of[arm], 0.9)), tmp_path)

    answer = added("adaptive")
    means = answer.table.groupby("arm", sort=False).accuracy.mean().round(3)
    assert means.to_dict() == {"linear": 0.5, "adaptive": 0.9, "rollback": 0.5}
    assert list(means.index) == ["linear", "adaptive", "rollback"]
    assert sorted(row["run"] for row in answer.earlier) == sorted(names)
    assert any(sentence.startswith("ICoT-SI, adaptive: 8 of 8") for sentence in answer.words)
    again = added("linear")
    assert again.table.groupby("arm").accuracy.mean().round(3).to_dict() == {
        "linear": 0.9,
        "rollback": 0.5,
    }
    assert {row["run"] for row in again.earlier} == {x.config.run_name for x in of["rollback"]}
    one = with_published(
        Answer(study, of["linear"][3:4], stability_rows(of["linear"][3:4], 0.9)), tmp_path
    )
    assert one.table.seed.tolist() == [x.seed for x in of["linear"] + of["rollback"]]
    assert one.table.accuracy.tolist() == [0.5] * 3 + [0.9] + [0.5] * 12
    assert {row["run"] for row in one.earlier} == set(names) - {names[3]}
    assert any(sentence.startswith("ICoT-SI without both") for sentence in one.words)
    # Of an arm some seeds may be published; one that its rows have and no run is another study's.
    stability_rows(of["linear"][:3], 0.5).to_csv(tmp_path / "stability.csv", index=False)
    assert added("adaptive").table.groupby("arm", sort=False).size().to_dict() == {
        "linear": 3,
        "adaptive": 8,
    }
    stability_rows(of["linear"], 0.5).replace({"seed": {10: 99}}).to_csv(
        tmp_path / "stability.csv", index=False
    )
    with pytest.raises(ConfigError, match="the published runs of 'linear' have other settings"):
        added("adaptive")
    published.to_csv(tmp_path / "stability.csv", index=False)
    origin["runs"][0]["run"] = "a run of other settings"
    (tmp_path / "stability.json").write_text(json.dumps(origin))
    with pytest.raises(ConfigError, match="the published runs of 'linear' have other settings"):
        added("adaptive")
    (tmp_path / "stability.json").write_text("{}")
    with pytest.raises(DataError, match=r"stability\.csv, or stability\.json beside it"):
        added("adaptive")


def test_a_method_takes_the_time_that_was_measured_last_whatever_its_budget():
    columns = ["task", "method", "budget", "milliseconds"]
    published = pd.DataFrame([("t", "coconut", "examples", 9.0), ("t", "codi", "examples", 8.0),
                              ("u", "coconut", "examples", 7.0)], columns=columns)  # fmt: skip
    table = pd.DataFrame([("t", "coconut", "seconds", 5.0)], columns=columns)
    joined = get_study("methods").joined(published, table)
    assert joined.milliseconds.tolist() == [5.0, 8.0, 7.0, 5.0]


def test_ablations_of_distillation_have_equal_examples_and_one_teacher():
    def examples(config):
        every = [config, *config.ancestors().values()]
        return sum(one.train.steps * one.train.batch_size for one in every)

    own = {x.arm: x.config for x in get_study("ablations").members("fast", [10])}
    assert len({examples(config) for config in own.values()}) == 1
    shared = {c.phases["teacher"].run_name for c in own.values() if c.phases and c.model.heads == 4}
    assert len(shared) == 1
    assert own["neither phase"].phases.keys() == {"teacher"}
    few = {x.arm: x.config.data for x in get_study("ablations").members("fast", [10])}
    assert {arm for arm, data in few.items() if data.train_examples == 1000} == {
        arm for arm in few if arm.startswith("few examples")
    }
    depth = {x.arm: x.config.run_name for x in get_study("depth").members("fast", [10])}
    assert own["the whole method"].run_name == depth["ICoT-KD, 14 layers"]
    assert own["No CoT"].run_name == depth["No CoT, 14 layers"]


def test_ablations_say_what_is_behind_the_whole_method():
    study = get_study("ablations")
    rows = [
        {"arm": arm, "seed": seed, "accuracy": accuracy + 0.001 * seed, "n": 1000}
        for arm, accuracy in [("the whole method", 0.9), ("neither phase", 0.1), ("No CoT", 0.9),
                              ("weaker model", 0.9), ("weaker model, fixed emulator", 0.2)]
        for seed in (10, 11, 12)
    ]  # fmt: skip
    said = study.words([], pd.DataFrame(rows))
    assert "Fewer than “the whole method”: “neither phase” by 80.0 points" in said[1]
    assert said[2].startswith("Undecided beside “the whole method”: “No CoT”")
    assert "Fewer than “weaker model”: “weaker model, fixed emulator” by 70.0" in said[4]


# --- budgets -----------------------------------------------------------------------------------


@pytest.fixture
def empty_budgets(tmp_path, monkeypatch):
    """A file of budgets that is not there yet."""
    monkeypatch.setattr(budgets, "FILE", tmp_path / "budgets.csv")
    budgets.rows.cache_clear()
    yield
    budgets.rows.cache_clear()


def test_measured_budgets_are_the_steps_of_no_cot(empty_budgets):
    unmeasured = experiments.no_cot("fast").train.steps
    row = dict.fromkeys(budgets.COLUMNS, "x")
    row |= {"method": "no_cot", "preset": "fast", "reference": "one_model"}
    budgets.write([row | {"precision": "auto", "steps": "1650"}])
    budgets.write([row | {"precision": "bf16", "steps": "1700"}])
    budgets.write([row | {"precision": "auto", "steps": "1660"}])
    with budgets.FILE.open() as file:
        assert [line["steps"] for line in csv.DictReader(file)] == ["1660", "1700"]
    assert experiments.no_cot("fast").train.steps == 1660 != unmeasured
    in_half = experiments.no_cot("fast", overrides={"train.precision": "bf16"})
    assert in_half.train.steps == 1700
    other = experiments.no_cot("fast", overrides={"train.precision": "int8"})
    assert other.train.steps == 1660  # that of auto
    row |= {"reference": "icot_si", "precision": "bf16", "steps": "430"}
    budgets.write([row | {"method": name} for name in ("no_cot", "codi")])
    # Of another precision, No CoT is guessed; methods of many passes are as slow at any.
    assert experiments.no_cot("fast", reference="icot_si").train.steps == unmeasured
    fp32 = {"train.precision": "fp32"}
    assert experiments.codi("fast", overrides=fp32, budget="seconds").train.steps == 430
    assert experiments.no_cot("smoke").train.steps == 52  # not measured


def test_a_budget_is_the_ratio_of_seconds(runs_folder, monkeypatch):
    seconds = {"icot_si": 30.0, "one_model": 20.0, "no_cot": 10.0}
    monkeypatch.setattr(calibration, "_seconds", lambda runs: seconds[runs[0].config.method])
    rows = calibration.calibrate("smoke", [0], QUICK)
    steps = {row["reference"]: int(row["steps"]) for row in rows}
    assert steps == {"icot_si": 3 * 12, "one_model": 2 * 12}
    assert "with 36 steps" in calibration.sentence(rows[0])
    monkeypatch.setitem(seconds, "codi", 60.0)
    (row,) = calibration.calibrate("smoke", [0], QUICK, methods=["codi"])
    assert (row["method"], row["reference"], row["steps"]) == ("codi", "icot_si", "6")
    with pytest.raises(ConfigError, match=r"'cody' has no budget in seconds.*'codi'"):
        calibration.calibrate("smoke", [0], QUICK, methods=["cody"])
    with pytest.raises(ConfigError, match=r"train\.stop_accuracy ends early"):
        calibration.calibrate("smoke", [0], QUICK | {"train.stop_accuracy": 0.9})


def test_seconds_are_the_mean_over_runs(tiny_run, tiny):
    runs = [tiny_run, train(tiny.override(seed=1))]
    for run, seconds in zip(runs, (3.5, 9.0), strict=True):
        write_json(run.folder / "done.json", sealed(run.totals | {"seconds": seconds}))
    assert calibration._seconds(runs) == 6.25
    assert calibration._seconds(runs[1:]) == 9.0


def test_the_command_prints_budgets_and_keeps_them_only_where_it_is_told_to(
    empty_budgets, monkeypatch, capsys
):
    """Without a training: by method, the seconds of seeds 0 and 2."""
    seconds = {"icot_si": (20.0, 40.0), "one_model": (25.0, 15.0), "no_cot": (5.0, 15.0)}

    def finished(configs, jobs):
        return [
            SimpleNamespace(
                config=config,
                totals={"seconds": seconds[config.method][config.seed // 2]},
                provenance={"device": "a device", "commit": "abc"},
            )
            for config in configs
        ]

    monkeypatch.setattr(calibration, "ensure", finished)
    command = ["calibrate", "--preset", "smoke", "--seeds", "0,2"]
    assert main([*command, "--set", "train.steps=12"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "no_cot takes as many seconds as icot_si (smoke, auto) with 36 steps",
        "no_cot takes as many seconds as one_model (smoke, auto) with 24 steps",
    ]
    assert not budgets.FILE.exists()
    assert main([*command, "--write"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("stored in ")
    assert [row["reference"] for row in budgets.rows()] == ["icot_si", "one_model"]
    assert main([*command, "--methods", "graph_no_cot"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("graph_no_cot takes as many seconds as graph_icot_si (smoke, auto) with")


def test_the_study_of_the_guide_runs_as_it_stands_there(runs_folder, tmp_path, monkeypatch):
    page = (paths.NOTEBOOKS / "guide" / "studies.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[-1]
    file = tmp_path / "smoothing.py"
    file.write_text(code)
    monkeypatch.setenv("ICOT_IMPORT", "")
    monkeypatch.setattr(STUDIES, "_items", dict(STUDIES.items()))
    import_file(file)
    answer = icot.study("smoothing", "smoke", seeds=[10], overrides=QUICK)
    assert sorted(answer.table.variant) == ["none", "smooth"]
    assert len(answer.words) == 2
    answer.save(tmp_path / "out")
    assert (tmp_path / "out" / "smoothing.png").is_file()


def test_arms_are_named_one_by_one_where_their_names_have_commas(runs_folder, capsys):
    command = ["study", "stability", "--preset", "smoke", "--seeds", "10", "--status"]
    command += ["--set", "removal.smoothing=2", "--set", "removal.reset_optimizer=true"]
    assert main([*command, "--arms", "linear, reset", "--arms", "linear,adaptive"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    arms = {re.split(r" +10 ", row)[0].strip() for row in rows}
    assert arms == {"linear", "linear, reset", "adaptive"}
    assert main([*command, "--arms", "linear, smothing"]) == 1
    said = capsys.readouterr().err
    assert "has no arm 'smothing'" in said
    assert "'linear, smoothing', 'linear, reset', 'adaptive'" in said


def test_pages_name_arms_that_their_studies_have():
    """Pages may not import studies, and a row of an arm that is renamed would vanish."""
    named = {
        "stability": {*study_blocks.OURS, study_blocks.PACED, *study_blocks.CONTROLS},
        "ablations": {study_blocks.NO_COT_WIDE},
    }
    for study, arms in named.items():
        assert arms <= {member.arm for member in get_study(study).members()}
