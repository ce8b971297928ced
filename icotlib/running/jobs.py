"""Asking for runs: find the finished ones, train the missing ones, show their progress.

Every run trains in a worker process of a Dask cluster (`icotlib.running.cluster`), by default on
this machine, with the number of CPU threads that its config names, so that two small runs use two
cores side by side. The process that asked reads the run directories to draw progress bars and
plots, which works for runs that other processes train too. Whatever else needs finished runs, such
as a notebook, can be given to the same workers (`Job`).
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence

import psutil
from dask._task_spec import Task, TaskRef
from distributed import CancelledError, Future, KilledWorker
from distributed.comm import CommClosedError
from tqdm import tqdm

from icotlib.asked import as_configs
from icotlib.config import RunConfig, to_dict
from icotlib.data.run_data import check_sources
from icotlib.errors import Interrupted, RunError
from icotlib.running import worker
from icotlib.running.admission import Admission
from icotlib.running.cluster import CLUSTER, Connection, connect, default_workers
from icotlib.running.launched import train_launched
from icotlib.running.outcomes import Job, Outcome, raise_failures
from icotlib.running.progress import POLL, ProgressBars, is_live, progress_bars
from icotlib.runs import Run, unfinished
from icotlib.system import leases
from icotlib.system.launch import launched
from icotlib.system.processes import terminated_as_interrupted
from icotlib.system.wording import counted
from icotlib.training.tracking import trackers_asked_for

#: Seconds that this process's own workers have to write their checkpoints when it is interrupted.
GRACE = 60.0

#: What Dask raises where a scheduler has ended, besides telling that a future is cancelled.
LOST = (CancelledError, CommClosedError, TimeoutError)


def ensure(
    configs: RunConfig | Sequence[RunConfig],
    jobs: int | None = None,
    watch: Callable[[list[Run]], None] | None = None,
) -> list[Run]:
    """The finished runs of these configs, in order; trains those that are missing.

    In a script, call it below `if __name__ == "__main__":`, because workers import the script. An
    interrupt stops all runs, which write a checkpoint; they resume when they are asked for again.
    Under `accelerate launch`, the processes of the launch train the runs together instead.

    Args:
        configs: one config or several; the same one twice is trained once.
        jobs: runs side by side; by default as many as there are cores for their threads, and one
            on each GPU. A running cluster (`ICOT_CLUSTER`) decides that itself.
        watch: called with all runs after each evaluation of one of them, in a session that a user
            watches (`is_live`): a live plot, for example.

    Raises `DataError` or `ConfigError` before anything starts if a model or data cannot be found,
    and the error of a failed training, such as `TrainingError`, after the other runs have finished.
    """
    configs = [config.pinned() for config in as_configs(configs)]
    if launched():
        return [train_launched(config) for config in configs]
    runs = [Run.of(config) for config in configs]
    missing = trainings(configs)
    if missing:
        watching = (lambda: watch(runs)) if watch else lambda: None
        raise_failures(run_jobs(missing, jobs, on_evaluation=watching))
    return runs


def trainings(configs: Sequence[RunConfig]) -> list[Job]:
    """A job for each run that is missing for these configs.

    Raises `DataError` or `ConfigError` if a model, data or a tracker cannot be found.
    """
    missing = unfinished([config.pinned() for config in configs])
    if missing:
        trackers_asked_for()
    check_sources(missing)
    return [
        Job(
            config.run_name,
            worker.train_run,
            {"config": to_dict(config)},
            tuple(phase.run_name for phase in config.phases.values()),
            config,
        )
        for config in missing
    ]


def run_jobs(
    jobs: Sequence[Job],
    workers: int | None = None,
    on_evaluation: Callable[[], None] = lambda: None,
    on_end: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Do all jobs in worker processes, and show the progress of the trainings among them.

    A free worker takes the first job of the list that can begin. On this machine, a training begins
    once there is memory for it beside the others (`icotlib.running.admission`). A job whose worker
    was killed is given to another one, three times at most. If the scheduler of a running cluster
    ends and comes back, the jobs that are not finished are handed to it again.

    Args:
        workers: jobs side by side, without a running cluster; by default as `ensure` has it.
        on_evaluation: called after a new evaluation of any run, in a session that a user watches.
        on_end: called when a job has ended, well or not, or cannot start.

    Returns an outcome for each job; a job that needs one that failed is not done.
    """
    if not jobs:
        return []
    configs = [job.trains for job in jobs if job.trains]
    threads = max((config.train.threads for config in configs), default=1)
    workers = max(1, min(workers or default_workers(threads), len(jobs)))
    # Workers of a running cluster may be on machines whose memory is not known here.
    here = not os.environ.get(CLUSTER)
    if is_live() and here:
        tqdm.write(f"starting {counted(workers, 'workers')} ...")
    admission = Admission.of(configs, tqdm.write) if here else None
    with (
        terminated_as_interrupted(),
        connect(workers, dashboard=is_live()) as connection,
        progress_bars(configs) as bars,
    ):
        if is_live() or connection.address:
            tqdm.write(connection.describe())
        running = _Jobs(connection, jobs, admission)
        evaluations = bars.evaluations
        try:
            running.submit()
            while running.left:
                for outcome in running.ended(bars.poll):
                    on_end(outcome)
                bars.update()
                if is_live() and bars.evaluations != evaluations:
                    evaluations = bars.evaluations
                    on_evaluation()
        except KeyboardInterrupt:
            left = running.stop(bars)
            what = "runs in training were stopped at a checkpoint" if not left else "interrupted"
            others = f". Still in training: {', '.join(left)}" if left else ""
            raise Interrupted(
                f"{what}{others}. The same cell or command goes on from the last checkpoint"
            ) from None
        except BaseException:
            running.stop(bars)
            raise
    return list(running.outcomes.values())


