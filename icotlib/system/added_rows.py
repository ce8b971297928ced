"""Rows that commands add to a CSV file of the user's, such as records and benchmarks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icotlib import paths
from icotlib.errors import ConfigError
from icotlib.system import leases


def check_addable(path: Path, columns: Sequence[str], option: str = "--out") -> None:
    """Raises `ConfigError` for a file that is there and is no table with these columns, before
    anything is measured for it."""
    if path.is_file() and path.stat().st_size:
        missing = [name for name in columns if name not in _read(path, option).columns]
        if missing:
            raise ConfigError(
                f"{option} {path}: is another table, without the columns {', '.join(missing)}; "
                "give another file"
            )


def add_rows(path: Path, table: Any) -> None:
    """Add the rows of a frame to a CSV file, or begin it. One process at a time does so.

    Raises `ConfigError` for a file that is no CSV table.
    """
    import pandas as pd  # a moment: not for --help

    path = path.resolve()  # a link stays one, and its lock is that of the file
    with leases.hold(path.with_name(f".{path.name}.lock")):
        if path.is_file() and path.stat().st_size:
            table = pd.concat([_read(path), table], ignore_index=True)
        with paths.whole_file(path) as part:
            table.to_csv(part, index=False)


def _read(path: Path, option: str = "--out") -> Any:
    from icotlib.system.spreadsheets import read_text_table

    try:
        return read_text_table(path)  # rows stay as they are
    except (ValueError, OSError) as error:  # also what is no text
        raise ConfigError(f"{option} {path}: cannot be read as a CSV table: {error}") from None
