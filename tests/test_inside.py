"""Looking inside: every tool finds what was planted, and reports nothing else."""

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
from icotlib.data.run_data import build_layout
from icotlib.errors import ConfigError
from icotlib.evaluation.generation import logits_of
from icotlib.interp import patching, probe_grid, probes
from icotlib.interp.activations import residual_stream
from icotlib.interp.variables import Variable
from icotlib.models.build import build_model
from icotlib.models.hooks import decoder_layers, hook_layer_inputs, hook_residual_stream
from icotlib.running import jobs
from icotlib.system import processes
from icotlib.tasks import Task, get_task
from icotlib.tasks.parity import Parity
from icotlib.tasks.base import PADDING
from icotlib.training.trainer import train
from tests.planted import BITS, ANSWER_DELIMITER, SEPARATOR, every_question, plant

RIGHT = {"removal.side": "right", "removal.keep_positions": False}
DIRECT = {"removal.direct": True, "removal.schedule": "all"}
BITS_READ = [f"t{i + 1}" for i in range(BITS)]


@pytest.fixture(scope="module")
def planted():
    return plant(), every_question()


@pytest.fixture(scope="module")
def probed(planted):
    """The planted model's chain, read beside every control."""
    subject, examples = planted
    wanted = interp.variables(examples, "chain")
    assert [one.name for one in wanted] == BITS_READ
    return interp.probe_with_controls(
        subject, examples, wanted, no_cot_control=subject.untrained(seed=5)
    )


# --- tasks say what may be inside --------------------------------------------------------------


