"""Asking for runs: find the finished ones, train the missing ones, show their progress.

Every run trains in a worker process, with the number of CPU threads that its config names, so that
two small runs use two cores side by side. The process that asked reads the run directories to draw
progress bars and plots, which works for runs that other processes train too. Whatever else needs
finished runs, such as a notebook, can be given to the same workers (`Job`).
"""

import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils import logging

from icotlib.config import RunConfig
from icotlib.data.run_data import check_sources
from icotlib.errors import RunError
from icotlib.registry import METHODS
from icotlib.running.progress import ProgressBars, is_live, progress_bars
from icotlib.runs import Run
from icotlib.system.processes import ONE_THREAD, cores, end_with_parent, environment, stop
from icotlib.training.trainer import train

#: Seconds between two readings of the run directories.
POLL = 0.5


def ensure(
    configs: RunConfig | Sequence[RunConfig],
    jobs: int | None = None,
    watch: Callable[[list[Run]], None] | None = None,
) -> list[Run]:
    """The finished runs of these configs, in order; trains those that are missing.

    In a script, call it below `if __name__ == "__main__":`, because workers import the script. An
    interrupt stops all runs; they resume when they are asked for again.

    Args:
        configs: one config or several; the same one twice is trained once.
        jobs: runs side by side; by default as many as there are cores for their threads, and one
            at a time on a GPU.
        watch: called with all runs after each evaluation of one of them, in a session that a user
            watches (`is_live`): a live plot, for example.

    Raises `DataError` or `ConfigError` before anything starts if a model or data cannot be found,
    and the error of a failed training, such as `TrainingError`, after the other runs have finished.
    """
    configs = [configs] if isinstance(configs, RunConfig) else list(configs)
    runs = [Run.of(config) for config in configs]
    missing = trainings(configs)
    if missing:
        run_jobs(missing, jobs, on_evaluation=(lambda: watch(runs)) if watch else lambda: None)
    return runs


def unfinished(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs to train for these configs, each once, a run after those that it builds on."""
    missing: dict[str, RunConfig] = {}
    for config in configs:
        if not Run.of(config).done:
            phases = unfinished(list(config.phases.values()))
            missing |= {phase.run_name: phase for phase in phases}
            missing[config.run_name] = config
    return list(missing.values())


@dataclass(frozen=True)
class Job:
    """A function that a worker calls once the runs that it needs are finished."""

    function: Callable[..., Any]
    args: tuple
    needs: tuple[RunConfig, ...] = ()
    #: The run that it trains, if it trains one.
    trains: RunConfig | None = None

    @property
    def ready(self) -> bool:
        """Whether every run that it needs is finished."""
        return all(Run.of(config).done for config in self.needs)

    def depends_on(self, run: RunConfig) -> bool:
        """Whether it needs a run, directly or through a run that builds on it."""
        return any(run.run_name in {need.run_name, *need.ancestors()} for need in self.needs)


def trainings(configs: Sequence[RunConfig]) -> list[Job]:
    """A job for each run that is missing for these configs.

    Raises `DataError` or `ConfigError` if a model or data cannot be found.
    """
    missing = unfinished(configs)
    check_sources(missing)
    return [Job(train, (config,), tuple(config.phases.values()), config) for config in missing]


def default_jobs(configs: Sequence[RunConfig]) -> int:
    """How many of these runs this machine trains side by side; `ICOT_JOBS` overrides it."""
    if os.environ.get("ICOT_JOBS"):
        return int(os.environ["ICOT_JOBS"])
    if torch.cuda.is_available():
        return 1
    threads = max((config.train.threads for config in configs), default=1)
    return max(1, cores() // threads)


def run_jobs(
    jobs: Sequence[Job],
    workers: int | None = None,
    on_evaluation: Callable[[], None] = lambda: None,
    on_end: Callable[[Job, Future], None] = lambda job, future: None,
) -> None:
    """Do all jobs in worker processes, and show the progress of the trainings among them.

    A free worker takes the first job whose runs are finished; list jobs that others depend on
    first.

    Args:
        workers: jobs side by side; by default as `ensure` has it.
        on_evaluation: called after a new evaluation of any run, in a session that a user watches.
        on_end: called when a job has ended, well or not.

    Raises the error of the first job that failed, after all jobs that do not depend on it.
    """
    configs = [job.trains for job in jobs if job.trains]
    workers = max(1, min(workers or default_jobs(configs), len(jobs)))
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    with environment(**ONE_THREAD), progress_bars(configs) as bars:
        try:
            failed = _schedule(jobs, pool, workers, bars, on_evaluation, on_end)
        except BaseException:
            stop(pool)
            raise
    pool.shutdown()
    if failed:
        job, error = failed[0]
        if isinstance(error, BrokenProcessPool):
            what = f"training {job.trains.run_name}" if job.trains else "at work"
            raise RunError(
                f"the process {what} was killed from outside, perhaps for lack of memory. Ask for "
                "the same again: runs resume from their last checkpoint."
            ) from None
        raise error


def _schedule(
    jobs: Sequence[Job],
    pool: ProcessPoolExecutor,
    workers: int,
    bars: ProgressBars,
    on_evaluation: Callable[[], None],
    on_end: Callable[[Job, Future], None],
) -> list[tuple[Job, BaseException]]:
    """Do all jobs but those that depend on a failed one; the failed jobs, each with its error."""
    waiting: list[Job] = list(jobs)
    running: dict[Future, Job] = {}
    failed: list[tuple[Job, BaseException]] = []
    evaluations = -1
    while waiting or running:
        for future in [future for future in running if future.done()]:
            job = running.pop(future)
            on_end(job, future)
            error = future.exception()
            if error is not None:
                failed.append((job, error))
                if isinstance(error, BrokenProcessPool):
                    waiting.clear()
        for job in list(waiting):
            if any(other.trains and job.depends_on(other.trains) for other, _ in failed):
                waiting.remove(job)
            elif len(running) == workers:
                break
            elif job.ready:
                waiting.remove(job)
                running[pool.submit(job.function, *job.args)] = job
        assert running or not waiting, "a job needs a run that no job trains"
        bars.update()
        if is_live() and bars.evaluations != evaluations:
            evaluations = bars.evaluations
            on_evaluation()
        if running:
            time.sleep(POLL)
    return failed


def _start_worker() -> None:
    """Workers exit with the process that asked, and print nothing between its progress bars."""
    end_with_parent()
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    METHODS.load()  # configs may hold classes of users' files, which must exist to be unpickled
