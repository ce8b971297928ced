"""Errors of the machine (disks, files, memory) as a sentence that says what to do about them."""

import errno
import os
from collections.abc import Iterator

from icotlib.errors import IcotError, RunError

#: Parts of messages in which safetensors, torch, pyarrow and others tell of a full disk.
_FULL = ("no space left", "os error 28", "disk quota exceeded", "os error 122", "file too large")

#: What torch says of a file that it could not write whole.
_UNWRITTEN = ("PytorchStreamWriter failed", "unexpected pos", "enforce fail at inline_container")

#: Parts of messages about memory.
_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")

_MAKE_ROOM = (
    "Make room (`icot runs clean` lists what no result needs), or name another disk with "
    "ICOT_RUNS, and ask for the same again: runs go on from their last checkpoint"
)

#: What an error of the system means for a path, and what to do.
_MEANINGS = {
    errno.ENOSPC: "no space is left on the disk of {path}. " + _MAKE_ROOM,
    errno.EDQUOT: "your share of the disk of {path} is used up. " + _MAKE_ROOM,
    errno.EFBIG: "{path} would be larger than a file may be here (ulimit -f). " + _MAKE_ROOM,
    errno.EROFS: "{path} is on a disk that can only be read; name a folder that can be written "
    "(ICOT_RUNS for runs, --out for files)",
    errno.EACCES: "{path} may not be read or written by this user; change its permissions, or name "
    "another folder (ICOT_RUNS for runs, --out for files)",
    errno.EPERM: "{path} may not be changed by this user; name another folder (ICOT_RUNS for runs, "
    "--out for files)",
    errno.ENOENT: "{path} is missing: it was moved or deleted, or the path is misspelt",
    errno.ENOTDIR: "{path}: a part of this path is a file where a folder is needed; move the file, "
    "or name another folder",
    errno.EISDIR: "{path} is a folder where a file is needed; name a file",
    errno.EEXIST: "{path} is there already, as something else; move it, or choose another name",
    errno.ENOTEMPTY: "{path} is a folder that holds something already; choose another one",
    errno.ENAMETOOLONG: "{path}: this name is too long for a file; choose a shorter one",
    errno.ELOOP: "{path}: its links lead in a circle; name the folder itself",
    errno.EMFILE: "too many files are open at {path}; raise the limit (ulimit -n 4096), or use "
    "fewer --jobs",
    errno.ENFILE: "too many files are open on this machine at {path}; use fewer --jobs",
    errno.EIO: "the disk of {path} reports errors; copy what is there, and name another disk",
    errno.ESTALE: "the folder of {path} is no longer connected; mount it again",
    errno.ENOMEM: "memory is full; use fewer --jobs, or a smaller train.batch_size",
}


def readable(error: BaseException) -> BaseException:
    """An error of the machine as a `RunError` that says what to do; any other as it is."""
    meaning = None if isinstance(error, IcotError) else explained(error)
    if meaning is None:
        return error
    made = RunError(meaning)
    made.__cause__ = error
    return made


def explained(error: BaseException) -> str | None:
    """What an error of the machine means and what to do, in a line; None for any other error.

    Libraries wrap the system's errors in their own, whose causes and messages are looked at too.
    """
    for one in _chain(error):
        text = str(one).lower()
        if isinstance(one, OSError) and (one.errno in _MEANINGS or one.filename):
            return _of_system(one)
        if any(part in text for part in _FULL):
            return _MEANINGS[errno.ENOSPC].format(path=_folder())
        if any(part in str(one) for part in _UNWRITTEN):
            return (
                f"a file could not be written whole: is the disk of {_folder()} full? {_MAKE_ROOM}"
            )
        if isinstance(one, MemoryError) or any(part in text for part in _MEMORY):
            return (
                "memory is full. Use a smaller train.batch_size, or a larger train.accumulation, "
                "which changes no result; `icot train NAME --plan` says what a run needs"
            )
    return None


def _of_system(error: OSError) -> str:
    path = error.filename2 if error.errno == errno.EEXIST and error.filename2 else error.filename
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if error.errno == errno.ENOENT and not path and not _has_directory():
        return "the working directory was deleted; change to one that is there (cd)"
    place = str(path) if path else _folder()
    meaning = _MEANINGS.get(error.errno or 0)
    return meaning.format(path=place) if meaning else f"{place}: {error.strerror}"


def _has_directory() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _folder() -> str:
    """The folder of runs as the user knows it, where an error names no path."""
    return os.environ.get("ICOT_RUNS") or "the folder of runs"


def _chain(error: BaseException | None, hidden: bool = False) -> Iterator[BaseException]:
    """An error and what it came from, the nearest first; also what `from None` hides, if asked."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        shown = None if error.__suppress_context__ and not hidden else error.__context__
        error = error.__cause__ or shown


def came_from(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether an error is of a kind, or was raised because of one of it."""
    return any(isinstance(one, kind) for one in _chain(error, hidden=True))
