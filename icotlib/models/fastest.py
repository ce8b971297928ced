"""The fastest precision of a model on this machine, measured once (`train.precision=fastest`).

A feed-forward block of the model's width takes a few training steps at each precision in turn.
What is measured is kept on disk, so that the same machine always chooses the same, and a run that
is asked for again has the same name.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from icotlib import paths
from icotlib.config import RunConfig
from icotlib.models import int8
from icotlib.models.architectures import load_config
from icotlib.models.precision import mixed_precision, training_precision
from icotlib.system.devices import best_device, device_name
from icotlib.system.timing import compute_seconds, interleave, time_steps

#: Operations of a measured step at most, so that all of it takes a fraction of a second.
MOST_OPERATIONS = 1e9

#: Tokens of an example, roughly: only the order of magnitude of the rows matters.
TOKENS = 16

#: What another precision must save to be chosen in place of fp32.
MARGIN = 0.05


def fastest_precision(config: RunConfig) -> str:
    """`fp32`, `bf16` or `int8`: what a training step of this run computes fastest in, here.

    Args:
        config: its `train.precision` is not read.
    """
    seconds = measured_seconds(config)
    best = min(seconds, key=lambda precision: seconds[precision])
    return best if seconds[best] < (1 - MARGIN) * seconds["fp32"] else "fp32"


def measured_seconds(config: RunConfig) -> dict[str, float]:
    """Seconds of a measured step at each precision that the run can have, measured at most once."""
    width = _width(config)
    rows = config.train.batch_size * TOKENS // config.train.length_groups
    rows = min(rows, int(MOST_OPERATIONS / (48 * width**2)), 4096)
    rows = max(64, 2 ** (rows.bit_length() - 1))  # few sizes, each measured once
    seconds = _seconds(width, rows, config.train.threads)
    if config.train.gradient_checkpointing or config.model.lora:  # which int8 does not work with
        seconds = {precision: x for precision, x in seconds.items() if precision != "int8"}
    return seconds


def _width(config: RunConfig) -> int:
    """The width of the hidden states."""
    source = config.model.pretrained
    if source is None:
        return config.model.width
    text: Any = load_config(source).get_text_config()
    return text.hidden_size


@functools.cache
def _seconds(width: int, rows: int, threads: int) -> dict[str, float]:
    """Seconds at each precision, from this machine's file of earlier ones, or measured now."""
    device = best_device()
    file = paths.data_cache() / "precision.json"
    key = f"{device_name(device)}, torch {torch.__version__}, {threads} threads, {rows} x {width}"
    known = _known(file)
    if not isinstance(known.get(key), dict) or "fp32" not in known[key]:
        known[key] = _measure(width, rows, threads, device)
        _keep(known, file)
    return known[key]


def _known(file: Path) -> dict[str, Any]:
    """What was measured before. An absent or damaged file holds nothing: measuring is cheap."""
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _keep(known: dict[str, Any], file: Path) -> None:
    """Store what was measured, if there is a place for it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with paths.whole_file(file, durable=False) as part:
            part.write_text(json.dumps(known, indent=1) + "\n")
    except OSError:
        return


def _measure(width: int, rows: int, threads: int, device: torch.device) -> dict[str, float]:
    """Median seconds of a training step of a feed-forward block at each precision."""
    before, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(threads)
    try:
        block = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        block.to(device)
        x = torch.randn(rows, width, device=device, requires_grad=True)
        precisions = ["fp32", *(["bf16"] if _has_bf16(device) else [])]
        precisions += ["int8"] if int8.is_exact(device) else []
        steps = {precision: _step_of(block, x, precision) for precision in precisions}
        clock = functools.partial(compute_seconds, device)
        timed: dict[str, Callable[[], tuple[float, float]]] = {
            name: functools.partial(time_steps, step, 1, device, clock)
            for name, step in steps.items()
        }
        return interleave(timed, rounds=7)[0]
    finally:
        torch.set_num_threads(before)
        torch.set_rng_state(state)


def _has_bf16(device: torch.device) -> bool:
    return device.type == "cpu" or mixed_precision("auto") == "bf16"


def _step_of(block: nn.Module, x: torch.Tensor, precision: str) -> Callable[[int], None]:
    """Forward and backward pass of a block at a precision."""

    def step(_: int) -> None:
        with training_precision(precision, block):
            block(x).float().square().mean().backward()

    return step
