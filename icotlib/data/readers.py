"""Reading files of every kind row by row; rows that are no example are counted with the reason."""

import bz2
import gzip
import lzma
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from icotlib.data.cell_text import plain_numbers
from icotlib.data.files import parse_line
from icotlib.data.formats import BY_NAME, Columns, Habits
from icotlib.data.forms import Reading, read_row, unwrapped
from icotlib.data.habits import habits_of, plain_text
from icotlib.data.json_rows import ForeignError, UnreadableError, json_document, json_lines
from icotlib.data.tables import parquet_rows, table_rows
from icotlib.data.text import clean, decode, split_lines
from icotlib.errors import DataError
from icotlib.system.wording import counted
from icotlib.tasks import Example, Task

#: The kinds of files that are read.
KINDS = (".txt", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")

#: What a file of text may be compressed by.
COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}

#: The longest line that is read, in characters.
LONGEST = 100_000

#: Why a chain is left out whose question is kept with another one.
FURTHER = "the question has further chains (--all-chains keeps them)"

#: The form of the authors' lines, for reports.
LINES = Reading("authors", "before ||", "between || and ####", "after ####")


@dataclass
class Report:
    """The rows of one split: the examples that were kept, and the rows that were left out."""

    kept: list[Example] = field(default_factory=list)
    #: The number of rows left out, by reason.
    dropped: Counter = field(default_factory=Counter)
    #: The reasons for which rows are no questions of the task.
    foreign: set[str] = field(default_factory=set)
    #: The first row left out for each reason, as `file:line`.
    first: dict[str, str] = field(default_factory=dict)
    #: The start of the text of that row.
    shown: dict[str, str] = field(default_factory=dict)
    #: How many rows of which source were read as what.
    read_as: Counter = field(default_factory=Counter)
    #: What else is to be known of how the rows were read.
    notes: list[str] = field(default_factory=list)

    def drop(self, reason: str, where: str, text: str = "") -> None:
        """Count a row that is left out, at `file:line`."""
        self.dropped[reason] += 1
        if reason not in self.first:
            self.first[reason], self.shown[reason] = where, shortened(text)

    def lines(self, split: str) -> Iterator[str]:
        """The report as text."""
        lengths = [len(example.chain.split()) for example in self.kept]
        without = sum(not length for length in lengths)
        yield f"{split}: {counted(len(self.kept), 'examples')}"
        by_reading: dict[Any, list[str]] = {}
        for source, reading in self.read_as:
            by_reading.setdefault(reading, []).append(source)
        for reading, names in by_reading.items():
            count = sum(self.read_as[name, reading] for name in names)
            source = names[0] if len(names) == 1 else f"{len(names):,} files, {names[0]} first,"
            yield f"  {count:,} from {source} as {reading}"
        yield from (f"  {note}" for note in self.notes)
        if lengths:
            text = f"{min(lengths)} to {max(lengths)}, median {median(lengths):g}"
            yield f"  chain, symbols between spaces: {text}; {without:,} without any step"
        yield from self.left_out()

    def left_out(self) -> Iterator[str]:
        """How many rows were left out for which reason, as text."""
        for reason, count in self.dropped.most_common():
            first, text = self.first[reason], self.shown[reason]
            yield f"  left out: {count:,} because {reason} (first at {first}){text and ': ' + text}"


def shortened(text: str) -> str:
    """The start of a text on one line, at most 80 characters."""
    length = 80
    words = " ".join(text[: 4 * length].split())
    words = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in words)
    return words if len(words) <= length else words[: length - 3] + "..."


def read_rows(path: Path, report: Report, columns: Columns = BY_NAME, **how: Any) -> None:
    """Add the rows of a file to a report.

    Args:
        how: `task` and `commas`, as for `collect`.

    Raises `DataError` for a file that is missing, of unknown kind, or cannot be read at all.
    """
    collect(file_rows(path), report, columns, path.name, **how)


