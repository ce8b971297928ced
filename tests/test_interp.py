"""Interpretability: every analysis finds what was planted, and reports nothing else."""

import contextlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch.nn.functional import one_hot

from icotlib import experiments, interp
from icotlib.config import RunConfig
from icotlib.data.corpus import load_corpus
from icotlib.data.run_data import RunData, build_layout
from icotlib.data.training_questions import trained_on
from icotlib.errors import ConfigError
from icotlib.evaluation import interventions
from icotlib.evaluation.generation import logits_of
from icotlib.evaluation.ood import encoded_keys
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp import ablation, patching, probes, probing, report, steering
from icotlib.interp.probes import ridge_predictions
from icotlib.interp.variables import Variable, first_affected
from icotlib.models.build import build_model
from icotlib.models.hooks import (
    decoder_layers,
    hook_layer_inputs,
    hook_residual_stream,
    mask_attention,
)
from icotlib.system import processes
from icotlib.tasks import Task, get_task
from icotlib.tasks.base import PADDING
from icotlib.tasks.parity import Parity
from icotlib.tasks.questions import QuestionSet, draw_questions
from icotlib.training.trainer import train
from tests.planted import ANSWER_DELIMITER, BITS, SEPARATOR, every_question, plant

RIGHT = {"removal.side": "right", "removal.keep_positions": False}
NO_CHAIN = {"removal.layout": "no_chain"}
TOKENS = [f"t{i + 1}" for i in range(BITS)]


@pytest.fixture(scope="module")
def planted():
    return plant(), every_question()


@pytest.fixture(scope="module")
def probed(planted):
    """The planted model's chain, probed with every control."""
    model, questions = planted
    tokens = interp.variables_of(questions, "chain")
    assert [one.name for one in tokens] == TOKENS
    assert [one.index for one in tokens] == list(range(BITS))
    return interp.probe_with_controls(model, questions, tokens, model.untrained(seed=5))


# --- what tasks say about their variables ------------------------------------------------------


def test_the_intermediate_values_of_3719_by_84():
    task = get_task("mult-4x2")
    values = task.intermediate_values(task.questions([3719], [84]))
    assert {name: int(value[0]) for name, value in values.items()} == {
        "a0 b0": 36,
        "a1 b0": 4,
        "a2 b0": 28,
        "a3 b0": 12,
        "a0 b1": 72,
        "a1 b1": 8,
        "a2 b1": 56,
        "a3 b1": 24,
        "c0": 36,
        "c1": 3 + 4 + 72,
        "c2": 7 + 28 + 8,
        "c3": 4 + 12 + 56,
        "c4": 7 + 24,
        "c5": 3,
        "carry1": 3,
        "carry2": 7,
        "carry3": 4,
        "carry4": 7,
        "carry5": 3,
    }


@pytest.mark.parametrize("name", ["mult-4x2", "mult-3x3"])
def test_running_sums_and_carries_are_those_of_long_multiplication(name):
    task = get_task(name)
    questions = task.sample(np.random.default_rng(0), 50)
    values, answer = task.intermediate_values(questions), task.render(questions).answer
    for k in range(answer.shape[1]):
        assert (values[f"c{k}"] % 10 == answer[:, k]).all()


def test_what_follows_from_another_chain():
    # 3719 x 84: 14876 with a 9 for its 7 (tens) is 20 more; the digits of 29752 count ten times.
    task = get_task("mult-4x2")
    question = task.questions([3719], [84])
    for token, digit, product in ((1, 9, 312416), (0, 0, 312390), (8, 6, 312496)):
        answer = task.counterfactual_answer(question, token, np.array([digit]))
        assert int("".join(map(str, answer[0, ::-1]))) == product
    with pytest.raises(ConfigError, match="not a digit"):
        task.counterfactual_answer(question, 5, np.array([1]))


def test_an_answer_that_does_not_fit_is_none():
    task = get_task("mult-1x1")
    questions = task.questions([9, 2], [9, 2])
    assert task.counterfactual_answer(questions, 1, np.array([9, 5])).tolist() == [[1, 9], [4, 5]]
    task = get_task("mult-2x2")
    questions = task.questions([99], [99])  # 891 + 8910, and 891 + 9910 has a digit too many
    assert (task.counterfactual_answer(questions, 7, np.array([9])) == PADDING).all()


def test_parity_follows_every_token():
    task = get_task("parity-4")
    questions = np.array([[1, 0, 1, 1]])
    assert task.counterfactual_answer(questions, 2, np.array([1])).tolist() == [[0]]
    assert task.counterfactual_answer(questions, 2, np.array([0])).tolist() == [[1]]


def test_a_task_that_cannot_tell_says_so():
    class Silent(Parity):
        counterfactual_answer = Task.counterfactual_answer

    with pytest.raises(ConfigError, match="defines no answer"):
        Silent(4).counterfactual_answer(np.zeros((1, 4)), 0, np.array([1]))


# --- questions and positions -------------------------------------------------------------------


def test_questions_differ_and_do_not_run_out():
    few = {"data.task": "mult-1x2", "data.valid_examples": 30, "data.test_examples": 40}
    config = RunConfig().override(few | {"train.steps": 2000})
    questions = interp.draw_questions_of(config, 1000)
    # Everything else has been trained on.
    assert len(questions) == 70 == len(np.unique(questions.questions, axis=0))
    assert not (np.sort(questions.questions[:, 0]) == questions.questions[:, 0]).all()


def keys_by_step(run_data, steps):
    """The keys of the questions of a run's training batches, from their tokens."""
    return np.concatenate([encoded_keys(run_data.batches(step)) for step in range(steps)])


