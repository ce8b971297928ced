"""The authors' text format, one example per line: `question||chain #### answer`."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from icotlib.data.text import clean, decode, split_lines
from icotlib.errors import DataError
from icotlib.tasks import Example, Task

SPLITS = ("train", "valid", "test")

_LINE = re.compile(r"(?P<question>.+?)\|\|(?P<chain>.*?)\s*####(?P<answer>.+)", re.DOTALL)

#: More of the same sign beside a separator: it is not known which of them separate.
_UNCLEAR = re.compile(r"\|{3,}|#{5,}")


def parse_line(line: str) -> Example:
    """The example of one line; raises `ValueError` that says what is wrong with the line."""
    if line.count("||") != 1:
        raise ValueError(f"needs exactly one '||', found {line.count('||')}")
    if line.count("####") != 1:
        raise ValueError(f"needs exactly one '####', found {line.count('####')}")
    if unclear := _UNCLEAR.search(line):
        raise ValueError(f"cannot tell a separator from text in {unclear.group()!r}")
    match = _LINE.fullmatch(line)
    example = Example(*(part.strip() for part in match.groups())) if match else None
    if example is None or not example.question or not example.answer:
        raise ValueError("question and answer must not be empty")
    return example


def read_examples(path: str | Path) -> list[Example]:
    """The examples of a file in the authors' format; blank lines are ignored.

    Texts are read as `icotlib.data.text.clean` has it. Raises `DataError` with file and line number
    for a malformed line, and if there is no such file.
    """
    examples = []
    for number, found in numbered_examples(path):
        if not isinstance(found, Example):
            raise DataError(f"{path}:{number}: {found}")
        examples.append(found)
    return examples


def numbered_examples(path: str | Path) -> Iterator[tuple[int, Example | ValueError]]:
    """The number of every line of a file that is not blank, and its example, or what is wrong.

    Raises `DataError` if there is no such file, or it cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(_lines(data), start=1):
        try:
            text = clean(line if isinstance(line, str) else _decoded(line))
            if text:
                yield number, parse_line(text)
        except ValueError as error:
            yield number, error


def _lines(data: bytes) -> Sequence[str | bytes]:
    """The lines of a text file; as bytes where it is not UTF-8 throughout."""
    try:
        return split_lines(decode(data))
    except UnicodeDecodeError:
        return data.split(b"\n")


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = f"byte 0x{line[error.start]:02x} at {error.start + 1}"
        raise ValueError(
            f"the line is not UTF-8 ({wrong}), perhaps Latin-1 or Windows-1252; save the file as "
            "UTF-8"
        ) from None


def format_line(example: Example) -> str:
    """An example as one line of the authors' format."""
    return f"{example.question}||{example.chain} #### {example.answer}"


def write_examples(path: str | Path, examples: Iterable[Example]) -> None:
    """Write a file that `read_examples` reads; raises `FileExistsError` if there is one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.writelines(format_line(example) + "\n" for example in examples)


def write_json(path: str | Path, examples: list[Example], task: Task) -> None:
    """Write examples in the task's published JSON form, which `icot prepare` reads.

    Raises `FileExistsError` if there is such a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        json.dump(task.to_json(examples), file, indent=1)