def kind_of(path: Path) -> str | None:
    """The kind of a file by its name, compressed or not; None if it is not read."""
    name = path.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    kind = Path(name).suffix
    packed = name != path.name.lower()
    return kind if kind in KINDS and not (packed and kind == ".parquet") else None


def file_rows(path: Path) -> list[tuple[str, Any]]:
    """Where each row of a file stands, and a dictionary, an `Example`, or why it is neither.

    Raises `DataError` for a file that is missing, of unknown kind, or cannot be read at all.
    """
    kind = kind_of(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file in it")
    if kind is None:
        raise DataError(f"{path}: unknown kind of file; known are {', '.join(KINDS)} and .gz")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if kind == ".parquet":
        return list(parquet_rows(path))
    try:
        data = path.read_bytes()
        unpack = COMPRESSED.get(path.suffix.lower())
        data = unpack(data) if unpack else data
    except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    except Exception as error:  # zlib raises a type of its own
        raise DataError(f"{path}: cannot be unpacked: {error}") from None
    start = data[:1000]
    if not start.startswith((b"\xff\xfe", b"\xfe\xff")) and start.count(0) > len(start) // 4:
        raise DataError(f"{path}: looks like UTF-16 without a byte-order mark: save it as UTF-8")
    return list(_text_rows(path, data, kind))


def _text_rows(path: Path, data: bytes, kind: str) -> Iterator[tuple[str, Any]]:
    name = path.name
    if kind in (".csv", ".tsv"):
        return table_rows(path, _whole_text(path, data), kind)
    if kind == ".json":
        document = json_document(path, _whole_text(path, data, "replace"))
        if document is not None:
            _whole_text(path, data)
            return document
    lines, errors = _readable_lines(name, data)
    read = _example_lines if kind == ".txt" else json_lines
    return iter([*read(name, lines), *errors])


def _whole_text(path: Path, data: bytes, errors: str = "strict") -> str:
    try:
        return decode(data)
    except UnicodeDecodeError as error:
        if errors == "replace":
            return data.decode("utf-8-sig", errors)
        raise DataError(
            f"{path}: is not UTF-8 (byte {error.start:,}), nor UTF-16 with a byte-order mark: save "
            "it as UTF-8"
        ) from None


def _readable_lines(name: str, data: bytes) -> tuple[list[str], list[tuple[str, ValueError]]]:
    """The lines of a file, empty where a line cannot be read; and the errors of those."""
    try:
        lines = split_lines(decode(data))
        bad = set()
    except UnicodeDecodeError:
        lines = split_lines(data.decode("utf-8-sig", "surrogateescape"))
        bad = {i for i, line in enumerate(lines) if _has_surrogates(line)}
    errors: list[tuple[str, ValueError]] = []
    for number, line in enumerate(lines):
        reason = "the line is not UTF-8" if number in bad else None
        if len(line) > LONGEST:
            reason = f"the line is longer than {LONGEST:,} characters"
        if reason is not None:
            errors.append((f"{name}:{number + 1}", UnreadableError(reason, _printable(line))))
            lines[number] = ""
    return lines, errors


def _has_surrogates(line: str) -> bool:
    return line.encode("utf-8", "ignore").decode() != line


def _printable(line: str) -> str:
    return line[:1000].encode("utf-8", "replace").decode()


def _example_lines(name: str, lines: list[str]) -> Iterator[tuple[str, Example | ValueError]]:
    """The authors' files, `question||chain #### answer`."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"{name}:{number}", parse_line(clean(line))
            except ValueError as error:
                yield f"{name}:{number}", UnreadableError(str(error).partition(", found")[0], line)


def collect(
    rows: Iterable[tuple[str, Any]],
    report: Report,
    columns: Columns,
    source: str = "rows",
    all_chains: bool = False,
    task: Task | None = None,
    commas: bool = False,
) -> None:
    """Add the rows of one source to a report.

    Args:
        rows: pairs: where the row stands, such as `x.csv:3`, and the row: a dictionary, an
            `Example`, or the error of reading it.
        source: what the report calls them.
        all_chains: keep all chains of a row that has several, as an example each.
        task: reads the rows of its own published form (`Task.read_json`).
        commas: whether the commas in numbers stay, whatever these rows look like.
    """
    rows = list(rows)
    habits = habits_of([row for _, row in rows], columns)
    if commas and not habits.decimal_commas:
        habits = replace(habits, decimal_commas=True)
        report.notes.append(f"{source}: commas in numbers stay, as in the data of training")
    elif habits.decimal_commas:
        report.notes.append(f"{source}: commas in numbers stay: they mark decimals here, as in 1,5")
    if habits.system_prompt is not None:
        text = shortened(habits.system_prompt)
        report.notes.append(f"{source}: the system prompt that all share is left out: {text}")
    if habits.first_choice is not None:
        report.notes.append(f"{source}: answers number the choices from {habits.first_choice}")
    for where, row in rows:
        try:
            examples, reading = _examples_of(row, columns, habits, task)
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            report.drop(reason, where, getattr(error, "text", None) or row_text(row))
            report.foreign |= {reason} if isinstance(error, ForeignError) else set()
        else:
            report.read_as[source, reading] += 1
            kept = examples if all_chains else examples[:1]
            report.kept += kept
            for _ in examples[len(kept) :]:
                report.drop(FURTHER, where, row_text(row))


def _examples_of(
    row: Any, columns: Columns, habits: Habits, task: Task | None
) -> tuple[list[Example], Reading]:
    """The examples of a row of `collect`, one for each of its chains, and how it was read.

    Raises `ValueError` with the reason for a row that holds none.
    """
    if isinstance(row, ValueError):
        raise row
    if isinstance(row, Example):
        return [_plain(row, habits)], LINES
    if task is not None and _is_published(task, unwrapped(row)):
        return [_published(task, unwrapped(row))], Reading(task.name, ", ".join(task.json_columns))
    return read_row(row, columns, habits)


def keeps_commas(examples: Iterable[Example]) -> bool:
    """Whether commas stand in numbers of some chain or answer from where they would be removed."""
    return any(plain_numbers(text) != text for example in examples for text in example[1:])


def _is_published(task: Task, row: dict[str, Any]) -> bool:
    return bool(task.json_columns) and all(name in row for name in task.json_columns)


def _published(task: Task, row: dict[str, Any]) -> Example:
    """Raises `ValueError` that says why a row is no question of the task."""
    try:
        return task.read_json(row)
    except (TypeError, LookupError) as error:  # a cell of another type
        raise ValueError(f"{task.name} cannot read its columns: {error}") from None
    except ValueError as error:
        raise ForeignError(str(error)) from None


def _plain(example: Example, habits: Habits) -> Example:
    if habits.decimal_commas:
        return example
    return Example(example.question, *map(plain_numbers, example[1:]))


def row_text(row: Any) -> str:
    """A row as text for a report: its cells that are not empty."""
    if isinstance(row, dict):
        cells = ((name, plain_text(cell)) for name, cell in row.items())
        return " | ".join(f"{name}: {cell}" for name, cell in cells if cell.strip())
    return plain_text(row)


def read_file(
    path: str | Path,
    task: Task | None = None,
    columns: Columns = BY_NAME,
    like: Iterable[Example] = (),
) -> Report:
    """The examples of one file, in any form that `icot prepare` reads.

    Args:
        task: rows in its own published form are read as the task itself writes their questions.
        like: examples that were read before: where commas stayed in their numbers, they stay.

    Raises `DataError` if the file cannot be read or holds no example.
    """
    report = Report()
    read_rows(Path(path), report, columns, task=task, commas=keeps_commas(like))
    if not report.kept:
        raise DataError(f"{path}: holds no example ({'; '.join(report.lines('file'))})")
    return report
