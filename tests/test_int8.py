"""Products in int8: which are exact, how large the error of others is, and training with them."""

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from icotlib import experiments
from icotlib.config import RunConfig
from icotlib.errors import ConfigError, TrainingError
from icotlib.methods.distillation.student import ThoughtModel
from icotlib.models.int8 import Int8Matmuls, QuantizedMatrix, check, product
from icotlib.models.parameters import split_parameters
from icotlib.runs import Run
from icotlib.training.trainer import Trainer, train
from tests.helpers import TINY


def test_numbers_that_fit_are_multiplied_exactly():
    """Each row of x and column of w has its own scale, a 127th of its largest magnitude."""
    x = torch.tensor([[1.27, -0.5], [0.0, 254.0]])
    w = torch.tensor([[127.0, 0.0], [3.0, -12.7]])
    rows, columns = QuantizedMatrix.by_row(x), QuantizedMatrix.by_column(w)
    assert rows.numbers.tolist() == [[127, -50], [0, 127]]
    assert columns.numbers.tolist() == [[127, 0], [3, -127]]
    torch.testing.assert_close(product(rows, columns), x @ w)


def test_rows_of_zeros_stay_zeros():
    zero = torch.zeros(3, 4)
    rows, columns = QuantizedMatrix.by_row(zero), QuantizedMatrix.by_column(zero.T)
    assert torch.equal(product(rows, columns), torch.zeros(3, 3))


@pytest.mark.parametrize("block", [1, 100, 2**18])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dim", [0, 1])
def test_a_matrix_is_quantised_alike_whatever_its_memory_layout_and_the_blocks(
    dim, transposed, block, monkeypatch
):
    torch.manual_seed(0)
    x, factors = torch.randn(37, 23), torch.rand(1, 23) + 0.5
    monkeypatch.setattr("icotlib.models.int8.BLOCK", block)
    quantise = QuantizedMatrix.by_row if dim else QuantizedMatrix.by_column
    for factor, matrix in [((), x), ((factors,), x * factors)][: dim + 1]:
        quantised = quantise(x.T.contiguous().T if transposed else x, *factor)
        largest = matrix.abs().amax(dim, keepdim=True)
        assert torch.equal(quantised.numbers, (matrix * (127 / largest)).round().to(torch.int8))
        assert torch.equal(quantised.scales, largest / 127)


@pytest.mark.parametrize("kind", ["linear", "linear without bias", "conv1d"])
def test_output_and_gradients_are_within_a_percent(kind):
    torch.manual_seed(0)
    layer = {
        "linear": lambda: torch.nn.Linear(48, 80),
        "linear without bias": lambda: torch.nn.Linear(48, 80, bias=False),
        "conv1d": lambda: Conv1D(80, 48),
    }[kind]()
    x, seen = torch.randn(5, 7, 48, requires_grad=True), torch.randn(5, 7, 80)

    def results():
        x.grad = None
        layer.zero_grad()
        out = layer(x)
        out.backward(seen)
        return [out.detach(), x.grad.clone(), *(p.grad.clone() for p in layer.parameters())]

    exact = results()
    with Int8Matmuls([layer.weight]):
        ours = results()
    for a, b in zip(exact, ours, strict=True):
        assert a.shape == b.shape
        assert (a - b).norm() < 0.01 * a.norm()
    assert not torch.equal(exact[0], ours[0])  # it was computed in int8


def test_a_large_feature_leaves_the_others_their_gradient():
    """Pretrained models have features a hundred times as large as others."""
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(64, 48, bias=False), torch.randn(256, 64)
    x[:, 5] *= 100
    exact = torch.randn(256, 48)
    with Int8Matmuls([layer.weight]):
        layer(x).backward(exact)
    ours, expected = layer.weight.grad, exact.T @ x
    assert ((ours - expected).norm(dim=0) < 0.02 * expected.norm(dim=0)).all()


def test_other_weights_are_left_alone():
    layer, other = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    x = torch.randn(3, 4)
    with Int8Matmuls([layer.weight]):
        assert torch.equal(other(x), x @ other.weight.T + other.bias)


@pytest.mark.parametrize("fused", [False, True])
def test_weights_are_quantised_again_after_a_step_of_the_optimizer(fused):
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(8, 8, bias=False), torch.randn(3, 8)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.5, fused=fused)
    int8_matmuls = Int8Matmuls([layer.weight])
    with int8_matmuls:
        before = layer(x)
        before.sum().backward()
    optimizer.step()
    with int8_matmuls:
        after = layer(x)
    assert (after - x @ layer.weight.T).norm() < 0.02 * after.norm()
    assert (after - before).norm() > 0.1 * after.norm()


def test_a_weight_is_quantised_once_per_opening(monkeypatch):
    layer, x, quantised = torch.nn.Linear(8, 8), torch.randn(3, 8), []
    by_column = QuantizedMatrix.by_column
    monkeypatch.setattr(QuantizedMatrix, "by_column", lambda x: quantised.append(x) or by_column(x))
    with Int8Matmuls([layer.weight]), torch.no_grad():  # only gradients need inputs by column
        layer(layer(x))
    assert len(quantised) == 1


