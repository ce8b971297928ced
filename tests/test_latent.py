"""Latent places: two thoughts by hand, passes, padding, contents, training, interventions."""

import contextlib
import dataclasses
import itertools
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM

from icotlib import registry
from icotlib.cli import main
from icotlib.config import RunConfig, field_names
from icotlib.data.corpus import examples_of
from icotlib.data.files import write_examples
from icotlib.data.layout import EncodedBatch
from icotlib.data.run_data import RunData
from icotlib.errors import ConfigError, StoppedError
from icotlib.evaluation.scoring import FIRST_CHECK, wilson_interval
from icotlib.evaluation.stage_model import StageModel
from icotlib.experiments.graphs import on_graphs
from icotlib.interp.activations import stored_activations
from icotlib.interp.effects import effect_over_questions
from icotlib.interp.geometry import attention
from icotlib.interp.patching import patch_pairs
from icotlib.interp.probing import visible_input
from icotlib.interp.questions import corrupted_pairs
from icotlib.interp.report import probe_with_controls
from icotlib.interp.thoughts import head_table, replacement_table, thought_probes, thoughts_of
from icotlib.interp.variables import variables_of
from icotlib.methods.latent.codi import deviation, distance
from icotlib.methods.latent.config import LatentConfig
from icotlib.methods.latent.curriculum import Curriculum
from icotlib.methods.latent.model import LatentModel
from icotlib.methods.latent.settings import CoconutSettings
from icotlib.methods.latent.step_decoder import AUXILIARY, StepDecoder, step_tokens, steps_of
from icotlib.models.hooks import hook_layer_inputs
from icotlib.models.loading import load_model
from icotlib.planning.plan import plan
from icotlib.reporting import figures
from icotlib.reporting.results import results_table
from icotlib.reporting.speed import measure_speed
from icotlib.runs import Run
from icotlib.tasks import Example, get_task
from icotlib.tasks.questions import draw_questions
from icotlib.training import optim
from icotlib.training.trainer import Trainer, train
from tests.helpers import TINY_SIZES

SEPARATOR, QUESTION, WIDTH = 1, 5, 9

#: Runs of a second, by method.
RUNS = {
    "coconut": {
        "latent.units_per_stage": 3,
        "latent.first_steps": 2,
        "latent.steps_per_stage": 2,
        "latent.step_weight": 0.5,
    },
    "codi": {"latent.places": 3, "latent.step_weight": 0.5},
    "pause": {"latent.tokens": 3},
}


#: A small language model without special tokens.
SMALL = {
    "vocab_size": 20,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}


def latent_model(architecture: str = "gpt2", text_settings=(), **settings) -> LatentModel:
    """A model of three places with random weights, in evaluation mode.

    Args:
        text_settings: of its language model, over `SMALL`.
    """
    torch.manual_seed(0)
    text = AutoConfig.for_model(architecture, **SMALL | dict(text_settings))
    own = {"separator": SEPARATOR, "latents": 3, "reserved_positions": 5} | settings
    model = LatentModel.of(AutoModelForCausalLM.from_config(text), LatentConfig(text, **own))
    torch.nn.init.normal_(model.marks)
    return model.eval()


@pytest.fixture
def ids() -> torch.Tensor:
    """Three sequences `[3, 9]` of a question of four tokens, a separator and four more."""
    ids = torch.randint(2, 20, (3, WIDTH), generator=torch.Generator().manual_seed(1))
    ids[:, QUESTION - 1] = SEPARATOR
    return ids


def answers(model: LatentModel, ids: torch.Tensor, **more) -> torch.Tensor:
    """Logits from the separator on."""
    return model(ids, **more).logits[:, QUESTION - 1 :]


def by_hand(model: LatentModel, ids: torch.Tensor, places: int) -> tuple[torch.Tensor, ...]:
    """Logits and thoughts of plain passes over whole sequences, without a cache."""
    language = model.language_model
    table = language.get_input_embeddings()
    start, _, end = model.marks[:, None, None].expand(-1, len(ids), 1, -1)
    read = torch.cat([table(ids[:, :QUESTION]), start], dim=1)
    for _ in range(places):
        states = language.base_model(inputs_embeds=read).last_hidden_state
        thought = states[:, -1:]
        thought = model.projection(thought) if model.config.projection else thought
        read = torch.cat([read, thought], dim=1)
    whole = torch.cat([read, end, table(ids[:, QUESTION:])], dim=1)
    logits = language(inputs_embeds=whole).logits
    return logits[:, -(WIDTH - QUESTION + 1) :], read[:, QUESTION + 1 :]


def test_without_marks_a_thought_is_the_state_that_would_predict_the_step_it_replaces(ids):
    model = latent_model(latents=2, markers=False, reserved_positions=2)
    language = model.language_model
    table = language.get_input_embeddings()
    read = table(ids[:, :QUESTION])  # the last token is the separator
    for _ in range(2):
        states = language.base_model(inputs_embeds=read).last_hidden_state
        read = torch.cat([read, states[:, -1:]], dim=1)
    whole = torch.cat([read, table(ids[:, QUESTION:])], dim=1)
    output = model(ids)
    torch.testing.assert_close(output.thoughts, read[:, QUESTION:])
    written = language(inputs_embeds=whole).logits[:, QUESTION + 1 :]
    torch.testing.assert_close(output.logits[:, QUESTION - 1 :], written)
    model.config.latents = 0
    plain = language(ids).logits
    torch.testing.assert_close(answers(model, ids), plain[:, QUESTION - 1 :])
    assert model.inserted == []


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_thoughts_are_the_last_states_of_plain_passes(ids, architecture, projection):
    """In CODI through its projection."""
    model = latent_model(architecture, latents=2, projection=projection)
    logits, thoughts = by_hand(model, ids, 2)
    output = model(ids)
    torch.testing.assert_close(output.thoughts, thoughts)
    torch.testing.assert_close(output.logits[:, QUESTION - 1 :], logits)


