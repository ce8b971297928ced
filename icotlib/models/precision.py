"""The precision of a run: how it trains, and how its models answer afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from icotlib.models import int8

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def mixed_precision(precision: str) -> str:
    """The precision as accelerate names it; `auto` is bf16 on a GPU that has it."""
    if precision == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
    return {"fp32": "no", "int8": "no"}.get(precision, precision)


@contextmanager
def training_precision(precision: str, model: nn.Module) -> Iterator[None]:
    """While open, a model answers at the precision that it was trained at.

    Accelerate sees to that for the model in training alone; this does for any, loaded or part of
    another, and casts or rounds the weights once for all the passes.
    """
    device, dtype = model.device.type, DTYPES.get(mixed_precision(precision))
    with (
        int8.int8_matmuls(precision, model),
        torch.autocast(device, dtype) if dtype else nullcontext(),
    ):
        yield
