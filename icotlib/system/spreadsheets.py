"""Tables for spreadsheets, which calculate a text that begins with `=`: it is a formula there."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd

#: What a formula can begin with; a tab or a line end hides the sign behind it.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def inert(frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts no spreadsheet takes for a formula: they begin with an apostrophe then.

    Numbers stay numbers, also those that are written as text, and so does a lone hyphen.
    """
    named = frame.rename(columns=_inert)
    return named.apply(lambda column: column.map(_inert) if _holds_text(column) else column)


def as_meant(frame: pd.DataFrame) -> pd.DataFrame:
    """The texts of a table that `inert` wrote, without the apostrophes that it put before them."""
    named = frame.rename(columns=_as_meant)
    return named.apply(lambda column: column.map(_as_meant) if _holds_text(column) else column)


def read_text_table(path: Path) -> pd.DataFrame:
    """A CSV file with every field as the text that it is; blank lines are skipped.

    Raises `ValueError` that names the line for a row with more or fewer fields than the header,
    and for a name that two columns have, or fields that are not separated by commas.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        try:
            rows = [(lines.line_num, row) for row in lines if row]
        except csv.Error as error:
            raise ValueError(f"line {lines.line_num}: {error}") from None
    if not rows:
        return pd.DataFrame()
    (_, first), *records = rows
    header = [name.strip() for name in first]
    between = next((sign for sign in ";\t" if len(header) == 1 and sign in header[0]), None)
    if between:
        raise ValueError(f"its fields have {between!r} between them: save it with commas")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise ValueError(f"two columns are called {twice[0]!r}")
    for number, row in records:
        if len(row) != len(header):
            raise ValueError(
                f"line {number} has {len(row)} fields, and the header {len(header)}: quote a "
                "field that holds a comma"
            )
    return pd.DataFrame([row for _, row in records], columns=header, dtype=str)


def _holds_text(column: pd.Series) -> bool:
    return not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_dtype(column))


def _as_meant(value: Any) -> Any:
    bare = value[1:] if isinstance(value, str) and value.startswith("'") else value
    return bare if bare != value and _inert(bare) == value else value


def _inert(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(FORMULA) or value == "-":
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