def test_n_places_take_n_plus_one_passes_each_over_what_is_new(ids):
    model, widths = latent_model(), []

    def count(layer: int, hidden: torch.Tensor) -> None:
        if layer == 0:
            widths.append(hidden.shape[1])

    with hook_layer_inputs(model.language_model, count):
        model(ids)
    # Question and <start>; a thought each; the last thought, <end> and the rest.
    assert widths == [QUESTION + 1, 1, 1, 1 + 1 + WIDTH - QUESTION]


def test_known_contents_take_one_pass_and_equal_cached_ones(ids):
    """Fixed embeddings read in n passes with a cache are what one pass reads."""
    model, passes = latent_model(content="fixed"), []
    with hook_layer_inputs(model.language_model, lambda layer, hidden: passes.append(layer)):
        expected = answers(model, ids)
    assert passes == [0, 1]
    recycled = latent_model(content="recycled")
    with recycled.edited_thoughts(lambda place, thought: recycled.marks[1].expand_as(thought)):
        torch.testing.assert_close(answers(recycled, ids), expected)


def test_as_many_rounds_as_places_equal_thoughts_in_turn(ids):
    model = latent_model()
    expected = answers(model, ids)
    for rounds in (1, 2, 3):
        model.config.rounds = rounds
        close = torch.allclose(answers(model, ids), expected, atol=1e-5)
        assert close == (rounds == 3)


@pytest.mark.parametrize(
    "own", [{"content": "recycled"}, {"content": "fixed"}, {"projection": True}]
)
def test_padding_changes_nothing(ids, own):
    check_padding(latent_model(**own), ids)


def check_padding(model: LatentModel, ids: torch.Tensor) -> None:
    """A shorter question has the same logits alone and behind the padding of longer ones."""
    mixed = ids.clone()
    mixed[2, :-2], mixed[2, -2:] = ids[2, 2:], 0
    found = model(mixed).logits
    torch.testing.assert_close(found[:2, QUESTION - 1 :], answers(model, ids)[:2])
    alone = model(ids[2:, 2:]).logits
    torch.testing.assert_close(found[2:, QUESTION - 3 : -2], alone[:, QUESTION - 3 :])


@pytest.mark.parametrize("content", ["recycled", "fixed"])
def test_roberta_numbers_positions_from_behind_its_padding(ids, content):
    """In every pass, cached or not, padded or not."""
    own = {"pad_token_id": 1, "is_decoder": True}
    check_padding(latent_model("roberta", own, content=content), ids)


def test_states_of_another_width_than_embeddings_are_not_recycled():
    with pytest.raises(ConfigError, match="have width 16, its hidden states 32"):
        latent_model("electra", {"embedding_size": 16, "is_decoder": True, "pad_token_id": 0})


@pytest.mark.parametrize("architecture", ["mamba", "openai-gpt"])
def test_models_that_keep_nothing_of_what_they_read_have_no_latent_places(architecture):
    with pytest.raises(ConfigError, match="has no cache of keys and values that can be read on"):
        latent_model(architecture)


def test_a_model_too_short_for_padded_questions_says_what_it_lacks(runs_folder):
    """GPT-Neo attends to no more columns than it has positions."""
    own = {"data.task": "graph-12", "model.architecture": "gpt_neo"}
    with pytest.raises(ConfigError, match=r"raise model\.extra_positions") as refused:
        train(config_of("coconut", **own))
    more = int(re.search(r"extra_positions by (\d+)", str(refused.value))[1])
    train(config_of("coconut", **own, **{"model.extra_positions": more}))


@pytest.mark.parametrize("content", ["recycled", "fixed"])
def test_no_more_is_read_than_the_longest_question_and_the_longest_rest(ids, content):
    """Without lengths, padding behind short questions is read as if it followed them."""
    model, widths = latent_model(content=content), []
    unequal, lengths = ids.clone(), torch.tensor([5, WIDTH, WIDTH])
    unequal[0, 0] = SEPARATOR  # no question, and four tokens behind it
    unequal[0, 5:] = 0
    expected = model(unequal).logits

    def count(layer: int, hidden: torch.Tensor) -> None:
        if layer == 0:
            widths.append(hidden.shape[1])

    with hook_layer_inputs(model.language_model, count):
        found = model(unequal, lengths=lengths).logits
    assert sum(widths) == WIDTH + model.config.reserved_positions
    torch.testing.assert_close(found[0, :5], expected[0, :5])
    torch.testing.assert_close(found[1:, QUESTION - 1 :], expected[1:, QUESTION - 1 :])