@pytest.mark.parametrize("fixed", [None, 3000])
def test_no_question_was_trained_on(tiny, fixed):
    """Neither by the run, nor by one that it builds on, nor as the other half of a pair."""
    config = tiny.override({"data.train_examples": fixed, "train.steps": 400})
    bigger = config.override({"train.batch_size": 16, "train.steps": 300, "seed": 3})
    questions = interp.draw_questions_of([config, bigger], 1500)
    assert len(questions) == 1500
    model = StageModel("", None, RunData(config).layout, config, config.input_format, 0)
    trained = [keys_by_step(RunData(one), one.train.steps) for one in (config, bigger)]
    sets = [questions, *(interp.minimal_pairs(questions, entry)[1] for entry in range(4))]
    for asked in sets:
        assert len(asked) > 1000
        keys = encoded_keys(model.encode(asked))
        assert not np.isin(keys, np.concatenate(trained)).any()
    alone = interp.draw_questions_of(config, 1500)
    keys = encoded_keys(model.encode(alone))
    assert not np.isin(keys, trained[0]).any()
    assert fixed or np.isin(keys, trained[1]).any()


def test_the_runs_that_a_run_builds_on_count():
    quick = {"train.steps": 1, "teacher.train.steps": 4, "train.batch_size": 16}
    config = experiments.icot_kd("smoke", overrides=quick)
    (teacher,) = (one for one in config.ancestors().values() if one.train.steps == 4)
    assert len(trained_on([config])) == len(trained_on([teacher])) > 3 * 16


def test_questions_for_runs_of_two_tasks_are_refused(tiny):
    with pytest.raises(ConfigError, match="of one task, not of"):
        interp.draw_questions_of([tiny, tiny.override({"data.task": "mult-3x2"})], 5)


def test_files_have_no_variables(tmp_path):
    config = RunConfig().override({"data.path": str(tmp_path)})
    with pytest.raises(ConfigError, match="generated task"):
        interp.draw_questions_of(config, 10)


def made(task, method, removed, architecture="gpt2", **overrides):
    """A model with random weights at a removal stage, and its config."""
    sizes = {"model.layers": 2, "model.width": 16, "model.heads": 2}
    named = {"data.task": task, "method": method, "model.architecture": architecture}
    named |= {"train.steps": 40, "train.batch_size": 8}  # few questions are trained on
    config = RunConfig().override(sizes | named | overrides)
    layout = build_layout(config, load_corpus(config.data).symbols)
    torch.manual_seed(0)
    model = build_model(config.model, layout, longest=40).eval()
    return StageModel("made", model, layout, config, config.input_format, removed), config


def test_positions_are_named_rightly_where_whole_steps_are_removed():
    steps = {"removal.step_end": "+", "removal.keep_positions": False}
    model, config = made("mult-3x3", "icot_si", 1, **steps)
    questions = interp.draw_questions_of(config, 3)
    names, inputs = model.position_names(questions), model.inputs(questions)
    assert len(names) == inputs.ids.shape[1]
    tokens = model.layout.tokenizer.batch_decode(inputs.ids[0][:, None])
    assert [tokens[i] for i, name in enumerate(names) if name == "="] == ["<sep>", "<sep>"]


@pytest.mark.parametrize("spaced", [False, True])
def test_positions_of_a_tokenizer_that_adds_spaces(pretrained, spaced):
    settings = {"model.pretrained": pretrained("gpt2"), "model.spaced_separators": spaced}
    model, config = made("mult-2x2", "one_model", 3, **settings)
    names = model.position_names(interp.draw_questions_of(config, 3))
    space, delimiter = ["_"] * spaced, ["####"] * len(model.layout.answer_delimiter)
    chain = ["t4", "t5", "t6", "t7", "t8", *space]
    answer = ["s0", "s1", "s2", "s3", *space]
    assert names == ["a0", "a1", "*", "b0", "b1", *space, "=", *chain, "=", *delimiter, *answer]
    assert len(model.answer_positions(interp.draw_questions_of(config, 3))) == 4
    assert interp.separator_position(model, interp.draw_questions_of(config, 3)) == names.index("=")


@pytest.mark.parametrize(
    ("removed", "overrides", "names"),
    [
        (0, {}, "a0 a1 * b0 b1 = t1 t2 t3 t4 t5 t6 t7 t8 = #### s0 s1 s2 s3"),
        (3, {}, "a0 a1 * b0 b1 = t4 t5 t6 t7 t8 = #### s0 s1 s2 s3"),
        (3, RIGHT, "a0 a1 * b0 b1 = t1 t2 t3 t4 t5 = #### s0 s1 s2 s3"),
        (8, NO_CHAIN, "a0 a1 * b0 b1 = #### s0 s1 s2 s3"),
    ],
)
def test_positions_have_the_names_of_their_tokens(removed, overrides, names):
    method = {id(NO_CHAIN): "no_cot", id(RIGHT): "icot_si"}.get(id(overrides), "one_model")
    model, config = made("mult-2x2", method, removed, **overrides)
    questions = interp.draw_questions_of(config, 3)
    names = names.split()
    assert model.position_names(questions) == names
    inputs = model.inputs(questions)
    _, chain, answer = questions.rendered
    symbols = {"*": "*", "=": "<sep>", "####": "####"}
    for position, name in enumerate(names):
        written = model.layout.tokenizer.convert_ids_to_tokens(inputs.ids[:, position])
        if name in symbols:
            assert written == [symbols[name]] * 3
        elif name[0] in "ts":
            number = int(name[1:])
            column = chain[:, number - 1] if name[0] == "t" else answer[:, number]
            assert written == [questions.task.symbols[i] for i in column]
    truth = inputs.labels[:, model.answer_positions(questions)]
    assert model.layout.tokenizer.convert_ids_to_tokens(truth[0]) == [
        str(digit) for digit in answer[0]
    ]


