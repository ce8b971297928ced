"""Distillation, against examples worked by hand and properties that must hold on any model."""

import math
import shutil
from fractions import Fraction

import pandas as pd
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, DynamicCache

from icotlib import experiments
from icotlib.config import ModelConfig, RunConfig
from icotlib.data.corpus import examples_of, load_corpus
from icotlib.data.inputs import remove
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.data.run_data import RunData
from icotlib.data.symbols import symbol_tokenizer
from icotlib.errors import ConfigError, RunError
from icotlib.evaluation.generation import EndOfAnswer, generate, logits_of, matches
from icotlib.methods.distillation.coupling import Coupled
from icotlib.methods.distillation.emulator import Emulator, EmulatorPass
from icotlib.methods.distillation.states import (
    components_in_use,
    coverage,
    diagonal,
    explained_variance,
    gold_tokens,
    state_positions,
    teacher_states,
)
from icotlib.methods.distillation.student import (
    Student,
    StudentWithStates,
    ThoughtConfig,
)
from icotlib.models.build import build_model
from icotlib.models.hooks import (
    decoder_layers,
    gather_positions,
    hook_layer_inputs,
    scatter_positions,
)
from icotlib.models.loading import load_model, load_stage, save_model
from icotlib.models.parameters import split_parameters
from icotlib.models.questions import first_separator
from icotlib.runs import Run
from icotlib.tasks import Example, get_task
from icotlib.training.trainer import Trainer, train
from tests.helpers import TINY

ARCHITECTURES = ["gpt2", "llama", "gpt_neox"]
LAYOUT = Layout(symbol_tokenizer(get_task("mult-2x2").symbols))
# Questions and chains of unequal length, in one batch.
EXAMPLES = [
    Example("1 2 * 3", "4 5 6", "7 8"),
    Example("2", "4 4 4 4 + 1", "9"),
    Example("3 * 3 3 3 3", "", "1 2 3"),
]
BATCH = LAYOUT.encode(EXAMPLES)


def make(architecture="gpt2", layers=4, seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"layers": layers, "width": 16, "heads": 2}
    return build_model(
        ModelConfig(architecture=architecture, options=options, **sizes), LAYOUT, 24
    ).eval()


def coupled(architecture="gpt2", seed=1, **options):
    torch.manual_seed(seed)
    text = make(architecture, **options).config
    return Coupled(ThoughtConfig(text, separator=LAYOUT.sep)).eval()


def rows(question, chain):
    """EncodedBatch examples of which only the lengths matter."""
    question, chain = torch.tensor(question), torch.tensor(chain)
    total = question + chain + 4
    return EncodedBatch(torch.zeros(len(total), int(total.max())).long(), question, chain, total)


# --- where the teacher is read -----------------------------------------------------------------


def test_the_diagonal_runs_from_separator_to_separator_by_each_examples_own_chain():
    """Separators at 3 and 14, 3 and 6, 0 and 1; five layers; halves to even."""
    batch = rows(question=[4, 4, 1], chain=[10, 2, 0])
    for count in (6, 13, 15, 24):  # against exact fractions, halves to even
        long = rows(question=[2, 5], chain=[60, 43])
        exact = [[1 + Fraction(layer * 61, count - 1) for layer in range(count)]]
        exact += [[4 + Fraction(layer * 44, count - 1) for layer in range(count)]]
        assert diagonal(long, count).tolist() == [list(map(round, row)) for row in exact]
    # 3 + l 11/4 = 3, 5.75, 8.5, 11.25, 14;  3 + l 3/4 = 3, 3.75, 4.5, 5.25, 6;  l/4 = 0 ... 1
    assert diagonal(batch, 5).tolist() == [[3, 6, 8, 11, 14], [3, 4, 4, 5, 6], [0, 0, 0, 1, 1]]


def test_a_fixed_delta_stops_at_the_second_separator():
    batch = rows(question=[4, 4], chain=[10, 2])
    assert diagonal(batch, 4, delta=3).tolist() == [[3, 6, 9, 12], [3, 6, 6, 6]]
    # 3 + 1.5 l = 3, 4.5, 6, 7.5, halves to even
    assert diagonal(batch, 4, delta=1.5).tolist()[0] == [3, 4, 6, 8]
    # Of the 11 positions from one separator to the other, the last layer looks at 4.5, at all, ...
    found = [coverage(10, 4, delta) for delta in (1.5, 3, 5, None)]
    assert found == [4 / 11, 9 / 11, 1.0, 1.0]