def test_questions_of_unequal_length_need_no_positions_beyond_those_of_the_longest(ids):
    """A table of positions as tight as that of a run: tokens, marks and places."""
    tight = latent_model()
    table = tight.language_model.transformer.wpe
    table.weight = torch.nn.Parameter(table.weight[: WIDTH + tight.config.reserved_positions])
    unequal = ids.clone()
    unequal[1, 1], unequal[1, QUESTION - 1] = SEPARATOR, 7
    short = tight(unequal).logits[1, 1:]
    alone = tight(unequal[1:2]).logits[0, 1:]
    torch.testing.assert_close(short, alone)
    assert torch.isfinite(short).all()


@pytest.mark.parametrize("layers", [{}, {"layer_types": ["full_attention", "sliding_attention"]}])
def test_windows_mix_no_places(layers, ids):
    """A place that a row leaves out would take the room of a token in its window."""
    own = {"sliding_window": 4, "intermediate_size": 32, "num_key_value_heads": 2} | layers
    model = latent_model("qwen2" if layers else "mistral", own | {"use_sliding_window": True})
    with pytest.raises(ConfigError, match="cannot mix numbers of latent places"):
        model(ids, latents=torch.tensor([3, 1, 0]))


def test_rows_may_have_fewer_places_than_others(ids):
    model = latent_model()
    found = answers(model, ids, latents=torch.tensor([3, 1, 0]))
    for row, places in enumerate((3, 1, 0)):
        alone = answers(model, ids[row : row + 1], latents=places)
        torch.testing.assert_close(found[row : row + 1], alone)


def test_decoding_token_by_token_gives_the_logits_of_training(ids):
    model = latent_model()
    expected = answers(model, ids)
    mask = torch.ones_like(ids)
    first = model(ids[:, :QUESTION], attention_mask=mask[:, :QUESTION], use_cache=True)
    found, cache = [first.logits[:, -1]], first.past_key_values
    for column in range(QUESTION, WIDTH):
        step = model(
            ids[:, column, None], attention_mask=mask[:, : column + 1],
            position_ids=torch.full((3, 1), column), past_key_values=cache, use_cache=True,
        )  # fmt: skip
        found.append(step.logits[:, -1])
    torch.testing.assert_close(torch.stack(found, dim=1), expected)


def test_gradients_reach_the_first_thought(ids):
    model = latent_model()
    kept = []

    def keep(place: int, thought: torch.Tensor) -> torch.Tensor:
        thought.retain_grad()
        kept.append(thought)
        return thought

    with model.edited_thoughts(keep):
        answers(model, ids).logsumexp(-1).sum().backward()
    assert all(thought.grad.abs().sum() > 0 for thought in kept)
    assert model.marks.grad[0].abs().sum() > 0


def test_noise_has_the_norm_of_the_state_it_replaces_and_others_are_exchanged(ids):
    recycled, noise = latent_model()(ids).thoughts, latent_model(content="noise")
    drawn = noise(ids).thoughts
    first = recycled[:, :1].norm(dim=-1).expand(-1, 3)
    torch.testing.assert_close(drawn.norm(dim=-1), first)
    torch.testing.assert_close(noise(ids).thoughts, drawn)  # the same at every evaluation
    others = latent_model(content="others")
    others.training = True  # without the dropout of its parts
    torch.testing.assert_close(others(ids).thoughts, recycled.roll(1, dims=0))
    with pytest.raises(ConfigError, match=r"raise train\.batch_size"):
        others(ids[:1])
    with pytest.raises(ConfigError, match="train it again"):
        others.eval()(ids)


def test_in_evaluation_others_are_one_question_whoever_else_is_asked(ids, tmp_path):
    donor = [7, 8, 9, SEPARATOR]
    model = latent_model(content="others", donor=donor)
    own = latent_model()(torch.tensor([donor])).thoughts
    together = model(ids)
    torch.testing.assert_close(together.thoughts, own.expand(3, -1, -1))
    for row in range(3):
        alone = model(ids[row : row + 1])
        torch.testing.assert_close(alone.logits[0], together.logits[row])
    mixed = ids.clone()
    mixed[2, :-2], mixed[2, -2:] = ids[2, 2:], 0
    torch.testing.assert_close(model(mixed).logits[:2], together.logits[:2])
    model.save_pretrained(tmp_path)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(saved(ids).logits, together.logits)


def test_the_passes_of_the_donor_are_no_part_of_the_residual_stream(ids):
    """Hooks see and change the passes of what is asked alone; so do edits of thoughts."""
    model, widths = latent_model(content="others", donor=[7, SEPARATOR]), []

    def double(layer: int, hidden: torch.Tensor) -> torch.Tensor:
        widths.append(hidden.shape[:2])
        return 2 * hidden

    expected = model(ids).thoughts
    with hook_layer_inputs(model.language_model, double):
        found = model(ids).thoughts
    assert set(widths) == {(3, WIDTH + 3 + 2)}
    torch.testing.assert_close(found, expected)
    with model.edited_thoughts(lambda place, thought: thought + 1):
        torch.testing.assert_close(model(ids).thoughts, expected + 1)


def test_plain_leaves_places_and_marks_out(ids):
    model = latent_model()
    torch.testing.assert_close(model(ids, plain=True).logits, model.language_model(ids).logits)


# --- curriculum ---


def curriculum(longest: int = 7, **settings) -> Curriculum:
    return Curriculum(CoconutSettings(first_steps=10, steps_per_stage=10, **settings), longest)


