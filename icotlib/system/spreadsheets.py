"""Tables for spreadsheets, which calculate a text that begins with `=`: it is a formula there."""

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


def _holds_text(column: pd.Series) -> bool:
    return not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_dtype(column))


def _inert(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(FORMULA) or value == "-":
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
