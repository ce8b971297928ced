"""Reading the published tables in `figures/`."""

import json
from pathlib import Path

import pandas as pd

from icotlib import paths
from icotlib.errors import DataError
from icotlib.system.spreadsheets import as_meant


def read(name: str, *numbers: str) -> pd.DataFrame:
    """A published table by its name: these columns as numbers, all others as text."""
    table = as_meant(pd.read_csv(_file(name, None), keep_default_na=False))
    return table.assign(**{column: pd.to_numeric(table[column]) for column in numbers})


def read_numbers(name: str, folder: Path | None = None) -> pd.DataFrame:
    """A published table as its figure takes it: columns of numbers are numbers, empty cells NaN."""
    table = pd.read_csv(_file(name, folder))
    texts = table.select_dtypes(["object", "string"]).columns
    return as_meant(table.fillna(dict.fromkeys(texts, "")))


def _file(name: str, folder: Path | None) -> Path:
    return (folder or paths.FIGURES) / f"{name}.csv"


def words(name: str, folder: Path | None = None) -> list[str]:
    """What a published table says, in the sentences of its study.

    Raises `DataError` where none stand beside it.
    """
    path = (folder or paths.FIGURES) / f"{name}.json"
    found = json.loads(path.read_text(encoding="utf-8")).get("words")
    if not found:
        raise DataError(f"{path} holds no sentences: publish the study again")
    return list(found)