def test_stages_remove_units_and_add_places():
    found = curriculum(units_per_stage=2, places_per_stage=3)
    assert found.stages(100) == [(0, 0), (10, 2), (20, 4), (30, 6), (40, 7)]
    assert found.places(torch.tensor([0, 2, 4, 6, 7])).tolist() == [0, 3, 6, 9, 12]


def test_past_the_last_stage_all_of_the_chain_is_gone():
    found = curriculum(stages=3)
    assert found.stages(100) == [(0, 0), (10, 1), (20, 2), (30, 3), (40, 7)]
    assert found.places(torch.tensor([3, 7])).tolist() == [3, 3]


def test_some_examples_are_shown_at_any_stage_of_their_own_chain():
    found = curriculum(units_per_stage=2, uniform_prob=0.5)
    found.advance(40)
    chain = torch.tensor([7, 3]).repeat(2000)
    units = found.sample(40, chain, torch.Generator().manual_seed(0)).view(-1, 2)
    shares = torch.bincount(units[:, 0], minlength=8) / len(units)
    torch.testing.assert_close(shares[[0, 2, 4, 6]], torch.full((4,), 0.1), atol=0.03, rtol=0)
    assert shares[7] > 0.5
    assert set(units[:, 1].tolist()) == {0, 2, 4, 7}


#: A model whose first layer is a convolution.
MIXED = {
    "model.architecture": "lfm2",
    "model.layers": 2,
    "model.options": {
        "layer_types": ["conv", "full_attention"],
        "num_key_value_heads": 2,
        "intermediate_size": 64,
    },
}


@pytest.mark.parametrize("changes", [{"latent.markers": False}, MIXED], ids=["bare", "mixed"])
@pytest.mark.parametrize("content", ["recycled", "fixed"])
def test_questions_of_unequal_places_train_as_if_each_were_alone(changes, content, runs_folder):
    """A convolution reads across a place that is left out, and without marks the first token
    behind the places would be predicted from it."""
    own = {"latent.uniform_prob": 0.5, "latent.content": content}
    own |= {"latent.step_weight": 0.0} if content == "fixed" else {}
    losses = []
    for parts in (1, 8):
        cut = {"train.accumulation": parts, "train.steps": 8, "train.precision": "fp32"}
        run = train(config_of("coconut", **(own | changes | cut)))
        losses.append(run.metrics.loss.tolist())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_one_pass_over_unequal_places_is_refused_where_it_would_be_wrong(ids):
    with pytest.raises(ConfigError, match="cannot mix numbers of latent places"):
        latent_model(markers=False)(ids, latents=torch.tensor([3, 1, 0]))
    text = AutoConfig.for_model("lfm2", num_hidden_layers=2, layer_types=["conv", "full_attention"])
    assert not LatentConfig(text).mixes_places


def test_thoughts_of_the_batch_need_questions_that_are_read_together(runs_folder):
    own = {"latent.content": "others", "latent.step_weight": 0.0, "latent.uniform_prob": 0.5}
    with pytest.raises(ConfigError, match=r"latent.uniform_prob=0"):
        train(config_of("coconut", **own, **{"latent.markers": False}))


@pytest.mark.parametrize("content", ["fixed", "noise", "others"])
def test_a_step_decoder_needs_states_that_can_learn(content):
    with pytest.raises(ConfigError, match=r"latent.step_weight=0"):
        config_of("coconut", **{"latent.content": content})


def test_a_step_decoder_needs_places():
    with pytest.raises(ConfigError, match=r"latent.places_per_stage=0"):
        config_of("coconut", **{"latent.places_per_stage": 0})


@pytest.mark.parametrize("architecture", ["gpt2", "gemma3_text"])
def test_marks_of_an_untrained_twin_begin_as_in_training(architecture):
    """As the separator is read: Gemma scales what its table holds."""
    own = {"head_dim": 8, "intermediate_size": 32, "num_key_value_heads": 2}
    model = latent_model(architecture, own if architecture != "gpt2" else {})
    twin = AutoModelForCausalLM.from_config(model.config)
    row = twin.get_input_embeddings()(torch.tensor([SEPARATOR]))
    torch.testing.assert_close(twin.marks, row.expand(3, -1))


# --- losses ---


def test_a_place_stands_for_the_units_it_has_replaced():
    part = EncodedBatch(
        torch.tensor([[9, 1, 11, 12, 13, 14, 1, 8]]),
        torch.tensor([2]), torch.tensor([4]), torch.tensor([8]),
    )  # fmt: skip
    ids, labels = steps_of(part, torch.tensor([3]), places=2, per_place=2.0, end=1)
    assert ids.tolist() == [[11, 12, 1], [13, 1, 1]]
    assert labels.tolist() == [[11, 12, 1], [13, 1, -100]]
    assert step_tokens(part, torch.tensor([3]), 2, 2.0) == 5
    two_places = steps_of(part, torch.tensor([1]), places=2, per_place=0.5, end=1)[1]
    assert two_places.tolist() == [[-100, -100], [11, 1]]


def test_the_distance_of_states_is_scaled_by_the_teachers_deviation():
    teacher = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    student = teacher + 0.5
    one, four = (deviation(teacher * k, SimpleNamespace(num_processes=1)) for k in (1, 4))
    assert distance(teacher, teacher, one) == 0
    torch.testing.assert_close(
        distance(student * 4, teacher * 4, four), torch.nn.functional.smooth_l1_loss(
            torch.tensor(2.0), torch.tensor(0.0)) / (4 * teacher.flatten(1).std(dim=1)).mean(),
        rtol=0.1, atol=0,
    )  # fmt: skip


