"""Every path of the project, in one place.

Nothing else in the library builds a path from the location of a file or from the working
directory, so notebooks and commands behave the same wherever they are started. `ICOT_RUNS` moves
the run directories, to a larger disk for example; nothing else needs to move.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from icotlib.errors import ConfigError

PROJECT = Path(__file__).resolve().parent.parent
NOTEBOOKS = PROJECT / "notebooks"
FIGURES = PROJECT / "figures"
DATA = PROJECT / "data"
STYLE = Path(__file__).resolve().parent / "reporting" / "figures" / "paper.mplstyle"


def runs_root() -> Path:
    """The folder of all run directories: `$ICOT_RUNS`, or `runs/` in the project.

    Raises `ConfigError` if `ICOT_RUNS` cannot be the path of a folder.
    """
    asked = os.environ.get("ICOT_RUNS")
    if not asked:
        return (PROJECT / "runs").resolve()
    try:
        folder = Path(asked).expanduser().resolve()
    except RuntimeError:  # ~name of a user who is not there, or links in a circle
        raise ConfigError(f"ICOT_RUNS={asked} leads to no folder; write its path out") from None
    if folder.is_file():
        raise ConfigError(f"ICOT_RUNS={asked} is a file; name a folder, which may be a new one")
    return folder


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file to write in place of `path`, which takes its place when the block ends well."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def folder_id(root: Path, create: bool = True) -> str | None:
    """What tells a folder of runs from every other, under whatever path a machine sees it.

    Args:
        create: give it an id if it has none; else None stands for that.
    """
    path = root / ".folder-id"
    if create and not path.is_file():
        root.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        part.write_text(uuid.uuid4().hex)
        with contextlib.suppress(OSError):  # another process was first, or there are no links
            os.link(part, path)
        if path.is_file():
            part.unlink()
        else:
            part.rename(path)
    return path.read_text() if path.is_file() else None


def data_cache() -> Path:
    """The folder of generated data sets and of tokens, which can be deleted at any time."""
    return DATA / "cache"


def create_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder that is there, or is made now: whole or not at all, by whichever process is first.

    Args:
        make: writes what belongs in it into a folder of another name, which it makes itself.
    """
    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        make(part)
        try:
            part.rename(folder)
        except OSError:  # another process finished the same first
            shutil.rmtree(part)
    return folder


def executed_root() -> Path:
    """The folder of executed notebooks."""
    return runs_root() / "notebooks"
