"""Where a coupled model's time goes: emulator, state MLPs, and the student's language model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from time import perf_counter

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from icotlib.data.layout import EncodedBatch, Layout
from icotlib.data.run_data import RunData
from icotlib.evaluation.generation import generate
from icotlib.methods.distillation.coupling import Coupled
from icotlib.models.flops import ATTENTION
from icotlib.models.loading import load_stage
from icotlib.models.parameters import count_parameters
from icotlib.runs import Run
from icotlib.system.devices import best_device
from icotlib.system.timing import wait


def time_by_part(run: Run, batch_sizes: Sequence[int] = (1, 256), rounds: int = 5) -> pd.DataFrame:
    """Time and operations of the parts of a coupled model while it writes answers.

    Args:
        run: a finished coupled run.
        batch_sizes: examples answered at once.
        rounds: how often each batch is timed, after one round to warm up.

    Returns:
        one row per part and batch size: part, batch_size, parameters, flops (floating-point
        operations per example) and milliseconds (per example, median over rounds).
    """
    model, layout = load_stage(run)
    model.to(best_device())
    test, rows = run.config.input_format.arrange(RunData(run.config).test), []
    parts = _parts(model)
    for size in batch_sizes:
        batch = test[slice(0, size)]
        seconds = [_seconds(model, layout, batch, parts) for _ in range(rounds + 1)][1:]
        flops = _flops(model, layout, batch, parts)
        for name, part in parts.items():
            row = {"part": name, "batch_size": len(batch), "parameters": count_parameters(part)}
            row["flops"] = flops[name] / len(batch)
            row["milliseconds"] = 1000 * median(one[name] for one in seconds) / len(batch)
            rows.append(row)
    return pd.DataFrame(rows)


def _parts(model: Coupled) -> dict[str, nn.Module]:
    """The parts that are measured. The state MLPs run inside the student's language model."""
    return {
        "emulator": model.emulator,
        "state_mlps": model.student.state_mlps,
        "student": model.student.language_model,
    }


def _flops(
    model: PreTrainedModel, layout: Layout, batch: EncodedBatch, parts: dict[str, nn.Module]
) -> dict[str, int]:
    """Floating-point operations of each part while one batch is answered."""
    counter = FlopCounterMode(display=False, custom_mapping=ATTENTION)
    with counter:
        generate(model, layout, batch)
    by_path = {path: sum(ops.values()) for path, ops in counter.get_flop_counts().items()}
    paths = {module: f"{type(model).__name__}.{path}" for path, module in model.named_modules()}
    flops = {
        name: sum(by_path.get(paths[module], 0) for module in _called(part))
        for name, part in parts.items()
    }
    flops["student"] = counter.get_total_flops() - flops["emulator"] - flops["state_mlps"]
    return flops


def _called(part: nn.Module) -> list[nn.Module]:
    """The modules of a part whose forward is called: a list's members, and not the list itself."""
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def _seconds(
    model: PreTrainedModel, layout: Layout, batch: EncodedBatch, parts: dict[str, nn.Module]
) -> dict[str, float]:
    """Seconds inside each part while one batch is answered, without those of parts inside it."""
    with _stopwatch(parts, model.device) as spent:
        generate(model, layout, batch)
    spent["student"] -= spent["state_mlps"]
    return spent


@contextmanager
def _stopwatch(parts: dict[str, nn.Module], device: torch.device) -> Iterator[dict[str, float]]:
    """While open, counts the seconds of forward passes inside each part."""
    spent, handles = dict.fromkeys(parts, 0.0), []
    for name, part in parts.items():
        for module in _called(part):
            timer = _ForwardTimer(spent, name, device)
            handles.append(module.register_forward_pre_hook(timer.start))
            handles.append(module.register_forward_hook(timer.stop))
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()


class _ForwardTimer:
    """Hooks that add the seconds of one module's forward passes to `spent[name]`."""

    def __init__(self, spent: dict[str, float], name: str, device: torch.device):
        self.spent, self.name, self.device = spent, name, device
        self.started = 0.0

    def start(self, *_: object) -> None:
        wait(self.device)
        self.started = perf_counter()

    def stop(self, *_: object) -> None:
        wait(self.device)
        self.spent[self.name] += perf_counter() - self.started