def test_the_decoder_of_steps_sums_over_tokens():
    """Of a batch in two parts, the sums are those of the whole."""
    model = latent_model()
    decoder = StepDecoder(model.language_model).eval()
    ids = torch.randint(2, 20, (3, 10), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([1, 4, 6])
    batch = EncodedBatch(ids, torch.full((3,), 2), lengths, lengths + 4)
    thoughts = torch.randn(3, 3, 32, generator=torch.Generator().manual_seed(0))

    def loss(rows: slice) -> torch.Tensor:
        return decoder.loss(thoughts[rows], batch[rows], lengths[rows], 2.0, SEPARATOR)

    whole = loss(slice(0, 3))
    torch.testing.assert_close(loss(slice(0, 1)) + loss(slice(1, 3)), whole)
    assert whole > step_tokens(batch, lengths, 3, 2.0) == 11 + 6


# --- runs ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of each method."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("latent")))
        yield {name: train(config_of(name)) for name in RUNS}


def config_of(method: str, **more) -> RunConfig:
    return RunConfig().override(TINY_SIZES | {"method": method} | RUNS[method] | more)


@pytest.mark.parametrize("method", RUNS)
def test_a_saved_model_answers_as_in_its_final_test(trained, method):
    run = trained[method]
    model = StageModel.of(run)
    assert model.model.config.latents == 3
    assert not hasattr(model.model, AUXILIARY)
    score, found = model.evaluate(), run.stages.iloc[-1]
    assert (score.accuracy, score.tokens_mean) == (found.accuracy, found.tokens_mean)
    assert sum(x.numel() for x in model.model.parameters()) == run.totals["parameters"]


def test_each_stage_of_the_curriculum_has_its_own_places(trained):
    run = trained["coconut"]
    stages = run.stages.removed.tolist()
    assert [StageModel.of(run, stage).model.config.latents for stage in stages] == [0, 1, 2, 3]


def test_a_curriculum_without_first_steps_has_no_stage_0(runs_folder):
    run = train(config_of("coconut", **{"latent.first_steps": 0}))
    assert run.stages.removed.tolist() == [3, 6, 8]
    assert run.stages.train_steps.tolist() == [2, 4, 12]


def test_the_optimizer_is_reset_at_every_stage_and_at_every_epoch(runs_folder, monkeypatch):
    seen, take_step = [], Trainer.step
    monkeypatch.setattr(optim, "reset", lambda optimizers: seen.append("reset"))

    def step(trainer, number):
        seen.append(number)
        take_step(trainer, number)

    def before_steps(**settings):
        seen.clear()
        train(config_of("coconut", **settings))
        return [after for before, after in itertools.pairwise(seen) if before == "reset"]

    monkeypatch.setattr(Trainer, "step", step)
    assert before_steps() == [2, 4, 6]
    assert before_steps(**{"latent.reset_every": 5}) == [2, 4, 5, 6, 10]
    with pytest.raises(ConfigError, match="reset_optimizer=false never resets it"):
        config_of("coconut", **{"latent.reset_every": 5, "latent.reset_optimizer": False})


@pytest.mark.parametrize("method", RUNS)
def test_a_stopped_run_ends_with_the_numbers_of_an_uninterrupted_one(
    trained, method, tmp_path, monkeypatch
):
    whole = trained[method]
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path))
    asked = iter([False] * 5 + [True])
    with pytest.raises(Exception, match="stopped at step 6"):
        train(config_of(method), lambda: next(asked))
    run = train(config_of(method))
    weights = "model/model.safetensors"
    assert (run.folder / weights).read_bytes() == (whole.folder / weights).read_bytes()
    assert run.stages.accuracy.tolist() == whole.stages.accuracy.tolist()


@pytest.fixture(scope="module")
def of_others(trained):
    """A finished run whose places hold the thoughts of other questions, tested on one more question
    than `evaluate` checks at first."""
    more = {"latent.content": "others", "latent.step_weight": 0.0}
    return train(config_of("coconut", **more, **{"data.test_examples": FIRST_CHECK + 1}))


def test_what_others_answer_does_not_depend_on_what_else_is_asked(of_others):
    model, n = StageModel.of(of_others), FIRST_CHECK + 1
    batch, answers = model.encode(examples_of(model.corpus.test)), model.corpus.test["answer"]
    assert model.evaluate().accuracy == of_others.stages.accuracy.iloc[-1]
    written = model.score(batch, answers).written
    for row in (0, n - 1):
        alone = slice(row, row + 1)
        assert model.score(batch[alone], answers[alone]).written == written[alone]
        assert model.layout.texts(model.generate(batch[alone])) == [written[row]]


def test_others_are_timed_and_analysed_like_all_runs(of_others):
    model = StageModel.of(of_others)
    assert measure_speed({"others": model}, 1, examples=2, rounds=1)["others"] > 0
    questions = draw_questions(get_task("mult-2x2"), 6, seed=0)
    states = stored_activations(model, questions)
    torch.testing.assert_close(torch.from_numpy(states.copy()), model.activations(questions))
    inputs, at = model.inputs(questions), model.answer_positions(questions)
    own = model.teacher_forced_answer(inputs, at)
    swapped = {(1, place): model.activations(questions)[1, place].roll(1, dims=0)
               for place in range(states.shape[1])}  # fmt: skip
    assert torch.equal(model.teacher_forced_answer(inputs, at, swapped), own.roll(1, dims=0))


