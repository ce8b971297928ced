"""Matrix products in int8, for CPUs that multiply small integers far faster than floats.

A matrix is quantised row by row, or column by column, with a scale for each:

    q = round(127 x / m),   x ~ q m / 127,   m the largest magnitude of the row or column

The rows of the first factor and the columns of the second have one scale each, so that a product
is summed exactly, in int32, and scaled afterwards. A linear layer computes its output and both
gradients in this way. Weights and optimizer stay in fp32, and so does everything but the hidden
matrices: embeddings, norms, attention, and the output head, whose gradient is below a 127th of its
largest entry for all but a few tokens and would be rounded to zero.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from icotlib.errors import ConfigError
from icotlib.models.parameters import split_parameters

#: Numbers quantised at a time, few enough to stay in a core's cache.
BLOCK = 2**18


#: Products of two numbers in int8 that int32 can sum: 2^31 / 127^2 is a little more.
DEEPEST = 2**17


class QuantizedMatrix(NamedTuple):
    """A matrix in int8, and the scales that it is multiplied with to recover the original."""

    numbers: Tensor
    scales: Tensor

    @classmethod
    def by_row(cls, x: Tensor, factors: Tensor | None = None) -> "QuantizedMatrix":
        """A matrix with a scale for each row, `[rows, 1]`.

        Args:
            x: `[rows, columns]`.
            factors: `[1, columns]`, which x is multiplied with first.
        """
        if _is_transposed(x):  # memory is read in its own order, which is faster
            x = x if factors is None else x * factors
            return cls(*(tensor.T for tensor in cls.by_column(x.T)))
        numbers, scales = torch.empty_like(x, dtype=torch.int8), []
        for rows, rounded in zip(_blocks(x), _blocks(numbers), strict=True):
            rows = rows if factors is None else rows * factors
            largest = _largest(rows, 1)
            rounded.copy_((rows * (127 / largest)).round_())
            scales.append(largest / 127)
        return cls(numbers, torch.cat(scales))

    @classmethod
    def by_column(cls, x: Tensor) -> "QuantizedMatrix":
        """A matrix with a scale for each column, `[1, columns]`."""
        if _is_transposed(x):
            return cls(*(tensor.T for tensor in cls.by_row(x.T)))
        numbers = torch.empty_like(x, dtype=torch.int8)
        largest = torch.cat([_largest(rows, 0) for rows in _blocks(x)]).amax(0, keepdim=True)
        factor = 127 / largest
        for rows, rounded in zip(_blocks(x), _blocks(numbers), strict=True):
            rounded.copy_((rows * factor).round_())
        return cls(numbers, largest / 127)


def _blocks(x: Tensor) -> tuple[Tensor, ...]:
    """A matrix in blocks of rows of about `BLOCK` numbers each."""
    return x.split(max(1, BLOCK // x.shape[1]))


def _largest(x: Tensor, dim: int) -> Tensor:
    """The largest magnitude along a dimension, made positive because it is divided by."""
    most, least = x.amax(dim, keepdim=True), x.amin(dim, keepdim=True)
    return torch.maximum(most, least.neg_()).clamp_(min=1e-30)


def _is_transposed(x: Tensor) -> bool:
    return x.stride(0) == 1 != x.stride(1)


def check(device: torch.device) -> None:
    """Raises `ConfigError` on a GPU, and on a CPU whose int8 products are not exact."""
    if device.type != "cpu":
        raise ConfigError("train.precision=int8 is for CPUs: leave it `auto` on this device")
    if not is_exact(device):
        raise ConfigError(
            "train.precision=int8 needs a CPU that sums int8 products exactly (VNNI or AMX), and "
            "this one does not: use fp32"
        )


def is_exact(device: torch.device) -> bool:
    """Whether this device sums int8 products exactly.

    A CPU without instructions for it adds neighbouring products in 16 bits, which saturate.
    """
    largest = torch.full((64, 192), 127, dtype=torch.int8)
    return device.type == "cpu" and int(torch._int_mm(largest, largest.T).amin()) == 192 * 127**2


def product(x: QuantizedMatrix, w: QuantizedMatrix) -> Tensor:
    """x w in fp32, for x `[m, k]` with a scale for each row and w `[k, n]` for each column."""
    return _summed(x.numbers, w.numbers).mul_(x.scales).mul_(w.scales)


def _summed(x: Tensor, w: Tensor) -> Tensor:
    """x w in fp32 for int8 matrices, summed in int32 by so many products that none can overflow."""
    parts = zip(x.split(DEEPEST, dim=1), w.split(DEEPEST, dim=0), strict=True)
    first, *others = (torch._int_mm(one, other).float() for one, other in parts)
    for part in others:
        first.add_(part)
    return first


def output(x: Tensor, w: QuantizedMatrix, bias: Tensor | None) -> Tensor:
    """x w + bias, for x in fp32 and w with a scale for each column."""
    result = product(QuantizedMatrix.by_row(x), w)
    return result if bias is None else result.add_(bias)


class Linear(torch.autograd.Function):
    """x w + bias in int8, and its gradients.

    With r(.) quantised by row, c(.) by column, and w ~ q s for numbers q and scales s `[1, n]`:

        output  `[m, n]`  r(x) c(w) + bias
        dL/dx   `[m, k]`  r(g s) q^T          g is dL/d output
        dL/dw   `[k, n]`  r(x^T) c(g)         r(x^T) = c(x)^T

    dL/dx sums over the columns of w, whose scales differ; multiplying g with them first avoids
    quantising w again. The input is quantised a second time, by column: with one scale per row, a
    feature much larger than all others would round the others to zero in dL/dw.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: QuantizedMatrix, bias: Tensor | None, weight: Tensor
    ) -> Tensor:
        """The output `[m, n]`.

        Args:
            x: `[m, k]`.
            w: `weight`, quantised by column.
            bias: `[n]`.
            weight: `[k, n]` in fp32, to which the gradient belongs.
        """
        columns = QuantizedMatrix.by_column(x) if ctx.needs_input_grad[3] else ()
        ctx.save_for_backward(*w, *columns)
        return output(x, w, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        w, w_scales, *columns = ctx.saved_tensors
        to_x = to_bias = to_weight = None
        if ctx.needs_input_grad[0]:
            by_row = QuantizedMatrix.by_row(gradient, w_scales)
            to_x = _summed(by_row.numbers, w.T).mul_(by_row.scales)
        if ctx.needs_input_grad[2]:
            to_bias = gradient.sum(dim=0)
        if ctx.needs_input_grad[3]:
            rows = QuantizedMatrix(*(tensor.T for tensor in columns))
            to_weight = product(rows, QuantizedMatrix.by_column(gradient))
        return to_x, None, to_bias, to_weight


class Int8Matmuls(TorchFunctionMode):
    """While open, linear layers with these weights multiply in int8, forward and backward.

    Like autocast it needs no change to the model: it intercepts the functions that
    `torch.nn.Linear` and GPT-2's `Conv1D` call. Each weight is quantised once per opening, at its
    first use, and must not change before the mode is closed.
    """

    def __init__(self, weights: Iterable[Tensor]):
        super().__init__()
        self.weights = {id(weight) for weight in weights}
        self.quantized: dict[int, QuantizedMatrix] = {}

    def __enter__(self) -> "Int8Matmuls":
        self.quantized.clear()  # fused optimizers do not increase a tensor's version number
        return super().__enter__()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is linear and len(args) > 1 and self._applies(args[0], args[1]):
            x, weight, bias = (*args, kwargs.get("bias"))[:3]
            return self._linear(x, weight, weight.T, bias)
        if func is torch.addmm and len(args) == 3 and not kwargs and self._applies(*args[1:]):
            bias, x, weight = args
            return self._linear(x, weight, weight, bias)
        return func(*args, **kwargs)

    def _applies(self, x: Tensor, weight: Tensor) -> bool:
        is_fp32 = x.dtype == weight.dtype == torch.float32 and x.numel() > 0
        return is_fp32 and id(weight) in self.weights

    def _linear(self, x: Tensor, weight: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        if id(weight) not in self.quantized:
            self.quantized[id(weight)] = QuantizedMatrix.by_column(w.detach())
        flat, quantized = x.reshape(-1, x.shape[-1]), self.quantized[id(weight)]
        if torch.is_grad_enabled():
            result = Linear.apply(flat, quantized, bias, w)
        else:
            result = output(flat, quantized, bias)
        return result.reshape(*x.shape[:-1], -1)


def int8_matmuls(precision: str, model: nn.Module) -> AbstractContextManager:
    """While open, a model's hidden matrices multiply in int8, if that is its precision.

    On a device without exact int8 products, a model trained in int8 computes in fp32.
    """
    if precision != "int8" or not is_exact(next(model.parameters()).device):
        return nullcontext()
    return Int8Matmuls(split_parameters(model)[0])
