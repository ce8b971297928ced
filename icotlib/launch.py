"""Asking for runs: find what is finished, train what is missing, show how it goes.

Every run trains in a worker process of its own, with the number of CPU threads its config names,
so that two small runs use two cores side by side. The process that asked watches the run
directories and draws bars and plots from them; it does the same for a run that another process
happens to be training. Whatever else waits for runs, such as a notebook, can be given to the same
workers (`Task`).
"""

import contextlib
import math
import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm as notebook_tqdm
from tqdm.std import tqdm as terminal_tqdm

from icotlib.config import RunConfig
from icotlib.errors import RunError
from icotlib.runs import Run

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
            found |= {one.run_name: one for one in unfinished(list(config.parents.values()))}
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

    def hangs_on(self, other: RunConfig) -> bool:
        """Whether it needs a run, directly or through one that it needs."""
        return _stands_under(self.needs, other)


def _stands_under(configs: Iterable[RunConfig], other: RunConfig) -> bool:
    """Whether a run is one of these, or one that they build on."""
    return any(one == other or _stands_under(one.parents.values(), other) for one in configs)


def trainings(configs: Sequence[RunConfig]) -> list[Task]:
    """A task for each run that is missing for these configs; raises as `ensure` before any work."""
    missing = unfinished(configs)
    if missing:
        # Imports transformers, for which finished runs need not wait.
        from icotlib.material import check

        check(missing)
    return [
        Task(_train_in_worker, (config,), tuple(config.parents.values()), config)
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


def cores() -> int:
    """Cores that this process may use; `ICOT_CORES` is its share where several run at once."""
    if os.environ.get("ICOT_CORES"):
        return int(os.environ["ICOT_CORES"])
    has_affinity = hasattr(os, "sched_getaffinity")  # only Linux has
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


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
            if any(one.trains and task.hangs_on(one.trains) for one, _ in failed):
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


def _train_in_worker(config: RunConfig) -> None:
    from icotlib.training import train

    train(config)


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


# --- showing progress --------------------------------------------------------------------------


def is_live() -> bool:
    """Whether somebody is watching: a notebook in JupyterLab or an editor, or a terminal.

    `ICOT_LIVE=0` or `1` overrides the guess. A notebook executed by papermill is not live: its
    saved copy gets one line per evaluation instead of every frame of a bar.
    """
    if os.environ.get("ICOT_LIVE"):
        return os.environ["ICOT_LIVE"] != "0"
    if in_notebook():
        return "JPY_SESSION_NAME" in os.environ or "VSCODE_PID" in os.environ
    return sys.stderr.isatty()


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel."""
    return "ipykernel" in sys.modules


class Display:
    """Progress of runs in training: bars with time left, or one line per evaluation."""

    def __init__(self, configs: Sequence[RunConfig]):
        self.runs = {Run.of(config).name: Run.of(config) for config in configs}
        self.steps = {config.run_name: config.train.steps for config in configs}
        self.shown: dict[str, int] = {name: len(run.metrics) for name, run in self.runs.items()}
        self.bars: dict[str, terminal_tqdm] = {}
        self.live = is_live()

    @property
    def evaluations(self) -> int:
        """Evaluations of all runs that have been shown."""
        return sum(self.shown.values())

    def update(self) -> None:
        """Show what is new in the run directories."""
        for name, run in list(self.runs.items()):
            done, state = run.done, run.progress  # done is read first: its metrics are then whole
            if state and self.live:
                self._bar(name, state)
            rows = run.metrics
            for _, row in rows.iloc[self.shown[name] :].iterrows():
                if not self.live:
                    print(line_of(name, row, self.steps[name]), flush=True)
            self.shown[name] = len(rows)
            if not done:
                continue
            del self.runs[name]
            if name in self.bars:
                bar = self.bars.pop(name)
                bar.update(bar.total - bar.n)
                bar.set_postfix_str("finished")
                bar.close()

    def _bar(self, name: str, state: dict) -> None:
        kind = notebook_tqdm if in_notebook() else terminal_tqdm
        if name not in self.bars:
            short = name.rpartition("-")[0]  # without the digest
            self.bars[name] = kind(total=state["steps"], desc=short, initial=state["step"])
        bar = self.bars[name]
        bar.update(state["step"] - bar.n)
        if "testing" in state:
            bar.set_postfix_str(f"testing, {state['testing']} stages done")
        else:
            removed = f"{state['removed']}/{state['chain']}"
            bar.set_postfix_str(f"loss {state['loss']:.3f}, removed {removed}")

    def close(self) -> None:
        for bar in self.bars.values():
            bar.close()


@contextlib.contextmanager
def _display(configs: Sequence[RunConfig]):
    display = Display(configs)
    try:
        yield display
    finally:
        display.close()


def line_of(name: str, row, steps: int) -> str:
    """One evaluation as one line of text, with the time left."""
    left = row.seconds / row.step * (steps - row.step)
    if math.isnan(row.valid_accuracy):  # an emulator answers nothing yet
        quality = f"explained variance {row.explained:.1%}"
    else:
        quality = f"removed {row.removed:.0f}  valid {row.valid_accuracy:.1%}"
    return (
        f"{name}  step {row.step:.0f}/{steps}  loss {row.loss:.3f}  {quality}  "
        f"about {left / 60:.1f} min left"
    )
