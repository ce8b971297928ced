"""Matrix products in int8, for CPUs that multiply small integers far faster than floats.

    x w  ~  (a b) (q_x q_w)      q = round(127 x / largest of its row or column), in int8

Along the dimension that is summed over the scale is the same, so that the products are summed
exactly, in int32, and scaled afterwards. All three products of a linear layer are taken so, its
output and the gradients of input and weights; weights and optimizer stay in fp32. So does
everything that is no hidden matrix: embeddings, norms, attention, and the output head, whose
gradient for all but a few tokens is far below a 127th of the largest.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from icotlib.errors import ConfigError

#: Numbers that are rounded at a time: so few stay in a core's cache from one step to the next.
PART = 2**17


class Rounded(NamedTuple):
    """A matrix in int8, and the scales to multiply with to have it back."""

    numbers: Tensor
    scales: Tensor

    @classmethod
    def of(cls, x: Tensor, dim: int) -> "Rounded":
        """A matrix rounded, with one scale along `dim`: `[rows, 1]` or `[1, columns]`."""
        if x.stride(0) == 1 != x.stride(1):  # a transposed matrix is read along its memory
            made = cls.of(x.T, 1 - dim)
            return cls(made.numbers.T, made.scales.T)
        parts = x.split(max(1, PART // x.shape[1]))
        largest = torch.cat([part.abs().amax(dim, keepdim=True) for part in parts])
        if dim == 0:
            largest = largest.amax(0, keepdim=True)
        largest.clamp_(min=1e-30)
        numbers, size = torch.empty_like(x, dtype=torch.int8), len(parts[0])
        factors = (127 / largest).expand_as(x).split(size)
        for part, rows, factor in zip(parts, numbers.split(size), factors, strict=True):
            rows.copy_((part * factor).round_())
        return cls(numbers, largest / 127)


def check(device: torch.device) -> None:
    """Raises `ConfigError` on a GPU, and on a CPU whose products of int8 are not exact.

    Without instructions for it sums of neighbours go through 16 bits, where large ones are cut.
    """
    if device.type != "cpu":
        raise ConfigError("train.precision=int8 is for CPUs: leave it `auto` on this device")
    largest = torch.full((64, 192), 127, dtype=torch.int8)
    if int(torch._int_mm(largest, largest.T).amin()) != 192 * 127**2:
        raise ConfigError(
            "train.precision=int8 needs a CPU that sums products of int8 exactly (VNNI or AMX); "
            "this one does not: use fp32"
        )


def product(x: Rounded, w: Rounded) -> Tensor:
    """`[m, k]` with a scale for each row times `[k, n]` with a scale for each column, in fp32."""
    return torch._int_mm(x.numbers, w.numbers).float().mul_(x.scales).mul_(w.scales)


class Linear(torch.autograd.Function):
    """x w + bias by way of int8, and its gradients."""

    @staticmethod
    def forward(ctx, x: Tensor, w: Tensor, bias: Tensor | None, rounded: Rounded) -> Tensor:
        """Args: `[m, k]`, `[k, n]`, `[n]`, and w with a scale for each column."""
        ctx.save_for_backward(x, *rounded)
        made = product(Rounded.of(x, 1), rounded)
        return made if bias is None else made.add_(bias)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, numbers, scales = ctx.saved_tensors
        to_x = to_w = to_bias = None
        if ctx.needs_input_grad[0]:
            # w has a scale for each column, over which this product sums: the gradient takes it.
            rounded = Rounded.of(gradient * scales, 1)
            to_x = torch._int_mm(rounded.numbers, numbers.T).float().mul_(rounded.scales)
        if ctx.needs_input_grad[1]:
            to_w = product(Rounded.of(x.T, 1), Rounded.of(gradient, 0))
        if ctx.needs_input_grad[2]:
            to_bias = gradient.sum(dim=0)
        return to_x, to_w, to_bias, None


class Int8Products(TorchFunctionMode):
    """While open, linear layers with these weights multiply in int8, forward and backward.

    Like autocast it needs nothing of the model: it sees to `torch.nn.Linear` and to the
    transposed layers of GPT-2 wherever they are called. Weights are rounded once each time it is
    opened, and must not change before it is closed.
    """

    def __init__(self, weights: Iterable[Tensor]):
        super().__init__()
        self.weights = {id(weight) for weight in weights}
        self.rounded: dict[int, Rounded] = {}

    def __enter__(self) -> "Int8Products":
        self.rounded.clear()  # versions would not tell: fused optimizers do not count them up
        return super().__enter__()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is linear and len(args) > 1 and self._ours(args[0], args[1]):
            x, weight, bias = (*args, kwargs.get("bias"))[:3]
            return self._linear(x, weight, weight.T, bias)
        if func is torch.addmm and len(args) == 3 and not kwargs and self._ours(*args[1:]):
            bias, x, weight = args
            return self._linear(x, weight, weight, bias)
        return func(*args, **kwargs)

    def _ours(self, x: Tensor, weight: Tensor) -> bool:
        whole = x.dtype == weight.dtype == torch.float32 and x.numel() > 0
        return whole and id(weight) in self.weights

    def _linear(self, x: Tensor, weight: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        if id(weight) not in self.rounded:
            self.rounded[id(weight)] = Rounded.of(w.detach(), 0)
        made = Linear.apply(x.reshape(-1, x.shape[-1]), w, bias, self.rounded[id(weight)])
        return made.reshape(*x.shape[:-1], -1)
