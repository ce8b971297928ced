"""What happens in a Dask worker: one job at a time, in the client's folder of runs.

Dask cannot stop a function that runs. So the training loop asks `stop_requested` after every step:
once no client wants the run any more, or the worker is closing, or `icot stop` has asked for it,
the loop writes a checkpoint and ends.
"""

import contextlib
import errno
import hashlib
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
from transformers.utils import logging

from icotlib import paths
from icotlib.config import from_dict
from icotlib.errors import ClusterError, RunError, RunWarning, StoppedError
from icotlib.registry import IMPORTS, METHODS, import_file, imported_files
from icotlib.runs import Run
from icotlib.system import memory
from icotlib.system.origin import COMMAND, command_line
from icotlib.system.processes import ending_signals, environment
from icotlib.training.trainer import train

#: Variables of the client that its jobs are to see.
PASSED_ON = ("ICOT_TRACK",)

#: What workers call the events of which a client is to warn.
WARNINGS = "icotlib-warnings"

#: Training sets the random state and the threads of its whole process.
_one_at_a_time = threading.Lock()

#: Set once this process has been asked to end.
_terminated = threading.Event()


@dataclass(frozen=True)
class Setup:
    """What a worker must know of the client that asks."""

    #: The folder of runs, and the id that tells whether a worker sees the same one.
    folder: str
    folder_id: str
    #: Files of the user's that register tasks and methods, each with a hash of its text.
    imports: tuple[tuple[str, str], ...] = ()
    #: The working directory, from which paths of data may count, and variables to pass on.
    directory: str = ""
    variables: tuple[tuple[str, str], ...] = ()

    @classmethod
    def here(cls) -> "Setup":
        """That of this process."""
        root = paths.runs_root()
        imports = tuple((path, _hash_of(path)) for path in imported_files())
        variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        variables[COMMAND] = command_line()
        return cls(
            str(root), paths.folder_id(root) or "", imports, os.getcwd(), tuple(variables.items())
        )


def run_job(
    function: Callable[..., Any], arguments: dict[str, Any], setup: Setup, *needs: Any
) -> Any:
    """What `function` returns for these arguments, called as the client would call it.

    Args:
        needs: results of the jobs that had to come first, which Dask has waited for.

    Raises `ClusterError` if this worker does not see the client's folder of runs or its files.
    """
    with _one_at_a_time:
        own = {
            "ICOT_RUNS": str(shared_folder(setup)),
            IMPORTS: os.pathsep.join(path for path, _ in setup.imports),
            # The job's own runs must not wait for a worker while it occupies one.
            "ICOT_CLUSTER": "",
            "ICOT_JOBS": "1",
        }
        with (
            environment(**dict(setup.variables), **own),
            _directory(setup.directory),
            warnings.catch_warnings(),
        ):
            _be_quiet()
            for path, text_hash in setup.imports:
                _import(path, text_hash)
            METHODS.load()
            memory.spare_libraries()
            try:
                return function(**arguments)
            except StoppedError:
                if _is_closing():  # it closes, and nobody stopped the run: another worker goes on
                    raise distributed.Reschedule from None
                raise
            finally:
                memory.release()  # for the runs of other workers


#: The hash of each user's file that this worker has imported.
_imported: dict[str, str] = {}


def _import(path: str, text_hash: str) -> None:
    """Import a user's file. Raises `ClusterError` if its text is not the client's."""
    if _hash_of(path) != text_hash:
        raise ClusterError(
            f"{path}: a worker on {os.uname().nodename} does not have this file, or another text "
            "of it. Files of --import must be at the same path on all machines"
        )
    if _imported.setdefault(path, text_hash) != text_hash:
        raise ClusterError(
            f"{path} has changed since a worker on {os.uname().nodename} imported it: restart the "
            "workers, so that they do not go on with its old code"
        )
    import_file(path)


def _hash_of(path: str) -> str:
    """A hash of a file's text; empty if it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def _directory(path: str) -> contextlib.AbstractContextManager[None]:
    """The client's working directory, where this worker has it; else its own."""
    may_enter = bool(path) and os.access(path, os.X_OK) and os.path.isdir(path)
    return contextlib.chdir(path if may_enter else ".")


def train_run(config: dict[str, Any]) -> str:
    """Train the run of a config, given as plain values; its name.

    Raises `RunError` where the disk is full, besides what `icotlib.training.trainer.train` raises.
    """
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
    if _is_closing():
        return True
    try:
        worker = distributed.get_worker()
        key = worker.get_current_task()
    except (ValueError, AttributeError):
        return False
    task = worker.state.tasks.get(key)
    return task is None or task.state in ("cancelled", "released", "forgotten")


def _is_closing() -> bool:
    """Whether the worker of this process is about to end; False outside a worker."""
    if _terminated.is_set():
        return True
    try:
        status = distributed.get_worker().status
    except ValueError:
        return False
    return status not in (distributed.Status.running, distributed.Status.paused)


def shared_folder(setup: Setup) -> Path:
    """The client's folder of runs as this worker sees it: under the same path, or as `ICOT_RUNS`.

    Raises `ClusterError` if it sees it under neither.
    """
    tried = [Path(setup.folder)]
    if os.environ.get("ICOT_RUNS"):
        tried.append(paths.runs_root())
    for folder in tried:
        with contextlib.suppress(OSError):  # a folder that this worker may not enter
            if paths.folder_id(folder, create=False) == setup.folder_id:
                return folder
    listed = " nor ".join(str(folder) for folder in dict.fromkeys(tried))
    raise ClusterError(
        f"a worker on {os.uname().nodename} does not see the folder of runs: it is not at "
        f"{listed}. All workers and the client must share one folder: mount it at the same path, "
        "or set ICOT_RUNS where the worker starts"
    )


def _be_quiet() -> None:
    """Workers print nothing between the client's progress bars; what they warn of about a run goes
    to the clients."""
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", RunWarning)
    warnings.showwarning = _warn_clients
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _warn_clients(message: Warning | str, *_: Any, **__: Any) -> None:
    """Tell the clients, who listen to `WARNINGS` (`icotlib.running.cluster.Connection`)."""
    with contextlib.suppress(ValueError):  # in a thread that is not the worker's
        distributed.get_worker().log_event(WARNINGS, str(message))


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
    """Called by Dask when a worker starts: Ctrl-C in the client's terminal is for the client, and
    SIGTERM, which `timeout` and schedulers send to all processes, ends a worker after a checkpoint,
    as SIGHUP does.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for kind in ending_signals():
        signal.signal(kind, _terminate)


def _terminate(*_: object) -> None:
    """Stop the job in hand at a checkpoint, and end this process behind it."""
    _terminated.set()
    threading.Thread(target=_end_after_job, daemon=True).start()


def _end_after_job() -> None:
    with _one_at_a_time:
        os._exit(128 + signal.SIGTERM)
