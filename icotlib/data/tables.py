"""Rows of tables: separated by comma, semicolon, tab or bar; parquet and Arrow."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from icotlib.data.formats import Row
from icotlib.data.formats.by_name import ANSWER, BEFORE, QUESTION, RESPONSE, STEPS
from icotlib.data.json_rows import UnreadableError
from icotlib.data.text import clean
from icotlib.errors import DataError

#: Separators of cells, the usual one of a kind of file first where nothing else decides.
_SEPARATORS = {".csv": ",;\t|", ".tsv": "\t,;|"}


class SemicolonRow(dict):
    """A row of a table with semicolons, which leaves commas to the decimals of numbers."""


def table_rows(path: Path, text: str, kind: str) -> Iterator[tuple[str, dict | ValueError]]:
    """The rows of a table with a header, each with `file:line`.

    Cells are quoted as pandas and spreadsheets do. In a file of kind `.tsv` whose quotes do not fit
    that, quotes are signs like others.

    Raises `DataError` for a table that cannot be read, or could be read in two ways.
    """
    text, separator = _separator(text, kind)
    try:
        records = _records(text, separator, quoted=True)
    except csv.Error as error:
        if kind != ".tsv":
            raise DataError(
                f"{path}: the table cannot be read: {error}. Quotes inside a quoted cell are "
                "doubled"
            ) from None
        records = _records(text, separator, quoted=False)
    else:
        _check_quotes(path, text, separator, records)
    if not records:
        raise DataError(f"{path}: the table is empty")
    try:
        header = [clean(name) for name in records[0][1]]
    except ValueError as error:
        raise DataError(f"{path}: the header cannot be read: {error}") from None
    twice = {name for name in header if name and header.count(name) > 1}
    if twice:
        raise DataError(f"{path}: two columns are called {min(twice)!r}")
    for number, cells in records[1:]:
        where = f"{path.name}:{number}"
        if len(cells) != len(header):
            reason = "the row has more or fewer cells than the header"
            yield where, UnreadableError(reason, separator.join(cells))
        else:
            kind_of_row = SemicolonRow if separator == ";" else dict
            yield where, kind_of_row(zip(header, cells, strict=True))


def _records(text: str, separator: str, quoted: bool) -> list[tuple[int, list[str]]]:
    """The line at which each record ends, and its cells. Raises `csv.Error`."""
    csv.field_size_limit(10_000_000)
    how: dict[str, Any] = {"strict": True} if quoted else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, **how)
    return [(reader.line_num, cells) for cells in reader if cells]


def _check_quotes(
    path: Path, text: str, separator: str, records: list[tuple[int, list[str]]]
) -> None:
    """Raises `DataError` if quotes join lines that are whole rows without them."""
    if '"' not in text or not any("\n" in x or "\r" in x for _, cells in records for x in cells):
        return
    try:
        plain = _records(text, separator, quoted=False)
    except csv.Error:
        return
    if len(plain) != len(records) and len({len(cells) for _, cells in plain}) == 1:
        raise DataError(
            f"{path}: can be read as {len(records) - 1:,} rows with quoted line ends, or as "
            f"{len(plain) - 1:,} rows with quotes as signs: give JSON lines or parquet instead"
        )


def _separator(text: str, kind: str) -> tuple[str, str]:
    """The text without Excel's line `sep=;`, and the separator of its cells.

    It is the one by which the header has most columns with usual names, then most columns.
    """
    first, _, rest = text.partition("\n")
    named = re.fullmatch(r"sep=(.)\r?", first)
    if named:
        return rest, named[1]

    def columns(separator: str) -> tuple[int, int]:
        try:
            lines = io.StringIO(text[:100_000], newline="")
            header = next(csv.reader(lines, delimiter=separator), [])
        except csv.Error:
            return 0, 0
        row = Row(dict.fromkeys(header))
        usual = [QUESTION + BEFORE, STEPS, ANSWER + RESPONSE]
        return sum(bool(row.columns(names)) for names in usual), len(header)

    return text, max(_SEPARATORS.get(kind, ",;\t|"), key=columns)


def parquet_rows(path: Path) -> Iterator[tuple[str, dict]]:
    """Raises `DataError` for a file that cannot be read."""
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(str(path)) as file:
            rows = [row for batch in file.iter_batches() for row in arrow_rows(batch)]
    except Exception as error:  # pyarrow raises types of its own
        raise DataError(f"{path}: the parquet file cannot be read: {error}") from None
    yield from ((f"{path.name}:[{number}]", row) for number, row in enumerate(rows))


def arrow_rows(batch: Any) -> Iterator[dict[str, Any]]:
    """The rows of an Arrow batch or table; labels by their names, short floats as written."""
    import pyarrow
    from datasets import ClassLabel, Features

    try:
        features = Features.from_arrow_schema(batch.schema)
    except Exception:  # columns that datasets does not know
        features = {}
    columns = {}
    for name, field in zip(batch.schema.names, batch.schema, strict=True):
        values = batch.column(name).to_pylist()
        if isinstance(features.get(name), ClassLabel):
            names = features[name].names
            values = [None if x is None or x < 0 else names[x] for x in values]
        elif pyarrow.types.is_float32(field.type):
            values = [None if x is None else np.float32(x) for x in values]
        columns[name] = values
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))
