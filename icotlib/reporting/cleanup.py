"""What can be deleted from the folder of runs without losing a result."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from icotlib import paths
from icotlib.runs import Run
from icotlib.system import leases

DAY = 24 * 3600


@dataclass(frozen=True)
class Removable:
    """A file or folder that can be deleted, and why."""

    path: Path
    reason: str
    bytes: int
    #: Deletes it, if that is still right.
    delete: Callable[[Path], None]


def removable(
    runs: Sequence[Run], days: float = 7, stage_weights: bool = False, all_runs: bool = True
) -> list[Removable]:
    """What `icot runs clean` deletes: nothing that a finished run needs for its tables.

    Args:
        runs: finished and unfinished ones; others stay untouched.
        all_runs: whether these are all; else what belongs to no run stays too.
        days: unfinished runs in which nothing was written for so long are deleted.
        stage_weights: whether the weights of removal stages before the last go too. The run then
            answers at its last stage alone.
    """
    found = [item for run in runs for item in _of_run(run, days, stage_weights)]
    whole = {item.path for item in found}
    found += [item for run in runs if run.folder not in whole for item in _parts(run.folder)]
    if not all_runs:
        return found
    found += [_item(path, "an interrupted import") for path in _old(_root().glob(".import-*"))]
    return [*found, *_half_made(days), *_free_locks()]


def delete(items: Iterable[Removable]) -> None:
    """Delete them all; what has gone in the meantime is no error."""
    for item in items:
        item.delete(item.path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _delete_unless_begun(folder: Path) -> None:
    """Delete a run, unless a process has taken it up since it was listed."""
    if not Run(folder).in_training:
        _delete(folder)


def _root() -> Path:
    return paths.runs_root()


def _half_made(days: float) -> Iterator[Removable]:
    """Run directories without settings: their run was killed as it began, or as it was deleted."""
    markers = ("provenance.json", "done.json", "stop")
    folders = {path.parent for marker in markers for path in _root().glob(f"*/{marker}")}
    for folder in sorted(folders):
        run, quiet = Run(folder), time.time() - _last_change(folder)
        if not (run.started or run.in_training) and quiet > days * DAY:
            yield _item(folder, "a run without settings", _delete_unless_begun)


def _of_run(run: Run, days: float, stage_weights: bool) -> Iterator[Removable]:
    if not run.done:
        if run.in_training:
            return
        quiet = time.time() - _last_change(run.folder)
        if quiet > days * DAY:
            reason = f"an unfinished run, not touched for {quiet / DAY:.0f} days"
            yield _item(run.folder, reason, _delete_unless_begun)
        return
    if (run.folder / "checkpoint").is_dir():
        yield _item(run.folder / "checkpoint", "a checkpoint of a finished run")
    if (run.folder / "activations").is_dir():
        yield _item(run.folder / "activations", "states that can be computed again")
    if stage_weights:
        yield from _stage_weights(run)


def _stage_weights(run: Run) -> Iterator[Removable]:
    """Weights of removal stages. Those of the last are those of `model/`; of the others a folder
    stays, which tells `Run.weights` that the final weights do not stand for them."""
    for stage in run.checkpointed_stages:
        folder = run.stage_folder(stage)
        if stage == run.stages.removed.max():
            yield _item(folder, "weights that model/ holds too")
            continue
        for file in sorted(folder.glob("*.safetensors*")):
            yield _item(file, "weights of a removal stage")


def _parts(folder: Path) -> Iterator[Removable]:
    """Hidden files and folders, which writing renames when they are whole."""
    found = [path for path in folder.rglob(".*") if not _inside_hidden(path, folder)]
    for path in _old(found):
        yield _item(path, "a part of an interrupted write")


def _inside_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts[:-1])


def _old(found: Iterable[Path]) -> list[Path]:
    return [path for path in sorted(found) if time.time() - _last_change(path) > paths.GIVEN_UP]


def _free_locks() -> Iterator[Removable]:
    """Leases whose holder is gone, or has not counted for long."""
    for path in sorted((_root() / ".locks").glob("*")):
        if not leases.is_held(path) or _old([path]):
            yield _item(
                path, "a lock that nobody holds", partial(leases.discard, seconds=paths.GIVEN_UP)
            )


def _item(path: Path, reason: str, delete: Callable[[Path], None] = _delete) -> Removable:
    return Removable(path, reason, sum(one.stat().st_size for one in _files(path)), delete)


def _last_change(path: Path) -> float:
    """When anything in a file or folder was written last, in seconds."""
    return max((one.stat().st_mtime for one in [path, *_files(path)]), default=0.0)


def _files(path: Path) -> list[Path]:
    every = path.rglob("*") if path.is_dir() else [path]
    return [one for one in every if one.is_file()]
