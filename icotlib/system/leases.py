"""Leases: one process at a time does a piece of work, also where several machines share a folder.

A lease is a file. Its holder counts up in it every few seconds. Another process takes the lease
over once that has stopped: at once where the holder was a process of the same machine that is gone,
else after `STALE` seconds on the waiting process's own clock. Nothing depends on locks of the file
system, which network disks support badly. Who trains what does not depend on clocks of several
machines that agree; whether a run is shown as in training does, within `SILENT` seconds.
"""

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from icotlib.errors import RunError

#: Seconds between two counts of a holder.
BEAT = 5.0

#: Seconds without a count after which another machine's lease is taken over.
STALE = 60.0

#: A holder that has not written its lease for so many seconds counts as dead. The time of a file
#: may come from another machine's clock, so that this is far above `STALE`.
SILENT = 10 * STALE

#: What names this boot of the machine, on Linux.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

#: Seconds between two looks at a lease that another process holds.
LOOK = 0.2


@dataclass
class Lease:
    """A lease that this process holds."""

    path: Path
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    beats: int = 0

    def check(self) -> None:
        """Raises `RunError` if another process has taken the lease over."""
        if _read(self.path).get("token") != self.token:
            raise RunError(
                f"another process has taken over {self.path.name}, because this one did not "
                "answer for a while (a suspended machine, or a folder that was out of reach)"
            )

    def beat(self) -> bool:
        """Count up; whether the lease is still this process's own."""
        with contextlib.suppress(OSError), self.path.open("r+") as file:
            # Read and written through one handle: a file of the same name that another process
            # has made meanwhile is never written to.
            if _parsed(file.read()).get("token") != self.token:
                return False
            self.beats += 1
            file.seek(0)
            file.write(self.text())
            file.truncate()
        return True

    def text(self) -> str:
        return json.dumps({"token": self.token, "beats": self.beats, **this_process()})


@contextlib.contextmanager
def hold(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[Lease]:
    """Hold a lease while the block runs; waits while another process holds it.

    Args:
        waiting: called every `LOOK` seconds while another process holds it; may raise to give up.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lease = Lease(path)
    _acquire(lease, waiting)
    ended = threading.Event()

    def count() -> None:
        while not ended.wait(BEAT) and lease.beat():
            pass

    counter = threading.Thread(target=count, name=f"lease of {path.name}", daemon=True)
    counter.start()
    try:
        yield lease
    finally:
        ended.set()
        counter.join()
        if _read(path).get("token") == lease.token:
            path.unlink(missing_ok=True)


def is_held(path: Path) -> bool:
    """Whether a lease file is there whose holder is not known to be gone."""
    holder = _read(path)
    return bool(holder) and not _is_gone(holder)


def is_held_here(path: Path, processes: Collection[int]) -> bool:
    """Whether one of some processes of this machine holds a lease.

    Args:
        processes: their numbers.
    """
    holder = _read(path)
    here = holder.get("machine") == this_process()["machine"]
    return here and holder.get("pid") in processes and is_held(path)


def is_beating(path: Path) -> bool:
    """Whether a lease is held, and was written within `SILENT` seconds.

    The time matters for a lease that a power cut or the restart of a container has left behind: it
    names a process of an earlier boot, and only its age shows that this process is gone.
    """
    try:
        return is_held(path) and time.time() - path.stat().st_mtime < SILENT
    except FileNotFoundError:
        return False


def discard(path: Path, seconds: float) -> None:
    """Remove a lease that nobody holds, or whose file was last written so many seconds ago."""
    holder = _read(path)
    with contextlib.suppress(FileNotFoundError):
        if not is_held(path) or time.time() - path.stat().st_mtime > seconds:
            _break(path, holder)


def _acquire(lease: Lease, waiting: Callable[[], None]) -> None:
    seen: dict[str, Any] = {}
    since = time.monotonic()
    while not _create(lease):
        holder = _read(lease.path)
        if holder != seen:
            seen, since = holder, time.monotonic()
        if _is_gone(holder) or time.monotonic() - since > STALE:
            _break(lease.path, holder)
            continue
        waiting()
        time.sleep(LOOK)


def _create(lease: Lease) -> bool:
    """Make the file with its content, unless there is one; whether it was made."""
    part = lease.path.with_name(f".{lease.path.name}.{lease.token}")
    part.write_text(lease.text())
    try:
        os.link(part, lease.path)  # whole or not at all, also on NFS
        return True
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        return _create_without_links(lease)
    finally:
        part.unlink(missing_ok=True)


def _create_without_links(lease: Lease) -> bool:
    try:
        with lease.path.open("x") as file:
            file.write(lease.text())
        return True
    except FileExistsError:
        return False


def _break(path: Path, holder: dict[str, Any]) -> None:
    """Remove the lease of a holder that is gone, and of no other."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if _read(aside).get("token") != holder.get("token"):
        # Another process was faster and has a lease of its own by now: give it back.
        try:
            os.link(aside, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not path.exists():
                aside.rename(path)
    aside.unlink(missing_ok=True)


def _is_gone(holder: dict[str, Any]) -> bool:
    """Whether a holder was a process of this machine that does not run any more."""
    here = this_process()
    if holder.get("machine") != here["machine"]:
        return False
    try:
        process = psutil.Process(holder["pid"])
        ended = process.status() == psutil.STATUS_ZOMBIE
        return ended or abs(started(holder["pid"]) - holder["started"]) > 1
    except psutil.NoSuchProcess:
        return not _is_hidden(holder["pid"])


def _is_hidden(pid: int) -> bool:
    """Whether a process is there after all: some systems hide those of other users."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def this_process() -> dict[str, Any]:
    """This process as others can recognise it: machine, process id, and when it started."""
    pid = os.getpid()
    return {"machine": _machine(), "pid": pid, "started": started(pid)}


def started(pid: int) -> float:
    """When a process of this machine began: in ticks since the boot where the system says so, since
    times of day move with the clock, and else in seconds.

    Raises `psutil.NoSuchProcess` if there is none.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return psutil.Process(pid).create_time()


@cache
def _machine() -> str:
    """The name of this machine, this boot of it, and the container whose process ids are used."""
    parts = [platform.node(), _boot()]
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _boot() -> str:
    """What differs between two boots; the time of the boot, where nothing better is known, is a
    difference of two clocks, and may change when one of them is set."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return str(round(psutil.boot_time()))


def _read(path: Path) -> dict[str, Any]:
    try:
        return _parsed(path.read_text())
    except OSError:
        return {}


def _parsed(text: str) -> dict[str, Any]:
    try:
        return json.loads(text)
    except json.JSONDecodeError:  # between two writes of its holder
        return {}
