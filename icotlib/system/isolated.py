"""Functions in a process of their own, so that the memory measured there is theirs alone."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from icotlib.errors import RunError
from icotlib.system import memory
from icotlib.system.devices import best_device
from icotlib.system.guard import check_guard
from icotlib.system.timing import time_steps


class IsolatedProcess:
    """A worker process that holds some candidates, functions by name, and calls them on request.

    In a script, use it below `if __name__ == "__main__":` (`check_guard`), because the process
    imports the script. Raises what the called function raises, and `RunError` if the process dies.
    """

    def __init__(self) -> None:
        check_guard()
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent)
        self.pool.submit(memory.release)  # several of them start up at the same time

    def enter(self, make: Callable[..., dict[str, Callable]], *args: Any) -> None:
        """Call `make` in the process; the functions it returns replace all earlier candidates."""
        self._call(_enter, make, args)

    def ask(self, name: str, *args: Any) -> Any:
        """What a candidate returns for these arguments."""
        return self._call(_ask, name, args)

    def time_steps(self, name: str, steps: int) -> tuple[float, float]:
        """`timing.time_steps` of a candidate, measured in the process."""
        return self._call(_time_steps, name, steps)

    def _call(self, function: Callable, *args: Any) -> Any:
        try:
            return self.pool.submit(function, *args).result()
        except BrokenProcessPool:
            raise RunError(
                "a process of the benchmark was killed from outside, perhaps for lack of memory"
            ) from None

    def __enter__(self) -> "IsolatedProcess":
        return self

    def __exit__(self, *raised: Any) -> None:
        terminate(self.pool)


def terminate(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool in the middle of their work."""
    processes = list((pool._processes or {}).values())
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(10)  # a killed process takes a moment to be gone
    pool.shutdown(wait=False, cancel_futures=True)


def end_with_parent() -> None:
    """Have this process exit when its parent dies, even if the parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a worker process has a parent"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


#: The candidates of this process, by name.
_candidates: dict[str, Callable] = {}


def _enter(make: Callable[..., dict[str, Callable]], args: tuple) -> None:
    _candidates.clear()
    memory.release()
    _candidates.update(make(*args))


def _ask(name: str, args: tuple) -> Any:
    return _candidates[name](*args)


def _time_steps(name: str, steps: int) -> tuple[float, float]:
    return time_steps(_candidates[name], steps, best_device())
