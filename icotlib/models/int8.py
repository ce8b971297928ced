"""Matrix products in int8, for CPUs that multiply small integers far faster than floats.

    x w  ~  (a b) (q_x q_w)      q = round(127 x / largest of its row or column), in int8

Along the dimension that is summed over the scale is the same, so that the products are summed
exactly, in int32, and scaled afterwards. All three products of a linear layer are taken so, its
output and the gradients of input and weights; weights and optimizer stay in fp32. So does
everything that is no hidden matrix: embeddings, norms, attention, and the output head, whose
gradient for all but a few tokens is far below a 127th of the largest.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from icotlib.errors import ConfigError
from icotlib.models.parameters import split_parameters

#: Numbers that are rounded at a time: so few stay in a core's cache from one step to the next.
PART = 2**18


class QuantizedMatrix(NamedTuple):
    """A matrix in int8, and the scales to multiply with to have it back."""

    numbers: Tensor
    scales: Tensor

    @classmethod
    def by_row(cls, x: Tensor, factors: Tensor | None = None) -> "QuantizedMatrix":
        """A matrix, times `factors` `[1, columns]`, with a scale for each row, `[rows, 1]`."""
        if _is_transposed(x):  # it is read along its memory
            x = x if factors is None else x * factors
            return cls(*(one.T for one in cls.by_column(x.T)))
        numbers, scales = torch.empty_like(x, dtype=torch.int8), []
        for part, rounded in zip(_parts(x), _parts(numbers), strict=True):
            part = part if factors is None else part * factors
            largest = _largest(part, 1)
            rounded.copy_((part * (127 / largest)).round_())
            scales.append(largest / 127)
        return cls(numbers, torch.cat(scales))

    @classmethod
    def by_column(cls, x: Tensor) -> "QuantizedMatrix":
        """A matrix with a scale for each column, `[1, columns]`."""
        if _is_transposed(x):
            return cls(*(one.T for one in cls.by_row(x.T)))
        numbers = torch.empty_like(x, dtype=torch.int8)
        largest = torch.cat([_largest(part, 0) for part in _parts(x)]).amax(0, keepdim=True)
        factor = 127 / largest
        for part, rounded in zip(_parts(x), _parts(numbers), strict=True):
            rounded.copy_((part * factor).round_())
        return cls(numbers, largest / 127)


def _parts(x: Tensor) -> tuple[Tensor, ...]:
    """Some rows at a time."""
    return x.split(max(1, PART // x.shape[1]))


def _largest(x: Tensor, dim: int) -> Tensor:
    """The largest magnitude along a dimension; never zero, as it is divided by."""
    most, least = x.amax(dim, keepdim=True), x.amin(dim, keepdim=True)
    return torch.maximum(most, least.neg_()).clamp_(min=1e-30)


def _is_transposed(x: Tensor) -> bool:
    return x.stride(0) == 1 != x.stride(1)


def check(device: torch.device) -> None:
    """Raises `ConfigError` on a GPU, and on a CPU whose products of int8 are not exact."""
    if device.type != "cpu":
        raise ConfigError("train.precision=int8 is for CPUs: leave it `auto` on this device")
    if not works(device):
        raise ConfigError(
            "train.precision=int8 needs a CPU that sums products of int8 exactly (VNNI or AMX); "
            "this one does not: use fp32"
        )


def works(device: torch.device) -> bool:
    """Whether this device sums products of int8 exactly.

    A CPU without instructions for it takes sums of neighbours through 16 bits, where large ones
    are cut.
    """
    largest = torch.full((64, 192), 127, dtype=torch.int8)
    return device.type == "cpu" and int(torch._int_mm(largest, largest.T).amin()) == 192 * 127**2


def product(x: QuantizedMatrix, w: QuantizedMatrix) -> Tensor:
    """`[m, k]` with a scale for each row times `[k, n]` with a scale for each column, in fp32."""
    return torch._int_mm(x.numbers, w.numbers).float().mul_(x.scales).mul_(w.scales)


def output(x: Tensor, w: QuantizedMatrix, bias: Tensor | None) -> Tensor:
    """x w + bias for x as it is and w with a scale for each column."""
    made = product(QuantizedMatrix.by_row(x), w)
    return made if bias is None else made.add_(bias)


class Linear(torch.autograd.Function):
    """x w + bias by way of int8, and its gradients.

    Each product sums along another dimension, where scales must be the same. The weight, rounded
    with scales along it, is rounded once all the same: its scales go to the gradient before that
    is rounded. The input is rounded twice: by its rows' scales a feature that is much larger than
    all others would leave nothing of theirs in the gradient of the weight.
    """

    @staticmethod
    def forward(ctx, x: Tensor, w: QuantizedMatrix, bias: Tensor | None, weight: Tensor) -> Tensor:
        """Args: `[m, k]`; `[k, n]` with a scale for each column; `[n]`; what w was before."""
        columns = QuantizedMatrix.by_column(x) if ctx.needs_input_grad[3] else ()
        ctx.save_for_backward(*w, *columns)
        return output(x, w, bias)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        w, w_scales, *columns = ctx.saved_tensors
        to_x = to_bias = to_weight = None
        if ctx.needs_input_grad[0]:
            by_row = QuantizedMatrix.by_row(gradient, w_scales)
            to_x = torch._int_mm(by_row.numbers, w.T).float().mul_(by_row.scales)
        if ctx.needs_input_grad[2]:
            to_bias = gradient.sum(dim=0)
        if ctx.needs_input_grad[3]:
            rows = QuantizedMatrix(*(one.T for one in columns))
            to_weight = product(rows, QuantizedMatrix.by_column(gradient))
        return to_x, None, to_bias, to_weight


class Int8Matmuls(TorchFunctionMode):
    """While open, linear layers with these weights multiply in int8, forward and backward.

    Like autocast it needs nothing of the model: it sees to `torch.nn.Linear` and to the
    transposed layers of GPT-2 wherever they are called. Weights are rounded once each time it is
    opened, and must not change before it is closed.
    """

    def __init__(self, weights: Iterable[Tensor]):
        super().__init__()
        self.weights = {id(weight) for weight in weights}
        self.rounded: dict[int, QuantizedMatrix] = {}

    def __enter__(self) -> "Int8Matmuls":
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
            self.rounded[id(weight)] = QuantizedMatrix.by_column(w.detach())
        flat, rounded = x.reshape(-1, x.shape[-1]), self.rounded[id(weight)]
        if torch.is_grad_enabled():
            made = Linear.apply(flat, rounded, bias, w)
        else:
            made = output(flat, rounded, bias)
        return made.reshape(*x.shape[:-1], -1)


def int8_matmuls(precision: str, model: nn.Module) -> AbstractContextManager:
    """While open, a model's hidden matrices multiply in int8, if that is its precision.

    On a device that cannot, a model trained so is left in fp32.
    """
    if precision != "int8" or not works(model.device):
        return nullcontext()
    return Int8Matmuls(split_parameters(model)[0])
