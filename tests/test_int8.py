"""Products in int8: what is exact, how far the rest is off, and that models learn with them."""

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from icotlib.config import RunConfig
from icotlib.errors import ConfigError, TrainingError
from icotlib.int8 import Int8Products, Rounded, product
from icotlib.optim import split_parameters
from icotlib.runs import Run
from icotlib.training import Trainer, train
from tests.conftest import TINY


def test_numbers_that_fit_are_multiplied_exactly():
    """Each row of x and column of w has its own scale: 127 of them are its largest number."""
    x = torch.tensor([[1.27, -0.5], [0.0, 254.0]])
    w = torch.tensor([[127.0, 0.0], [3.0, -12.7]])
    rounded = Rounded.of(x, 1), Rounded.of(w, 0)
    assert rounded[0].numbers.tolist() == [[127, -50], [0, 127]]
    assert rounded[1].numbers.tolist() == [[127, 0], [3, -127]]
    torch.testing.assert_close(product(*rounded), x @ w)


def test_rows_of_nothing_stay_nothing():
    zero = torch.zeros(3, 4)
    assert torch.equal(product(Rounded.of(zero, 1), Rounded.of(zero.T, 0)), torch.zeros(3, 3))


@pytest.mark.parametrize("part", [1, 100, 2**17])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dim", [0, 1])
def test_a_matrix_is_rounded_alike_whatever_its_memory_and_the_parts(
    dim, transposed, part, monkeypatch
):
    torch.manual_seed(0)
    x = torch.randn(37, 23)
    monkeypatch.setattr("icotlib.int8.PART", part)
    made = Rounded.of(x.T.contiguous().T if transposed else x, dim)
    expected = 127 * x / x.abs().amax(dim, keepdim=True)
    assert torch.equal(made.numbers, expected.round().to(torch.int8))
    torch.testing.assert_close(made.scales, x.abs().amax(dim, keepdim=True) / 127)


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
    with Int8Products([layer.weight]):
        ours = results()
    for a, b in zip(exact, ours, strict=True):
        assert a.shape == b.shape
        assert (a - b).norm() < 0.01 * a.norm()
    assert not torch.equal(exact[0], ours[0])  # it was not simply left alone


def test_other_weights_are_left_alone():
    layer, other = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    x = torch.randn(3, 4)
    with Int8Products([layer.weight]):
        assert torch.equal(other(x), x @ other.weight.T + other.bias)


def test_a_changed_weight_is_rounded_again():
    layer = torch.nn.Linear(8, 8, bias=False)
    x = torch.randn(3, 8)
    with Int8Products([layer.weight]):
        layer(x)
        with torch.no_grad():
            layer.weight.mul_(2).add_(1)
        torch.testing.assert_close(layer(x), x @ layer.weight.T, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_run_in_int8_learns_as_one_in_fp32(runs_folder, architecture):
    config = RunConfig().override(TINY | {"model.architecture": architecture})
    losses = {}
    for precision in ("fp32", "int8"):
        trainer = Trainer(config.override({"train.precision": precision}), Run(runs_folder / "x"))
        trainer.model.train()
        for step in range(config.train.steps):
            trainer.step(step)
        losses[precision] = torch.stack(trainer.losses)
        hidden = split_parameters(trainer.model)[0]
        assert all(parameter.dtype == torch.float32 for parameter in hidden)
    assert not torch.equal(losses["fp32"], losses["int8"])
    torch.testing.assert_close(losses["int8"], losses["fp32"], atol=0.02, rtol=0.02)
    assert losses["int8"][-5:].mean() < losses["int8"][0]


def test_a_run_in_int8_that_is_cut_off_goes_on_to_the_same_numbers(runs_folder, monkeypatch):
    config = RunConfig().override(TINY | {"train.precision": "int8", "label": "whole"})
    whole = train(config).metrics
    cut, step = config.override({"label": "cut"}), Trainer.step

    def stop(self, number):
        if number == config.train.steps - 1:
            raise TrainingError("cut off")
        step(self, number)

    monkeypatch.setattr(Trainer, "step", stop)
    with pytest.raises(TrainingError):
        train(cut)
    monkeypatch.setattr(Trainer, "step", step)
    columns = ["step", "loss", "valid_accuracy"]
    assert train(cut).metrics[columns].equals(whole[columns])


@pytest.mark.parametrize(
    "other",
    [{"train.gradient_checkpointing": True}, {"model.lora": {"r": 2}, "model.pretrained": "x"}],
)
def test_what_int8_does_not_go_with_is_refused(other):
    with pytest.raises(ConfigError, match=r"train\.precision=int8 goes neither"):
        RunConfig().override(TINY | {"train.precision": "int8"} | other)