@pytest.mark.parametrize("method", RUNS)
def test_gradients_do_not_depend_on_groups_or_accumulation(method, runs_folder, tmp_path):
    """Chains of one to six symbols, of which each part of a batch has other ones."""
    for split, digits in {"train": "12345678", "valid": "9", "test": "0"}.items():
        chains = [" ".join("abcdef"[: 1 + 5 * int(digit) % 6]) for digit in digits]
        examples = [Example(*row) for row in zip(digits, chains, digits, strict=True)]
        write_examples(tmp_path / "own" / f"{split}.txt", examples)
    more = {"data.path": str(tmp_path / "own"), "optim.name": "adamw"}
    if method == "coconut":
        more["latent.uniform_prob"] = 0.5
    losses = []
    for groups, parts in ((1, 1), (3, 1), (2, 3)):
        cut = {"train.length_groups": groups, "train.accumulation": parts}
        losses.append(train(config_of(method, **more, **cut)).metrics.loss.tolist())
    for other in losses[1:]:
        assert losses[0] == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize("method", RUNS)
def test_every_position_is_read_named_and_patched(trained, method):
    model = StageModel.of(trained[method])
    questions = draw_questions(get_task("mult-2x2"), 6, seed=0)
    names = model.position_names(questions)
    states = model.activations(questions)
    assert states.shape[:3] == (model.layers + 1, len(names), 6)
    places = ["l1", "l2", "l3"]
    separator = names.index("=")
    marked = places if method == "pause" else ["start", *places, "end"]
    assert names[separator + 1 : separator + 1 + len(marked)] == marked
    # All states of a layer exchanged between questions exchange what they say.
    inputs, positions = model.inputs(questions), model.answer_positions(questions)
    swapped = {(1, at): states[1, at].roll(1, dims=0) for at in range(len(names))}
    found = model.teacher_forced_answer(inputs, positions, swapped)
    own = model.teacher_forced_answer(inputs, positions)
    assert torch.equal(found, own.roll(1, dims=0))
    table = patch_pairs(model, questions[:3], questions[3:], layers=[1])
    assert set(table.position) == set(range(len(names)))


def test_a_control_with_other_places_is_refused(trained):
    model, other = (StageModel.of(trained[method]) for method in ("coconut", "pause"))
    with pytest.raises(ConfigError, match="different latent places"):
        other.with_inputs_of(model)
    assert model.untrained().with_inputs_of(model).inserted == model.inserted


@pytest.mark.parametrize(
    ("method", "architecture", "step_weight"),
    [
        *((method, "gpt2", 0.0) for method in RUNS),
        ("coconut", "llama", 0.0),
        ("codi", "llama", 0.0),
        ("coconut", "llama", 1.0),
        ("codi", "gpt2", 1.0),
    ],
)
def test_it_overfits_a_batch(method, architecture, step_weight, runs_folder):
    """One batch, again and again: in the end every token of it is right."""
    small = {
        "model.architecture": architecture, "model.width": 64, "optim.name": "adamw",
        "optim.lr": 3e-3, "optim.decay_fraction": 0.0, "train.steps": 200, "train.eval_every": 25,
        "data.train_examples": 8, "latent.step_weight": step_weight, "latent.steps_per_stage": 10,
        "latent.first_steps": 10,
    }  # fmt: skip
    own = {name: value for name, value in small.items() if name in readable(method)}
    config = config_of(method, **own)
    run = Run.of(config)

    def learned() -> bool:
        """From the second evaluation, at which nothing is left to remove."""
        return len(run.metrics) > 1 and run.metrics.train_match.iloc[-1] == 1.0

    with contextlib.suppress(StoppedError):
        train(config, learned)
    assert learned()


def readable(method: str) -> set[str]:
    return set(field_names(method))


def test_codi_adds_the_distance_of_states_at_the_token_before_the_answer(runs_folder):
    """Both passes by hand, one question of its own length after another."""
    own = {"data.task": "graph-12", "latent.step_weight": 0.0, "train.length_groups": 2}
    config = config_of("codi", **own)
    found = {}
    for weight in (0.0, 3.0):
        torch.manual_seed(0)
        changed = config.override({"latent.distill_weight": weight})
        method = registry.METHODS.get("codi")(changed, RunData(changed), Accelerator(cpu=True))
        parts = method.micro_batches(0, method.run_data.batches(0), torch.Generator())
        found[weight] = sum(part.loss.item() for part in parts)
    layout, batch = method.run_data.layout, method.format.arrange(method.run_data.batches(0))
    assert len(batch.total.unique()) > 1
    losses, states = torch.zeros(2), ([], [])
    for row, question, chain, total in zip(
        batch.ids, batch.question.tolist(), batch.chain.tolist(), batch.total.tolist(), strict=True
    ):
        whole = row[:total]
        short = torch.cat([whole[:question], whole[question + chain :]])
        thinking = {"at": torch.tensor([question - 1]), "latents": torch.tensor([3])}
        for number, (ids, how) in enumerate([(whole, {"plain": True}), (short, thinking)]):
            output = method.model(ids[None], output_hidden_states=True, **how)
            learned = output.logits[0, question - 1 : -1], ids[question:]
            losses[number] += cross_entropy(*learned, reduction="sum")
            # The second separator, the delimiter; then the answer.
            before = len(ids) - (total - question - chain) + len(layout.answer_delimiter)
            assert ids[: before + 1].tolist()[-len(layout.answer_delimiter) :] == [
                *layout.answer_delimiter
            ]
            states[number].append(torch.stack([x[0, before] for x in output.hidden_states[1:]]))
    counts = torch.stack([batch.total - batch.question, batch.total - batch.question - batch.chain])
    assert found[0.0] == pytest.approx((losses / counts.sum(dim=1)).sum().item(), rel=1e-4)
    teacher, student = (torch.stack(one, dim=1) for one in states)  # [levels, n, d]
    apart = torch.nn.functional.smooth_l1_loss(student, teacher, reduction="none")
    near = (apart.mean(dim=(1, 2)) / teacher.flatten(1).std(dim=1)).mean()
    assert found[3.0] - found[0.0] == pytest.approx(3 * near.item(), rel=1e-3)


