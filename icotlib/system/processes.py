"""Cores, threads, environment variables and signals of processes."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping

import torch

from icotlib.system.variables import whole_number

#: Variables of notebook kernels, which are executed beside trainings. They start with one thread
#: each; where an analysis uses more, threads that wait for each other sleep instead of spinning on
#: a core that a training needs: it takes half of the time (LOG.md, 2026-11-29).
BESIDE_OTHERS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def cores() -> int:
    """Cores that this process may use; `ICOT_CORES` is its share where several run at once."""
    if (share := whole_number("ICOT_CORES")) is not None:
        return share
    has_affinity = hasattr(os, "sched_getaffinity")  # only Linux has
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


@contextlib.contextmanager
def environment(**values: str | None) -> Iterator[None]:
    """While open, these environment variables have these values, or are not set where it is None,
    for processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    _set_variables(values)
    try:
        yield
    finally:
        _set_variables(before)


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def all_cores() -> Iterator[None]:
    """While open, torch computes on every core, also in a kernel that was started with one thread.

    A decorator as well: `@all_cores()`.
    """
    with torch_threads(max(torch.get_num_threads(), cores())):
        yield


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """While open, torch computes in so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def ending_signals() -> list[signal.Signals]:
    """The signals that end a process and leave it time: SIGTERM, and SIGHUP, which the end of a
    terminal sends, where it is not ignored (`nohup`)."""
    named = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP"))  # not all on Windows
    known = [kind for kind in named if kind is not None]
    return [kind for kind in known if signal.getsignal(kind) != signal.SIG_IGN]


@contextlib.contextmanager
def interrupts_noted() -> Iterator[threading.Event]:
    """While open, Ctrl-C, SIGTERM and SIGHUP do nothing but set the event."""
    came = threading.Event()
    kinds = (signal.SIGINT, *ending_signals())
    before = {kind: signal.signal(kind, lambda *_: came.set()) for kind in kinds}
    try:
        yield came
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


@contextlib.contextmanager
def interrupts_delayed() -> Iterator[None]:
    """While open, Ctrl-C and SIGTERM wait: what is half made could not be closed. At the end they
    interrupt, if they came.

    Signals reach the main thread alone; in any other one, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with interrupts_noted() as came:
        yield
    if came.is_set():
        raise KeyboardInterrupt


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """While open, SIGTERM and SIGHUP interrupt as Ctrl-C does, so that runs write their
    checkpoints.

    Signals reach the main thread alone; in any other one, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {kind: signal.signal(kind, interrupt) for kind in ending_signals()}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
