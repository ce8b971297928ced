"""Clocks: seconds of computing, and candidates timed in turn."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from icotlib.system import memory


def interleave(
    candidates: dict[Any, Callable[[], tuple[float, float]]], rounds: int, warm_up: int = 1
) -> tuple[dict[Any, float], dict[Any, float]]:
    """Median seconds of one step, and peak memory in MiB, of each candidate.

    The candidates are timed in turn, round after round, so that a machine that slows down meanwhile
    slows all of them alike.

    Args:
        candidates: by name, a function that does some steps and returns the seconds of one and
            the peak memory in MiB (`time_steps`).
        warm_up: rounds beforehand, whose seconds do not count.
    """
    seconds: dict[Any, list[float]] = {name: [] for name in candidates}
    peaks = dict.fromkeys(candidates, 0.0)
    for number in range(warm_up + rounds):
        for name, measure in candidates.items():
            step_seconds, peak = measure()
            if number >= warm_up:
                seconds[name].append(step_seconds)
            peaks[name] = max(peaks[name], peak)
    return {name: median(times) for name, times in seconds.items()}, peaks


def time_steps(
    work: Callable[[int], Any],
    steps: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Do some steps: the seconds of one, and the peak memory of this process in MiB.

    Args:
        work: called with the number of each step, from 0.
    """
    memory.reset_peak(device)
    start = clock()
    for step in range(steps):
        work(step)
    wait(device)
    return (clock() - start) / steps, memory.peak(device)


def compute_seconds(device: torch.device) -> float:
    """Seconds that this process has computed: CPU time per thread, or wall time on a GPU.

    Other programs that share the cores lengthen wall time but not CPU time, so that runs stay
    comparable.
    """
    if device.type == "cpu":
        return time.process_time() / torch.get_num_threads()
    return time.perf_counter()


def wait(device: torch.device) -> None:
    """Wait until the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
