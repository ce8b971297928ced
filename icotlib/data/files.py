"""The authors' text format, one example per line: `question||chain #### answer`."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from icotlib.errors import DataError
from icotlib.tasks import Example, Task

SPLITS = ("train", "valid", "test")

_LINE = re.compile(r"(?P<question>.+?)\|\|(?P<chain>.*?)\s*####(?P<answer>.+)", re.DOTALL)


def parse_line(line: str) -> Example:
    """The example of one line; raises `ValueError` that says what is wrong with the line."""
    if line.count("||") != 1:
        raise ValueError(f"needs exactly one '||', found {line.count('||')}")
    if line.count("####") != 1:
        raise ValueError(f"needs exactly one '####', found {line.count('####')}")
    match = _LINE.fullmatch(line)
    example = Example(*(part.strip() for part in match.groups())) if match else None
    if example is None or not example.question or not example.answer:
        raise ValueError("question and answer must not be empty")
    return example


def read_examples(
    path: str | Path, on_error: Literal["raise", "skip"] = "raise"
) -> tuple[list[Example], int]:
    """The examples of a file in the authors' format, and the number of lines skipped.

    Blank lines are ignored and not counted.

    Args:
        on_error: what a malformed line does: raise `DataError` naming file and line number, or be
            skipped and counted.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    examples, skipped = [], 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8").strip("\r\n")
                if line.strip():
                    examples.append(parse_line(line))
            except ValueError as error:
                if on_error == "raise":
                    raise DataError(f"{path}:{number}: {error}") from None
                skipped += 1
    return examples, skipped


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
