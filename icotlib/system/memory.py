"""Memory of this process: keeping freed memory for the next step, and peak memory."""

import ctypes
import gc
import os
import platform
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

#: Parameters of glibc's `mallopt`, as malloc.h numbers them.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4


def retain_freed_memory() -> None:
    """Have this process keep the memory that it frees, for the next step; on glibc alone.

    By default large tensors are returned to the system, which clears every page before it hands it
    out again. Avoiding that saves a sixth of a step of GPT-2's shape on a CPU and costs a twentieth
    more memory.
    """
    _set(MMAP_MAX, 0)
    _set(TRIM_THRESHOLD, -1)


@contextmanager
def retaining_freed_memory() -> Iterator[None]:
    """`retain_freed_memory` while open, for a process with other work to do, such as a notebook."""
    retain_freed_memory()
    try:
        yield
    finally:  # the values that glibc adapts to where large tensors are allocated and freed
        _set(MMAP_MAX, 65536)
        _set(MMAP_THRESHOLD, 32 * 2**20)
        _set(TRIM_THRESHOLD, 64 * 2**20)
        release()


def release() -> None:
    """Return freed memory that this process has kept to the system."""
    gc.collect()
    if glibc := _glibc():
        glibc.malloc_trim(0)
    torch.cuda.empty_cache()


def _set(parameter: int, value: int) -> None:
    if glibc := _glibc():
        glibc.mallopt(parameter, value)


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc; finding that out reads Python's binary, hence the cache."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def reset_peak(device: torch.device) -> None:
    """Start measuring a new peak of memory; on a CPU this needs Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> float:
    """Peak memory in MiB since `reset_peak`: of the GPU, or on a CPU of this whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
