"""Functions that tests hand to Dask workers, which import this module."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from icotlib.running.jobs import Job


def job(folder: Path, name: str, *needs: str, **more: Any) -> Job:
    """A job that leaves a line in `folder/log`: its name."""
    return Job(name, work, {"folder": str(folder), "name": name} | more, needs)


def work(
    folder: str,
    name: str,
    seconds: float = 0.0,
    error: str | None = None,
    until: str | None = None,
    kill: str | None = None,
) -> str:
    """Write the name into the log; then wait, for a file too, fail, or die (`once`, `always`)."""
    with (Path(folder) / "log").open("a") as file:
        file.write(name + "\n")
    time.sleep(seconds)
    while until and not Path(until).exists():
        time.sleep(0.02)
    if kill == "always" or (kill and not (Path(folder) / "killed").exists()):
        (Path(folder) / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if error:
        raise ValueError(error)
    return name.upper()


def log(folder: Path) -> list[str]:
    """The names of the jobs that have begun, in order."""
    return (folder / "log").read_text().split()