class _Jobs:
    """Jobs that are given to a cluster."""

    def __init__(
        self, connection: Connection, jobs: Sequence[Job], admission: Admission | None = None
    ):
        self.connection, self.jobs = connection, list(jobs)
        self.admission = admission or Admission({}, 0, tqdm.write)
        self.setup = worker.Setup.here()
        self.left = {job.name: job for job in jobs}
        self.futures: dict[str, Future] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.woken = threading.Event()

    def submit(self) -> None:
        """Hand over every job that is left and may start; the earlier, the higher its priority."""
        self.futures = {}
        self._submit_more()

    def _submit_more(self) -> None:
        """Hand over the jobs that were held back and may start now.

        A job may need one that comes later in the list: the list is gone through until nothing is
        left to hand over, so that no worker takes a later job meanwhile.
        """
        known = -1
        while len(self.futures) != known:
            known = len(self.futures)
            for number, job in enumerate(self.jobs):
                if job.name in self.left and job.name not in self.futures and self._may_start(job):
                    self._submit(job, -number)

    def _may_start(self, job: Job) -> bool:
        """Whether a job can be handed over, if only to wait for others that were."""
        needs = [name for name in job.needs if name in self.left]
        if self.admission.needs.get(job.name):  # it holds memory from the moment it starts
            return not needs and self.admission.admits(job.name, self.futures)
        return all(name in self.futures for name in needs)

    def _submit(self, job: Job, priority: int) -> None:
        needs = [TaskRef(self.key(name)) for name in job.needs if name in self.left]
        # A "producer" waits at the scheduler until a worker is free, so that priorities hold.
        # Any other task is given to a worker at once, and queues there behind a long one.
        task = Task(
            self.key(job.name),
            worker.run_job,
            job.function,
            job.arguments,
            self.setup,
            *needs,
            _data_producer=True,
        )
        future = self.connection.client.get(
            {task.key: task}, [task.key], sync=False, priority=priority
        )[0]
        future.add_done_callback(lambda future: self.woken.set())
        self.futures[job.name] = future

    def key(self, name: str) -> str:
        return f"{name}@{self.setup.folder_id[:8]}"

    def ended(self, seconds: float = POLL) -> list[Outcome]:
        """The jobs that have ended; waits so long for one."""
        self.woken.wait(seconds)
        self.woken.clear()
        self.connection.look_for_workers(tqdm.write)
        states = {name: future.status for name, future in self.futures.items()}
        try:
            if any(state in ("cancelled", "lost") for state in states.values()):
                raise CancelledError
            ended = [
                self._outcome(self.left[name], self.futures[name])
                for name, state in states.items()
                if state in ("finished", "error")
            ]
        except LOST:
            if self.connection.is_lost:
                self.connection.reconnect(tqdm.write)
            self.submit()
            return []
        for outcome in ended:
            del self.left[outcome.job.name]
            # Without this reference Dask forgets the job, unless another job needs it; whoever
            # submits it again has it run again.
            del self.futures[outcome.job.name]
        self.outcomes |= {outcome.job.name: outcome for outcome in ended}
        ended += self._kept_back()
        self._submit_more()
        return ended

    def _kept_back(self) -> list[Outcome]:
        """The end of jobs that were never handed over, because one that they need has failed."""
        found: list[Outcome] = []
        for job in [job for job in self.left.values() if job.name not in self.futures]:
            kept_by = next((name for name in job.needs if self._failed(name)), None)
            if kept_by is not None:
                found.append(Outcome(job, error=self.outcomes[kept_by].error, kept_by=kept_by))
                self.outcomes[job.name] = found[-1]
                del self.left[job.name]
        return found

    def _failed(self, name: str) -> bool:
        return name in self.outcomes and self.outcomes[name].failed

    def _outcome(self, job: Job, future: Future) -> Outcome:
        if future.status == "finished":
            return Outcome(job, future.result())
        error = future.exception()
        # What needs an unfinished job cannot have failed by itself: Dask passes errors on.
        kept_by = next((name for name in job.needs if not self._finished(name)), None)
        if isinstance(error, KilledWorker):
            what = f"trained {job.trains.run_name}" if job.trains else f"did {job.name}"
            error = RunError(
                f"every process that {what} was killed from outside, perhaps for lack of memory. "
                "Ask for the same again: runs resume from their last checkpoint"
            )
        return Outcome(job, error=error, kept_by=kept_by)

    def _finished(self, name: str) -> bool:
        if name in self.left:
            return name in self.futures and self.futures[name].status == "finished"
        return not self._failed(name)

    def stop(self, bars: ProgressBars) -> list[str]:
        """Give up every job that is left; those that run write a checkpoint and end.

        Returns the names of runs that are in training in spite of that, as by other commands.
        """
        client = self.connection.client
        if client.status != "running":
            return []
        client.cancel([self.futures[name] for name in self.left if name in self.futures])
        runs = [Run.of(job.trains) for job in self.left.values() if job.trains]
        children = psutil.Process().children(recursive=True)
        own = {child.pid for child in children} | self.connection.processes
        if self.connection.address is None and any(
            leases.is_held_here(run.lease, own) for run in runs
        ):
            with contextlib.suppress(OSError):  # whoever read the output is gone
                bars.close()
                tqdm.write("stopping: runs write their checkpoints (once more to stop at once)")
            limit = time.monotonic() + GRACE
            while (
                any(leases.is_held_here(run.lease, own) for run in runs)
                and time.monotonic() < limit
            ):
                time.sleep(0.1)
        here = self.connection.address is None  # workers of a running cluster end by themselves
        return [run.name for run in runs if here and run.in_training]
