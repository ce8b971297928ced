"""Runs as one file: what tables and figures are drawn from, to keep or to send.

The archive is a gzipped tar of the runs' folders. It comes from anywhere, so that importing takes
known plain files alone, never a link or a path that leads elsewhere, and runs nothing.
"""

import errno
import gzip
import os
import re
import shutil
import tarfile
import uuid
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from icotlib import paths
from icotlib.config import NUMERICS
from icotlib.errors import IcotError, RunError
from icotlib.reporting.results import speed_table
from icotlib.run_files import RESULTS
from icotlib.runs import Run
from icotlib.system import seals
from icotlib.system.names import LONGEST_RUN, is_name

#: The files of a run from which tables and figures are drawn, and those that must be there.
FILES = ("done.json", *RESULTS, "speed.json")
NEEDED = ("config.json", "provenance.json", "done.json")

#: Folders of weights, and the files in them. No pickle and no code: reading those runs them.
WEIGHTS = re.compile(
    r"(model|stages/removed-\d+)/[\w-][\w.-]*\.(safetensors|json|txt|model|jinja)", re.ASCII
)

#: What a full disk raises, which is not the archive's fault.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

#: What reading a damaged archive raises.
DAMAGE = (tarfile.TarError, zlib.error, EOFError, OSError, OverflowError, ValueError)

#: Bytes that are read at a time.
BLOCK = 2**20

SUFFIXES = (".tar.gz", ".tgz")


def export_runs(runs: Iterable[Run], path: str | Path, weights: bool = False) -> list[Run]:
    """Write finished runs, and those that they build on, into one archive.

    Args:
        path: ends in .tar.gz or .tgz, and does not exist yet.
        weights: whether the weights are in it too; without them no model can be asked.

    Returns the runs in it. Raises `RunError` if there is none, if one is unfinished or damaged, if
    weights are damaged or missing, or if the file exists; `OSError` if it cannot be written.
    """
    path = Path(path).expanduser()
    if not path.name.endswith(SUFFIXES):
        raise RunError(f"{path}: an archive of runs ends in {SUFFIXES[0]}")
    if path.exists():
        raise RunError(f"{path} exists: delete it, or give another name")
    every = _with_ancestors(runs)
    if shipped := [run.name for run in every if paths.SHIPPED in run.folder.parents]:
        raise RunError(f"{shipped[0]} comes with the workbook: it is there without an archive")
    if not every:
        raise RunError("no finished run is chosen, so that there is nothing to export")
    for run in every:  # an archive of damaged files cannot be imported
        if run.problem:
            raise RunError(run.problem)
        if weights:
            run.weights()
            _check_weights(run, "put it back from a copy, or export without weights")
    path.parent.mkdir(parents=True, exist_ok=True)
    with paths.whole_file(path) as part, tarfile.open(part, "w:gz", dereference=True) as archive:
        for run in every:
            for file in _files(run, weights):
                name = f"{run.name}/{file.relative_to(run.folder).as_posix()}"
                archive.add(file, name, recursive=False, filter=_anonymous)
    return every


def _with_ancestors(runs: Iterable[Run]) -> list[Run]:
    found: dict[str, Run] = {}
    for run in runs:
        found[run.name] = run
        found |= {name: Run.of(config) for name, config in run.config.ancestors().items()}
    for run in found.values():
        if not run.done:
            raise RunError(f"{run.name} is not finished, so that it cannot be exported")
    return [found[name] for name in sorted(found)]


def _check_weights(run: Run, remedy: str) -> None:
    """Raises `RunError` for weights that have changed since they were written. Those of stages may
    have been deleted."""
    lost = {run.stage_folder(x) for x in run.checkpointed_stages if run.lost_weights(x)}
    for folder in {run.folder / "model", *run.folder.glob("stages/*")} - lost:
        seals.check_seal(folder, remedy)


def _files(run: Run, weights: bool) -> Iterator[Path]:
    yield from (run.folder / name for name in FILES if (run.folder / name).is_file())
    if weights:
        for file in sorted(run.folder.rglob("*")):
            if file.is_file() and WEIGHTS.fullmatch(file.relative_to(run.folder).as_posix()):
                yield file


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member without the user who made it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


# --- import ------------------------------------------------------------------------------------


