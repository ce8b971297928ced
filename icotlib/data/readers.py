"""Reading files of every kind row by row; rows that are no example are counted with the reason."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from icotlib.data.files import parse_line
from icotlib.data.forms import BY_NAME, Columns, cell_text, plain_numbers, to_example
from icotlib.errors import DataError
from icotlib.tasks import Example

#: The kinds of files that are read.
KINDS = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet")

#: The longest line that is read, in bytes.
LONGEST = 100_000


@dataclass
class Report:
    """The rows of one split: the examples that were kept, and the rows that were left out."""

    kept: list[Example] = field(default_factory=list)
    #: The number of rows left out, by reason.
    dropped: Counter = field(default_factory=Counter)
    #: The first row left out for each reason, as `file:line`.
    first: dict[str, str] = field(default_factory=dict)

    def drop(self, reason: str, where: str) -> None:
        """Count a row that is left out, at `file:line`."""
        self.dropped[reason] += 1
        self.first.setdefault(reason, where)

    def lines(self, split: str) -> Iterator[str]:
        """The report as text."""
        lengths = [len(example.chain.split()) for example in self.kept]
        without = sum(not length for length in lengths)
        yield f"{split}: {len(self.kept):,} examples"
        if lengths:
            text = f"{min(lengths)} to {max(lengths)}, median {median(lengths):g}"
            yield f"  chain, symbols between spaces: {text}; {without:,} without any step"
        for reason, count in self.dropped.most_common():
            yield f"  left out: {count:,} because {reason} (first at {self.first[reason]})"


def read_rows(path: Path, report: Report, columns: Columns = BY_NAME) -> None:
    """Add the rows of a file to a report.

    Raises `DataError` for a file that is missing, of unknown kind, or cannot be read at all.
    """
    reader = {
        ".txt": _text_lines,
        ".jsonl": _json_lines,
        ".json": _json,
        ".csv": _table,
        ".tsv": _table,
        ".parquet": _parquet,
    }.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown kind of file; known are {', '.join(KINDS)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    collect(reader(path), report, columns)


def collect(rows: Iterable[tuple[str, Any]], report: Report, columns: Columns) -> None:
    """Add rows to a report.

    Args:
        rows: where each stands, and a dictionary, an `Example`, or the error of reading it.
    """
    for where, row in rows:
        try:
            if isinstance(row, ValueError):
                raise row
            example = row if isinstance(row, Example) else to_example(row, columns)
        except ValueError as error:
            report.drop(str(error), where)
        else:
            report.kept.append(example)


def _raw_lines(path: Path) -> Iterator[tuple[str, str | ValueError]]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            where = f"{path.name}:{number}"
            if len(raw) > LONGEST:
                yield where, ValueError(f"the line is longer than {LONGEST:,} bytes")
                continue
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                yield where, ValueError("the line is not UTF-8")
                continue
            if line:
                yield where, line


def _text_lines(path: Path) -> Iterator[tuple[str, Example | ValueError]]:
    """The authors' files, `question||chain #### answer`."""
    for where, line in _raw_lines(path):
        if isinstance(line, ValueError):
            yield where, line
            continue
        try:
            question, chain, answer = map(cell_text, parse_line(line))
            yield where, Example(question, plain_numbers(chain), plain_numbers(answer))
        except ValueError as error:
            yield where, ValueError(str(error).partition(", found")[0])


def _json_lines(path: Path) -> Iterator[tuple[str, dict | ValueError]]:
    for where, line in _raw_lines(path):
        yield where, line if isinstance(line, ValueError) else _json_row(line)


def _json_row(text: str) -> dict | ValueError:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):  # a number of thousands of digits is a ValueError too
        return ValueError("the line is not JSON")
    return row if isinstance(row, dict) else ValueError("the line is JSON, but not an object")


def _json(path: Path) -> Iterator[tuple[str, dict | ValueError]]:
    """A list of objects, or one object per line in spite of the file's name."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        yield from _json_lines(path)
        return
    if isinstance(rows, dict) and any(_is_pronto(value) for value in rows.values()):
        yield from _named_rows(path, rows)
        return
    if isinstance(rows, dict):  # {"data": [...]}, or an object that is the only row
        lists = [value for value in rows.values() if isinstance(value, list)]
        rows = lists[0] if len(lists) == 1 and len(rows) == 1 else [rows]
    if not isinstance(rows, list):
        raise DataError(f"{path}: holds neither a list of objects nor one object per line")
    for number, row in enumerate(rows):
        valid = isinstance(row, dict)
        yield f"{path.name}:[{number}]", row if valid else ValueError("an entry is not an object")


def _is_pronto(value: Any) -> bool:
    return isinstance(value, dict) and "test_example" in value


def _named_rows(path: Path, rows: dict[str, Any]) -> Iterator[tuple[str, dict | ValueError]]:
    """ProntoQA's file, `{"example1": {"test_example": {...}}}`; in-context examples are ignored."""
    for name, row in rows.items():
        valid = _is_pronto(row)
        yield f"{path.name}:{name}", row if valid else ValueError("an entry has no test_example")


def _table(path: Path) -> Iterator[tuple[str, dict | ValueError]]:
    # Tab-separated tables have no quotes. In others, strict: an open quote would swallow rows.
    tabs = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    dialect = tabs if path.suffix.lower() == ".tsv" else {"strict": True}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, **dialect)
            for row in reader:
                where = f"{path.name}:{reader.line_num}"
                if None in row or None in row.values():
                    yield where, ValueError("the row has more or fewer cells than the header")
                else:
                    yield where, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the table cannot be read: {error}") from None


def _parquet(path: Path) -> Iterator[tuple[str, dict]]:
    from datasets import Dataset

    try:
        rows = Dataset.from_parquet(str(path))
    except Exception as error:  # pyarrow raises types of its own
        raise DataError(f"{path}: the parquet file cannot be read: {error}") from None
    yield from ((f"{path.name}:[{number}]", row) for number, row in enumerate(rows))


def read_file(path: str | Path) -> Report:
    """The examples of one file, in any form that `icot prepare` reads.

    Raises `DataError` if the file cannot be read or holds no example.
    """
    report = Report()
    read_rows(Path(path), report)
    if not report.kept:
        raise DataError(f"{path}: holds no example ({'; '.join(report.lines('file'))})")
    return report