# --- activations -------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_residual_stream_is_what_transformers_calls_hidden_states(architecture):
    model, config = made("mult-2x2", "one_model", 8, architecture)
    inputs = model.inputs(interp.draw_questions_of(config, 4))
    states = model.residual_stream(inputs)
    with torch.no_grad():
        truth = model.model(
            inputs.ids,
            position_ids=inputs.positions,
            attention_mask=torch.ones_like(inputs.ids),
            output_hidden_states=True,
        ).hidden_states
    for layer in (0, 1):  # the last of transformers' is normalised, ours is not
        assert torch.equal(states[layer], truth[layer].transpose(0, 1))
    with torch.no_grad():
        norm = model.model.base_model
        norm = norm.ln_f if architecture == "gpt2" else norm.norm
        assert torch.allclose(norm(states[2]), truth[2].transpose(0, 1), atol=1e-6)


def test_an_outer_hook_sees_what_an_inner_hook_puts_in():
    model, config = made("mult-2x2", "one_model", 8)
    inputs, seen = model.inputs(interp.draw_questions_of(config, 2)), {}
    new = torch.randn(*inputs.ids.shape, 16)
    with (
        hook_residual_stream(model.model, lambda layer, hidden: seen.update({layer: hidden})),
        hook_layer_inputs(model.model, lambda layer, hidden: new),
    ):
        logits_of(model.model, inputs)
    assert torch.equal(seen[0], new)
    assert torch.equal(seen[1], new)
    assert not torch.equal(seen[2], new)


def test_activations_are_the_same_in_any_number_of_batches_and_stored(planted, runs_folder):
    model, questions = planted
    questions = questions[:50]
    whole = model.residual_stream(model.inputs(questions)).numpy()
    stored = interp.stored_activations(model, questions, bound=7 * whole[:, :, 0].nbytes)
    assert isinstance(stored, np.memmap)
    assert np.array_equal(stored, whole)
    assert not list(runs_folder.iterdir())  # there is no run whose folder could keep them
    named = replace(model, folder=runs_folder / "run" / "activations")
    interp.stored_activations(named, questions)
    (file,) = named.folder.glob("*.npy")
    before = file.stat().st_mtime_ns
    assert np.array_equal(interp.stored_activations(named, questions), whole)
    assert file.stat().st_mtime_ns == before
    interp.stored_activations(named, questions[:20])
    assert len(list(named.folder.glob("*.npy"))) == 2


def test_the_states_of_a_coupled_model_are_the_emulated_ones(runs_folder):
    quick = {"train.steps": 2, "train.eval_every": 2, "data.test_examples": 8, "model.layers": 3}
    run = train(experiments.icot_kd("smoke", overrides=quick))
    model = StageModel.of(run)
    questions = interp.draw_questions_of(run.config, 5)
    inputs, at = model.inputs(questions), interp.separator_position(model, questions)
    states, coupled = model.residual_stream(inputs), model.model
    ends = torch.full((5,), at, device=model.device)
    with torch.no_grad():
        emulated = coupled.emulator(inputs.ids[:, : at + 1], ends).states
        read = [mlp(emulated[:, i]) for i, mlp in enumerate(coupled.student.state_mlps)]
    for layer in range(3):
        assert torch.allclose(states[layer, at], read[layer].cpu(), atol=1e-5)
    assert interp.attention(model, questions).shape[0] == 3
    untrained = model.untrained()
    assert type(untrained.model) is type(coupled)
    assert not torch.equal(untrained.residual_stream(inputs), states)


# --- probes ------------------------------------------------------------------------------------


def test_all_logistic_probes_at_once_agree_with_scikit_learn():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 900, 12, generator=generator) * torch.logspace(-2, 2, 12)
    scores = (x[0] / torch.logspace(-2, 2, 12))[:, :3] + torch.randn(900, 3, generator=generator)
    labels = torch.stack([scores.argmax(dim=1), (scores[:, 0] > 0).long()], dim=1)
    fitted = interp.fit_linear(x[:, :600], labels[:600], penalty=1e-4, steps=300)
    ours = fitted.logits(x[:, 600:])
    scale = torch.logspace(-2, 2, 12)
    for position in range(3):
        for t in range(2):
            theirs = LogisticRegression(C=1e4, max_iter=500)
            theirs.fit(x[position, :600] / scale, labels[:600, t])
            classes = int(labels[:, t].max()) + 1
            chances = ours[position, :, t].softmax(-1)[:, :classes].numpy()
            assert np.allclose(chances, theirs.predict_proba(x[position, 600:] / scale), atol=0.03)


def test_ridge_agrees_with_scikit_learn():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 400, 5, generator=generator)
    y = x[0] @ torch.randn(5, 2, generator=generator) + 7
    guess = ridge_predictions(x[:, :300], y[:300], x[:, 300:])
    theirs = Ridge(alpha=0.3).fit(x[0, :300], y[:300]).predict(x[0, 300:])
    assert np.allclose(guess[0], theirs, atol=0.02)