def import_runs(path: str | Path) -> tuple[list[Run], list[Run]]:
    """Put the runs of an archive into the folder of runs, all of them or none.

    Runs that are in the folder already, finished or not, stay as they are.

    Returns the imported runs, and those that were there. Raises `RunError` if the archive is
    damaged, or holds anything but runs of this version; nothing is imported then.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise RunError(f"{path}: no such file")
    for left in paths.runs_root().glob(".import-*"):
        if paths.is_given_up(left):
            shutil.rmtree(left, ignore_errors=True)
    part = paths.runs_root() / f".import-{uuid.uuid4().hex}"
    part.mkdir(parents=True)
    try:
        _unpack(path, part)
        found = [Run(folder, "export it again") for folder in sorted(part.iterdir())]
        if not found:
            raise RunError(f"{path} holds no run")
        for run in found:
            _check(run, path)
        _check_ancestors(found, path)
        return _move(found)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpack(path: Path, folder: Path) -> None:
    """Write the files of an archive into a folder. Raises `RunError` for anything unexpected."""
    try:
        with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                target = folder / _checked_name(member, path)
                if target.exists():
                    raise RunError(f"{path} holds {member.name!r} twice")
                if member.size > shutil.disk_usage(folder).free:
                    raise RunError(f"{path}: {member.name} does not fit on this disk")
                source = archive.extractfile(member)
                assert source is not None, "a regular file"
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(source, file)
                os.utime(target, (member.mtime, member.mtime))
            while stream.read(BLOCK):  # to the end, where gzip keeps its checksum
                pass
    except DAMAGE as error:
        if getattr(error, "errno", None) in NO_ROOM:
            raise
        raise RunError(f"{path} is no archive of runs, or is damaged: {error}") from None


def _checked_name(member: tarfile.TarInfo, path: Path) -> PurePosixPath:
    """Where a member belongs in the folder of runs: `RUN/FILE` with names that a run has."""
    run, _, rest = member.name.partition("/")
    if not member.isreg():
        raise RunError(f"{path}: {member.name!r} is a link, a folder or a device, and no file")
    if not is_name(run, LONGEST_RUN) or not (rest in FILES or WEIGHTS.fullmatch(rest)):
        raise RunError(f"{path}: {member.name!r} is no file that belongs to a run")
    return PurePosixPath(run, rest)


def _check(run: Run, path: Path) -> None:
    """Raises `RunError` for a run that cannot be read, or that is not the one it is named after."""
    missing = [name for name in NEEDED if not (run.folder / name).is_file()]
    if missing:
        raise RunError(f"{path}: {run.name} lacks {', '.join(missing)}")
    try:
        if run.problem:
            raise RunError(run.problem)
        _check_weights(run, run.remedy)
        config, origin = run.config, run.provenance
        _ = origin["commit"]
        speed_table(run)
        if (run.folder / "samples.jsonl").is_file():
            _ = run.samples
        if (run.folder / "answers.parquet").is_file():
            _ = run.answers
    except (IcotError, KeyError, TypeError, ValueError, OSError) as error:
        words = str(error).removeprefix(f"{run.name}: ").replace(f"{run.folder}{os.sep}", "")
        raise RunError(f"{path}: {run.name} cannot be read: {words}") from None
    # Names of other numerics versions cannot be calculated here.
    if origin.get("numerics", NUMERICS) == NUMERICS and config.plain_name != run.name:
        raise RunError(f"{path}: {run.name} holds the settings of {config.plain_name}")


def _check_ancestors(found: Sequence[Run], path: Path) -> None:
    """Raises `RunError` for a run that builds on one which is finished neither here nor in the
    archive: tables count what both took."""
    new = {run.name for run in found if not Run(paths.runs_root() / run.name).folder.exists()}
    for run in found:
        for name in run.config.ancestors():
            if name not in new and not Run(paths.runs_root() / name).done:
                raise RunError(
                    f"{path}: {run.name} builds on {name}, which is not finished: it is missing in "
                    "the archive, or unfinished in the folder of runs (train it, or delete it)"
                )


def _move(found: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Runs in a folder of parts to where they belong. If one cannot be moved, none is."""
    imported: list[Run] = []
    present: list[Run] = []
    try:
        for run in found:
            target = paths.runs_root() / run.name
            if target.exists():
                present.append(Run(target))
            else:
                run.folder.rename(target)
                imported.append(Run(target))
    except OSError as error:
        for run in imported:
            shutil.rmtree(run.folder)
        raise RunError(f"{paths.runs_root()} cannot be written: {error}") from None
    return imported, present
