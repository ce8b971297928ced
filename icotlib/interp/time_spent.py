"""TODO."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from icotlib.data.layout import EncodedBatch
from icotlib.data.run_data import RunData
from icotlib.evaluation.generation import generate
from icotlib.models.flops import ATTENTION
from icotlib.models.loading import load_stage
from icotlib.models.parameters import count_parameters
from icotlib.runs import Run
from icotlib.system.devices import best_device

# --- what it costs -----------------------------------------------------------------------------


def costs(run: Run, batch_sizes: Sequence[int] = (1, 256), rounds: int = 5) -> pd.DataFrame:
    """Where a coupled system's time goes: emulator, state_mlps, and the student's own model.

    One row per part and batch size: parameters, floating-point operations per example for
    thinking and writing one answer, milliseconds per example (median over rounds).
    """
    model, layout = load_stage(run)
    model.to(best_device())
    direct, rows = RunData(run.config).test.without_chain(), []
    parts = {
        "emulator": model.emulator,
        "state_mlps": model.student.state_mlps,
        "student": model.student.language_model,
    }
    for size in batch_sizes:
        batch = direct[slice(0, size)]
        size = len(batch)
        counter = FlopCounterMode(display=False, custom_mapping=ATTENTION)
        with counter:
            generate(model, layout, batch)
        taken = [_seconds(model, layout, batch, parts) for _ in range(rounds + 1)][1:]
        flops = _flops(counter, model, parts)
        for name, part in parts.items():
            rows.append(
                {
                    "part": name,
                    "batch_size": size,
                    "parameters": count_parameters(part),
                    "flops": flops[name] / size,
                    "milliseconds": 1000 * median(row[name] for row in taken) / size,
                }
            )
    return pd.DataFrame(rows)


def _flops(
    counter: FlopCounterMode, model: PreTrainedModel, parts: dict[str, nn.Module]
) -> dict[str, int]:
    """Operations by part, from a counter that names modules by their path below the model."""
    counted = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    paths = {module: f"{type(model).__name__}.{name}" for name, module in model.named_modules()}

    def of(part: nn.Module) -> int:
        if isinstance(part, nn.ModuleList):  # its members are called, it is not
            return sum(of(member) for member in part)
        return counted.get(paths[part], 0)

    flops = {name: of(part) for name, part in parts.items()}
    flops["student"] = counter.get_total_flops() - flops["emulator"] - flops["state_mlps"]
    return flops


def _seconds(model, layout, batch: EncodedBatch, parts: dict[str, nn.Module]) -> dict[str, float]:
    """Seconds inside each part while one batch is answered; state_mlps are inside the student."""
    with _stopwatch(parts, model.device) as spent:
        generate(model, layout, batch)
    spent["student"] -= spent["state_mlps"]
    return spent


@contextmanager
def _stopwatch(parts: dict[str, nn.Module], device: torch.device) -> Iterator[dict[str, float]]:
    spent = dict.fromkeys(parts, 0.0)
    handles = []

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    for name, part in parts.items():
        for module in part if isinstance(part, nn.ModuleList) else [part]:
            begun: list[float] = []

            def start(*_, begun=begun) -> None:
                begun.append(now())

            def stop(*_, begun=begun, name=name) -> None:
                spent[name] += now() - begun.pop()

            handles.append(module.register_forward_pre_hook(start))
            handles.append(module.register_forward_hook(stop))
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()
