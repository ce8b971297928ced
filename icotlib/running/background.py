"""Training in a process of its own, which goes on when whoever asked for it has ended.

A notebook's kernel stays free meanwhile, and closing the page or restarting the kernel loses
nothing: another `Training` of the same runs, in any process of this machine, finds the one under
way. The runs train in the workers that `icotlib.running.jobs.ensure` uses.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from icotlib import paths
from icotlib.asked import as_configs
from icotlib.config import RunConfig, families, from_dict, to_dict
from icotlib.errors import IcotError, RunError, StoppedError
from icotlib.running import jobs
from icotlib.runs import Run
from icotlib.system import leases
from icotlib.system.failures import readable
from icotlib.system.seals import write_json

#: Seconds between two looks at a process that is to end.
LOOK = 0.1


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    name: str
    #: not started, waiting, loading, training, testing, pausing, paused, failed or finished.
    state: str
    step: int
    steps: int
    #: Training loss per token, the last reported; None before the first report.
    loss: float | None = None
    #: The match of validation examples at the last evaluation, if there has been one.
    valid_match: float | None = None
    #: Chain tokens (or steps) removed, of how many.
    removed: int | None = None
    chain: int | None = None
    #: Seconds of training left, where they can be told.
    left: float | None = None


class Training:
    """Some runs and the runs that they build on: start, pause, resume or stop them.

    Every object of the same runs sees and steers the same training, whichever process started it.
    """

    def __init__(self, configs: RunConfig | Sequence[RunConfig], workers: int | None = None):
        """Args: workers: runs side by side, as in `ensure`."""
        self.asked = [config.pinned() for config in as_configs(configs)]
        self.workers = workers
        #: Every run, those that others build on before them.
        self.configs = families(self.asked)
        self.runs = {name: Run.of(config) for name, config in self.configs.items()}
        #: Where each run was, and when, as this object first saw it in training.
        self._seen: dict[str, tuple[float, int]] = {}

    # --- what to do ---

    def start(self) -> None:
        """Train what is not finished, from the last checkpoints; returns at once.

        Runs that a process of this machine has in hand already stay with it. Raises `DataError` or
        `ConfigError` if a model or data cannot be found.
        """
        in_hand = self._in_hand()
        missing = [one for one in self.asked if one.run_name not in in_hand]
        if all(Run.of(config).done for config in missing):
            return
        jobs.trainings(missing)  # raises before anything starts
        for old in self._orders():
            if _is_over(old):
                _delete(old)
        _start(missing, self.workers)
        self._seen = {}

    def pause(self) -> None:
        """Have every run write a checkpoint and end; returns at once (`wait` waits for it).

        A process that trains these runs beside others pauses those too.
        """
        in_hand = self._in_hand()
        for order, pid in self._processes():
            order.with_suffix(".pausing").touch()
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGTERM)
        for name, run in self.runs.items():  # those of other commands and machines
            if name not in in_hand and run.in_training:
                run.request_stop()

    def stop(self) -> None:
        """End training at once. What came after the last checkpoints is lost.

        Runs of other commands and machines are paused.
        """
        for order, pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # its workers are in the process group that it leads
            _reap(pid)
            _delete(order)
        self.pause()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until training has ended or is paused.

        Raises `RunError` if it goes on after so many seconds, and where a run has failed.
        """
        limit = None if seconds is None else time.monotonic() + seconds
        while self.active:
            if limit is not None and time.monotonic() > limit:
                raise RunError(f"training goes on after {seconds:.0f} s")
            time.sleep(LOOK)
        if self.error:
            raise RunError(self.error)

    # --- how it stands ---

    @property
    def finished(self) -> bool:
        return all(run.done for run in self.runs.values())

    @property
    def active(self) -> bool:
        """Whether a process trains these runs, or is about to."""
        return bool(self._running()) or any(run.in_training for run in self.runs.values())

    @property
    def error(self) -> str | None:
        """What made the last training fail; None if nothing did, or all is finished since."""
        if self.finished:
            return None
        return next(filter(None, map(_error_of, self._orders())), None)

    @property
    def progress(self) -> list[Progress]:
        """How far each run is."""
        in_hand, failed = self._in_hand(), self._failed()
        pausing = any(order.with_suffix(".pausing").exists() for order in self._running())
        return [
            self._progress_of(name, name in in_hand, name in failed, pausing) for name in self.runs
        ]

    def table(self) -> pd.DataFrame:
        """One row per run: the fields of `Progress`."""
        return pd.DataFrame([vars(one) for one in self.progress])

    def _progress_of(self, name: str, in_hand: bool, failed: bool, pausing: bool) -> Progress:
        run, steps = self.runs[name], self.configs[name].train.steps
        done, said, rows = run.done, run.progress, run.metrics  # done first, as bars read them
        match = None
        if len(rows) and pd.notna(rows.valid_match.iloc[-1]):
            match = float(rows.valid_match.iloc[-1])
        if done:
            removed, chain = (int(run.stages.removed.max()) if len(run.stages) else None), None
            loss = float(rows.loss.iloc[-1]) if len(rows) else None
            step = run.totals["step"]
            chain = run.totals["chain_length"]
            return Progress(name, "finished", step, steps, loss, match, removed, chain)
        state = self._state_of(run, in_hand, failed, pausing)
        left = self._seconds_left(name, state, said)
        figures = (said.get("loss"), match, said.get("removed"), said.get("chain"))
        step = said.get("step", 0) if run.in_training else run.checkpoint_step
        return Progress(name, state, step, steps, *figures, left)

    def _state_of(self, run: Run, in_hand: bool, failed: bool, pausing: bool) -> str:
        said = run.progress
        if run.in_training:
            working = "testing" if "testing" in said else "training" if said else "loading"
            return "pausing" if pausing or run.stop_requested else working
        if failed:
            return "failed"
        if in_hand:
            return "pausing" if pausing else "waiting"
        if self.error:
            return "failed"
        return "paused" if run.checkpoint_step else "not started"

    def _seconds_left(self, name: str, state: str, said: dict[str, Any]) -> float | None:
        """By the pace since this object first saw the run in training; else by all its steps."""
        if state != "training" or not said.get("step"):
            self._seen.pop(name, None)
            return None
        now, step = time.monotonic(), said["step"]
        since, first = self._seen.setdefault(name, (now, step))
        pace = (now - since) / (step - first) if step > first else said["seconds"] / step
        return pace * (said["steps"] - step)

    def _orders(self) -> list[Path]:
        """The files of processes that train, or have trained, one of the runs asked for."""
        names = {config.run_name for config in self.asked}
        found = _folder().glob("*.json")
        return [path for path in found if not names.isdisjoint(_content(path)["runs"])]

    def _running(self) -> list[Path]:
        """Those whose process runs, on this machine."""
        return [order for order, _ in self._processes()]

    def _processes(self) -> list[tuple[Path, int]]:
        """The same with the number of each process."""
        found = [(order, _content(order).get("pid")) for order in self._orders()]
        return [(order, pid) for order, pid in found if pid is not None and _is_running(order)]

    def _in_hand(self) -> set[str]:
        """The names of all runs that these processes train, or are about to."""
        return {
            name
            for order in self._running()
            for name in set(_content(order)["runs"]) - _failures(order).keys()
        }

    def _failed(self) -> set[str]:
        """The names of all runs that have failed since they were asked for."""
        return {name for order in self._orders() for name in _failures(order)}


