"""Files of a figure in the place of others of the same name."""

import contextlib
import glob
import json
import shutil
from pathlib import Path
from typing import Any

from icotlib import paths
from icotlib.errors import ConfigError

#: What a figure is written as.
FORMATS = ("pdf", "svg", "png")


def of_another(name: str, folder: Path, origin: dict[str, Any]) -> set[Path]:
    """The files of a folder that belong to another figure of this name, told by its origin."""
    beside = folder / f"{name}.json"
    with contextlib.suppress(OSError, ValueError):
        before = json.loads(beside.read_text(encoding="utf-8"))
        before.pop("commit", None)
        if before == json.loads(json.dumps(origin)):
            return set()
    more = folder.glob(f"{glob.escape(name)}-*.csv")
    tables = {path for path in more if not path.with_suffix(".json").exists()}
    return tables | set(files_of(name, folder))


def files_of(name: str, folder: Path) -> list[Path]:
    """The table of a figure and the figure itself, as far as they are there."""
    named = (folder / f"{name}.{ending}" for ending in ("csv", *FORMATS))
    return [path for path in named if path.exists()]


def put(made: Path, target: Path, replace: bool, others: set[Path]) -> list[Path]:
    """Move files into a folder, unless others of the same names are there and may not go.

    Args:
        others: files of another figure of this name, none of which may stay beside this one.

    Raises `ConfigError` naming the first one that differs.
    """
    files = sorted(made.iterdir())
    left = sorted(others - {target / path.name for path in files})
    if left and not replace:
        raise ConfigError(
            f"{left[0]} is there already, and of another figure: choose another name or folder, or "
            "pass replace=True, which deletes it"
        )
    for path in files:
        other = target / path.name
        if not replace and other.exists() and other.read_bytes() != path.read_bytes():
            raise ConfigError(
                f"{other} is there already, and differs: choose another name or folder, or pass "
                "replace=True"
            )
    target.mkdir(parents=True, exist_ok=True)
    for path in files:
        with paths.whole_file(target / path.name, durable=False) as part:
            shutil.copyfile(path, part)
    for path in left:
        path.unlink()
    return [target / path.name for path in files]
