"""The precision of a run: at which it trains, and at which its models answer afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from icotlib.models import int8

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def mixed_precision(precision: str) -> str:
    """The precision as accelerate calls it; `auto` is bf16 on a GPU that supports it.

    int8 is none of accelerate's (`icotlib.models.int8`).
    """
    if precision == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
    return {"fp32": "no", "int8": "no"}.get(precision, precision)


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
