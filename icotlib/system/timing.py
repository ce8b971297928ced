"""TODO."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from icotlib.system import memory

# --- taking turns ------------------------------------------------------------------------------


def interleave(
    turns: dict[Any, Callable[[], tuple[float, float]]], rounds: int, warm_up: int = 1
) -> tuple[dict[Any, float], dict[Any, float]]:
    """Median seconds of one step, and peak memory in MiB, of candidates taking turns.

    Args:
        turns: what a contestant's turn is, seconds and MiB, by its name; see `turn`.
        warm_up: rounds beforehand, whose seconds do not count.
    """
    seconds: dict[Any, list[float]] = {name: [] for name in turns}
    peaks = dict.fromkeys(turns, 0.0)
    for number in range(warm_up + rounds):
        for name, take in turns.items():
            each, used = take()
            if number >= warm_up:
                seconds[name].append(each)
            peaks[name] = max(peaks[name], used)
    return {name: median(found) for name, found in seconds.items()}, peaks


def turn(
    work: Callable[[int], Any],
    steps: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Do some steps: the seconds of one, and the peak memory of this process in MiB."""
    memory.reset_peak(device)
    start = clock()
    for step in range(steps):
        work(step)
    wait(device)
    return (clock() - start) / steps, memory.peak(device)


def compute_seconds(device: torch.device) -> float:
    """Seconds that this process has computed: CPU time of each thread, wall time on a GPU.

    Runs and notebooks share the cores of a laptop with each other and with their user; CPU time
    counts what one has used, so that they compare whatever else went on.
    """
    if device.type == "cpu":
        return time.process_time() / torch.get_num_threads()
    return time.perf_counter()


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