def test_the_quantities_of_3719_by_84():
    task = get_task("mult-4x2")
    found = task.intermediate_values(task.questions([3719], [84]))
    assert {name: int(value[0]) for name, value in found.items()} == {
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
    found, answer = task.intermediate_values(questions), task.render(questions).answer
    for k in range(answer.shape[1]):
        assert (found[f"c{k}"] % 10 == answer[:, k]).all()


def test_what_follows_from_another_chain():
    # 3719 x 84: 14876 with a 9 in position of its 7 (tens) is 20 more; 29752 likewise ten times more.
    task = get_task("mult-4x2")
    question = task.questions([3719], [84])
    for token, digit, product in ((1, 9, 312416), (0, 0, 312390), (8, 6, 312496)):
        answer = task.counterfactual_answer(question, token, np.array([digit]))
        assert int("".join(map(str, answer[0, ::-1]))) == product
    with pytest.raises(ConfigError, match="no digit"):
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

    with pytest.raises(ConfigError, match="does not say"):
        Silent(4).counterfactual_answer(np.zeros((1, 4)), 0, np.array([1]))


# --- examples and subjects ---------------------------------------------------------------------


def test_examples_differ_and_do_not_run_out():
    config = RunConfig().override({"data.task": "mult-1x1"})
    examples = interp.draw_examples(config, 1000)
    assert len(examples) == 81 == len(np.unique(examples.questions, axis=0))
    assert not (np.sort(examples.questions[:, 0]) == examples.questions[:, 0]).all()


def test_files_have_no_variables(tmp_path):
    config = RunConfig().override({"data.path": str(tmp_path)})
    with pytest.raises(ConfigError, match="generated task"):
        interp.draw_examples(config, 10)


def made(task, method, removed, architecture="gpt2", **overrides):
    """A model with random weights as a subject."""
    sizes = {"model.layers": 2, "model.width": 16, "model.heads": 2}
    named = {"data.task": task, "method": method, "model.architecture": architecture}
    config = RunConfig().override(sizes | named | overrides)
    layout = build_layout(config, load_corpus(config.data))
    torch.manual_seed(0)
    model = build_model(config.model, layout, longest=40).eval()
    return interp.Subject("made", model, layout, config.removal, removed), config


def test_places_are_named_rightly_where_whole_steps_are_gone():
    steps = {"removal.step_end": "+", "removal.keep_positions": False}
    subject, config = made("mult-3x3", "icot_si", 1, **steps)
    examples = interp.draw_examples(config, 3)
    names, inputs = subject.positions(examples), subject.inputs(examples)
    assert len(names) == inputs.ids.shape[1]
    said = subject.layout.tokenizer.batch_decode(inputs.ids[0][:, None])
    assert [said[i] for i, name in enumerate(names) if name == "="] == ["<sep>", "<sep>"]


@pytest.mark.parametrize("spaced", [False, True])
def test_places_of_a_tokenizer_that_adds_spaces(pretrained, spaced):
    model = {"model.pretrained": pretrained("gpt2"), "model.spaced_separators": spaced}
    subject, config = made("mult-2x2", "icot_si", 3, **model)
    names = subject.positions(interp.draw_examples(config, 3))
    space, mark = ["_"] * spaced, ["####"] * len(subject.layout.answer_delimiter)
    chain = ["t4", "t5", "t6", "t7", "t8", *space]
    answer = ["s0", "s1", "s2", "s3", *space]
    assert names == ["a0", "a1", "*", "b0", "b1", *space, "=", *chain, "=", *mark, *answer]
    assert len(subject.answer_positions(interp.draw_examples(config, 3))) == 4


@pytest.mark.parametrize(
    ("removed", "overrides", "names"),
    [
        (0, {}, "a0 a1 * b0 b1 = t1 t2 t3 t4 t5 t6 t7 t8 = #### s0 s1 s2 s3"),
        (3, {}, "a0 a1 * b0 b1 = t4 t5 t6 t7 t8 = #### s0 s1 s2 s3"),
        (3, RIGHT, "a0 a1 * b0 b1 = t1 t2 t3 t4 t5 = #### s0 s1 s2 s3"),
        (8, DIRECT, "a0 a1 * b0 b1 = #### s0 s1 s2 s3"),
    ],
)
def test_places_have_the_names_of_what_stands_there(removed, overrides, names):
    method = "no_cot" if overrides is DIRECT else "icot_si"
    subject, config = made("mult-2x2", method, removed, **overrides)
    examples = interp.draw_examples(config, 3)
    names = names.split()
    assert subject.positions(examples) == names
    inputs = subject.inputs(examples)
    pieces = examples.task.render(examples.questions)
    symbols = {"*": "*", "=": "<sep>", "####": "####"}
    for position, name in enumerate(names):
        written = subject.layout.tokenizer.convert_ids_to_tokens(inputs.ids[:, position])
        if name in symbols:
            assert written == [symbols[name]] * 3
        elif name[0] in "ts":
            column = (
                pieces.chain[:, int(name[1:]) - 1]
                if name[0] == "t"
                else (pieces.answer[:, int(name[1:])])
            )
            assert written == [examples.task.symbols[i] for i in column]
    truth = inputs.labels[:, subject.answer_positions(examples)]
    assert subject.layout.tokenizer.convert_ids_to_tokens(truth[0]) == [
        str(digit) for digit in pieces.answer[0]
    ]


# --- activations -------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_residual_stream_is_what_transformers_calls_hidden_states(architecture):
    subject, config = made("mult-2x2", "icot_si", 8, architecture)
    inputs = subject.inputs(interp.draw_examples(config, 4))
    states = residual_stream(subject, inputs)
    with torch.no_grad():
        truth = subject.model(
            inputs.ids,
            position_ids=inputs.positions,
            attention_mask=torch.ones_like(inputs.ids),
            output_hidden_states=True,
        ).hidden_states
    for layer in (0, 1):  # the last of transformers' is normalised, ours is not
        assert torch.equal(states[layer], truth[layer].transpose(0, 1))
    with torch.no_grad():
        norm = subject.model.base_model
        norm = norm.ln_f if architecture == "gpt2" else norm.norm
        assert torch.allclose(norm(states[2]), truth[2].transpose(0, 1), atol=1e-6)


def test_an_outer_look_sees_what_an_inner_edit_puts_in():
    subject, config = made("mult-2x2", "icot_si", 8)
    inputs, seen = subject.inputs(interp.draw_examples(config, 2)), {}
    new = torch.randn(*inputs.ids.shape, 16)
    with (
        hook_residual_stream(subject.model, lambda layer, hidden: seen.update({layer: hidden})),
        hook_layer_inputs(subject.model, lambda layer, hidden: new),
    ):
        logits_of(subject.model, inputs)
    assert torch.equal(seen[0], new)
    assert torch.equal(seen[1], new)
    assert not torch.equal(seen[2], new)


def test_activations_are_the_same_in_any_number_of_pieces_and_kept(planted, runs_folder):
    subject, examples = planted
    examples = examples[:50]
    whole = residual_stream(subject, subject.inputs(examples)).numpy()
    pieces = interp.activations(subject, examples, bound=7 * whole[:, :, 0].nbytes)
    assert isinstance(pieces, np.memmap)
    assert np.array_equal(pieces, whole)
    assert not list(runs_folder.iterdir())  # no run, nothing to keep it under
    named = replace(subject, folder=runs_folder / "run" / "activations")
    interp.activations(named, examples)
    (file,) = named.folder.iterdir()
    before = file.stat().st_mtime_ns
    assert np.array_equal(interp.activations(named, examples), whole)
    assert file.stat().st_mtime_ns == before
    interp.activations(named, examples[:20])
    assert len(list(named.folder.iterdir())) == 2


def test_a_coupled_system_shows_the_thoughts_its_student_reads(runs_folder):
    quick = {"train.steps": 2, "train.eval_every": 2, "data.test_examples": 8, "model.layers": 3}
    run = train(experiments.icot_kd("smoke", overrides=quick))
    subject = interp.Subject.of(run)
    examples = interp.draw_examples(run.config, 5)
    inputs, at = subject.inputs(examples), subject.positions(examples).index("=")
    states = residual_stream(subject, inputs)
    model = subject.model
    ends = torch.full((5,), at, device=model.device)
    with torch.no_grad():
        thought = model.emulator(inputs.ids[:, : at + 1], ends)
        read = [reader(thought.states[:, i]) for i, reader in enumerate(model.student.readers)]
    for layer in range(3):
        assert torch.allclose(states[layer, at], read[layer].cpu(), atol=1e-5)
    assert interp.attention(subject, examples).shape[0] == 3
    untrained = subject.untrained()
    assert type(untrained.model) is type(model)
    assert not torch.equal(residual_stream(untrained, inputs), states)


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
    guess = probes.ridge_predictions(x[:, :300], y[:300], x[:, 300:])
    theirs = Ridge(alpha=0.3).fit(x[0, :300], y[:300]).predict(x[0, 300:])
    assert np.allclose(guess[0], theirs, atol=0.02)


def planted_states(n=1500, d=8):
    """Noise in 2 layers and 3 positions; a digit, and a number, in layer 1 at position 2 only."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 3, n, d, generator=generator)
    digit = torch.randint(0, 4, (n,), generator=generator)
    number = torch.randint(0, 50, (n,), generator=generator)
    states[1, 2, :, :4] += 8 * one_hot(digit, 4)
    states[1, 2, :, 5] += number
    wanted = [Variable("t1", "chain", digit.numpy()), Variable("c0", "number", number.numpy())]
    return states.numpy(), wanted


def test_a_grid_finds_what_is_planted_where_it_is_planted_and_nothing_else():
    states, wanted = planted_states()
    table = interp.grid(states, wanted).set_index(["variable", "layer", "position"])
    assert table.loc[("t1", 1, 2), "low"] > 0.97
    assert table.loc[("c0", 1, 2), "low"] > 0.98
    others = table.drop([("t1", 1, 2), ("c0", 1, 2)])
    assert (others.loc["t1"].score < 0.35).all()
    assert (others.loc["c0"].score < 0.05).all()
    assert ((table.low <= table.score) & (table.score <= table.high)).all()


def test_a_grid_is_the_same_in_any_number_of_blocks():
    states, wanted = planted_states(300)
    pd.testing.assert_frame_equal(
        interp.grid(states, wanted).sort_values(
            ["variable", "layer", "position"], ignore_index=True
        ),
        interp.grid(states, wanted, block=1).sort_values(
            ["variable", "layer", "position"], ignore_index=True
        ),
        atol=1e-5,
    )


def test_shuffled_labels_read_nothing():
    states, wanted = planted_states()
    table = interp.grid(states, wanted, shuffle=0)
    assert (table[table.variable == "t1"].score < 0.35).all()
    assert (table[table.variable == "c0"].score < 0.05).all()


def test_an_mlp_reads_what_no_line_divides():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(1, 2, 2000, 4, generator=generator)
    both = (states[0, 0, :, 0] > 0) ^ (states[0, 0, :, 1] > 0)
    wanted = [Variable("t1", "chain", both.long().numpy())]
    linear = interp.grid(states.numpy(), wanted).set_index("position").score
    mlp = interp.grid(states.numpy(), wanted, probe="mlp").set_index("position").score
    assert linear[0] < 0.62
    assert mlp[0] > 0.9
    assert mlp[1] < 0.58


def test_a_number_that_the_input_gives_away_is_not_selective():
    # A product is no line over the digits, but an MLP on them has it, too.
    subject, config = made("mult-2x2", "icot_si", 8)
    examples = interp.draw_examples(config, 1500)
    wanted = [one for one in interp.variables(examples, "number") if one.name == "a0 b0"]
    table = interp.probe_with_controls(subject, examples, wanted)
    assert (table["input, MLP"][table.position > 4] > 0.9).all()
    assert (table["input"] < 0.9).all()
    assert (table.selectivity < 0.05).all()


def test_the_input_alone_knows_the_tokens_so_far(planted):
    subject, examples = planted
    seen = probe_grid.visible_input(subject, examples[:200])
    assert not seen[0, 0, :, 2:].any()  # two columns for the first bit, and nothing later
    table = interp.grid(seen, interp.variables(examples[:200], "chain"))
    t1 = table[table.variable == "t1"].set_index("position").score
    assert (t1 == 1).all()
    t2 = table[table.variable == "t2"].set_index("position").score
    assert t2[0] < 0.75  # the parity of two bits is no line, and the second is not yet seen


def test_a_planted_parity_is_read_and_everything_else_is_the_inputs(probed):
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


def test_a_token_moves_inside_when_it_is_removed(planted):
    subject, examples = planted
    table = interp.through_removal([subject], examples).set_index(["variable", "where"])
    found = table.loc[(f"t{BITS}", "separator")]
    assert found.score > 0.99
    assert found.control < 0.65
    assert table.loc[("t5", "separator")].score < 0.7
    assert table.loc[("t1", "unseen")].control == 1


# --- causal tests ------------------------------------------------------------------------------


def test_patching_finds_the_way_from_bit_to_answer(planted):
    subject, examples = planted
    table = interp.patching(subject, examples[:100], entries=[3]).set_index(["layer", "position"])
    way = [(0, 3), (1, SEPARATOR), (2, ANSWER_DELIMITER)]
    assert set(table.changed) == {"x3"}
    assert (table.loc[way].effect == 1).all()
    assert (table.drop(way).effect == 0).all()
    route = interp.route(table.reset_index(), subject.positions(examples))
    assert route["own position"].tolist() == [1, 0, 0]
    assert route["separator"].tolist() == [0, 1, 0]
    assert route["writes"].tolist() == [0, 0, 1]
    assert route["elsewhere"].tolist() == [0, 0, 0]


def test_a_coupled_system_is_changed_as_it_is_but_thinks_once(runs_folder, monkeypatch):
    quick = {"train.steps": 2, "train.eval_every": 2, "data.test_examples": 8}
    subject = interp.Subject.of(train(experiments.icot_kd("smoke", overrides=quick)))
    examples, passes = interp.draw_examples(experiments.icot_kd("smoke"), 9), []
    emulator = subject.model.emulator
    before = emulator.forward
    emulator.body.register_forward_pre_hook(lambda *args: passes.append(args))

    def tables():
        passes.clear()
        return [
            interp.patching(subject, examples, entries=[0]),
            interp.ablation(subject, examples, [(1, 2), (2, 3)]),
            interp.knock_out(subject, examples, layers=[1]),
            interp.steering(subject, examples, 1, 1, 2),
            pd.DataFrame([patching.patching_for(subject, examples, 1, 1, 2)]),
        ], len(passes)

    ours, few = tables()
    assert emulator.forward == before
    with monkeypatch.context() as patched:
        patched.setattr(patching, "once", lambda subject: contextlib.nullcontext())
        expected, many = tables()
    for one, other in zip(ours, expected, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert few < many / 3


def test_minimal_pairs_differ_in_one_entry(planted):
    examples = planted[1]
    clean, other = interp.minimal_pairs(examples, 4)
    assert 0 < len(clean) < len(examples)
    differ = clean.questions != other.questions
    assert differ[:, 4].all()
    assert not np.delete(differ, 4, axis=1).any()


def test_steering_changes_the_answer_where_the_state_is_used(planted):
    subject, examples = planted
    table = interp.steering(subject, examples, BITS, 1, SEPARATOR).set_index("direction")
    assert table.loc["means"].effect == 1
    assert table.loc["weights"].effect == 1
    assert table.loc["pattern"].effect == 1
    assert (table.loc[["means", "weights", "pattern"]].decoded == 1).all()
    assert table.loc["random"].effect < 0.2
    # The first bit can be read at its own position, but nothing looks there any more.
    unused = interp.steering(subject, examples, 1, 1, 0).set_index("direction")
    assert unused.effect.max() == 0


def test_the_table_tells_readable_from_used(planted, probed):
    subject, examples = planted
    table = interp.probing_table(subject, examples, probed).set_index("variable")
    assert table.index.tolist() == BITS_READ
    found = table.loc[f"t{BITS}"]
    assert (found.layer, found.position) == (1, "=")
    assert found.readable
    assert found.used
    assert found.patching == found.steering_weights == found.steering_pattern == 1
    assert found.mlp_input < 0.65
    assert found.mlp > 0.99
    assert not table.drop(f"t{BITS}").readable.any()


def test_only_states_that_can_matter_are_asked_whether_they_do(planted, probed):
    subject, examples = planted
    table = interp.probing_table(subject, examples, probed, pairs=20)
    assert table.layer.max() < subject.layers
    assert not table.position.isin(["s0"]).any()  # the answer is written before
    assert interp.causal.first_affected(examples[:50], 3) == 0


def test_steering_goes_only_where_a_probe_has_been(planted):
    subject, examples = planted
    ones = examples.questions.sum(axis=1) % 2 == 1
    odd, even = examples[ones][:90], examples[~ones][:60]
    for fitted, held, n in ((odd, even, 0), (even, odd[:30], 0)):
        rows = interp.Examples(examples.task, np.vstack([fitted.questions, held.questions]))
        table = interp.steering(subject, rows, BITS, 1, SEPARATOR)
        assert (table.n == n).all()  # one class has been seen: there is nowhere to go
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
        name: interp.causal._shift(name, states, labels, probe, states, old, new, 0)
        for name in ("weights", "pattern", "means")
    }
    angle = {k: torch.cosine_similarity(v, shift["means"]).abs().median() for k, v in shift.items()}
    assert angle["pattern"] > 0.9
    assert angle["weights"] < 0.85


def test_ablation_destroys_what_is_used_and_nothing_else(planted):
    subject, examples = planted
    where = [(1, SEPARATOR), (1, 0), (0, 3), (2, SEPARATOR)]
    for how in ("mean", "noise"):
        table = interp.ablation(subject, examples[:300], where, how)
        table = table[table.symbol == -1].set_index(["layer", "position"])
        assert (table.intact == 1).all()
        assert table.loc[(1, SEPARATOR)].accuracy < 0.7
        assert table.loc[(1, 0)].accuracy == 1
        assert table.loc[(2, SEPARATOR)].accuracy == 1
        assert table.loc[(0, 3)].accuracy < 0.9


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gpt_neox"])
def test_layers_below_a_change_are_computed_once(architecture, monkeypatch):
    subject, config = made("mult-2x2", "icot_si", 8, architecture)
    examples, passes = interp.draw_examples(config, 9), []
    monkeypatch.setattr(patching, "BATCH", 4)  # several batches, each with a first pass of its own
    layers = decoder_layers(subject.model)
    for layer in layers:
        mlp = next(module for name, module in layer.named_children() if name == "mlp")
        mlp.register_forward_pre_hook(lambda *args: passes.append(args))

    def tables():
        passes.clear()
        return [
            interp.patching(subject, examples, entries=[0]),
            interp.ablation(subject, examples, [(layer, 2) for layer in range(3)]),
            interp.knock_out(subject, examples, keys=[1, 2]),
            interp.steering(subject, examples, 1, 1, 2),
        ], len(passes)

    ours, few = tables()
    assert all("forward" not in vars(layer) for layer in layers)
    with monkeypatch.context() as patched:
        patched.setattr(patching, "once", lambda subject: contextlib.nullcontext())
        expected, many = tables()
    for one, other in zip(ours, expected, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert few < 0.6 * many


def test_knock_out_finds_who_has_to_look_where(planted):
    subject, examples = planted
    table = interp.knock_out(subject, examples[:200])
    table = table[table.symbol == -1].set_index(["layer", "position"]).accuracy
    needed = [(0, bit) for bit in range(BITS)] + [(1, SEPARATOR)]
    assert (table.loc[needed] < 0.8).all()
    assert (table.drop(needed) == 1).all()


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gpt_neox"])
def test_attention_can_be_cut_in_any_architecture(architecture):
    subject, config = made("mult-2x2", "icot_si", 8, architecture)
    inputs = subject.inputs(interp.draw_examples(config, 3))
    width = inputs.ids.shape[1]
    patching = torch.ones(width, width, dtype=torch.bool).tril()
    alone = torch.eye(width, dtype=torch.bool)
    whole = residual_stream(subject, inputs)
    with interp.causal.mask_attention(subject.model, {0: patching, 1: patching}.get):
        assert torch.allclose(residual_stream(subject, inputs), whole, atol=1e-5)
    with interp.causal.mask_attention(subject.model, {0: alone, 1: alone}.get):
        cut = residual_stream(subject, inputs)
        changed = inputs.ids.clone()
        changed[:, 0] = 5
        again = residual_stream(
            subject, type(inputs)(changed, inputs.positions, inputs.labels, inputs.answer_mask, 5)
        )
    assert not torch.allclose(cut, whole, atol=1e-3)
    assert torch.equal(cut[:, 1:], again[:, 1:])  # nobody sees the first token any more


# --- attention and geometry --------------------------------------------------------------------


def test_attention_and_its_tree(planted):
    subject, examples = planted
    weights = interp.attention(subject, examples[:60], batch_size=25)
    assert weights.shape == (2, 1, ANSWER_DELIMITER + 2, ANSWER_DELIMITER + 2)
    assert np.allclose(weights.sum(axis=-1), 1)
    names = subject.positions(examples)
    tree = interp.attention_tree(weights, ANSWER_DELIMITER, names, least=0.05)
    fetched = tree[tree.to == ANSWER_DELIMITER].query("layer == 1")
    assert fetched.source_name.tolist() == ["="]
    cached = tree[(tree.layer == 0) & (tree.to == SEPARATOR)]
    assert cached.source_name.tolist() == [f"x{i}" for i in range(BITS)]
    assert not len(interp.attention_tree(weights * 0, ANSWER_DELIMITER, names))


def test_attention_of_a_transformer_is_what_it_reports():
    subject, config = made("mult-2x2", "icot_si", 8)
    examples = interp.draw_examples(config, 7)
    before = logits_of(subject.model, subject.inputs(examples))
    found = interp.attention(subject, examples, batch_size=3)
    assert found.shape[:2] == (2, 2)
    assert np.allclose(np.triu(found[0, 0], 1), 0)
    assert subject.model.config._attn_implementation != "eager"
    assert torch.equal(logits_of(subject.model, subject.inputs(examples)), before)


def test_cka_knows_a_rotated_space_from_another():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 2000, 6, generator=generator)
    rotated = x @ torch.linalg.qr(torch.randn(6, 6, generator=generator))[0] * 3 + 5
    assert interp.cka(x, rotated) == pytest.approx(1)
    assert interp.cka(x, y) < 0.02
    assert np.isnan(interp.cka(x, torch.ones(2000, 2)))


def test_cka_of_layers(planted):
    subject, examples = planted
    table = interp.cka_table(subject, subject, examples[:300]).set_index(["first", "second"]).cka
    assert table[1, 1] == pytest.approx(1)
    assert np.isnan(table[0, 1])  # before layer 0 every separator looks the same


def test_digits_on_a_circle_have_one_frequency():
    digits = np.arange(500) % 10
    turn = 2 * np.pi * 2 * digits / 10
    states = torch.tensor(np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1))
    points, spectrum = interp.digit_geometry(states, digits)
    assert spectrum.set_index("frequency").share[2] == pytest.approx(1)
    assert np.allclose(np.hypot(points.pc1, points.pc2), 1)
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(10, 400, generator=generator)[digits]
    spectrum = interp.digit_geometry(random, digits)[1]
    assert np.allclose(spectrum.share, spectrum.unordered, atol=0.05)
    parity = torch.tensor(np.outer(digits % 2, [1.0, 2.0, 3.0]))
    assert interp.digit_geometry(parity, digits)[1].share.iloc[4] == pytest.approx(1)


def test_looking_inside_uses_every_core_and_leaves_the_threads_alone(planted, monkeypatch):
    monkeypatch.setattr(jobs, "cores", lambda: 3)
    before, seen = torch.get_num_threads(), []
    with processes.all_cores():
        seen.append(torch.get_num_threads())
    interp.patching(planted[0], planted[1][:20], entries=[0], layers=[0])
    assert seen == [max(3, before)]
    assert torch.get_num_threads() == before


# --- one look ----------------------------------------------------------------------------------


def test_one_look_decodes_and_patches(planted):
    subject, examples = planted
    reader = interp.ProbeReader(subject, examples)
    look = reader.look("1011000000", 1, SEPARATOR, other="1010000000")
    row = look.decoded.set_index("variable").loc[f"t{BITS}"]
    assert (row.decoded, row.truth, row.right) == ("1", "1", True)
    assert row.probability > 0.9
    assert (look.answer, look.patched) == ("1", "0")
    assert reader.look("1011000000", 1, 0, other="1010000000").patched == "1"
    assert reader.look("1011000000", 1, 0).patched is None
    assert reader.positions[SEPARATOR] == "="
    with pytest.raises(IndexError, match="layer 0 to 2"):
        reader.look("1011000000", 3, 0)
    with pytest.raises(ValueError, match="bits"):
        reader.look("12", 1, 0)