def planted_states(n=1500, d=8):
    """Noise in 2 layers and 3 positions; a digit and a number, in layer 1 at position 2 only."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 3, n, d, generator=generator)
    digit = torch.randint(0, 4, (n,), generator=generator)
    number = torch.randint(0, 50, (n,), generator=generator)
    states[1, 2, :, :4] += 8 * one_hot(digit, 4)
    states[1, 2, :, 5] += number
    variables = [Variable("t1", "chain", 0, digit.numpy())]
    return states.numpy(), [*variables, Variable("c0", "number", 0, number.numpy())]


def test_a_grid_finds_what_is_planted_where_it_is_planted_and_nothing_else():
    states, variables = planted_states()
    table = interp.probe_grid(states, variables).set_index(["variable", "layer", "position"])
    assert table.loc[("t1", 1, 2), "low"] > 0.97
    assert table.loc[("c0", 1, 2), "low"] > 0.98
    others = table.drop([("t1", 1, 2), ("c0", 1, 2)])
    assert (others.loc["t1"].score < 0.35).all()
    assert (others.loc["c0"].score < 0.05).all()
    assert ((table.low <= table.score) & (table.score <= table.high)).all()


def test_a_grid_is_the_same_in_any_number_of_blocks():
    states, variables = planted_states(300)
    whole, blocks = (
        interp.probe_grid(states, variables, **size).sort_values(
            ["variable", "layer", "position"], ignore_index=True
        )
        for size in ({}, {"block": 1})
    )
    pd.testing.assert_frame_equal(whole, blocks, atol=1e-5)


def test_a_few_states_are_in_memory_at_a_time(monkeypatch):
    """Also where no logits limit them, and whatever the number of questions."""
    states, variables = planted_states(900)
    whole = interp.probe_grid(states, variables[1:]).sort_values(["layer", "position"])
    fitted, before = [], probing.ridge_predictions

    def recorded(x, *args, **named):
        fitted.append(x.shape)
        return before(x, *args, **named)

    monkeypatch.setattr(probing, "ridge_predictions", recorded)
    one_state = states[0, 0].nbytes
    table = interp.probe_grid(states, variables[1:], block=one_state // 4)
    assert [shape[0] for shape in fitted] == [1] * 6
    pd.testing.assert_frame_equal(table, whole.reset_index(drop=True), atol=1e-5)


def test_the_input_lies_on_disk(planted, runs_folder):
    model, questions = planted
    seen = interp.visible_input(model, questions[:100])
    assert isinstance(seen, np.memmap)
    assert seen.dtype == np.uint8
    assert not list(runs_folder.iterdir())
    # Bit by bit: two columns for each that has been seen.
    bits = one_hot(torch.from_numpy(questions.questions[:100]), 2).flatten(1).numpy()
    for position in range(BITS):
        expected = np.where(np.arange(2 * BITS) < 2 * (position + 1), bits, 0)
        assert (seen[0, position, :, : 2 * BITS] == expected).all()


def test_mlps_predict_the_same_however_many_rows_at_once(monkeypatch):
    states, variables = planted_states(300)
    at_once = interp.probe_grid(states[:, 2:], variables, "mlp")
    monkeypatch.setattr(probes, "PREDICTED", 7)
    pd.testing.assert_frame_equal(interp.probe_grid(states[:, 2:], variables, "mlp"), at_once)


def test_a_bar_shows_how_far_probes_are_if_asked(planted, capsys):
    model, questions = planted
    tokens = interp.variables_of(questions[:30], "chain")
    interp.probe_with_controls(model, questions[:30], tokens)
    assert not capsys.readouterr().err
    interp.probe_with_controls(model, questions[:30], tokens, progress=True)
    shown = capsys.readouterr().err
    assert "states of planted: 100%" in shown
    assert "linear probes: 100%" in shown
    assert "mlp probes: 100%" in shown


def test_steering_in_parts_changes_no_result(planted, monkeypatch):
    model, questions = planted
    whole = interp.steer(model, questions[:200], BITS - 1, 1, SEPARATOR)
    monkeypatch.setattr(steering, "CACHED", 7)
    pd.testing.assert_frame_equal(
        interp.steer(model, questions[:200], BITS - 1, 1, SEPARATOR), whole
    )


@pytest.mark.parametrize("seed", range(5))
def test_states_that_never_vary_are_probed(seed):
    """Those of random weights where every question has the same token: only rounding differs."""
    state = 0.02 * torch.randn(192, generator=torch.Generator().manual_seed(seed))
    labels = torch.tensor([0, 1, 1] * 200)[:, None]
    fitted = interp.fit_linear(state.expand(1, 600, 192).contiguous(), labels)
    assert fitted.logits(state[None, None])[0, 0, 0].argmax() == 1


def test_whitening_is_as_good_where_cholesky_fails(monkeypatch):
    """As it does where rounding errors of a wide covariance exceed what is added to it."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(12, 12, generator=generator) * torch.logspace(-3, 3, 12)
    states = torch.randn(2, 900, 12, generator=generator) @ mixed + 5
    labels = (states[0, :, :2] > 5).long()
    usual = interp.fit_linear(states, labels).logits(states)
    failing = torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda x: (failing(x)[0] * torch.nan, x > 0))
    assert torch.allclose(interp.fit_linear(states, labels).logits(states), usual, atol=0.01)


def test_an_unknown_probe_is_refused():
    states, variables = planted_states(30)
    with pytest.raises(ConfigError, match="probe is one of linear, mlp, not 'lineer'"):
        interp.probe_grid(states, variables, "lineer")


def test_shuffled_labels_are_predicted_by_nothing():
    states, variables = planted_states()
    table, shuffled = probing.probe_grid_and_shuffled(states, variables)
    assert (shuffled[shuffled.variable == "t1"].score < 0.35).all()
    assert (shuffled[shuffled.variable == "c0"].score < 0.05).all()
    pd.testing.assert_frame_equal(table, interp.probe_grid(states, variables), atol=1e-5)


def test_an_mlp_decodes_what_is_not_linearly_separable():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(1, 2, 2000, 4, generator=generator)
    both = (states[0, 0, :, 0] > 0) ^ (states[0, 0, :, 1] > 0)
    variables = [Variable("t1", "chain", 0, both.long().numpy())]
    linear = interp.probe_grid(states.numpy(), variables).set_index("position").score
    mlp = interp.probe_grid(states.numpy(), variables, probe="mlp").set_index("position").score
    assert linear[0] < 0.62
    assert mlp[0] > 0.9
    assert mlp[1] < 0.58


def test_a_number_that_the_input_gives_away_is_not_selective():
    # A product is not linear in the digits, but an MLP predicts it from them.
    model, config = made("mult-2x2", "one_model", 8)
    questions = interp.draw_questions_of(config, 1500)
    products = [one for one in interp.variables_of(questions, "number") if one.name == "a0 b0"]
    table = interp.probe_with_controls(model, questions, products)
    assert (table["input, MLP"][table.position > 4] > 0.9).all()
    assert (table["input"] < 0.9).all()
    assert (table.selectivity < 0.05).all()


