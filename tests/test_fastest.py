"""bf16 on a CPU: attention, Muon's products, and the choice of the fastest precision."""

import json

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from icotlib import experiments, paths
from icotlib.config import RunConfig, to_dict
from icotlib.models import fastest, short_attention
from icotlib.models.short_attention import LONGEST, attend
from icotlib.runs import Run
from icotlib.training import optim
from icotlib.training.trainer import Trainer
from tests.helpers import TINY

CPU_ONLY = pytest.mark.skipif(torch.cuda.is_available(), reason="this is about training on a CPU")


def attention_inputs(heads=4, kv_heads=4, queries=5, keys=5):
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, heads, queries, 8), (3, kv_heads, keys, 8), (3, kv_heads, keys, 8)]
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


MASK = torch.tensor([[1, 0, 1, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [1, 0, 0, 1, 0], [1] * 5])


@pytest.mark.parametrize(
    ("inputs", "settings"),
    [
        ({}, {"is_causal": True}),
        ({}, {}),
        ({"queries": 3}, {"is_causal": True}),
        ({}, {"attn_mask": MASK.bool()}),
        ({}, {"attn_mask": MASK.bool().expand(3, 1, 5, 5)}),
        ({}, {"attn_mask": torch.linspace(-2, 2, 5).expand(5, 5)}),
        ({"kv_heads": 2}, {"is_causal": True, "enable_gqa": True}),
        ({}, {"is_causal": True, "scale": 0.7}),
    ],
)
def test_attention_and_its_gradients_are_those_of_torch(inputs, settings):
    given = attention_inputs(**inputs)
    found, wanted = attend(*given, **settings), scaled_dot_product_attention(*given, **settings)
    torch.testing.assert_close(found, wanted)
    weights = torch.linspace(-1, 1, wanted.numel()).view_as(wanted)
    gradients = [torch.autograd.grad((x * weights).sum(), given) for x in (found, wanted)]
    torch.testing.assert_close(*gradients)


def test_a_query_that_may_attend_nowhere_gives_no_nan():
    mask = MASK.bool().clone()
    mask[2] = False
    given = attention_inputs()
    attend(*given, attn_mask=mask).sum().backward()
    assert all(x.grad.isfinite().all() for x in given)


def counting_attention(monkeypatch):
    calls = []

    def counted(*args, **kwargs):
        calls.append(args[0].shape)
        return attend(*args, **kwargs)

    monkeypatch.setattr(short_attention, "attend", counted)
    return calls


def test_long_sequences_dropout_and_evaluation_are_left_to_torch(monkeypatch):
    calls = counting_attention(monkeypatch)
    short = attention_inputs()
    long = [torch.randn(1, 1, LONGEST + 1, 4, requires_grad=True) for _ in range(3)]
    with short_attention.ShortAttention():
        scaled_dot_product_attention(*long, is_causal=True)
        scaled_dot_product_attention(*short, dropout_p=0.5)
        with torch.no_grad():
            scaled_dot_product_attention(*short, is_causal=True)
        assert calls == []
        scaled_dot_product_attention(*short, is_causal=True)
    assert len(calls) == 1


def trained(config, folder):
    trainer = Trainer(config, Run(folder))
    trainer.model.train()
    for step in range(config.train.steps):
        trainer.step(step)
    return torch.stack(trainer.losses.unread)


@CPU_ONLY
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_run_in_bf16_learns_as_one_in_fp32_by_other_attention(
    runs_folder, architecture, monkeypatch
):
    calls = counting_attention(monkeypatch)
    config = RunConfig().override(TINY | {"model.architecture": architecture, "optim.lr": 1e-2})
    in_fp32 = trained(config, runs_folder / "x")
    assert calls == []
    in_bf16 = trained(config.override({"train.precision": "bf16"}), runs_folder / "y")
    assert len(calls) >= config.model.layers * config.train.steps
    assert not torch.equal(in_fp32, in_bf16)
    torch.testing.assert_close(in_bf16, in_fp32, atol=0.02, rtol=0.02)


@CPU_ONLY
def test_muon_computes_in_bf16_where_the_model_does(runs_folder):
    config = RunConfig().override(TINY)
    model = Trainer(config, Run(runs_folder / "x")).model
    for precision, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
        muon, _ = optim.make_optimizers(config.override({"train.precision": precision}), model)
        assert muon.dtype == dtype


@pytest.mark.parametrize("columns", [6, 12, 24])
def test_newton_schulz_in_bf16_is_as_close_as_one_iteration_at_a_time(columns):
    """Five iterations multiplied together in bf16 diverge on such a matrix."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 6, columns, generator=generator) * torch.logspace(0, -4, 6)[:, None]
    x = x / x.norm(dim=(1, 2), keepdim=True)
    a, b, c = (3.4445, -4.7750, 2.0315)

    def single(x):
        for _ in range(5):
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x.double()

    wanted = single(x.double())
    plain = (single(x.bfloat16()) - wanted).norm()
    found = optim.newton_schulz(x.bfloat16(), (a, b, c), 5).double()
    assert (found - wanted).norm() < 1.5 * plain + 0.01 * wanted.norm()


def test_muon_updates_of_sparse_gradients_in_bf16_are_no_larger_than_others():
    """Without `LARGEST`, one of 300 such updates is too large, by up to a million times."""
    generator = torch.Generator().manual_seed(0)

    def sparse(*shape):
        kept = torch.rand(*shape, generator=generator) < 0.1
        return torch.randn(*shape, generator=generator) * kept

    gradients = list(sparse(2000, 48, 6) @ sparse(2000, 6, 24))
    coefficients = (3.4445, -4.7750, 2.0315)
    updates = torch.stack(optim.orthogonalize(gradients, coefficients, 5, torch.bfloat16))
    assert torch.linalg.matrix_norm(updates.float(), 2).max() < 2.5


def test_a_matrix_that_diverges_alone_is_iterated_singly(monkeypatch):
    x = torch.eye(2, 6).bfloat16().repeat(3, 1, 1) / 2
    coefficients = (3.4445, -4.7750, 2.0315)
    whole = optim.newton_schulz(x, coefficients, 5)
    factors = optim._factors

    def too_large(x, *rest):
        found = factors(x, *rest)
        found[1] *= 100
        found[2] *= float("nan")
        return found

    monkeypatch.setattr(optim, "_factors", too_large)
    found = optim.newton_schulz(x, coefficients, 5)
    assert found.isfinite().all()
    assert (found - whole).abs().max() < 0.05
    assert torch.equal(found[0], whole[0])


# --- the fastest precision ---------------------------------------------------------------------


@pytest.fixture
def measured(monkeypatch):
    """Seconds that stand in for a measurement; how often it was made."""
    seconds = {"fp32": 1.0, "bf16": 0.8, "int8": 0.5}
    calls = []

    def measure(*given):
        calls.append(given)
        return dict(seconds)

    fastest._seconds.cache_clear()
    monkeypatch.setattr(fastest, "_measure", measure)
    yield seconds, calls
    fastest._seconds.cache_clear()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "data_cache", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "precision.json"


FASTEST = TINY | {"train.precision": "fastest"}


def test_a_run_has_the_precision_that_was_measured_and_its_name(measured, cache):
    config = RunConfig().override(FASTEST)
    assert config.train.precision == "int8"
    assert config.run_name == RunConfig().override(TINY | {"train.precision": "int8"}).run_name
    assert to_dict(config)["train"]["precision"] == "int8"


def test_a_little_faster_is_not_worth_other_numbers(measured, cache):
    seconds, _ = measured
    seconds |= {"bf16": 0.96, "int8": 0.97}
    assert RunConfig().override(FASTEST).train.precision == "fp32"


def test_every_phase_is_measured_by_its_own_size(measured, cache):
    config = experiments.icot_kd("smoke", overrides={"train.precision": "fastest"})
    assert {one.train.precision for one in config.family().values()} == {"int8"}


def test_int8_is_not_chosen_where_it_does_not_work(measured, cache):
    config = RunConfig().override(FASTEST | {"train.gradient_checkpointing": True})
    assert config.train.precision == "bf16"


def test_a_machine_measures_once(measured, cache):
    _, calls = measured
    RunConfig().override(FASTEST)
    fastest._seconds.cache_clear()  # as another process would start
    RunConfig().override(FASTEST)
    assert len(calls) == 1
    RunConfig().override(FASTEST | {"model.width": 64})
    assert len(calls) == 2
    assert len(json.loads(cache.read_text())) == 2


@pytest.mark.parametrize("damage", ["", "[1]", '{"a": ', '{"KEY": 3}', '{"KEY": {"bf16": 1}}'])
def test_a_damaged_file_of_measurements_is_measured_again(measured, cache, damage):
    RunConfig().override(FASTEST)
    key = next(iter(json.loads(cache.read_text())))
    cache.write_text(damage.replace("KEY", key))
    fastest._seconds.cache_clear()
    assert RunConfig().override(FASTEST).train.precision == "int8"


@CPU_ONLY
def test_a_measurement_changes_neither_random_numbers_nor_threads(cache):
    fastest._seconds.cache_clear()
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    assert RunConfig().override(FASTEST).train.precision in ("fp32", "bf16", "int8")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    fastest._seconds.cache_clear()


@pytest.mark.parametrize("kind", ["flags", "added"])
def test_a_query_that_may_attend_nowhere_gives_no_nan_in_bf16(kind):
    """Left padding has such queries. Queries of Llama are fp32 under autocast, where the lowest
    number of fp32 becomes -inf."""
    query = torch.randn(2, 2, 5, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 1, 5, 5).tril().bool()
    mask[0, :, :3] = False
    if kind == "added":
        mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    with torch.autocast("cpu", torch.bfloat16):
        assert attend(query, query, query, attn_mask=mask).isfinite().all()
