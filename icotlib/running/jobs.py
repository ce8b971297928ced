"""Asking for runs: find what is finished, train what is missing, show how it goes.

Every run trains in a worker process of its own, with the number of CPU threads its config names,
so that two small runs use two cores side by side. The process that asked watches the run
directories and draws bars and plots from them; it does the same for a run that another process
happens to be training. Whatever else waits for runs, such as a notebook, can be given to the same
workers (`Task`).
"""

import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch

from icotlib.config import RunConfig
from icotlib.errors import RunError
from icotlib.running.progress import Display, _display, is_live
from icotlib.runs import Run
from icotlib.system.processes import ONE_THREAD, cores, end_with_parent, environment, stop

#: Seconds between two looks at the runs in training.
POLL = 0.5


def ensure(
    configs: RunConfig | Sequence[RunConfig],
    jobs: int | None = None,
    watch: Callable[[list[Run]], None] | None = None,
) -> list[Run]:
    """The finished runs of these configs, in order; trains those that are missing.

    Args:
        configs: one config or several; the same one twice is trained once.
        jobs: runs side by side; by default as many as there are cores for their threads, and one
            at a time on a GPU.
        watch: called with all runs whenever one of them has a new evaluation, in a session with
            somebody watching: a live plot.

    In a script, call it below `if __name__ == "__main__":`, because workers import the script.

    Raises `DataError` or `ConfigError` before anything starts if a model or data cannot be found,
    and what training raises, `TrainingError` among it; the other runs of the call are then
    finished first. An interrupt stops them all; they resume when asked for again.
    """
    configs = [configs] if isinstance(configs, RunConfig) else list(configs)
    runs = [Run.of(config) for config in configs]
    tasks = trainings(configs)
    if tasks:
        work(tasks, jobs, look=(lambda: watch(runs)) if watch else lambda: None)
    return runs


def unfinished(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """What has to be trained for these configs, each once, a run after those it builds on."""
    found: dict[str, RunConfig] = {}
    for config in configs:
        if not Run.of(config).done:
            found |= {one.run_name: one for one in unfinished(list(config.phases.values()))}
            found[config.run_name] = config
    return list(found.values())


@dataclass(frozen=True)
class Task:
    """What a worker is to do, once the runs that it needs are finished."""

    do: Callable[..., Any]
    args: tuple
    needs: tuple[RunConfig, ...] = ()
    #: The run that it trains, if that is what it does.
    trains: RunConfig | None = None

    @property
    def ready(self) -> bool:
        return all(Run.of(config).done for config in self.needs)

    def depends_on(self, other: RunConfig) -> bool:
        """Whether it needs a run, directly or through one that it needs."""
        return _is_built_on(self.needs, other)


def _is_built_on(configs: Iterable[RunConfig], other: RunConfig) -> bool:
    """Whether a run is one of these, or one that they build on."""
    return any(one == other or _is_built_on(one.phases.values(), other) for one in configs)


def trainings(configs: Sequence[RunConfig]) -> list[Task]:
    """A task for each run that is missing for these configs; raises as `ensure` before any work."""
    missing = unfinished(configs)
    if missing:
        # Imports transformers, for which finished runs need not wait.
        from icotlib.data.run_data import check

        check(missing)
    return [
        Task(_train_in_worker, (config,), tuple(config.phases.values()), config)
        for config in missing
    ]


def default_jobs(configs: Sequence[RunConfig]) -> int:
    """How many of these runs this machine trains side by side; `ICOT_JOBS` overrides it."""
    if os.environ.get("ICOT_JOBS"):
        return int(os.environ["ICOT_JOBS"])
    if torch.cuda.is_available():
        return 1
    threads = max((config.train.threads for config in configs), default=1)
    return max(1, cores() // threads)


def work(
    tasks: Sequence[Task],
    jobs: int | None = None,
    look: Callable[[], None] = lambda: None,
    ended: Callable[[Task, Future], None] = lambda task, future: None,
) -> None:
    """Do all tasks in worker processes, and show how the trainings among them go.

    Whenever a worker is free, the first that can begin does: put first what most depends on.

    Args:
        jobs: tasks side by side; by default as `ensure` has it.
        look: called whenever a run has a new evaluation, in a session with somebody watching.
        ended: called whenever a task has ended.

    Raises what the first that failed has raised, after all the others that can have ended.
    """
    configs = [task.trains for task in tasks if task.trains]
    jobs = max(1, min(jobs or default_jobs(configs), len(tasks)))
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin_worker)
    with environment(**ONE_THREAD), _display(configs) as display:
        try:
            failed = _work_through(tasks, pool, jobs, display, look, ended)
        except BaseException:
            stop(pool)
            raise
    pool.shutdown()
    if failed:
        task, error = failed[0]
        if isinstance(error, BrokenProcessPool):
            which = f"training {task.trains.run_name}" if task.trains else "at work"
            raise RunError(
                f"the process {which} was ended from outside, for lack of memory perhaps. Ask for "
                "the same again: runs go on from their last checkpoint."
            ) from None
        raise error


def _work_through(
    tasks: Sequence[Task],
    pool: ProcessPoolExecutor,
    jobs: int,
    display: "Display",
    look: Callable[[], None],
    ended: Callable[[Task, Future], None],
) -> list[tuple[Task, BaseException]]:
    """The tasks that failed, and with what."""
    waiting: list[Task] = list(tasks)
    at_work: dict[Future, Task] = {}
    failed: list[tuple[Task, BaseException]] = []
    evaluations = -1
    while waiting or at_work:
        for future in [future for future in at_work if future.done()]:
            task = at_work.pop(future)
            ended(task, future)
            if future.exception() is not None:
                failed.append((task, future.exception()))
                if isinstance(future.exception(), BrokenProcessPool):
                    waiting.clear()
        for task in list(waiting):
            if any(one.trains and task.depends_on(one.trains) for one, _ in failed):
                waiting.remove(task)
            elif len(at_work) == jobs:
                break
            elif task.ready:
                waiting.remove(task)
                at_work[pool.submit(task.do, *task.args)] = task
        assert at_work or not waiting, "a task needs a run that no task trains"
        display.update()
        if is_live() and display.evaluations != evaluations:
            evaluations = display.evaluations
            look()
        if at_work:
            time.sleep(POLL)
    return failed


def _begin_worker() -> None:
    """Workers end with the process that asked, and leave the terminal to its bars."""
    from transformers.utils import logging

    end_with_parent()
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _train_in_worker(config: RunConfig) -> None:
    from icotlib.training.trainer import train

    train(config)
