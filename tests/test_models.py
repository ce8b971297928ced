"""Models of transformers: training, generation with a cache, causality, and scores of answers."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers.cache_utils import DynamicLayer

from icotlib.config import ModelConfig, RunConfig
from icotlib.data.inputs import IGNORE, InputFormat, remove, units_left
from icotlib.data.layout import Layout
from icotlib.data.symbols import symbol_tokenizer
from icotlib.errors import ConfigError, RunError
from icotlib.evaluation.generation import (
    generate,
    logits_of,
    matches,
    teacher_forced_match,
)
from icotlib.evaluation.scoring import evaluate, score, wilson_interval
from icotlib.evaluation.stage_model import StageModel
from icotlib.models.build import build_model
from icotlib.models.cache import RoomyLayer
from icotlib.models.decoding import decoding
from icotlib.models.loading import load_model, save_model
from icotlib.models.parameters import count_parameters, max_positions
from icotlib.reporting.speed import measure_speed
from icotlib.tasks import Example, get_task

ARCHITECTURES = ["gpt2", "llama"]
# Questions, chains and answers of different length, so that both ends are padded.
EXAMPLES = [
    Example("1 2 * 3", "4 5 6", "7 8"),
    Example("2", "4 4 4 4 + 1", "9"),
    Example("3 * 3 3 3 3", "", "1 2 3"),
    Example("4 * 1", "5", "5 5"),
]
LAYOUT = Layout(symbol_tokenizer(get_task("mult-2x2").symbols))
ANSWERS = [x.answer for x in EXAMPLES]


def make(architecture, seed=0, **options):
    torch.manual_seed(seed)
    config = ModelConfig(architecture=architecture, layers=2, width=32, heads=2, options=options)
    return build_model(config, LAYOUT, longest=24).eval()


def memorise(model, batch, k, keep_positions, side="left"):
    inputs = remove(batch, k, side, keep_positions)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(200):
        logits = logits_of(model, inputs)
        labels = inputs.labels[:, -inputs.logits_to_keep :]
        loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if matches(logits, inputs)[0].all() and loss < 0.01:
            break
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("keep_positions", [False, True])
def test_a_memorised_batch_is_generated_back(architecture, keep_positions):
    """With cache, left padding and different removal; kept positions continue correctly."""
    batch = LAYOUT.encode(EXAMPLES)
    k = torch.tensor([2, 3, 0, 1])
    model = memorise(make(architecture), batch, k, keep_positions)
    written = LAYOUT.texts(generate(model, LAYOUT, batch, k, keep_positions))
    assert written == ["6 #### 7 8", "4 + 1 #### 9", "#### 1 2 3", "#### 5 5"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_teacher_forced_match_agrees_with_greedy_whole_sequence_match(architecture):
    """On a half-trained model, where some sequences are right and some are not."""
    task = get_task("mult-1x2")
    batch = LAYOUT.encode(task.text(task.render(task.sample(np.random.default_rng(0), 64))))
    model = make(architecture)
    k = torch.full((64,), 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    inputs = remove(batch, k, keep_positions=True)
    for _ in range(400):
        logits = logits_of(model, inputs)
        exact = matches(logits, inputs)[0]
        if 16 <= exact.sum() <= 48:
            break
        labels = inputs.labels[:, -inputs.logits_to_keep :]
        cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert 16 <= exact.sum() <= 48
    written = generate(model, LAYOUT, batch, 4, keep_positions=True)
    for i in range(64):
        start = int(batch.question[i]) - 1
        truth = inputs.labels[i, start:]
        assert bool((written[i, : len(truth)] == truth).all()) == bool(exact[i])
    forced = teacher_forced_match(model, batch, 4, keep_positions=True)
    assert forced == pytest.approx(exact.double().mean().item())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_generation_without_kept_positions_agrees_with_transformers(architecture):
    batch, model = LAYOUT.encode(EXAMPLES), make(architecture, seed=3)
    ours = generate(model, LAYOUT, batch, max_new_tokens=6)
    for i in range(len(batch)):
        question = batch.ids[i : i + 1, : batch.question[i]]
        theirs = model.generate(
            question,
            attention_mask=torch.ones_like(question),
            do_sample=False,
            max_new_tokens=6,
            eos_token_id=None,
            pad_token_id=LAYOUT.pad,
        )
        assert theirs[0, question.shape[1] :].tolist() == ours[i].tolist()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kept_positions_do_not_hide_the_question(architecture):
    """A jump in position ids must not be taken for the boundary of packed sequences."""
    batch = LAYOUT.encode([Example("1 1 * 1 1", "1 2 1", "1 2 1")])
    other = LAYOUT.encode([Example("2 1 * 1 1", "1 2 1", "1 2 1")])
    k, model = torch.tensor([3]), make(architecture)
    logits = [logits_of(model, remove(x, k, keep_positions=True)) for x in (batch, other)]
    assert not torch.allclose(logits[0][:, -1], logits[1][:, -1], atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_position_sees_what_follows(architecture):
    batch, model = LAYOUT.encode(EXAMPLES[:1]), make(architecture)
    inputs = remove(batch, torch.tensor([1]), keep_positions=True)
    before = logits_of(model, inputs)
    inputs.ids[0, -1] = 7
    after = logits_of(model, inputs)
    assert torch.allclose(before[:, :-1], after[:, :-1], atol=1e-6)
    assert not torch.allclose(before[:, -1], after[:, -1], atol=1e-6)


def test_padding_changes_nothing():
    batch, model = LAYOUT.encode(EXAMPLES), make("gpt2")
    together = generate(model, LAYOUT, batch, 1, keep_positions=True, max_new_tokens=5)
    for i in range(len(batch)):
        alone = generate(
            model, LAYOUT, batch[slice(i, i + 1)], 1, keep_positions=True, max_new_tokens=5
        )
        assert together[i, : alone.shape[1]].tolist() == alone[0].tolist()


def test_a_model_that_never_ends_stops_at_the_limit():
    batch = LAYOUT.encode(EXAMPLES)
    model = make("gpt2")
    # An end token whose embedding opposes the state after the final norm is never the likeliest.
    model.transformer.ln_f.bias.data.fill_(1.0)
    model.transformer.wte.weight.data[LAYOUT.eos] = -1.0
    written = generate(model, LAYOUT, batch, max_new_tokens=60)  # more than its 24 positions
    assert written.shape == (4, 60)
    assert (written != LAYOUT.eos).all()
    assert LAYOUT.measured(written).tokens.tolist() == [60] * 4


def test_a_saved_model_gives_the_same_logits(tmp_path):
    model, batch = make("gpt2"), LAYOUT.encode(EXAMPLES)
    save_model(tmp_path, model, LAYOUT)
    again, layout = load_model(tmp_path)
    inputs = remove(batch, torch.zeros(4, dtype=torch.long))
    assert torch.equal(logits_of(model, inputs), logits_of(again, inputs))
    assert layout.encode(EXAMPLES).ids.tolist() == batch.ids.tolist()
    assert not list(tmp_path.glob("*.bin"))
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(RunError, match="cannot be loaded"):
        load_model(tmp_path)


def test_sizes_dropout_and_options_reach_the_architecture():
    config = ModelConfig(
        architecture="gpt2", layers=1, width=8, heads=2, dropout=0.25, options={"n_inner": 20}
    )
    model = build_model(config, LAYOUT, longest=9)
    built = model.config
    sizes = (built.n_layer, built.n_embd, built.n_head, built.n_positions, built.n_inner)
    assert sizes == (1, 8, 2, 9, 20)
    assert built.resid_pdrop == built.attn_pdrop == built.embd_pdrop == 0.25
    tables = (len(LAYOUT.tokenizer) + 9) * 8  # the head is tied to the token embeddings
    attention, mlp, norms = (8 * 24 + 24) + (8 * 8 + 8), (8 * 20 + 20) + (20 * 8 + 8), 3 * (8 + 8)
    assert count_parameters(model) == tables + attention + mlp + norms


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "gtp2"}, "Did you mean 'gpt2'"),
        ({"options": {"n_iner": 3}}, "has no setting 'n_iner'. Did you mean 'n_inner'"),
        ({"pretrained": "/nowhere"}, "cannot be loaded"),
    ],
)
def test_a_bad_model_setting_says_what_is_wrong(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_model(ModelConfig(**settings), LAYOUT, 9)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_extra_positions_are_beyond_the_longest_example(architecture):
    sizes = {"architecture": architecture, "layers": 1, "width": 8, "heads": 2}
    assert max_positions(build_model(ModelConfig(**sizes), LAYOUT, 20)) == 20
    assert max_positions(build_model(ModelConfig(**sizes, extra_positions=5), LAYOUT, 20)) == 25


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("new", [1, 3, 7])
def test_a_cache_with_room_gives_the_logits_of_one_that_is_copied(architecture, new, monkeypatch):
    """Also where more is written than there is room for."""
    model, batch = make(architecture), LAYOUT.encode(EXAMPLES)
    logits = {}
    for room in (0, new):
        rows = decoding(model, batch, None, LAYOUT.pad, room)
        logits[room] = []
        with torch.no_grad():
            for _ in range(6):
                logits[room].append(rows.logits())
                rows.append(logits[room][-1].argmax(dim=-1, keepdim=True))
        kinds = {type(layer) for layer in rows.cache.layers}
        assert kinds == ({RoomyLayer} if room else {DynamicLayer})
    assert torch.equal(torch.stack(logits[0]), torch.stack(logits[new]))


# --- scores ------------------------------------------------------------------------------------


def test_score_compares_answers_only():
    result = score(["1 2 #### 7 8", "#### 9", "1 2 3", "5 #### 5  5"], ANSWERS)
    assert result.right == (True, True, False, True)
    assert result.accuracy == 0.75
    assert result.by_symbol == ()


def test_accuracy_by_symbol_counts_a_wrong_length_as_all_wrong():
    result = score(["#### 1 2", "#### 1 9", "#### 1", "nothing"], ["1 2", "1 2", "1 2", "1 2"])
    assert result.by_symbol == (0.5, 0.25)


def test_wilson_interval_at_known_points():
    assert wilson_interval(0, 100) == pytest.approx((0, 0.0370), abs=1e-4)
    assert wilson_interval(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson_interval(100, 100) == pytest.approx((0.9630, 1), abs=1e-4)
    for n in range(1, 300):  # none is off by a rounding error
        assert wilson_interval(0, n)[0] == 0.0
        assert wilson_interval(n, n)[1] == 1.0


def test_evaluate_scores_every_batch_in_order():
    batch = LAYOUT.encode(EXAMPLES)
    model = memorise(make("gpt2"), batch, torch.zeros(4, dtype=torch.long), False)
    result = evaluate(model, LAYOUT, batch, ANSWERS, batch_size=3)
    assert (result.accuracy, result.n) == (1.0, 4)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("keep_positions", [False, True])
def test_evaluate_writes_what_generate_writes(side, keep_positions, monkeypatch):
    """A model that has learned some of the examples: one pass checks them, the rest are decoded."""
    batch = LAYOUT.encode(EXAMPLES)
    # The example to decode has the least to write: its limit must come from the others.
    k, known = torch.tensor([0, 3, 0, 1]), torch.tensor([True, False, True, True])
    model = memorise(make("gpt2"), batch[known], k[known], keep_positions, side)
    expected = LAYOUT.texts(generate(model, LAYOUT, batch, k, keep_positions))
    decoded = []

    def counting(model, layout, part, *args):
        decoded.append(len(part))
        return generate(model, layout, part, *args)

    monkeypatch.setattr("icotlib.evaluation.scoring.generate", counting)
    monkeypatch.setattr("icotlib.evaluation.bounded.MAX_BYTES", 8000)  # in several passes
    result = evaluate(model, LAYOUT, batch, ANSWERS, k, keep_positions, side)
    assert result.written == tuple(expected)
    assert decoded == [1]
    others = evaluate(model, LAYOUT, batch, ANSWERS, k, keep_positions, side, batch_size=2)
    assert others == result
    # Once few enough of the first pass, nothing more is checked, and all others are decoded.
    decoded.clear()
    monkeypatch.setattr("icotlib.evaluation.scoring.MIN_DRAFT_ACCEPTANCE", 0.8)
    others = evaluate(model, LAYOUT, batch, ANSWERS, k, keep_positions, side, batch_size=2)
    assert others == result
    assert decoded == [2, 1]


def test_a_model_that_is_wrong_pays_for_one_small_check(monkeypatch):
    batch, checked = LAYOUT.encode(EXAMPLES * 10), []
    monkeypatch.setattr(
        "icotlib.evaluation.scoring.reproduced",
        lambda model, part, *more, **named: checked.append(len(part)) or torch.zeros(len(part)) > 0,
    )
    evaluate(make("gpt2"), LAYOUT, batch, ANSWERS * 10)
    assert checked == [16]


# --- what is written before the answer ---------------------------------------------------------

STEPWISE = Layout(symbol_tokenizer([*"abc+"]), step_end="+")
BY_TOKENS = Layout(symbol_tokenizer([*"abc+"]))


def ids_of(*rows):
    ids = [BY_TOKENS.tokenizer.convert_tokens_to_ids(row.split()) for row in rows]
    return torch.tensor([row + [BY_TOKENS.pad] * (max(map(len, ids)) - len(row)) for row in ids])


@pytest.mark.parametrize(
    ("row", "tokens", "chain", "steps", "cut"),
    [
        ("<sep> #### c <eos>", 4, 0, 0, False),
        ("a b + a <sep> #### c <eos> <pad>", 8, 4, 2, False),
        ("a b + <sep> #### c <eos>", 7, 3, 1, False),
        ("#### c <eos>", 3, 0, 0, False),
        ("a #### c <eos>", 4, 1, 1, False),  # without a separator
        ("<sep> <sep> <sep> #### c <eos>", 6, 2, 0, False),  # tokens to think with
        ("<sep> #### a b #### c <eos>", 7, 3, 1, False),  # the last answer is graded
        ("a b + a b + a", 7, 7, 3, True),
        ("<sep> #### c c c", 5, 0, 0, True),
    ],
)
def test_tokens_and_chain_that_were_written(row, tokens, chain, steps, cut):
    written = BY_TOKENS.measured(ids_of(row))
    assert (written.tokens.tolist(), written.chain.tolist()) == ([tokens], [chain])
    assert written.cut.tolist() == [cut]
    assert STEPWISE.measured(ids_of(row)).chain.tolist() == [steps]


def test_what_is_measured_of_a_reference_is_what_it_holds():
    """References are not measured by `evaluate`, which knows what they hold."""
    examples = [
        Example("a", "a b + a b + c", "c"),
        Example("a b", "a +", "b"),
        Example("a", "", "c"),
    ]
    for layout in (BY_TOKENS, STEPWISE):
        batch = layout.encode(examples)
        for side in ("left", "right"):
            form = InputFormat(side=side, step_end=layout.settings["step_end"])
            for stage in range(8):
                k = form.tokens_removed(batch, stage)
                labels = remove(batch, k, side).labels
                for i, row in enumerate(labels):
                    found = layout.measured(row[row != IGNORE][None])
                    assert found.chain.tolist() == [int(units_left(batch, k, side)[i])]
                    assert found.tokens.tolist() == [int((batch.total - batch.question - k)[i])]


class Scripted(torch.nn.Module):
    """Writes given tokens after every question, whatever it says."""

    def __init__(self, rows):
        super().__init__()
        self.rows, self.device, self.at = rows, torch.device("cpu"), 0
        self.unused = torch.nn.Parameter(torch.zeros(()))
        text = SimpleNamespace(vocab_size=len(BY_TOKENS.tokenizer))
        self.config = SimpleNamespace(get_text_config=lambda: text)

    def forward(self, input_ids, past_key_values=None, **kwargs):
        size = len(BY_TOKENS.tokenizer)
        if not kwargs["use_cache"]:
            return SimpleNamespace(
                logits=torch.zeros(len(input_ids), kwargs["logits_to_keep"], size)
            )
        tokens = past_key_values or iter(self.rows.T)
        logits = torch.nn.functional.one_hot(next(tokens), size).float()[:, None]
        return SimpleNamespace(logits=logits, past_key_values=tokens)


def test_an_answer_after_more_chain_than_the_stage_leaves_is_not_right():
    examples = [Example("a", "a b c", "c")] * 4
    rows = ids_of(
        "c <sep> #### c <eos>",  # the reference
        "b <sep> #### c <eos>",  # another chain, as long
        "b c <sep> #### c <eos>",  # more than is left
        "b c <sep> #### a <eos>",
    )
    batch, form = BY_TOKENS.encode(examples), InputFormat()
    how = (Scripted(rows), BY_TOKENS, batch, ["c"] * 4, 2)
    score = evaluate(*how, chain_limit=form.chain_limit(batch, 2, longest=3))
    assert score.right == (True, True, False, False)
    assert score.answer_right == (True, True, True, False)
    assert (score.accuracy, score.answer_accuracy) == (0.5, 0.75)
    assert (score.ci_low, score.ci_high) == wilson_interval(2, 4)
    assert (score.chain, score.chain_limit) == ((1, 1, 2, 2), (1, 1, 1, 1))
    assert (score.tokens, score.tokens_mean, score.tokens_max) == ((5, 5, 6, 6), 5.5, 6)
    # Where nothing is removed, a chain of any length may stand before the answer.
    score = evaluate(*how, chain_limit=form.chain_limit(batch, 0, longest=3))
    assert score.right == score.answer_right


def test_the_chain_that_may_be_written_is_what_the_stage_leaves_of_each_reference():
    examples = [Example("a", "a b + c", "c"), Example("a", "a +", "c"), Example("a", "", "c")]
    form, steps = InputFormat(), InputFormat(step_end="+")
    batch, in_steps = BY_TOKENS.encode(examples), STEPWISE.encode(examples)
    assert form.chain_limit(batch, 0, 9) is None
    # The last one has no chain of its own: it is held to the longest of the run.
    assert form.chain_limit(batch, 1, 9).tolist() == [3, 1, 8]
    assert form.chain_limit(batch, 3, 9).tolist() == [1, 0, 6]
    assert form.chain_limit(batch, 9, 9).tolist() == [0, 0, 0]
    assert steps.chain_limit(in_steps, 1, 3).tolist() == [1, 0, 2]
    assert InputFormat(chain=False).chain_limit(batch.without_chain(), 0, 9).tolist() == [0, 0, 0]


def test_speed_is_examples_per_second_of_every_model(monkeypatch):
    """By a clock that generation alone advances; the first, slow batch does not count."""
    seconds_per_example, clock, answered = {"a": 0.25, "b": 2.0}, [0.0], Counter()

    def generate_slowly(model, batch):
        answered[model.name] += len(batch)
        slow = 10 if answered[model.name] <= 2 else 1
        clock[0] += len(batch) * seconds_per_example[model.name] * slow

    monkeypatch.setattr(StageModel, "generate", generate_slowly)
    monkeypatch.setattr("icotlib.reporting.speed.compute_seconds", lambda device: clock[0])
    config = RunConfig().override({"data.task": "mult-2x2", "data.test_examples": 20})
    models = {
        name: StageModel(name, make("gpt2"), LAYOUT, config, config.input_format, removed=0)
        for name in seconds_per_example
    }
    rates = measure_speed(models, batch_size=2, examples=4, rounds=3)
    assert rates == pytest.approx({"a": 4.0, "b": 0.5})
    assert answered == {"a": 14, "b": 14}