def test_the_input_alone_knows_the_tokens_so_far(planted):
    model, questions = planted
    seen = interp.visible_input(model, questions[:200])
    assert not seen[0, 0, :, 2:].any()  # two columns for the first bit, and nothing later
    table = interp.probe_grid(seen, interp.variables_of(questions[:200], "chain"))
    t1 = table[table.variable == "t1"].set_index("position").score
    assert (t1 == 1).all()
    t2 = table[table.variable == "t2"].set_index("position").score
    assert t2[0] < 0.75  # the second bit is not visible yet


def test_a_planted_parity_is_selective_and_everything_else_is_visible_in_the_input(probed):
    best = interp.best_positions(probed).set_index("variable")
    parity = best.loc[f"t{BITS}"]
    assert (parity.layer, parity.position) == (1, SEPARATOR)
    assert parity.score > 0.99
    assert parity.selectivity > 0.3
    others = probed[probed.variable != f"t{BITS}"]
    assert (others.selectivity < 0.12).all()
    first = probed[probed.variable == "t1"]  # it is the first bit
    assert (first.selectivity <= 0).all()
    assert (first.score.groupby(first.layer).max() > 0.99).all()


def test_a_variable_depends_on_the_symbols_that_change_it():
    task = get_task("mult-4x2")
    variables = interp.variables_of(QuestionSet(task, task.sample(np.random.default_rng(0), 50)))
    found = {one.name: set(one.depends_on) for one in variables}
    assert found["t1"] == {"a0", "b0"}
    assert found["t5"] == {"a0", "a1", "a2", "a3", "b0"}
    assert found["t8"] == {"a0", "b1"}
    assert found["s1"] == found["c1"] == {"a0", "a1", "b0", "b1"}
    assert found["a2 b1"] == {"a2", "b1"}
    assert found["carry1"] == {"a0", "b0"}
    names = ["a0", "a1", "a2", "a3", "*", "b0", "b1", "=", "=", "####", "s0"]
    known = {one.name: one.known_from(names) for one in variables}
    assert (known["a2 b0"], known["a2 b1"], known["s5"]) == (5, 6, 6)
    split = ["q.0", "q.1", "=", "####", "s0"]  # as a tokenizer may split the question
    assert {one.known_from(split) for one in variables} == {2}


def test_a_task_that_does_not_say_so_has_variables_of_the_whole_question():
    task = get_task("twopaths-6x2")
    questions = QuestionSet(task, task.sample(np.random.default_rng(0), 20))
    for one in interp.variables_of(questions):
        assert one.depends_on is None


def test_places_are_chosen_where_a_variable_can_be_known(probed):
    """Nothing reads x0 + x1 anywhere, but the MLP of the input does once it has seen both: where
    the probe cannot know it either, its selectivity is highest."""
    t2 = probed[probed.variable == "t2"]
    assert t2.loc[t2.valid_selectivity.idxmax()].position == 0
    best = interp.best_positions(probed).set_index("variable")
    for number, name in enumerate(TOKENS):
        assert best.loc[name].position >= number
        seen = probed[(probed.variable == name) & (probed.position >= number)]
        row = seen.loc[best.loc[name].row]
        assert row.valid >= seen.valid.max() - 0.02
        assert best.loc[name].selectivity == row.selectivity


def test_a_removed_token_is_decoded_at_the_separator(planted):
    model, questions = planted
    table = interp.through_removal([model], questions).set_index(["variable", "where"])
    parity = table.loc[(f"t{BITS}", "separator")]
    assert parity.score > 0.99
    assert parity.control < 0.65
    assert table.loc[("t5", "separator")].score < 0.7
    assert table.loc[("t1", "unseen")].control == 1


# --- interventions -----------------------------------------------------------------------------


def test_patching_finds_the_way_from_bit_to_answer(planted):
    model, questions = planted
    table = interp.patch_entries(model, questions[:100], entries=[3])
    by_state = table.set_index(["layer", "position"])
    path = [(0, 3), (1, SEPARATOR), (2, ANSWER_DELIMITER)]
    assert set(table.changed) == {"x3"}
    assert (by_state.loc[path].effect == 1).all()
    assert (by_state.drop(path).effect == 0).all()


def test_patching_takes_any_pairs_of_one_task(planted):
    model, questions = planted
    clean, corrupted = questions[:80], questions[80:160]
    table = interp.patch_pairs(model, clean, corrupted, layers=[0, 1], positions=[0, SEPARATOR])
    assert table[["layer", "position"]].drop_duplicates().to_numpy().tolist() == [
        [0, 0],
        [0, SEPARATOR],
        [1, 0],
        [1, SEPARATOR],
    ]
    by_state = table.set_index(["layer", "position"])
    answers = [one.rendered.answer for one in (clean, corrupted)]
    differ = (answers[0] != answers[1])[:, 0]
    assert (by_state.n == differ.sum()).all()
    assert by_state.effect[1, SEPARATOR] == 1
    # One bit of another question flips the parity if, and only if, it differs there.
    flips = (clean.questions[:, 0] != corrupted.questions[:, 0])[differ]
    assert by_state.effect[0, 0] == pytest.approx(flips.mean())


def test_a_patched_answer_follows_the_state_that_was_put_in(planted):
    model, questions = planted
    pair = questions[:40], questions[40:80]
    table = interp.patched_answers(model, *pair, 1, SEPARATOR)
    assert list(table) == ["question", "answer", "patched", "other", "other_answer"]
    assert table.patched.tolist() == table.other_answer.tolist() != table.answer.tolist()
    assert table.answer.tolist() == [one.answer for one in pair[0].examples()]
    assert table.other.tolist() == [one.question for one in pair[1].examples()]
    one_bit = interp.patched_answers(model, *pair, 0, 0)
    differs = pair[0].questions[:, 0] != pair[1].questions[:, 0]
    assert ((one_bit.patched != one_bit.answer) == differs).all()
    with pytest.raises(ConfigError, match=r"has layers 0 to 2 and positions 0 to .*, not layer 9"):
        interp.patched_answers(model, *pair, 9, 0)