def test_layers_of_every_shape_and_call():
    """One output, one input, one example, none, other precisions, arguments by name."""
    linear = torch.nn.functional.linear
    for rows, columns in [(1, 8), (8, 1), (1, 1), (5, 8)]:
        weight = torch.randn(rows, columns, requires_grad=True)
        for shape in [(columns,), (1, columns), (4, columns), (2, 3, columns), (0, columns)]:
            x = torch.randn(shape, requires_grad=True)
            with Int8Matmuls([weight]):
                out = linear(x, weight)
                out.sum().backward()
            assert out.shape == (*shape[:-1], rows)
            assert x.grad.shape == x.shape
    weight, bias, x = torch.randn(4, 8), torch.randn(4), torch.randn(3, 8)
    with Int8Matmuls([weight]):
        assert torch.equal(linear(x, weight=weight), x @ weight.T)
        assert torch.equal(torch.addmm(bias, mat1=x, mat2=weight.T), bias + x @ weight.T)
        half = linear(x.bfloat16(), weight.bfloat16())
    assert half.dtype == torch.bfloat16


def test_sums_over_more_products_than_int32_holds():
    rows = 140_000
    x, w = torch.ones(2, rows), torch.full((rows, 2), 0.5)
    found = product(QuantizedMatrix.by_row(x), QuantizedMatrix.by_column(w))
    torch.testing.assert_close(found, torch.full((2, 2), rows / 2))


def test_a_cpu_without_exact_products_is_refused(monkeypatch):
    check(torch.device("cpu"))
    with pytest.raises(ConfigError, match="leave it `auto`"):
        check(torch.device("cuda"))
    saturated = torch.full((64, 64), 2 * 32767, dtype=torch.int32)
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: saturated)
    with pytest.raises(ConfigError, match="needs a CPU that sums int8 products exactly"):
        check(torch.device("cpu"))


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_run_in_int8_learns_as_one_in_fp32(runs_folder, architecture, optimizer):
    settings = {"model.architecture": architecture, "optim.name": optimizer, "optim.lr": 1e-2}
    config = RunConfig().override(TINY | settings)
    losses = {}
    for precision in ("fp32", "int8"):
        trainer = Trainer(config.override({"train.precision": precision}), Run(runs_folder / "x"))
        trainer.model.train()
        for step in range(config.train.steps):
            trainer.step(step)
        losses[precision] = torch.stack(trainer.losses.unread)
        hidden = split_parameters(trainer.model)[0]
        assert all(parameter.dtype == torch.float32 for parameter in hidden)
    assert not torch.equal(losses["fp32"], losses["int8"])
    torch.testing.assert_close(losses["int8"], losses["fp32"], atol=0.02, rtol=0.02)
    assert losses["int8"][-5:].mean() < losses["int8"][0]


def test_an_interrupted_run_in_int8_resumes_to_the_same_numbers(runs_folder, monkeypatch):
    config = RunConfig().override(TINY | {"train.precision": "int8", "label": "uninterrupted"})
    expected = train(config).metrics
    interrupted, step = config.override({"label": "interrupted"}), Trainer.step

    def stop(self, number):
        if number == config.train.steps - 1:
            raise TrainingError("interrupted")
        step(self, number)

    monkeypatch.setattr(Trainer, "step", stop)
    with pytest.raises(TrainingError):
        train(interrupted)
    monkeypatch.setattr(Trainer, "step", step)
    columns = ["step", "loss", "valid_match"]
    assert train(interrupted).metrics[columns].equals(expected[columns])


@pytest.mark.parametrize("method", ["one_model", "icot_si", "distillation"])
def test_a_run_in_int8_answers_in_int8(runs_folder, method, monkeypatch):
    """In validation and tests: with one model, with weights of each stage, in coupled models."""
    if method == "distillation":
        settings = {"train.precision": "int8", "train.steps": 2, "train.eval_every": 2}
        config, model_class = experiments.icot_kd("smoke", overrides=settings), ThoughtModel
    else:
        settings = {"method": method, "train.precision": "int8"}
        settings |= {"removal.steps_per_epoch": 8} if method == "icot_si" else {}
        config, model_class = RunConfig().override(TINY | settings), GPT2LMHeadModel
    monkeypatch.setattr("icotlib.methods.base.check_built", lambda method, model: None)
    opened, seen = [], []
    for name, step in (("__enter__", opened.append), ("__exit__", opened.remove)):
        usual = getattr(Int8Matmuls, name)
        monkeypatch.setattr(
            Int8Matmuls, name, lambda self, *a, usual=usual, step=step: step(1) or usual(self, *a)
        )
    hook = register_module_forward_pre_hook(
        lambda module, args: (
            seen.append(bool(opened))
            if isinstance(module, model_class) and not module.training
            else None
        )
    )
    train(config)
    hook.remove()
    assert seen
    assert all(seen)


@pytest.mark.parametrize(
    "other",
    [{"train.gradient_checkpointing": True}, {"model.lora": {"r": 2}, "model.pretrained": "x"}],
)
def test_settings_that_int8_does_not_work_with_are_refused(other):
    with pytest.raises(ConfigError, match=r"train\.precision=int8 works neither"):
        RunConfig().override(TINY | {"train.precision": "int8"} | other)
