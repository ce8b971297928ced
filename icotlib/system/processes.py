"""TODO."""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import torch


def cores() -> int:
    """Cores that this process may use; `ICOT_CORES` is its share where several run at once."""
    if os.environ.get("ICOT_CORES"):
        return int(os.environ["ICOT_CORES"])
    has_affinity = hasattr(os, "sched_getaffinity")  # only Linux has
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def end_with_parent() -> None:
    """A killed parent cannot stop its workers; without this they would go on unseen."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def stop(pool: ProcessPoolExecutor) -> None:
    """End the workers of a pool at once, whatever they are at."""
    processes = list(pool._processes.values())
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(10)  # a killed process takes a moment to be gone
    pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Processes started here see these environment variables."""
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


#: Processes begin with one thread, and keep out of each other's way; a run sets its own number.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def all_cores():
    """Computing here uses every core, also in a kernel that was started with one thread.

    A decorator as well: `@all_cores()`.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(before, cores()))
    try:
        yield
    finally:
        torch.set_num_threads(before)
