"""What happens in a Dask worker: one job at a time, in the client's folder of runs.

Dask cannot stop a function that runs. So the training loop asks `stop_requested` after every step:
once no client wants the run any more, or the worker is closing, or `icot stop` has asked for it,
the loop writes a checkpoint and ends.
"""

import contextlib
import errno
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed

from icotlib import paths
from icotlib.errors import ClusterError, RunError
from icotlib.system.processes import environment

#: Variables of the client that its jobs are to see.
PASSED_ON = ("ICOT_TRACK",)

#: Training sets the random state and the threads of its whole process.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Setup:
    """What a worker must know of the client that asks."""

    #: The folder of runs, and the id that tells whether a worker sees the same one.
    folder: str
    folder_id: str
    #: Files of the user's that register tasks and methods.
    imports: tuple[str, ...]
    #: The working directory, from which paths of data may count, and variables to pass on.
    directory: str = ""
    variables: tuple[tuple[str, str], ...] = ()

    @classmethod
    def here(cls) -> "Setup":
        """That of this process."""
        from icotlib.registry import IMPORTS

        imports = tuple(filter(None, os.environ.get(IMPORTS, "").split(os.pathsep)))
        root = paths.runs_root()
        passed_on = tuple((name, os.environ[name]) for name in PASSED_ON if name in os.environ)
        return cls(str(root), paths.folder_id(root) or "", imports, os.getcwd(), passed_on)


def run_job(
    function: Callable[..., Any], arguments: dict[str, Any], setup: Setup, *needs: Any
) -> Any:
    """What `function` returns for these arguments, called as the client would call it.

    Args:
        needs: results of the jobs that had to come first, which Dask has waited for.

    Raises `ClusterError` if this worker does not see the client's folder of runs.
    """
    # The job's own runs must not wait for a worker while it occupies one.
    own = {"ICOT_RUNS": str(shared_folder(setup)), "ICOT_CLUSTER": "", "ICOT_JOBS": "1"}
    directory = setup.directory if os.path.isdir(setup.directory) else "."
    with (
        _one_at_a_time,
        environment(**dict(setup.variables), **own),
        contextlib.chdir(directory),
        warnings.catch_warnings(),
    ):
        from icotlib.registry import METHODS, import_file

        _be_quiet()
        for path in setup.imports:
            import_file(path)
        METHODS.load()
        return function(**arguments)


def train_run(config: dict[str, Any]) -> str:
    """Train the run of a config, given as plain values; its name.

    Raises `RunError` where the disk is full, besides what `icotlib.training.trainer.train` raises.
    """
    from icotlib.config import from_dict
    from icotlib.runs import Run
    from icotlib.training.trainer import train

    settings = from_dict(config)
    run = Run.of(settings)
    try:
        train(settings, stop_requested)
    except Exception as error:
        if not _is_full(error, run.folder):
            raise
        raise RunError(
            f"{run.name}: no space is left on the disk of {run.folder}. Make room and ask for the "
            "same again: the run goes on from its last checkpoint"
        ) from error
    return run.name


def stop_requested() -> bool:
    """Whether the job that this thread does has to end: nobody waits for it, or the worker closes.

    False outside a worker.
    """
    try:
        worker = distributed.get_worker()
        key = worker.get_current_task()
    except (ValueError, AttributeError):
        return False
    if worker.status not in (distributed.Status.running, distributed.Status.paused):
        return True
    task = worker.state.tasks.get(key)
    return task is None or task.state in ("cancelled", "released", "forgotten")


def is_busy() -> bool:
    """Whether this worker does a job."""
    return _one_at_a_time.locked()


def shared_folder(setup: Setup) -> Path:
    """The client's folder of runs as this worker sees it: under the same path, or as `ICOT_RUNS`.

    Raises `ClusterError` if it sees it under neither.
    """
    tried = [Path(setup.folder)]
    if os.environ.get("ICOT_RUNS"):
        tried.append(paths.runs_root())
    for folder in tried:
        if paths.folder_id(folder, create=False) == setup.folder_id:
            return folder
    listed = " nor ".join(str(folder) for folder in dict.fromkeys(tried))
    raise ClusterError(
        f"a worker on {os.uname().nodename} does not see the folder of runs: it is not at "
        f"{listed}. All workers and the client must share one folder: mount it at the same path, "
        "or set ICOT_RUNS where the worker starts"
    )


def _be_quiet() -> None:
    """Workers print nothing between the client's progress bars."""
    from transformers.utils import logging

    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _is_full(error: BaseException, folder: Path) -> bool:
    """Whether an error comes from a full disk; safetensors and torch raise errors of their own."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    if "No space left" in str(error):
        return True
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free < 2**16
    return False


def dask_setup(worker: Any) -> None:
    """Called by Dask when a worker starts: Ctrl-C in the client's terminal is for the client."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