def test_a_decoder_of_steps_trains_in_one_process():
    method = object.__new__(registry.METHODS.get("codi"))
    method.config, method.run_data = config_of("codi"), None
    method.accelerator = SimpleNamespace(num_processes=2)
    with pytest.raises(ConfigError, match=r"latent\.step_weight=0"):
        method.build()


def test_questions_that_are_read_apart_train_in_one_process(runs_folder):
    """Each process would have as many backward passes as its questions have numbers of places."""
    method = object.__new__(registry.METHODS.get("coconut"))
    method.config = on_graphs("coconut", "smoke", 0, {"latent.uniform_prob": 0.5})
    method.run_data = RunData(method.config)
    method.accelerator = SimpleNamespace(num_processes=2)
    with pytest.raises(ConfigError, match=r"use one process, set latent\.uniform_prob=0"):
        method.build()


def test_rounds_refine_recycled_states_only():
    settings = {"latent.content": "fixed", "latent.rounds": 2}
    with pytest.raises(ConfigError, match=r"set latent\.rounds=null, or"):
        config_of("coconut", **settings)


def test_a_stage_without_places_takes_one_pass():
    for content in ("recycled", "fixed", "noise", "others"):
        config = config_of("coconut", **{"latent.content": content, "latent.step_weight": 0.0})
        assert config.spec.passes(config, 0) == 1


def test_thoughts_need_a_cache(runs_folder):
    with pytest.raises(ConfigError, match=r"train\.gradient_checkpointing=false"):
        config_of("coconut", **{"train.gradient_checkpointing": True})


def test_the_methods_are_registered_with_their_papers():
    found = {name: registry.METHODS.get(name).paper for name in RUNS}
    assert found == {"coconut": "2412.06769", "codi": "2502.21074", "pause": "2310.02226"}


# --- thoughts looked at ---


def test_probes_have_controls_at_every_position_and_place(trained):
    model = StageModel.of(trained["coconut"])
    questions = draw_questions(get_task("mult-2x2"), 60, seed=0)
    variables = variables_of(questions, "chain")[:2]
    table = probe_with_controls(model, questions, variables)
    assert set(table.position) == set(range(len(model.position_names(questions))))
    seen = visible_input(model, questions)[0].sum(axis=(1, 2))
    separator = model.position_names(questions).index("=")
    assert (seen[separator : separator + 6] == seen[separator]).all()  # places hold no token
    probes = thought_probes(model, questions, variables)
    assert len(probes) == 3 * len(variables)
    controls = probes[["shuffled", "untrained", "question"]].max(axis=1)
    assert (probes.selectivity == probes.score - controls).all()


def test_the_head_reads_in_a_thought_what_it_would_write(trained):
    """Its most likely token there is the model's, and a share is one of questions."""
    model = StageModel.of(trained["coconut"])
    questions = draw_questions(get_task("mult-2x2"), 40, seed=0)
    thoughts = thoughts_of(model, questions)
    weight = model.model.get_output_embeddings().weight
    read = (thoughts[:, 1] @ weight.T).argmax(dim=-1)
    table = head_table(model, questions).set_index(["place", "token"])
    ids = torch.tensor(model.layout.tokenizer.convert_tokens_to_ids(list(questions.task.symbols)))[
        torch.as_tensor(questions.rendered.chain).long()
    ]
    for token in range(ids.shape[1]):
        share = (read == ids[:, token]).double().mean().item()
        assert table.loc[(2, f"t{token + 1}"), "share"] == pytest.approx(share)


def test_answers_follow_thoughts_that_alone_tell_the_questions_apart(trained):
    """Where a model is told of the question by its thoughts alone, the other's thoughts give the
    other's answer."""
    model = StageModel.of(trained["coconut"])
    questions = draw_questions(get_task("mult-2x2"), 40, seed=0)
    table = replacement_table(model, questions).set_index(["replacement", "place", "answers"])
    assert set(table.index.get_level_values("place")) == {0, 1, 2, 3}
    assert table.effect.dropna().between(0, 1).all()
    inputs, positions = model.inputs(questions), model.answer_positions(questions)
    own = model.teacher_forced_answer(inputs, positions)
    thoughts = thoughts_of(model, questions)
    with model.model.edited_thoughts(lambda place, thought: thoughts[:, place].to(thought)):
        same = model.teacher_forced_answer(inputs, positions)
    assert torch.equal(same, own)  # one's own thoughts change nothing
    other = own.roll(-1, dims=0)
    assert (table.n == (own != other).any(dim=1).sum().item()).all()  # questions, not symbols
    with pytest.raises(ConfigError, match="has no latent places"):
        thoughts_of(StageModel.of(trained["coconut"], 0), questions)


