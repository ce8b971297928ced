"""Rows of JSON files, with numbers as they are written and no key twice."""

import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from icotlib.data.cell_text import Number, is_list
from icotlib.data.formats import Row
from icotlib.data.formats.by_name import ANSWER, BEFORE, QUESTION, RESPONSE, STEPS
from icotlib.data.formats.messages import CONVERSATIONS
from icotlib.data.splits import split_of
from icotlib.errors import DataError

_USUAL = (*QUESTION, *BEFORE, *STEPS, *ANSWER, *RESPONSE)


class UnreadableError(ValueError):
    """Why a row cannot be read, with its text."""

    def __init__(self, reason: str, text: str):
        super().__init__(reason)
        self.text = text


class ForeignError(ValueError):
    """Why a row in the published form of a task is no question of the task."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | ValueError:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        return ValueError(f"the key {twice!r} stands twice in an object")
    return row


def _constant(name: str) -> ValueError | None:
    return None if name == "NaN" else ValueError("a cell holds an infinite number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_constant
)


def json_lines(name: str, lines: list[str]) -> Iterator[tuple[str, dict | ValueError]]:
    """One object per line; each with `file:line`."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield f"{name}:{number}", _line(line)


def _line(line: str) -> dict | ValueError:
    try:
        row = _DECODER.decode(line.strip())
    except (ValueError, RecursionError):
        return UnreadableError("the line is not JSON", line)
    if isinstance(row, ValueError):
        return UnreadableError(str(row), line)
    return (
        row
        if isinstance(row, dict)
        else UnreadableError("the line is JSON, but not an object", line)
    )


def json_document(path: PurePath, text: str) -> Iterator[tuple[str, dict | ValueError]] | None:
    """The rows of a whole file; None if it is not one JSON value.

    Understood are a list of objects, objects with such a list under a key, with lists for several
    splits, with rows by their names, or with the values of each column; and a single row.
    """
    try:
        document = _DECODER.decode(text.strip())
    except (ValueError, RecursionError):
        return None
    return _rows(path, document)


def _rows(path: PurePath, document: Any) -> Iterator[tuple[str, dict | ValueError]]:
    if isinstance(document, ValueError):
        raise DataError(f"{path}: {document}")
    if isinstance(document, dict):
        yield from _rows_of_object(path, document)
        return
    if not isinstance(document, list):
        raise DataError(f"{path}: holds neither a list of objects nor one object per line")
    for number, row in enumerate(document):
        if not isinstance(row, (dict, ValueError)):
            row = UnreadableError("an entry is not an object", str(row))
        yield f"{path.name}:[{number}]", row


def _rows_of_object(
    path: PurePath, document: dict[str, Any]
) -> Iterator[tuple[str, dict | ValueError]]:
    lists = {name: value for name, value in document.items() if _is_rows(value)}
    columns = Row(document).columns(_USUAL)
    if Row(document).has_any(CONVERSATIONS):  # the only row
        yield from _rows(path, [document])
    elif lists and all(split_of(name) for name in lists):
        for name, rows in lists.items():
            for number, row in enumerate(rows):
                where = f"{path.name}:{name}[{number}]"
                yield where, row | {"split": name} if isinstance(row, dict) else row
    elif {"columns", "data"} <= set(document) and is_list(document["columns"]):
        table = [dict(zip(document["columns"], row, strict=False)) for row in document["data"]]
        yield from _rows(path, table)
    elif len(columns) > 1 and all(is_list(document[name]) for name in columns):
        yield from _transposed(path, {k: v for k, v in document.items() if is_list(v)})
    elif len(columns) > 1 and all(isinstance(document[name], dict) for name in columns):
        parts = {k: list(v.values()) for k, v in document.items() if isinstance(v, dict)}
        yield from _transposed(path, parts)
    elif len(columns) > 1:  # the only row
        yield from _rows(path, [document])
    elif len(lists) > 1:
        raise DataError(
            f"{path}: holds several lists of rows, {', '.join(lists)}: make a file of one"
        )
    elif lists:
        yield from _rows(path, next(iter(lists.values())))
    elif len(document) == 1 and isinstance(next(iter(document.values())), (dict, list)):
        yield from _rows(path, next(iter(document.values())))
    elif any(isinstance(value, dict) for value in document.values()):
        yield from _named_rows(path, document)
    else:
        yield from _rows(path, [document])


def _is_rows(value: Any) -> bool:
    """Whether a value is a list of rows; rows with an error are objects too."""
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(row, (dict, ValueError)) for row in value)
        and any(isinstance(row, dict) and not {"role", "from"} & set(row) for row in value)
    )


def _transposed(path: PurePath, columns: dict[str, list]) -> Iterator[tuple[str, dict]]:
    """Rows of an object that holds the values of each column."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{path}: its columns differ in length: {lengths}")
    for number, row in enumerate(zip(*columns.values(), strict=True)):
        yield f"{path.name}:[{number}]", dict(zip(columns, row, strict=True))


def _named_rows(path: PurePath, rows: dict[str, Any]) -> Iterator[tuple[str, dict | ValueError]]:
    """Rows by their names; in ProntoQA's file the row is the `test_example` of each."""
    pronto = any(isinstance(row, dict) and "test_example" in row for row in rows.values())
    for name, row in rows.items():
        if isinstance(row, ValueError):
            row = UnreadableError(str(row), name)
        elif not isinstance(row, dict) or (pronto and "test_example" not in row):
            reason = "an entry has no test_example" if pronto else "an entry is not an object"
            row = UnreadableError(reason, f"{name}: {row}")
        yield f"{path.name}:{name}", row
