"""The precision of a run: at which it trains, and at which its models answer afterwards."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from icotlib.models import int8
from icotlib.models.short_attention import short_attention

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def mixed_precision(precision: str) -> str:
    """The precision as accelerate calls it; `auto` is bf16 on a GPU that supports it.

    int8 is not a precision of accelerate: `icotlib.models.int8` computes it.
    """
    if precision == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
    return {"fp32": "no", "int8": "no"}.get(precision, precision)


def precision_here(precision: str) -> str:
    """The precision of a config on this machine, by its name there."""
    if precision != "auto":
        return precision
    return "fp32" if mixed_precision(precision) == "no" else mixed_precision(precision)


def step_mode(precision: str, model: nn.Module, recomputed: bool = False) -> AbstractContextManager:
    """What must be open in a training step so that a model multiplies and attends as suits its
    precision on this device, autocast aside, which is accelerate's part. It can be opened again.

    Args:
        recomputed: whether layers are computed again in the backward pass, which torch keeps from
            attention of our own: the second time, another one would attend.
    """
    if precision == "int8":
        return int8.int8_matmuls(precision, model)
    if recomputed:
        return nullcontext()
    return short_attention(DTYPES.get(mixed_precision(precision)), model)


@contextmanager
def training_precision(precision: str, model: nn.Module) -> Iterator[None]:
    """While open, a model computes at the precision that it was trained at.

    Accelerate does this only for the model in training; here it is any model, loaded or a part of
    another one. Weights are cast or quantised once for all forward passes meanwhile.
    """
    device = next(model.parameters()).device.type
    dtype = DTYPES.get(mixed_precision(precision))
    with (
        int8.int8_matmuls(precision, model),
        torch.autocast(device, dtype) if dtype else nullcontext(),
    ):
        yield