def test_thoughts_of_questions_of_unequal_lengths_are_those_of_each_alone(runs_folder):
    """On graphs, whose questions differ in length; the corrupted question has another root."""
    few = {"train.steps": 4, "data.growth_steps": 1, "latent.first_steps": 0}
    few["latent.steps_per_stage"] = 1
    model = StageModel.of(train(on_graphs("coconut", "smoke", 0, few)))
    questions = draw_questions(get_task("graph-12-frontier"), 30, seed=0)
    found = thoughts_of(model, questions)
    for row in (0, 7, 29):
        alone = thoughts_of(model, questions[np.array([row])])
        assert torch.allclose(found[row], alone[0], atol=1e-5)
    clean, corrupted = corrupted_pairs(questions)
    assert (clean.questions[:, 1:] == corrupted.questions[:, 1:]).all()
    assert (clean.rendered.answer != corrupted.rendered.answer).all()
    with pytest.raises(ConfigError, match="none of these questions of graph-12-frontier"):
        corrupted_pairs(questions[:0])
    table = replacement_table(model, questions, each_place=False)
    apart = 0
    for row in range(len(clean)):
        own, other = (
            model.teacher_forced_answer(model.inputs(one), model.answer_positions(one))
            for one in (clean[np.array([row])], corrupted[np.array([row])])
        )
        apart += not torch.equal(own, other)
    assert (table.n == apart).all()


def test_symbols_of_one_question_are_no_further_evidence():
    """An interval over 30 questions of one symbol is as wide as over the same with four each."""
    hits = torch.arange(30)[:, None] % 3 == 0
    one = effect_over_questions(hits, torch.ones(30, 1, dtype=torch.bool))
    four = effect_over_questions(hits.expand(-1, 4), torch.ones(30, 4, dtype=torch.bool))
    assert one == four
    assert (one["effect"], one["n"]) == (1 / 3, 30)
    low, high = wilson_interval(10, 30)
    assert (one["low"], one["high"]) == pytest.approx((low, high), abs=0.03)
    every = effect_over_questions(torch.ones(9, 2) > 0, torch.tensor([[True, False]] * 9))
    assert (every["low"], every["high"]) == wilson_interval(9, 9)
    assert effect_over_questions(hits, hits & ~hits)["n"] == 0


def test_answers_to_replaced_thoughts_are_those_at_the_runs_precision(trained):
    model = StageModel.of(trained["coconut"])
    config = model.config.override({"train.precision": "bf16"})
    half = dataclasses.replace(model, config=config)
    questions, seen = draw_questions(get_task("mult-2x2"), 5, seed=0), set()
    handle = model.model.get_output_embeddings().register_forward_hook(
        lambda module, args, output: seen.add(output.dtype)
    )
    replacement_table(half, questions, each_place=False)
    handle.remove()
    assert seen == {torch.bfloat16}


def test_there_is_no_one_table_of_attention_over_several_passes(trained):
    model = StageModel.of(trained["coconut"])
    questions = draw_questions(get_task("mult-2x2"), 4, seed=0)
    with pytest.raises(ConfigError, match="a method without latent places"):
        attention(model, questions)


# --- what every method goes through ---


@pytest.mark.parametrize("method", RUNS)
def test_it_is_exported_and_answers_as_before(trained, method, tmp_path):
    run = trained[method]
    assert main(["export", run.name, "--out", str(tmp_path / "out")]) == 0
    model, layout = load_model(tmp_path / "out")
    asked = StageModel.of(run)
    batch = asked.encode(["12 * 34", "90 * 71"])
    written = StageModel.generate(dataclasses.replace(asked, model=model, layout=layout), batch)
    assert layout.texts(written) == asked.layout.texts(asked.generate(batch))


@pytest.mark.parametrize("method", RUNS)
def test_a_plan_counts_its_tokens_as_the_run_did(trained, method):
    check_plan(trained[method])


def test_a_plan_leaves_out_the_marks_that_a_run_does_without(trained):
    run = train(trained["coconut"].config.override({"latent.markers": False}))
    assert run.totals["tokens"] < trained["coconut"].totals["tokens"]
    check_plan(run)


def check_plan(run: Run) -> None:
    (planned,) = plan(run.config.override(seed=5))
    assert planned.steps == 12
    assert planned.cost.tokens == pytest.approx(run.totals["tokens"], rel=0.01)


def test_they_are_drawn_beside_each_other(trained):
    runs = list(trained.values())
    figure = figures.accuracy_vs_removed(results_table(runs))
    named = {text.get_text() for one in figure.legends for text in one.get_texts()}
    named |= {
        text.get_text()
        for ax in figure.axes
        if ax.get_legend()
        for text in ax.get_legend().get_texts()
    }
    assert {"Coconut", "CODI", "Pause tokens"} <= {name.partition(" (")[0] for name in named}
