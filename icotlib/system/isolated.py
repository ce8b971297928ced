"""TODO."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from icotlib.errors import RunError
from icotlib.system import memory
from icotlib.system.devices import best_device
from icotlib.system.processes import end_with_parent, stop
from icotlib.system.timing import turn


class IsolatedProcess:
    """Contestants in a process of their own: what memory it keeps, and its peak, are theirs.

    In a script, use it below `if __name__ == "__main__":`, because the process imports the script.
    Raises what is raised in there, and `RunError` if the process is ended from outside.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent)
        self.pool.submit(memory.release)  # to start up while the next one does

    def enter(self, make: Callable[..., dict[str, Callable]], *args: Any) -> None:
        """In there, make candidates and forget those before: what each does, by its name."""
        self._in_there(_enter, make, args)

    def ask(self, name: str, *args: Any) -> Any:
        """What one of them gives for these arguments."""
        return self._in_there(_ask, name, args)

    def turn(self, name: str, steps: int) -> tuple[float, float]:
        """`turn` of one of them, timed in there."""
        return self._in_there(_turn, name, steps)

    def _in_there(self, function: Callable, *args: Any) -> Any:
        try:
            return self.pool.submit(function, *args).result()
        except BrokenProcessPool:
            raise RunError(
                "a process of the benchmark was ended from outside, for lack of memory perhaps"
            ) from None

    def __enter__(self) -> "IsolatedProcess":
        return self

    def __exit__(self, *raised: Any) -> None:
        stop(self.pool)


#: The candidates of this process.
_entered: dict[str, Callable] = {}


def _enter(make: Callable[..., dict[str, Callable]], args: tuple) -> None:
    _entered.clear()
    memory.release()
    _entered.update(make(*args))


def _ask(name: str, args: tuple) -> Any:
    return _entered[name](*args)


def _turn(name: str, steps: int) -> tuple[float, float]:
    return turn(_entered[name], steps, best_device())
