"""Hashes of what was written, kept beside it and checked when it is read.

A folder has `sha256.json`, with the hash of each of its files; a JSON file holds its own hash under
`sha256`. What was written before there were hashes is read without a check.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from icotlib import paths
from icotlib.errors import RunError
from icotlib.system.contents import file_hash

#: The file of a folder's hashes, and the field of a JSON file's own.
SEAL, OWN = "sha256.json", "sha256"


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Write a JSON file whole or not at all (`paths.whole_file`)."""
    with paths.whole_file(path, durable) as part:
        part.write_text(json.dumps(value, indent=2) + "\n")


def read_json(path: Path, remedy: str) -> Any:
    """The value of a JSON file. Raises `RunError` if it is missing or damaged.

    Args:
        remedy: what to do then, a clause.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path} is missing: {remedy}") from None
    except (ValueError, RecursionError, OSError) as error:
        raise RunError(f"{path} is damaged ({error}): {remedy}") from None


# --- JSON files --------------------------------------------------------------------------------


def sealed(values: dict[str, Any]) -> dict[str, Any]:
    """Values for a JSON file with their own hash."""
    return values | {OWN: _hash_of(values)}


def opened(path: Path, remedy: str) -> dict[str, Any]:
    """The values that `sealed` was given. Raises `RunError` if they are not those any more."""
    values = read_json(path, remedy)
    if not isinstance(values, dict):
        raise RunError(f"{path} is damaged (it holds no fields): {remedy}")
    own = values.pop(OWN, None)
    if own is not None and own != _hash_of(values):
        raise RunError(f"{path} has changed since it was written: {remedy}")
    return values


def _hash_of(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


# --- folders -----------------------------------------------------------------------------------


def seal(folder: Path) -> None:
    """Write the hashes of all files of a folder into it, once they are on the disk."""
    (folder / SEAL).unlink(missing_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        paths.flush(path)
    hashes = {path.relative_to(folder).as_posix(): file_hash(path) for path in files}
    write_json(folder / SEAL, hashes)


def check_seal(folder: Path, remedy: str, required: bool = False) -> None:
    """Raises `RunError` if a file of a sealed folder is missing, or not what it was.

    Args:
        required: whether a folder without hashes is an error too.
    """
    if not required and not (folder / SEAL).is_file():
        return
    hashes = read_json(folder / SEAL, remedy)
    if not isinstance(hashes, dict):
        raise RunError(f"{folder / SEAL} is damaged: {remedy}")
    for name, expected in hashes.items():
        check_file(folder / name, expected, remedy)


def check_file(path: Path, expected: str, remedy: str) -> Path:
    """The path, if its file has this hash. Raises `RunError` if it is missing, or has another."""
    try:
        found = file_hash(path)
    except FileNotFoundError:
        raise RunError(f"{path} is missing: {remedy}") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error}): {remedy}") from None
    if found != expected:
        raise RunError(f"{path} has changed since it was written: {remedy}")
    return path


def is_whole(folder: Path) -> bool:
    """Whether a folder is sealed, and holds what it did then."""
    try:
        check_seal(folder, "", required=True)
    except RunError:
        return False
    return True


def cached(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder of a cache, whole: `paths.create_once`, and made again if a file has changed.

    Args:
        make: writes what belongs in it into a folder of another name, which it makes itself.
    """
    if folder.is_dir() and not is_whole(folder):
        # Another process may have found the same, and taken it away first.
        with paths.folder_beside(folder) as aside, contextlib.suppress(FileNotFoundError):
            folder.rename(aside)

    def make_sealed(part: Path) -> None:
        make(part)
        seal(part)

    return paths.create_once(folder, make_sealed)


def hashes_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The hashes of those files of a folder that are there, by name."""
    return {name: file_hash(folder / name) for name in names if (folder / name).is_file()}