def test_patching_minimal_pairs_is_patching_entries(planted):
    model, questions = planted
    pairs = interp.patch_pairs(model, *interp.minimal_pairs(questions[:40], 5, seed=3))
    entries = interp.patch_entries(model, questions[:40], entries=[5], seed=3)
    pd.testing.assert_frame_equal(pairs, entries.drop(columns="changed"))


def test_sets_that_form_no_pairs_are_refused(planted):
    model, questions = planted
    with pytest.raises(ConfigError, match="3 clean questions of parity-10 and 2 corrupted"):
        interp.patch_pairs(model, questions[:3], questions[:2])
    other = QuestionSet(get_task("parity-9"), questions.questions[:3, :9])
    with pytest.raises(ConfigError, match="of parity-9"):
        interp.patch_pairs(model, questions[:3], other)


def cache_nothing(monkeypatch):
    """Interventions compute everything anew."""
    for module in (ablation, patching, steering):
        monkeypatch.setattr(module, "cache_unchanged", lambda model: contextlib.nullcontext())


def test_caching_the_emulation_changes_no_result(runs_folder, monkeypatch):
    quick = {"train.steps": 2, "train.eval_every": 2, "data.test_examples": 8}
    model = StageModel.of(train(experiments.icot_kd("smoke", overrides=quick)))
    questions, passes = interp.draw_questions_of(experiments.icot_kd("smoke"), 9), []
    emulator = model.model.emulator
    before = emulator.forward
    emulator.body.register_forward_pre_hook(lambda *args: passes.append(args))

    def tables():
        passes.clear()
        return [
            interp.patch_entries(model, questions, entries=[0]),
            interp.ablate(model, questions, [(1, 2), (2, 3)]),
            interp.knock_out(model, questions, layers=[1]),
            interp.steer(model, questions, 0, 1, 2),
            pd.DataFrame([interp.effect_of_token(model, questions, 0, 1, 2)]),
        ], len(passes)

    ours, few = tables()
    assert emulator.forward == before
    with monkeypatch.context() as patched:
        cache_nothing(patched)
        expected, many = tables()
    for one, other in zip(ours, expected, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert few < many / 3


def test_one_entry_is_not_changed_where_entries_depend_on_each_other():
    task = get_task("twopeople-2")
    questions = QuestionSet(task, task.sample(np.random.default_rng(0), 5))
    with pytest.raises(ConfigError, match="entries of twopeople-2 depend on each other"):
        interp.minimal_pairs(questions, 0)


def test_minimal_pairs_differ_in_one_entry(planted):
    questions = planted[1]
    clean, corrupted = interp.minimal_pairs(questions, 4)
    assert len(clean) == len(questions)
    differ = clean.questions != corrupted.questions
    assert differ[:, 4].all()
    assert not np.delete(differ, 4, axis=1).any()


def test_variables_that_tell_a_symbol_of_the_answer_are_left_out():
    questions = draw_questions(get_task("mult-4x2"), 2000, seed=0)
    kept = {one.name for one in interp.not_in_answer(questions, "chain", "number")}
    every = {one.name for one in interp.variables_of(questions, "chain", "number")}
    assert every - kept == {"t1", "c5", "carry5"}  # the first digit, and the last one twice
    assert interp.not_in_answer(questions, "answer") == []


def test_a_shift_that_hits_no_more_than_a_guess_is_no_use(planted, probed, monkeypatch):
    model, questions = planted
    steered = pd.DataFrame(
        {
            "direction": steering.DIRECTIONS,
            "effect": [0.52, 0, 0, 0],
            "low": [0.5, 0, 0, 0],
            "high": 0.0,
        }
    )
    monkeypatch.setattr(report, "steer", lambda *_: steered)
    table = interp.probing_table(model, questions, probed, pairs=20)
    assert (table.steering_chance == 0.5).all()  # two symbols
    assert not table.used.any()
    monkeypatch.setattr(report, "steer", lambda *_: steered.assign(low=0.56))
    assert interp.probing_table(model, questions, probed, pairs=20).used.all()


def test_steering_changes_the_answer_where_the_state_is_used(planted):
    model, questions = planted
    table = interp.steer(model, questions, BITS - 1, 1, SEPARATOR).set_index("direction")
    assert table.loc["means"].effect == 1
    assert table.loc["weights"].effect == 1
    assert table.loc["pattern"].effect == 1
    assert (table.loc[["means", "weights", "pattern"]].decoded == 1).all()
    assert table.loc["random"].effect < 0.2
    # The first bit can be decoded at its own position, but nothing attends to it any more.
    unused = interp.steer(model, questions, 0, 1, 0).set_index("direction")
    assert unused.effect.max() == 0


def test_the_table_tells_decodable_from_used(planted, probed):
    model, questions = planted
    table = interp.probing_table(model, questions, probed).set_index("variable")
    assert table.index.tolist() == TOKENS
    parity = table.loc[f"t{BITS}"]
    assert (parity.layer, parity.position) == (1, "=")
    assert parity.decodable
    assert parity.used
    assert parity.patching == parity.steering_weights == parity.steering_pattern == 1
    assert parity.mlp_input < 0.65
    assert parity.mlp > 0.99
    assert not table.drop(f"t{BITS}").decodable.any()


def test_only_states_that_can_influence_the_answer_are_selected(planted, probed):
    model, questions = planted
    table = interp.probing_table(model, questions, probed, pairs=20)
    assert table.layer.max() < model.layers
    assert not table.position.isin(["s0"]).any()  # the answer is written before
    bits = interp.variables_of(questions, "chain")
    assert {first_affected(questions, bit) for bit in bits} == {0}


def test_steering_has_no_target_without_a_second_class(planted):
    model, questions = planted
    ones = questions.questions.sum(axis=1) % 2 == 1
    odd, even = questions[ones][:90], questions[~ones][:60]
    for fitted, held in ((odd, even), (even, odd[:30])):
        rows = QuestionSet(questions.task, np.vstack([fitted.questions, held.questions]))
        table = interp.steer(model, rows, BITS - 1, 1, SEPARATOR)
        assert (table.n == 0).all()
        assert table.effect.isna().all()


def test_the_pattern_is_where_states_differ_and_the_weights_are_not():
    # Three digits along one direction, under noise that a second coordinate measures alone.
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (900,), generator=generator)
    noise = 3 * torch.randn(900, generator=generator)
    states = torch.stack([labels + noise, noise, 0.1 * torch.randn(900, generator=generator)], 1)
    probe = interp.fit_linear(states[None], labels[:, None], steps=200)
    old, new = labels.numpy(), ((labels + 1) % 3).numpy()
    shift = {
        name: steering.shift(name, states, labels, probe, states, old, new, 0)
        for name in ("weights", "pattern", "means")
    }
    angle = {k: torch.cosine_similarity(v, shift["means"]).abs().median() for k, v in shift.items()}
    assert angle["pattern"] > 0.9
    assert angle["weights"] < 0.85


