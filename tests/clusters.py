"""Clusters as a user starts them, and functions that tests hand to Dask workers."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from icotlib import paths
from icotlib.running.jobs import Job
from icotlib.system import memory


class Cluster:
    """A scheduler and its two workers, each a process of its own, as a user starts them.

    Args:
        folder: for the workers' files.
        machines: whether each worker plays a machine: an address, a home and a working directory of
            its own, and a copy of the package.
    """

    def __init__(self, folder: Path, machines: bool = False):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        self.folder, self.machines = folder, machines
        self.processes: dict[str, subprocess.Popen] = {}

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start whatever does not run."""
        commands = {"scheduler": self._scheduler()} | {str(n): self._worker(n) for n in (1, 2)}
        for name, (options, environment) in commands.items():
            process = self.processes.get(name)
            if process is None or process.poll() is not None:
                home = self.folder / f"machine-{name}"
                home.mkdir(parents=True, exist_ok=True)
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", *options, "--no-dashboard"],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | environment,
                    cwd=home if self.machines else None,
                )

    def _scheduler(self) -> tuple[list[str], dict[str, str]]:
        where = ["--host", "127.0.0.1", "--port", str(self.port)]
        # Ready jobs wait at the scheduler, as the guide recommends.
        setting = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0"}
        return ["distributed.cli.dask_scheduler", *where], setting

    def _worker(self, number: int) -> tuple[list[str], dict[str, str]]:
        home = self.folder / f"machine-{number}"
        options = ["distributed.cli.dask_worker", self.address, "--nthreads", "1"]
        options += ["--memory-limit", "0", "--local-directory", str(home / "dask")]
        options += ["--preload", "icotlib.running.worker"]  # as the guide recommends
        if not self.machines:
            return options, {}
        package = home / "package"
        if not package.is_dir():
            for name in ("icotlib", "notebooks", "data/sample", "data/models"):
                shutil.copytree(paths.PROJECT / name, package / name)
        own = {"HOME": str(home), "PYTHONPATH": str(package), "ICOT_RUNS": "", "ICOT_CLUSTER": ""}
        return [*options, "--host", f"127.0.0.{number}"], own

    def stop(self) -> None:
        """Kill all of it."""
        for process in self.processes.values():
            process.terminate()  # a killed nanny would leave its worker for a moment
        for process in self.processes.values():
            process.wait()


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


def new_pages(rounds: int) -> int:
    """Pages of memory that a thread of this process gets from the system while it frees and fills
    160 MB again so many times, the first time aside."""
    memory.retain_freed_memory()
    pages: list[int] = []
    for _ in range(1 + rounds):
        tensors = [torch.ones(2**20) for _ in range(40)]
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        del tensors
    return pages[-1] - pages[0]


def log(folder: Path) -> list[str]:
    """The names of the jobs that have begun, in order."""
    return (folder / "log").read_text().split()
