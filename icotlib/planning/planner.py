"""Plans while settings are typed: in a process of its own, so that whoever asks stays free.

The plan of a run takes a moment to calculate, and longer if steps are timed. Of configs that come
faster than they are planned, the last counts.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from typing import Any

from icotlib.config import RunConfig, from_dict, to_dict
from icotlib.errors import IcotError
from icotlib.planning.plan import memory_lines, plan
from icotlib.running.forking import start_method
from icotlib.system.failures import readable
from icotlib.system.isolated import end_with_parent, terminate


@dataclass(frozen=True)
class Planned:
    """A plan as it is shown."""

    #: The plan as text, of every run that is missing.
    lines: tuple[str, ...] = ()
    #: TFLOP/s that steps reached here, where they were timed.
    speed: float | None = None
    #: What kept it from being made.
    error: str = ""


class Planner:
    """A process that plans what it is asked for."""

    def __init__(self, tell: Callable[[Planned], None]):
        """Args: tell: called with every plan that nothing else was asked for since, in a thread."""
        self.tell = tell
        self._lock = threading.RLock()
        self._pool: ProcessPoolExecutor | None = None
        #: What the process works on, and what it is asked for after that.
        self._current: tuple[Any, ...] | None = None
        self._next: tuple[Any, ...] | None = None
        self._closed = False
        #: Whether the process was there before the question that it works on.
        self._had_process = False

    def ask(self, config: RunConfig, speed: str | None = None, timed: bool = False) -> None:
        """Have a config planned; returns at once.

        Args:
            speed: a device to calculate seconds for, as in `plan`.
            timed: time steps here for them instead. The next question ends that.
        """
        with self._lock:
            if self._closed:
                self.tell(Planned(error="another form was opened since, and plans instead"))
                return
            self._next = (to_dict(config), None if timed else speed, timed)
            if self._current is not None and self._current[2]:
                self._stop()
            if self._current is None:
                self._begin()

    def close(self) -> None:
        """End the process; there will be no plan after that."""
        with self._lock:
            self._closed = True
            self._next = None
            self._stop()

    def _begin(self) -> None:
        """Hand the next question to the process, which is started where there is none."""
        asked, self._current, self._next = self._next, self._next, None
        assert asked is not None
        self._submit(asked).add_done_callback(partial(self._ended, asked))

    def _submit(self, asked: tuple[Any, ...]) -> Future:
        self._had_process = self._pool is not None
        if self._pool is not None:
            try:
                return self._pool.submit(planned, *asked)
            except BrokenProcessPool:  # it was ended from outside since the last plan
                self._pool, self._had_process = None, False
        context = multiprocessing.get_context(start_method())
        # A copy of another process has the variables that were set when that one began.
        self._pool = ProcessPoolExecutor(
            1, mp_context=context, initializer=_started, initargs=(dict(os.environ),)
        )
        return self._pool.submit(planned, *asked)

    def _ended(self, asked: tuple[Any, ...], future: Future) -> None:
        with self._lock:
            if self._current is not asked:
                return  # given up
            self._current = None
            if isinstance(future.exception(), BrokenProcessPool):
                self._pool = None
                if self._had_process:  # it may have been ended before it was asked: once more
                    self._next = self._next or asked
            is_last = self._next is None
            if not is_last:
                self._begin()
        if is_last:
            self.tell(_result(future))

    def _stop(self) -> None:
        """End the process in the middle of its work."""
        self._current = None
        if self._pool is not None:
            terminate(self._pool)
            self._pool = None


def _started(variables: dict[str, str]) -> None:
    os.environ.update(variables)
    end_with_parent()


def planned(values: dict[str, Any], speed: str | None, timed: bool) -> Planned:
    """The plan of a config, given as `to_dict`'s output; errors that a user can cause are in it."""
    try:
        plans = plan(from_dict(values), speed, with_times=timed)
    except Exception as error:
        known = readable(error)
        if not isinstance(known, IcotError):
            raise
        return Planned(error=str(known))
    lines = [line for one in plans for line in one.lines()]
    if speed is None:
        lines += memory_lines(plans)
    seconds = sum(one.seconds for one in plans)
    reached = sum(one.cost.flops for one in plans) / seconds / 1e12 if timed and seconds else None
    return Planned(tuple(lines) or ("finished already",), reached)


def _result(future: Future) -> Planned:
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        return Planned(error="the process that plans was ended from outside; change a setting")
    return Planned(error=repr(error)) if error is not None else future.result()