def test_ablation_finds_what_is_used_and_nothing_else(planted):
    model, questions = planted
    where = [(1, SEPARATOR), (1, 0), (0, 3), (2, SEPARATOR)]
    for how in ("mean", "noise"):
        table = interp.ablate(model, questions[:300], where, how)
        table = table[table.symbol == -1].set_index(["layer", "position"])
        assert (table.intact == 1).all()
        assert table.loc[(1, SEPARATOR)].accuracy < 0.7
        assert table.loc[(1, 0)].accuracy == 1
        assert table.loc[(2, SEPARATOR)].accuracy == 1
        assert table.loc[(0, 3)].accuracy < 0.9


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gpt_neox"])
def test_layers_below_an_intervention_are_computed_once(architecture, monkeypatch):
    model, config = made("mult-2x2", "one_model", 8, architecture)
    questions, passes = interp.draw_questions_of(config, 9), []
    monkeypatch.setattr(interventions, "BATCH", 4)  # several batches, each with a first pass
    layers = decoder_layers(model.model)
    for layer in layers:
        mlp = next(module for name, module in layer.named_children() if name == "mlp")
        mlp.register_forward_pre_hook(lambda *args: passes.append(args))

    def tables():
        passes.clear()
        return [
            interp.patch_entries(model, questions, entries=[0]),
            interp.ablate(model, questions, [(layer, 2) for layer in range(3)]),
            interp.knock_out(model, questions, keys=[1, 2]),
            interp.steer(model, questions, 0, 1, 2),
        ], len(passes)

    ours, few = tables()
    assert all("forward" not in vars(layer) for layer in layers)
    with monkeypatch.context() as patched:
        cache_nothing(patched)
        expected, many = tables()
    for one, other in zip(ours, expected, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert few < 0.6 * many


def test_knock_out_finds_which_attention_is_needed(planted):
    model, questions = planted
    table = interp.knock_out(model, questions[:200])
    table = table[table.symbol == -1].set_index(["layer", "position"]).accuracy
    needed = [(0, bit) for bit in range(BITS)] + [(1, SEPARATOR)]
    assert (table.loc[needed] < 0.8).all()
    assert (table.drop(needed) == 1).all()


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gpt_neox"])
def test_attention_can_be_masked_in_any_architecture(architecture):
    model, config = made("mult-2x2", "one_model", 8, architecture)
    inputs = model.inputs(interp.draw_questions_of(config, 3))
    width = inputs.ids.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    alone = torch.eye(width, dtype=torch.bool)
    whole = model.residual_stream(inputs)
    with mask_attention(model.model, {0: causal, 1: causal}.get):
        assert torch.allclose(model.residual_stream(inputs), whole, atol=1e-5)
    with mask_attention(model.model, {0: alone, 1: alone}.get):
        masked = model.residual_stream(inputs)
        ids = inputs.ids.clone()
        ids[:, 0] = 5
        changed = model.residual_stream(replace(inputs, ids=ids))
    assert not torch.allclose(masked, whole, atol=1e-3)
    assert torch.equal(masked[:, 1:], changed[:, 1:])  # no position attends to the first token


# --- attention and geometry --------------------------------------------------------------------


def test_attention_and_its_tree(planted):
    model, questions = planted
    weights = interp.attention(model, questions[:60])
    assert weights.shape == (2, 1, ANSWER_DELIMITER + 2, ANSWER_DELIMITER + 2)
    assert np.allclose(weights.sum(axis=-1), 1)
    names = model.position_names(questions)
    tree = interp.attention_tree(weights, ANSWER_DELIMITER, names, least=0.05)
    upper = tree[tree.to == ANSWER_DELIMITER].query("layer == 1")
    assert upper.source_name.tolist() == ["="]
    lower = tree[(tree.layer == 0) & (tree.to == SEPARATOR)]
    assert lower.source_name.tolist() == [f"x{i}" for i in range(BITS)]
    assert not len(interp.attention_tree(weights * 0, ANSWER_DELIMITER, names))


def test_attention_of_a_transformer_is_what_it_reports(monkeypatch):
    model, config = made("mult-2x2", "one_model", 8)
    questions = interp.draw_questions_of(config, 7)
    before = logits_of(model.model, model.inputs(questions))
    whole = interp.attention(model, questions)
    monkeypatch.setattr(interventions, "BATCH", 3)
    weights = interp.attention(model, questions)
    np.testing.assert_allclose(weights, whole, atol=1e-6)
    assert weights.shape[:2] == (2, 2)
    assert np.allclose(np.triu(weights[0, 0], 1), 0)
    assert model.model.config._attn_implementation != "eager"
    assert torch.equal(logits_of(model.model, model.inputs(questions)), before)


@pytest.mark.parametrize("architecture", ["gpt2", "roberta"])
def test_attention_has_the_position_ids_of_decoding(architecture):
    """With kept positions; RoBERTa's position table begins with rows that stand for none."""
    model, config = made("mult-2x2", "one_model", 3, architecture)
    questions, seen = interp.draw_questions_of(config, 4), []

    def note(module, args, kwargs):
        seen.append(kwargs["position_ids"])

    handle = model.model.register_forward_pre_hook(note, with_kwargs=True)
    interp.attention(model, questions)
    logits_of(model.model, model.inputs(questions))
    handle.remove()
    assert torch.equal(*seen)


def test_cka_is_invariant_to_rotation_and_scale():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 2000, 6, generator=generator)
    rotated = x @ torch.linalg.qr(torch.randn(6, 6, generator=generator))[0] * 3 + 5
    assert interp.cka(x, rotated) == pytest.approx(1)
    assert interp.cka(x, y) < 0.02
    assert np.isnan(interp.cka(x, torch.ones(2000, 2)))