def _start(configs: Sequence[RunConfig], workers: int | None) -> None:
    """Start a process that trains the runs of these configs, and outlives this one."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    order = folder / f"{uuid.uuid4().hex}.json"
    content = {
        "runs": list(families(configs)),
        "configs": [to_dict(config) for config in configs],
        "workers": workers,
    }
    write_json(order, content, durable=False)
    environment = os.environ | {"ICOT_RUNS": str(paths.runs_root()), "ICOT_LIVE": "0"}
    # The package is found where it was found here.
    search = [str(Path(paths.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, search))
    with order.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(order)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    of_process = {"pid": process.pid, "started": leases.started(process.pid)}
    holder = leases.this_process() | of_process
    write_json(order, content | holder, durable=False)


def _folder() -> Path:
    """The folder with a file for each process that trains in the background."""
    return paths.runs_root() / ".background"


def _content(order: Path) -> dict[str, Any]:
    try:
        return json.loads(order.read_text())
    except (OSError, ValueError):
        return {"runs": []}


def _is_running(order: Path) -> bool:
    """Whether the process of an order runs, on this machine."""
    pid = _content(order).get("pid")
    if pid is not None:
        _reap(pid)
    here = leases.this_process()["machine"] == _content(order).get("machine")
    return here and leases.is_held(order)


def _is_over(order: Path) -> bool:
    """Whether an order of this machine has no process; those of other machines are left to them."""
    machine = _content(order).get("machine")
    return machine in (None, leases.this_process()["machine"]) and not _is_running(order)


def _failures(order: Path) -> dict[str, str]:
    """What went wrong in each run of an order that has failed so far, by its name."""
    try:
        return json.loads(order.with_suffix(".failed").read_text())
    except (OSError, ValueError):
        return {}


def _error_of(order: Path) -> str | None:
    """What made an order fail, if it has failed: what its process wrote last where that was killed
    or could not begin."""
    with contextlib.suppress(OSError):
        return order.with_suffix(".error").read_text()
    if failures := _failures(order):
        return "; ".join(failures.values())
    if "pid" not in _content(order) or not _is_over(order):
        return None
    log = order.with_suffix(".log")
    lines = log.read_text(errors="replace").split("\n") if log.is_file() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
    return f"the process that trained failed or was ended; the last line of its log: {last} ({log})"


def _reap(pid: int) -> None:
    """Take note of the end of a child of this process, whose number is free for another then."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except OSError:  # no child of this process
        return


def _delete(order: Path) -> None:
    for path in order.parent.glob(f"{order.stem}.*"):
        path.unlink(missing_ok=True)


def main(order: Path) -> int:
    """Train the runs of an order; the exit status of the process that was started for it."""
    failures: dict[str, str] = {}

    def note(outcome: jobs.Outcome) -> None:
        if outcome.error is not None and not isinstance(outcome.error, StoppedError):
            failures[outcome.job.name] = str(readable(outcome.error))
            write_json(order.with_suffix(".failed"), failures, durable=False)

    try:
        content = json.loads(order.read_text())
        missing = jobs.trainings([from_dict(values) for values in content["configs"]])
        jobs.raise_failures(jobs.run_jobs(missing, content["workers"], on_end=note))
    except (KeyboardInterrupt, StoppedError):
        _delete(order)
        return 130
    except Exception as error:
        known = readable(error)
        text = str(known) if isinstance(known, IcotError) else repr(error)
        order.with_suffix(".error").write_text(text)
        raise
    _delete(order)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
