"""Every path of the project, in one place.

Nothing else in the library builds a path from the location of a file or from the working
directory, so notebooks and commands behave the same wherever they are started. `ICOT_RUNS` moves
the run directories, to a larger disk for example; nothing else needs to move.
"""

import contextlib
import errno
import importlib.metadata
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from icotlib.errors import ConfigError

#: The folder that holds the package: the root of a checkout, or where packages are installed.
_HOME = Path(__file__).resolve().parent.parent


def is_checkout() -> bool:
    """Whether the package is in a checkout of the repository, and not installed."""
    return (_HOME / "pyproject.toml").is_file() and (_HOME / "notebooks").is_dir()


def _project() -> Path:
    """The folder with notebooks, guide, samples and figures: the root of a checkout, or where an
    installed wheel has put them."""
    if not is_checkout():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            for file in importlib.metadata.files("icotlib") or ():
                if file.name == "00_tour.ipynb":
                    return Path(str(file.locate())).resolve().parent.parent
    return _HOME


PROJECT = _project()

#: Where new files go: the root of a checkout; else the folder in which the process was started.
WORK = PROJECT if PROJECT == _HOME else Path.cwd()

NOTEBOOKS = PROJECT / "notebooks"
LAB = WORK / "lab"
FIGURES = PROJECT / "figures"
DATA = PROJECT / "data"
#: Small trained models that come with the workbook (`icotlib.sharing.ship`).
SHIPPED = DATA / "models"
STYLE = Path(__file__).resolve().parent / "reporting" / "figures" / "paper.mplstyle"
#: The budgets that `icot calibrate` has measured.
BUDGETS = Path(__file__).resolve().parent / "experiments" / "budgets.csv"
#: Script and style of the map in a notebook: this name with .js and .css.
MAP_GRID = Path(__file__).resolve().parent / "widgets" / "map_grid"
#: The same of the dial's slider.
STAGE_SLIDER = MAP_GRID.with_name("stage_slider")


def is_published(folder: Path) -> bool:
    """Whether a folder is that of the published figures, or lies in it."""
    return folder.resolve().is_relative_to(FIGURES.resolve())


def check_checkout(command: str) -> None:
    """Raises `ConfigError` where there is no checkout of the repository, whose files a command
    writes or reads.

    Args:
        command: what was asked for, such as `icot site`.
    """
    if not is_checkout():
        raise ConfigError(
            f"{command} needs a checkout of the repository, and this is an installed package: "
            "clone the repository, pip install -e . there, and run it from there"
        )


def runs_root() -> Path:
    """The folder of all run directories: `$ICOT_RUNS`, or `runs/` in the project, or `runs/` where
    an installed package was started.

    Raises `ConfigError` if `ICOT_RUNS` cannot be the path of a folder.
    """
    asked = os.environ.get("ICOT_RUNS")
    if not asked:
        return (WORK / "runs").resolve()
    try:
        folder = Path(asked).expanduser().resolve()
    except RuntimeError:  # ~name of a user who is not there, or links in a circle
        raise ConfigError(f"ICOT_RUNS={asked} leads to no folder; write its path out") from None
    if folder.is_file():
        raise ConfigError(f"ICOT_RUNS={asked} is a file; name a folder, which may be a new one")
    return folder


#: Seconds after which a part that was being written is taken as given up.
GIVEN_UP = 3600


@contextlib.contextmanager
def whole_file(path: Path, durable: bool = True) -> Iterator[Path]:
    """A file to write in place of `path`, which takes its place when the block ends well.

    Args:
        durable: whether the file is on disk, power cut or not, before it takes the place.
    """
    part = part_of(path)
    try:
        yield part
        if durable:
            flush(part)
        part.replace(path)
        if durable:
            flush(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to make and fill, which is renamed to `folder` when the block ends well.

    Nothing is left if it does not. Raises `FileExistsError` if `folder` has come to be meanwhile.
    """
    with folder_beside(folder) as part:
        yield part
        if folder.exists():
            raise FileExistsError(f"{folder} exists")
        part.rename(folder)
        flush(folder.parent)


@contextlib.contextmanager
def folder_beside(folder: Path) -> Iterator[Path]:
    """A folder to make and fill beside another one, hidden; it is deleted at the end of the block,
    unless it was renamed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(folder)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def part_of(path: Path, ending: str = ".part") -> Path:
    """A hidden name beside a path that no other process uses. What others have left there under
    such a name, and not touched for long, is deleted."""
    start = f".{path.name[:100]}."
    with contextlib.suppress(OSError):
        for left in path.parent.iterdir():
            if left.name.startswith(start) and left.name.endswith(ending) and is_given_up(left):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return path.with_name(f"{start}{uuid.uuid4().hex[:16]}{ending}")


def is_given_up(part: Path) -> bool:
    """Whether nothing in a file or folder that was being written was touched for long."""
    newest = max(one.stat().st_mtime for one in [part, *part.rglob("*")])
    return time.time() - newest > GIVEN_UP


def flush(path: Path) -> None:
    """Have a file, or the entries of a folder, written to the disk itself, where it can be done."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:  # others mean that this file system cannot do it
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise


def folder_id(root: Path, create: bool = True) -> str | None:
    """What tells a folder of runs from every other, under whatever path a machine sees it.

    Args:
        create: give it an id if it has none; else None stands for that.
    """
    path = root / ".folder-id"
    if create and (not path.is_file() or not path.stat().st_size):
        root.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        part.write_text(uuid.uuid4().hex)
        with contextlib.suppress(OSError):  # another process was first, or there are no links
            os.link(part, path)
        if path.is_file() and path.stat().st_size:
            part.unlink()
        else:
            part.rename(path)
    return path.read_text() if path.is_file() else None


def data_cache() -> Path:
    """The folder of generated data sets and of tokens, which can be deleted at any time."""
    return WORK / "data" / "cache"


def create_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder that is there, or is made now: whole or not at all, by whichever process is first.

    Args:
        make: writes what belongs in it into a folder of another name, which it makes itself.
    """
    if not folder.is_dir():
        try:
            with whole_folder(folder) as part:
                make(part)
        except OSError:  # another process may have finished the same first
            if not folder.is_dir():
                raise
    return folder


def known_run(name: str) -> str:
    """The name of a run's folder: this one, or an existing one of the same seed and digest."""
    root = runs_root()
    if not (root / name).is_dir():
        ending = "-" + "-".join(name.rsplit("-", 3)[1:])
        with contextlib.suppress(OSError):
            for other in sorted(os.listdir(root)):
                if other.endswith(ending) and not other.startswith("."):
                    return other
    return name


def executed_root() -> Path:
    """The folder of executed notebooks."""
    return runs_root() / "notebooks"