def test_cka_of_layers(planted):
    model, questions = planted
    table = interp.cka_table(model, model, questions[:300]).set_index(["first", "second"]).cka
    assert table[1, 1] == pytest.approx(1)
    assert np.isnan(table[0, 1])  # below layer 0 every separator is the same


def test_digits_on_a_circle_have_one_frequency():
    digits = np.arange(500) % 10
    turn = 2 * np.pi * 2 * digits / 10
    states = torch.tensor(np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1))
    points, spectrum = interp.digit_geometry(states, digits)
    assert spectrum.set_index("frequency").share[2] == pytest.approx(1)
    assert np.allclose(np.hypot(points.pc1, points.pc2), 1)
    assert (points.turns == 2).all()
    assert np.allclose(np.hypot(points.x, points.y), 1)
    prism = torch.cat([states, torch.tensor(digits % 2)[:, None]], dim=1)
    points = interp.digit_geometry(prism, digits)[0]
    apart = points.parity.to_numpy()
    assert np.allclose(apart[1::2], 0.5)  # odd digits at the upper end
    assert np.allclose(apart[::2], -0.5)
    for digit in range(5):  # one above the other
        above, below = points.loc[digit], points.loc[digit + 5]
        assert np.allclose(above[["x", "y"]], below[["x", "y"]])
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(10, 400, generator=generator)[digits]
    spectrum = interp.digit_geometry(random, digits)[1]
    assert np.allclose(spectrum.share, spectrum.unordered, atol=0.05)
    parity = torch.tensor(np.outer(digits % 2, [1.0, 2.0, 3.0]))
    assert interp.digit_geometry(parity, digits)[1].share.iloc[4] == pytest.approx(1)


def test_a_state_that_is_not_there_is_an_error_of_every_intervention(planted):
    model, questions = planted
    few = questions[:30]
    there = r"has layers 0 to \d and positions 0 to \d+, not layer"
    for ask in (
        lambda: interp.ablate(model, few, [(9, 0)]),
        lambda: interp.knock_out(model, few, layers=[7]),
        lambda: interp.knock_out(model, few, keys=[-1]),
        lambda: interp.patch_entries(model, few, layers=[0], positions=[-1]),
        lambda: interp.patch_entries(model, few, layers=[9]),
        lambda: interp.steer(model, few, 0, 9, 2),
    ):
        with pytest.raises(ConfigError, match=there):
            ask()
    with pytest.raises(ConfigError, match="'mean' is no direction: choose from means, pattern"):
        interp.steer(model, few, 0, 1, 2, directions=["mean", "random"])


def test_an_interval_of_r2_covers_the_r2_of_all_rows():
    """With the variance of the reported rows held fixed, it covers some 80%."""
    rng, covered, n = np.random.default_rng(0), 0, 300
    split = (slice(0, 0), slice(0, 10), slice(10, 10 + n))
    for _ in range(200):
        values = rng.integers(0, 10, 10 + n) * rng.integers(0, 10, 10 + n)
        errors = rng.normal(0, 6, (1, 10 + n, 1))
        number = Variable("a0 b0", "number", 0, values)
        (row,) = probing._determination(errors, [number], [(0, 0)], split, "ridge")
        product = np.outer(np.arange(10), np.arange(10))
        covered += row["low"] <= 1 - 36 / product.var() <= row["high"]
    assert covered >= 180


def test_digits_by_layer_look_at_the_digit_asked_and_the_symbol_written():
    model, config = made("mult-2x2", "one_model", 8, "gpt2")
    questions = interp.draw_questions_of(config, 400)
    found = interp.digits_by_layer(model, questions, "a0", symbol=0)
    assert list(found) == ["embedding of a0", *(f"s0, layer {n + 1}" for n in range(model.layers))]
    names, digits = model.position_names(questions), questions.questions[:, 0]
    states = model.activations(questions)[0, names.index("a0")]
    expected = interp.digit_geometry(states, digits)
    for one, other in zip(found["embedding of a0"], expected, strict=True):
        pd.testing.assert_frame_equal(one, other)
    with pytest.raises(ConfigError, match="no digit 'c7': it has a0, "):
        interp.digits_by_layer(model, questions, "c7")


def test_analyses_use_every_core_and_restore_the_number_of_threads(planted, monkeypatch):
    monkeypatch.setattr(processes, "cores", lambda: 3)
    model, questions = planted
    before, seen = torch.get_num_threads(), set()
    watching = model.model.register_forward_pre_hook(lambda *_: seen.add(torch.get_num_threads()))
    interp.patch_entries(model, questions[:20], entries=[0], layers=[0])
    watching.remove()
    assert seen == {max(3, before)}
    assert torch.get_num_threads() == before