def test_a_model_of_one_layer_is_refused_before_its_teacher_is_trained():
    with pytest.raises(ConfigError, match=r"at least two layers: set model\.layers=2 or more"):
        experiments.icot_kd("smoke", overrides={"model.layers": 1})


def test_a_single_layer_has_no_diagonal():
    with pytest.raises(ConfigError, match="at least two layers"):
        diagonal(rows([2], [3]), 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distill.subset": "first_column", "distill.delta": 2.0}, "set distill.delta=null"),
        ({"distill.mixture_offset": 1}, "leave the offset out"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig().override({"method": "kd_emulator"} | changes)


def test_an_accuracy_ends_every_phase_but_the_emulator(runs_folder):
    with pytest.raises(ConfigError, match="cannot end the emulator"):
        experiments.icot_kd("smoke", overrides={"train.stop_accuracy": 0.9})
    coupled = experiments.icot_kd("smoke", overrides={"student.train.stop_accuracy": 0.9})
    assert coupled.phases["student"].train.stop_accuracy == 0.9


def test_the_subsets_of_the_ablation():
    batch = rows(question=[2], chain=[5])  # separators at 1 and 7
    expected = {
        "diagonal": ([0, 1, 2, 3], [1, 3, 5, 7]),
        "first_column": ([0, 1, 2, 3], [1, 1, 1, 1]),
        "last_column": ([0, 1, 2, 3], [7, 7, 7, 7]),
        "bottom_row": ([0, 0, 0, 0], [1, 3, 5, 7]),
        "top_row": ([3, 3, 3, 3], [1, 3, 5, 7]),
    }
    for subset, (layers, at) in expected.items():
        found = state_positions(batch, 4, subset)
        assert (found[0].tolist(), found[1].tolist()) == (layers, [at])


def test_gold_tokens_are_the_chains_tokens_on_the_diagonal():
    batch = LAYOUT.encode([Example("1 2", "3 4 5", "6")])  # 1 2 <sep> 3 4 5 <sep> ...
    # t = 2, 3.33, 4.67, 6
    assert gold_tokens(batch, 4).tolist() == [[LAYOUT.sep, *tokens("3 5"), LAYOUT.sep]]
    column = gold_tokens(batch, 4, "first_column", offset=1)
    assert column.tolist() == [tokens("3 3 3 3")]  # after the position where the state is read
    assert gold_tokens(batch, 4, offset=1).tolist() == [[*tokens("3 4"), LAYOUT.sep, LAYOUT.sep]]


def tokens(text):
    return LAYOUT.tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("subset", ["diagonal", "last_column", "bottom_row", "top_row"])
def test_teacher_states_are_the_hidden_states_that_transformers_reports(architecture, subset):
    """Unequal questions and chains in one batch, against one example at a time, normalised."""
    teacher = make(architecture)
    states = teacher_states(teacher, BATCH, subset)
    layers, at = state_positions(BATCH, 4, subset)
    for i in range(len(BATCH)):
        row = BATCH.ids[i : i + 1, : int(BATCH.question[i] + BATCH.chain[i]) + 1]
        hidden = teacher(row, output_hidden_states=True).hidden_states
        for number, layer in enumerate(layers.tolist()):
            x = hidden[layer][0, at[i, number]]
            expected = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt()
            torch.testing.assert_close(states[i, number], expected, atol=1e-4, rtol=1e-4)


# --- hooks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "opt", "qwen2", "mistral", "phi"])
def test_layers_are_found_and_hooks_are_removed(architecture):
    model = make(architecture)
    seen = []
    before = model(BATCH.ids).logits
    with hook_layer_inputs(model, lambda layer, hidden: seen.append((layer, hidden.shape))):
        model(BATCH.ids)
    assert seen == [(layer, (*BATCH.ids.shape, 16)) for layer in range(4)]
    assert torch.equal(model(BATCH.ids).logits, before)
    assert not any(layer._forward_pre_hooks for layer in decoder_layers(model))


def test_stopping_computes_nothing_above_the_last_layers_input():
    model, ran = make(), []
    decoder_layers(model)[-1].attn.register_forward_hook(lambda *_: ran.append("last layer"))
    with hook_layer_inputs(model, lambda layer, hidden: ran.append(layer), stop=True):
        model(BATCH.ids)
    assert ran == [0, 1, 2, 3]


def test_an_error_inside_a_forward_pass_is_not_swallowed():
    def fail(layer, hidden):
        raise ValueError("inside")

    model = make()
    with pytest.raises(ValueError, match="inside"), hook_layer_inputs(model, fail, stop=True):
        model(BATCH.ids)
    assert not any(layer._forward_pre_hooks for layer in decoder_layers(model))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tied", [True, False])
def test_injecting_a_models_own_states_changes_nothing(architecture, tied):
    model, at = make(architecture, tie_word_embeddings=tied), BATCH.question - 1
    plain, own = model(BATCH.ids).logits, []
    with hook_layer_inputs(model, lambda layer, hidden: own.append(gather_positions(hidden, at))):
        model(BATCH.ids)
    with hook_layer_inputs(model, lambda layer, hidden: scatter_positions(hidden, at, own[layer])):
        again = model(BATCH.ids).logits
    assert torch.equal(plain, again)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_injecting_at_one_layer_changes_only_what_comes_after_it(architecture):
    model, at = make(architecture), BATCH.question - 1
    before, after = [], []
    with hook_layer_inputs(model, lambda layer, hidden: before.append(hidden)):
        model(BATCH.ids)

    def disturb(layer, hidden):
        after.append(hidden)
        return scatter_positions(hidden, at, torch.ones(len(at), 16)) if layer == 2 else None

    with hook_layer_inputs(model, disturb):
        model(BATCH.ids)
    for layer in range(3):  # everything up to the input of layer 2, before it is edited
        assert torch.equal(before[layer], after[layer])
    for i, position in enumerate(at.tolist()):
        past, rest = slice(0, position), slice(position, int(BATCH.total[i]))
        assert torch.equal(before[3][i, past], after[3][i, past])
        assert not (before[3][i, rest] == after[3][i, rest]).all(dim=-1).any()


def test_the_first_separator_is_found_behind_padding_of_the_same_token():
    ids = torch.tensor([[0, 0, 5, 0, 7, 0], [5, 6, 7, 0, 0, 0]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    config = ThoughtConfig(separator=0)
    assert first_separator(ids, mask, config).tolist() == [3, 3]
    assert first_separator(ids[1:], None, config).tolist() == [3]
    begun = ThoughtConfig(separator=0, bos_tokens=1)  # every text begins with that token, too
    ids = torch.tensor([[0, 0, 0, 5, 0, 7], [0, 5, 6, 7, 0, 0]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    assert first_separator(ids, mask, begun).tolist() == [4, 4]


# --- the student -------------------------------------------------------------------------------


def test_the_student_reads_states_through_its_own_mlps():
    """With MLPs that pass states on unchanged, a layer's state at the separator is z itself."""
    torch.manual_seed(0)
    student = Student(ThoughtConfig(make().config, separator=LAYOUT.sep)).eval()
    for state_mlp in student.state_mlps:
        first, _, last = state_mlp  # relu(x) - relu(-x) = x
        with torch.no_grad():
            for parameter in state_mlp.parameters():
                parameter.zero_()
            eye = torch.eye(16)
            first.weight[:16], first.weight[16:32] = eye, -eye
            last.weight[:, :16], last.weight[:, 16:32] = eye, -eye
    states, at, inner = torch.randn(len(BATCH), 4, 16), BATCH.question - 1, []
    decoder_layers(student.language_model)[2].ln_1.register_forward_pre_hook(
        lambda _, args: inner.append(args[0])
    )
    student(BATCH.ids, states, at)
    torch.testing.assert_close(gather_positions(inner[0], at), states[:, 2])


# --- the emulator ------------------------------------------------------------------------------


class Fixed(nn.Module):
    """A stand-in for a layer's MLP: a linear map given as rows."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = torch.tensor(matrix)

    def forward(self, x):
        return x @ self.matrix.T


def worked_emulator():
    """Two layers, two dimensions, every weight chosen by hand and no two of them alike."""
    torch.manual_seed(0)
    text = make(layers=2).config
    text.n_embd, text.n_head = 2, 1
    emulator = Emulator(ThoughtConfig(text, separator=LAYOUT.sep, mixture=2)).eval()
    with torch.no_grad():
        for parameter in emulator.parameters():
            parameter.zero_()
        emulator.components.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        # MLP_0([h; e]) = h + e, MLP_1([h; e]) = 2 h
        emulator.predictors[0] = Fixed([[1.0, 0, 1, 0], [0, 1.0, 0, 1]])
        emulator.predictors[1] = Fixed([[2.0, 0, 0, 0], [0, 2.0, 0, 0]])
        # gates i, f, g, o of the LSTM: i, f and o are open at 1/2, g = tanh(x + h / 2)
        emulator.rnn.weight_ih[4:6] = torch.eye(2)
        emulator.rnn.weight_hh[4:6] = torch.eye(2) / 2
        # key(o) swaps the two entries, query(o) = 3 o, out([o; c]) = o - 2 c
        emulator.key.weight.copy_(torch.tensor([[0.0, 1], [1, 0]]))
        emulator.query.weight.copy_(3 * torch.eye(2))
        emulator.out.weight.copy_(torch.tensor([[1.0, 0, -2, 0], [0, 1.0, 0, -2]]))
    return emulator


class TwoLayers(nn.Module):
    """A decoder of two layers that do nothing, over states given in place of tokens."""

    def __init__(self, config, start):
        super().__init__()
        self.config, self.start = config, start
        self.layers = nn.ModuleList(nn.Identity() for _ in range(2))

    def forward(self, input_ids, **_):
        hidden = self.start
        for layer in self.layers:
            hidden = layer(hidden)


def run_worked(gold=None):
    emulator = worked_emulator()
    start = torch.tensor([[[9.0, 9.0], [1.0, 0.0]]])  # the separator is the second position
    emulator.body = TwoLayers(emulator.config.text_config, start)
    written = []
    emulator.body.layers[0].register_forward_hook(lambda _, args, output: written.append(output))
    emulated = emulator(torch.zeros(1, 2).long(), torch.tensor([1]), gold=gold)
    return emulated, written[0]


def test_the_emulator_worked_by_hand():
    """Layer 0: h = (1, 0); scores (1, 0); at temperature 0.05 the weights are 1 and e^-20, so
    e = (1, 0) and z^_0 = (2, 0). The LSTM from zero: cell = 1/2 tanh(2, 0), o = 1/2 tanh(cell).
    No keys yet, c = 0, written back: o. Layer 1 does nothing before, so h = o and z^_1 = 2 o.
    """
    emulated, written = run_worked()
    cell = 0.5 * math.tanh(2.0)
    o = 0.5 * math.tanh(cell)
    torch.testing.assert_close(emulated.states, torch.tensor([[[2.0, 0.0], [2 * o, 0.0]]]))
    torch.testing.assert_close(emulated.scores, torch.tensor([[[1.0, 0.0], [o, 0.0]]]))
    torch.testing.assert_close(written, torch.tensor([[[9.0, 9.0], [o, 0.0]]]))


def test_the_supervised_mixture_takes_the_gold_component():
    """e is (0, 1) at layer 0 now: z^_0 = (1, 1)."""
    emulated, written = run_worked(gold=torch.tensor([[1, 0]]))
    o = 0.5 * math.tanh(0.5 * math.tanh(1.0))
    torch.testing.assert_close(emulated.states, torch.tensor([[[1.0, 1.0], [2 * o, 2 * o]]]))
    torch.testing.assert_close(written[:, 1], torch.tensor([[o, o]]))
    torch.testing.assert_close(emulated.scores[:, 0], torch.tensor([[1.0, 0.0]]))


def test_three_layers_of_emulation_by_the_formulas():
    """The mixture's soft choice, the memory, attention over earlier keys, and what is written."""
    emulator = worked_emulator()
    emulator.config.mixture_temperature = 0.5
    emulator.predictors.append(emulator.predictors[0])
    state_of_pass = EmulatorPass(emulator, gold=None)
    h = torch.tensor([1.0, -0.5])
    cell, o, context, keys = (torch.zeros(2), torch.zeros(2), torch.zeros(2), [])
    for layer in range(3):
        back = state_of_pass.step(layer, h[None])[0]
        weights = (h / 0.5).exp() / (h / 0.5).exp().sum()  # the components are the unit vectors
        state = 2 * h if layer == 1 else h + weights
        cell = 0.5 * cell + 0.5 * (state + context + o / 2).tanh()
        o = 0.5 * cell.tanh()
        if keys:
            products = torch.stack([(key * 3 * o).sum() for key in keys])
            shares = products.exp() / products.exp().sum()
            context = sum(share * key for share, key in zip(shares, keys, strict=True))
        keys.append(o.flip(0))
        torch.testing.assert_close(state_of_pass.scores[layer][0], h)
        torch.testing.assert_close(state_of_pass.states[layer][0], state)
        torch.testing.assert_close(back, o - 2 * context)
        h = back + 0.3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_emulator_reads_nothing_after_the_separator(architecture):
    emulator = coupled(architecture).emulator
    at = BATCH.question - 1
    states = emulator(BATCH.ids, at).states
    column = torch.arange(BATCH.ids.shape[1])[None]
    other = torch.where(column > at[:, None], 5, BATCH.ids)
    assert torch.equal(states, emulator(other, at).states)


# --- coupled -----------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tied", [True, False])
def test_cached_generation_agrees_with_the_full_forward_pass(architecture, tied):
    """Left padding and cache on one side, one example without either on the other."""
    model = coupled(architecture, tie_word_embeddings=tied)
    direct = BATCH.without_chain()
    written = generate(model, LAYOUT, direct, max_new_tokens=5)
    for i in range(len(direct)):
        row = direct.ids[i : i + 1, : int(direct.question[i])]
        for token in written[i].tolist():
            assert int(model(row).logits[0, -1].argmax()) == token
            row = torch.cat([row, torch.tensor([[token]])], dim=1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bf16_agrees_with_fp32_as_far_as_it_can(architecture):
    model = coupled(architecture)
    inputs = remove(BATCH.without_chain(), torch.zeros(len(BATCH)).long())
    full = logits_of(model, inputs)
    half = logits_of(model.to(torch.bfloat16), inputs)
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).norm() < 0.05 * full.norm()
    generate(model, LAYOUT, BATCH.without_chain(), max_new_tokens=3)  # through the cache too


def test_a_coupled_model_that_never_ends_stays_within_its_position_table(monkeypatch):
    """The position beyond the last is an index error; up to the last, nothing changes."""
    model, direct = coupled(), BATCH.without_chain()
    available = model.config.text_config.max_position_embeddings
    monkeypatch.setattr(EndOfAnswer, "reached_by_all", lambda self, ids: False)
    written = generate(model, LAYOUT, direct, max_new_tokens=available + 5)
    assert written.shape[1] == available + 5
    longest = int(direct.question.max())
    fits = generate(model, LAYOUT, direct, max_new_tokens=available - longest)
    assert torch.equal(fits, written[:, : available - longest])
    monkeypatch.setattr("icotlib.models.decoding.max_positions", lambda model: None)
    with pytest.raises(IndexError):
        generate(model, LAYOUT, direct, max_new_tokens=available + 5)


def test_an_empty_cache_holds_no_states_yet():
    model, direct = coupled(), BATCH.without_chain()[torch.tensor([0])]
    row = direct.ids[:, : int(direct.question[0])]
    assert torch.equal(model(row).logits, model(row, past_key_values=DynamicCache()).logits)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_student_generates_from_states_with_cache_and_padding(architecture):
    torch.manual_seed(0)
    text = make(architecture).config
    student = Student(ThoughtConfig(text, separator=LAYOUT.sep)).eval()
    states, direct = torch.randn(len(BATCH), 4, 16), BATCH.without_chain()
    written = generate(StudentWithStates(student, states), LAYOUT, direct, max_new_tokens=5)
    for i in range(len(direct)):
        row, at = direct.ids[i : i + 1, : int(direct.question[i])], direct.question[i : i + 1] - 1
        for token in written[i].tolist():
            assert int(student(row, states[i : i + 1], at).logits[0, -1].argmax()) == token
            row = torch.cat([row, torch.tensor([[token]])], dim=1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tied", [True, False])
def test_the_coupled_system_reloads_as_one_model(architecture, tied, tmp_path):
    model = coupled(architecture, tie_word_embeddings=tied)
    save_model(tmp_path, model, LAYOUT)
    again, layout = load_model(tmp_path)
    assert isinstance(again, Coupled)
    assert isinstance(AutoModelForCausalLM.from_pretrained(tmp_path), Coupled)
    direct = BATCH.without_chain()
    mine, theirs = (generate(one, layout, direct, max_new_tokens=4) for one in (model, again))
    assert torch.equal(mine, theirs)
    inputs = remove(direct, torch.zeros_like(direct.chain))
    assert torch.equal(logits_of(model, inputs), logits_of(again, inputs))
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors"}


def test_gradients_reach_emulator_state_mlps_and_student():
    model = coupled()
    inputs = remove(BATCH.without_chain(), torch.zeros(len(BATCH)).long())
    logits_of(model, inputs).square().sum().backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    # Nothing depends on the emulator's last layer, its final norm, or what its top writes back.
    assert all("emulator.body.h.3." in name or "ln_f" in name for name in without)
    assert not any("ln_f" in name and "student" in name for name in without)
    assert model.emulator.body.wte.weight.grad.abs().sum() > 0
    assert all(mlp[0].weight.grad.abs().sum() > 0 for mlp in model.student.state_mlps)


# --- measures ----------------------------------------------------------------------------------


def test_explained_variance_of_known_states():
    true = torch.tensor([[[1.0, 0], [5, 5]], [[-1, 0], [5, 5]]])
    assert explained_variance(true, true)[0] == 1
    assert math.isnan(explained_variance(true, true)[1])  # the same for every example
    assert explained_variance(true, torch.zeros_like(true))[0] == 0  # as good as the mean
    assert explained_variance(true, 0.5 * true)[0] == pytest.approx(0.75)


def test_components_in_use():
    usage = torch.tensor([[0.25] * 4, [1.0, 0, 0, 0], [0.5, 0.5, 0, 0]])  # three layers
    assert components_in_use(usage) == pytest.approx([4, 1, 2])


def test_muon_leaves_tables_and_output_heads_to_adamw():
    """Untied heads too, wherever in a distilled model they stand."""
    whole = coupled(tie_word_embeddings=False)
    for model in (whole, whole.student, whole.emulator):
        hidden, tables, _ = split_parameters(model)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        muon = {names[id(parameter)] for parameter in hidden}
        assert not [name for name in muon if "lm_head" in name or "wte" in name]
        assert not [name for name in muon if "components" in name or "wpe" in name]
        assert any("state_mlps" in name or "predictors" in name for name in muon)
        assert len(tables) + len(hidden) > 4


# --- the phases as runs ------------------------------------------------------------------------


def phase(tiny, method, phases, **more):
    return tiny.override({"method": method, "train.steps": 6, "phases": phases, **more})


@pytest.fixture
def teacher(tiny):
    return tiny.override({"method": "explicit_cot", "train.steps": 6})


@pytest.fixture
def student(tiny, teacher):
    return phase(tiny, "kd_student", {"teacher": teacher})


@pytest.fixture
def emulator(tiny, teacher):
    return phase(tiny, "kd_emulator", {"teacher": teacher})


@pytest.fixture(scope="module")
def phases_folder(tmp_path_factory):
    """A folder of runs in which teacher, student and emulator are trained; tests copy it."""
    folder = tmp_path_factory.mktemp("phases")
    tiny = RunConfig().override(TINY)
    teacher = tiny.override({"method": "explicit_cot", "train.steps": 6})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(folder))
        for method in ("kd_student", "kd_emulator"):
            train(phase(tiny, method, {"teacher": teacher}))
    return folder


@pytest.fixture
def phases_there(runs_folder, phases_folder) -> None:
    """The three phases before the last one are trained."""
    shutil.copytree(phases_folder, runs_folder)


def test_all_phases_train_and_describe_themselves(phases_there, tiny, student, emulator):
    config = phase(tiny, "icot_kd", {"student": student, "emulator": emulator})
    run = train(config)
    assert run.config == config
    assert all(Run.of(one).done for one in (student, emulator, student.phases["teacher"]))
    assert run.stages.removed.tolist() == [8]
    assert Run.of(student).stages.n_test.tolist() == [24]
    assert Run.of(emulator).stages.empty
    layers = Run.of(emulator).metrics.explained_by_layer.iloc[-1].split()
    assert layers[0] == "nan"  # the separator's embedding
    assert len(layers) == 2
    assert "explained" in run.metrics


def test_emulator_and_student_lower_their_losses(phases_there, student, emulator):
    more = {"train.steps": 60, "train.batch_size": 32, "train.eval_every": 20}
    for config in (student, emulator):
        metrics = train(config.override(more)).metrics
        assert metrics.loss.iloc[-1] < 0.9 * metrics.loss.iloc[0]


def test_the_loss_of_emulation_is_half_the_squared_distance(phases_there, emulator):
    """Against the formula on the first batch, from the weights of the run's own start."""
    trainer = Trainer(emulator, Run.of(emulator))
    method, batch = trainer.method, trainer.run_data.batches(0)
    with torch.no_grad():
        loss = sum(float(part.loss) for part in method.micro_batches(0, batch, torch.Generator()))
        distance = (method.states(batch) - method.emulate(batch).states).square()
    assert loss == pytest.approx(float(0.5 * distance.sum() / len(batch)), rel=1e-5)


def test_the_loss_of_the_supervised_mixture(phases_there, emulator):
    """Adds the weight times the negative log-likelihood of the gold tokens, summed over layers."""
    more = {"distill.mixture": 0, "distill.mixture_supervision": 0.5}
    config = emulator.override(more)
    trainer = Trainer(config, Run.of(config))
    method, batch = trainer.method, trainer.run_data.batches(0)
    assert method.model.components.num_embeddings == len(trainer.run_data.layout.tokenizer)
    with torch.no_grad():
        loss = sum(float(part.loss) for part in method.micro_batches(0, batch, torch.Generator()))
        gold = gold_tokens(batch, 2)
        emulated = method.emulate(batch, gold)
        distance = 0.5 * (method.states(batch) - emulated.states).square().sum()
        named = emulated.scores.log_softmax(dim=-1).gather(2, gold[:, :, None]).sum()
    assert loss == pytest.approx(float((distance - 0.5 * named) / len(batch)), rel=1e-5)


def test_a_fixed_emulator_stays_as_it_was(phases_there, tiny, student, emulator):
    phases = {"student": student, "emulator": emulator}
    run = train(phase(tiny, "icot_kd", phases, **{"distill.train_emulator": False}))
    before = Emulator.from_pretrained(Run.of(emulator).weights()).state_dict()
    after = load_model(run.weights())[0]
    assert all(torch.equal(before[name], x) for name, x in after.emulator.state_dict().items())
    read = Student.from_pretrained(Run.of(student).weights()).state_mlps[0][0].weight
    assert not torch.equal(after.student.state_mlps[0][0].weight, read)


@pytest.mark.parametrize("kept", [[], ["student"], ["emulator"]])
def test_either_phase_can_be_skipped(phases_there, tiny, teacher, student, emulator, kept):
    phases = {name: {"student": student, "emulator": emulator}[name] for name in kept}
    run = train(phase(tiny, "icot_kd", {"teacher": teacher, **phases}))
    assert run.stages.n_test.tolist() == [24]


def test_student_and_emulator_begin_as_the_teacher_or_as_the_model(phases_there, student):
    weight = load_model(Run.of(student.phases["teacher"]).weights())[0].transformer.wte.weight
    for initial, same in (("teacher", True), ("model", False)):
        config = student.override({"distill.initial_weights": initial})
        model = Trainer(config, Run.of(config)).method.model
        assert torch.equal(model.language_model.transformer.wte.weight, weight) is same
        config = config.override({"method": "kd_emulator"})
        model = Trainer(config, Run.of(config)).method.model
        assert torch.equal(model.body.wte.weight, weight) is same


def test_the_coupled_runs_accuracy_is_that_of_its_checkpoint(runs_folder, student, emulator):
    more = {"data.task": "mult-1x1", "data.valid_examples": 10, "data.test_examples": 30}
    more |= {"train.steps": 80, "train.batch_size": 32, "optim.lr": 5e-3}
    more |= {"phases": {"teacher": student.phases["teacher"].override(more)}}
    phases = {"student": student.override(more), "emulator": emulator.override(more)}
    run = train(student.override(more | {"phases": phases, "method": "icot_kd"}))
    model = load_model(run.weights())[0]
    direct = RunData(run.config).test.without_chain()
    inputs = remove(direct, torch.zeros_like(direct.chain))
    right = matches(logits_of(model, inputs), inputs)[0].double().mean().item()
    # Teacher forcing asks for the end token too, so it can only be stricter.
    assert 0 < right <= run.stages.accuracy.iloc[0]


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_recomputed_layers_give_the_same_gradients_in_every_phase(runs_folder, architecture):
    """Also where hidden states were replaced; layers, deep as they are, keep only their inputs."""
    settings = SMALL | {"model.architecture": architecture, "model.layers": 4, "train.steps": 2}
    settings |= {"optim.clip": 0.0, "train.precision": "fp32", "model.width": 32, "model.heads": 2}
    coupled = experiments.icot_kd("smoke", overrides=settings)
    for phase in [*coupled.phases.values(), coupled]:
        found = [
            gradients(phase.override({"train.gradient_checkpointing": x})) for x in (False, True)
        ]
        (plain, kept), (recomputed, kept_less) = found
        assert kept_less < (1 if phase.method == "explicit_cot" else 0.8) * kept
        assert plain.keys() == recomputed.keys()
        for name, gradient in plain.items():
            assert torch.equal(gradient, recomputed[name]), f"{phase.method}: {name}"
        if phase is not coupled:
            train(phase)  # the next ones build on it


def gradients(config) -> tuple[dict[str, torch.Tensor], int]:
    """The gradients of a first step, and how many bytes were kept for the backward pass."""
    trainer, kept = Trainer(config, run=None), {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    batch = trainer.run_data.batches(0)
    trainer.model.train(trainer.method.dropout)
    parts = trainer.method.micro_batches(0, batch, torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = [part.loss for part in parts]
    sum(losses).backward()
    for parameter in trainer.model.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    named = trainer.model.named_parameters()
    return {name: x.grad for name, x in named if x.grad is not None}, sum(kept.values())


def test_a_phase_names_the_runs_it_lacks_or_cannot_use(tiny, teacher, student, emulator):
    for method in ("kd_student", "kd_emulator", "icot_kd"):
        with pytest.raises(ConfigError, match=rf"method '{method}' needs a teacher: .*{method}\("):
            phase(tiny, method, {})
    of_teacher, phases = {"teacher": teacher}, {"student": student, "emulator": emulator}
    for role in ("teacher", "student"):
        found = f"phases of kd_emulator: teacher=explicit_cot; got {role}=kd_student$"
        with pytest.raises(ConfigError, match=found):
            phase(tiny, "kd_emulator", {role: student})
    must = "must be equal in a run and in those that it builds on: the"
    with pytest.raises(
        ConfigError, match=rf"model\.layers {must} teacher has 2, this kd_emulator run 3$"
    ):
        phase(tiny, "kd_emulator", of_teacher, **{"model.layers": 3})
    with pytest.raises(ConfigError, match=rf"data\.seed {must} teacher has 0, .* run 3$"):
        phase(tiny, "kd_emulator", of_teacher, **{"data.seed": 3})
    with pytest.raises(ConfigError, match=rf"distill\.subset {must} student has 'diagonal', this "):
        phase(tiny, "icot_kd", phases, **{"distill.subset": "top_row"})
    with pytest.raises(ConfigError, match=rf"distill\.mixture {must} emulator has 1, .* run 2$"):
        phase(tiny, "icot_kd", phases, **{"distill.mixture": 2})
    other = emulator.override({"phases": {"teacher": teacher.override({"train.steps": 7})}})
    with pytest.raises(ConfigError, match="need one teacher"):
        phase(tiny, "icot_kd", {"student": student, "emulator": other})


def test_a_damaged_phase_is_named(phases_there, student):
    weights = Run.of(student.phases["teacher"]).weights() / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(RunError, match=r"explicit_cot.*has changed since it was written"):
        train(student.override({"train.steps": 7}))


SMALL = {
    "data.task": "mult-2x2",
    "data.train_examples": 40,
    "data.valid_examples": 8,
    "data.test_examples": 8,
    "train.steps": 4,
    "train.eval_every": 2,
}


@pytest.mark.parametrize(("architecture", "precision"), [("gpt2", "bf16"), ("llama", "fp32")])
def test_the_paper_preset_distils_a_pretrained_model(
    runs_folder, pretrained, architecture, precision
):
    """Separator, end and padding are one token; weights on disk in the precision of the run."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    settings = {"model.pretrained": pretrained(architecture, dtype), "train.precision": precision}
    run = train(experiments.icot_kd("paper", overrides=SMALL | settings))
    assert run.totals["chain_length"] == 8 + 1  # with the space that the authors' code leaves
    assert run.stages.n_test.tolist() == [8]
    assert run.metrics[["loss", "explained"]].notna().all().all()
    model, layout = load_stage(run)
    assert isinstance(model, Coupled)
    assert model.dtype == torch.float32
    direct = layout.encode(examples_of(load_corpus(run.config.data).test)).without_chain()
    texts = layout.texts(generate(model, layout, direct))
    if precision == "fp32":  # the test at the end of a run is in its precision, this is not
        assert texts[: len(run.samples)] == run.samples.written.tolist()


def test_the_mixture_of_all_tokens_trains_on_a_pretrained_model(runs_folder, pretrained):
    settings = {"model.pretrained": pretrained("gpt2"), "distill.mixture": 0}
    settings |= {"emulator.distill.mixture_supervision": 1.0}
    run = train(experiments.icot_kd("paper", overrides=SMALL | settings))
    tokens = load_stage(run)[0].config.text_config.vocab_size
    assert (run.metrics.components <= tokens).all()
    assert (run.metrics.components >= 1).all()


@pytest.mark.parametrize("method", ["kd_student", "kd_emulator", "icot_kd"])
def test_a_phase_that_is_cut_short_resumes_to_the_same_numbers(
    phases_there, phases_folder, student, emulator, tmp_path, monkeypatch, method
):
    phases = {"student": student, "emulator": emulator}
    whole = student.override({"phases": phases, "method": "icot_kd"})
    config = {"kd_student": student, "kd_emulator": emulator, "icot_kd": whole}[method]
    config = config.override({"train.steps": 12, "train.eval_every": 4})
    evaluate, seen = Trainer._evaluate, []

    def interrupted(self, step):
        seen.append(step)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return evaluate(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    cut = train(config)
    monkeypatch.setenv("ICOT_RUNS", str(shutil.copytree(phases_folder, tmp_path / "again")))
    straight = train(config)
    one, other = (run.metrics.drop(columns="seconds") for run in (cut, straight))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    weights = [(run.folder / "model" / "model.safetensors").read_bytes() for run in (cut, straight)]
    assert weights[0] == weights[1]
