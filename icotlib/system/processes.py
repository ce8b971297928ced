"""Cores, threads and environment variables of processes, and ending worker processes."""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import torch

#: Worker processes start with one thread each, so that they do not compete for cores; a run sets
#: its own number of threads.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def cores() -> int:
    """Cores that this process may use; `ICOT_CORES` is its share where several run at once."""
    if os.environ.get("ICOT_CORES"):
        return int(os.environ["ICOT_CORES"])
    has_affinity = hasattr(os, "sched_getaffinity")  # only Linux has
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def end_with_parent() -> None:
    """Have this worker process exit when its parent dies, even if the parent was killed."""

    parent = multiprocessing.parent_process()
    assert parent is not None, "only a worker process has a parent"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def stop(pool: ProcessPoolExecutor) -> None:
    """Terminate the workers of a pool at once, in the middle of their work."""
    processes = list(pool._processes.values())
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(10)  # a killed process takes a moment to be gone
    pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """While open, these environment variables are set, for processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def all_cores() -> Iterator[None]:
    """While open, torch computes on every core, also in a kernel that was started with one thread.

    A decorator as well: `@all_cores()`.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(before, cores()))
    try:
        yield
    finally:
        torch.set_num_threads(before)
