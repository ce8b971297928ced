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

import psutil
import torch

#: Parameters of glibc's `mallopt`, as malloc.h numbers them.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4

#: Bytes from which on `trim` returns freed memory.
TRIMMED = 2**30


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
    """`retain_freed_memory` while open, for a process with other work to do, such as a notebook.

    Where one such block is inside another, memory is released once, at the end of the outer one.
    """
    _open.append(True)
    retain_freed_memory()
    try:
        yield
    finally:
        _open.pop()
        if not _open:  # the values that glibc adapts to where large tensors come and go
            _set(MMAP_MAX, 65536)
            _set(MMAP_THRESHOLD, 32 * 2**20)
            _set(TRIM_THRESHOLD, 64 * 2**20)
            _return_to_system()  # no search for cycles: that takes longer than a small map


#: One entry for each block of `retaining_freed_memory` that is open.
_open: list[bool] = []


def release() -> None:
    """Return freed memory that this process has kept to the system."""
    gc.collect()
    _return_to_system()


@cache
def spare_libraries() -> None:
    """Have later searches for garbage pass over everything that is loaded by now.

    Libraries make half a million objects that stay. To search them takes a quarter of a second, and
    every run ends with two searches.
    """
    gc.collect()
    gc.freeze()


def _return_to_system() -> None:
    if glibc := _glibc():
        glibc.malloc_trim(0)
    torch.cuda.empty_cache()


def trim() -> None:
    """Return freed memory to the system if this process has more than `TRIMMED` bytes.

    Evaluations need large tensors, for which the pieces that small ones leave are of no use.
    """
    if (glibc := _glibc()) and resident() > TRIMMED:
        glibc.malloc_trim(0)


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


def available() -> int:
    """Bytes that new processes can take: what is free, or what a container's limit leaves."""
    left = [psutil.virtual_memory().available]
    left += [limit - used for limit, used in _container_limits()]
    return max(0, min(left))


def total() -> int:
    """Bytes of memory of this machine, swap included, or a container's limit."""
    machine = psutil.virtual_memory().total + psutil.swap_memory().total
    return min([machine, *(limit for limit, _ in _container_limits())])


def resident() -> int:
    """Bytes of memory that this process takes."""
    return psutil.Process().memory_info().rss


#: Where control groups say what a container may use, and what it does use, of either version.
CONTAINER_FILES = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"),
)

#: Where Linux shows the control groups.
CONTROL_GROUPS = Path("/sys/fs/cgroup")


def _container_limits() -> Iterator[tuple[int, int]]:
    """The limit of every control group that this process is in, and what it uses of it.

    What it has read from files and could drop does not count as used.
    """
    for folder in _control_groups(CONTROL_GROUPS):
        for names in CONTAINER_FILES:
            try:
                limit, used, stat = ((folder / name).read_text() for name in names)
            except OSError:
                continue
            if limit.strip() == "max":
                continue
            lines = [line.split() for line in stat.splitlines()]
            cached = sum(int(line[1]) for line in lines if line[0] == "inactive_file")
            yield int(limit), max(0, int(used) - cached)


def _control_groups(root: Path, processes: Path = Path("/proc/self/cgroup")) -> Iterator[Path]:
    """Folders of the control groups of this process, from its own up to the root."""
    try:
        lines = processes.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            own = Path(path.lstrip("/"))
            for part in [own, *own.parents]:
                yield root / controllers / part
