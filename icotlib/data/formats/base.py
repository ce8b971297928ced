"""What a format is: how the columns of a row become question, steps and answer."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import yaml

from icotlib.data.cell_text import cell_text, has_content, is_list
from icotlib.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Columns:
    """The columns that hold question, steps and answer; None finds them by their usual names."""

    #: Several columns that belong together are joined by `+`: `Body+Question`.
    question: str | None = None
    steps: str | None = None
    answer: str | None = None
    #: Text to write between steps, by which `removal.step_end` can tell them apart.
    between: str = " "
    #: The name of a format in `icotlib.data.formats`; None recognises it by its columns.
    form: str | None = None

    @classmethod
    def of(cls, names: Mapping[str, str] | str) -> "Columns":
        """The columns that a mapping names, or such a mapping as YAML text.

        Raises `ConfigError` for what is none, or names another part than the fields above.
        """
        if isinstance(names, str):
            names = yaml.safe_load(names) or {}
        known = [field.name for field in fields(cls)]
        if not isinstance(names, Mapping):
            raise ConfigError(f"columns must map {', '.join(known)} to names, got {names!r}")
        for name in names:
            if name not in known:
                hint = did_you_mean(str(name), known)
                raise ConfigError(f"columns: no {name!r}, but {', '.join(known)}.{hint}")
        return cls(**names)


#: Columns found by their usual names.
BY_NAME = Columns()


@dataclass(frozen=True)
class Habits:
    """What holds in the whole of a file, so that single rows are not read each in its own way."""

    #: Some answers hold equations in `<<...>>`: those are the steps, and prose is not.
    equations: bool = False
    #: Numbers have decimal commas, so that no comma parts thousands.
    decimal_commas: bool = False
    #: Where answers number choices: the number of the first one.
    first_choice: int | None = None
    #: The system prompt that all messages share; it is left out.
    system_prompt: str | None = None


#: What is known of a row that stands alone.
NO_HABITS = Habits()


class Final(str):
    """An answer in which nothing is to be searched for."""

    __slots__ = ()


@dataclass(frozen=True)
class Parts:
    """The cells of a row that are question, steps and answer, not yet cleaned."""

    #: Texts that are joined to the question.
    question: list[Any]
    #: A text, a list of texts, or a list of several lists: several chains. None if there is none.
    steps: Any
    #: The answer, or a text in which it is marked and that may hold the steps.
    answer: Any
    #: The names of the columns of the three parts, for the report.
    taken: tuple[str, str, str]
    #: Steps that the text of the answer holds beside `steps` are left out.
    only_these_steps: bool = False


class Row:
    """A row whose columns are found by names in any case, with underscores, spaces or prefixes."""

    __slots__ = ("_names", "cells")

    def __init__(self, cells: dict[str, Any]):
        self.cells = cells
        self._names = _columns_by_name(tuple(cells))

    def columns(self, names: Iterable[str]) -> list[str]:
        """The columns that have one of these names, in the order of the names."""
        known = self._names
        return [column for name in names if name in known for column in known[name]]

    def has(self, *names: str) -> bool:
        """Whether there is a column for each name."""
        return all(name in self._names for name in names)

    def has_any(self, names: frozenset[str]) -> bool:
        """Whether there is a column for one of the names."""
        return not names.isdisjoint(self._names)

    def get(self, *names: str) -> Any:
        """The first cell that is not empty in the columns of these names; None if there is none."""
        found = self.columns(names)
        filled = (self.cells[column] for column in found if has_content(self.cells[column]))
        return next(filled, self.cells[found[0]] if found else None)

    def named(self, column: str) -> Any:
        """The cell of a column by its own name; raises `ValueError` if there is no such column."""
        if column in self.cells:
            return self.cells[column]
        same = self._names.get(normal_name(column), ())
        if len(same) == 1:
            return self.cells[same[0]]
        known = ", ".join(map(str, self.cells))
        hint = did_you_mean(column, map(str, self.cells))
        raise ValueError(f"there is no column {column!r} but {known}{hint and '.' + hint}")

    def joined(self, columns: str) -> list[Any]:
        """The cells of columns whose names are joined by `+`."""
        if columns in self.cells:
            return [self.cells[columns]]
        return [self.named(column.strip()) for column in columns.split("+")]

    def distinct(self, names: Iterable[str]) -> list[str]:
        """The columns with one of these names that are not empty and differ from each other.

        Where all are empty, the first of them.
        """
        columns = self.columns(names)
        if len(columns) < 2:
            return columns
        by_text: dict[str, str] = {}
        for column in columns:
            if has_content(self.cells[column]):
                by_text.setdefault(_comparable(self.cells[column]), column)
        return list(by_text.values()) or columns[:1]

    def one(self, part: str, names: Iterable[str]) -> str | None:
        """The column of a part; None if there is none.

        Raises `ValueError` if several differ: the row could be read in several ways.
        """
        columns = self.distinct(names)
        if len(columns) > 1:
            raise ambiguous(part, [(column, self.cells[column]) for column in columns])
        return columns[0] if columns else None


def ambiguous(part: str, readings: list[tuple[str, Any]]) -> ValueError:
    """The error of a row in which several columns may be the same part, with different contents."""
    columns = ", ".join(column for column, _ in readings)
    options = " or ".join(f"--{part} {_quoted(column)}" for column, _ in readings)
    return ValueError(f"several columns may be the {part} ({columns}): choose by {options}")


def _quoted(column: str) -> str:
    return f"'{column}'" if " " in column else column


def _comparable(cell: Any) -> str:
    try:
        return " ".join(map(cell_text, cell)) if is_list(cell) else cell_text(cell)
    except ValueError:
        return repr(cell)


def normal_name(column: str) -> str:
    """The name of a column in small letters with underscores; `lEquations` is `equations`."""
    name = re.sub(r"^[slifb](?=[A-Z])", "", str(column).strip())
    name = re.sub(r"(?<=[a-z]{2})(?=[A-Z])", "_", name)
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


@lru_cache(maxsize=1000)
def _columns_by_name(columns: tuple[str, ...]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for column in columns:
        names.setdefault(normal_name(column), []).append(column)
    return names


class Format(ABC):
    """A shape in which data sets are published."""

    #: The name for `icot prepare --as`.
    name: str
    #: What it looks like, in one line.
    about: str

    @abstractmethod
    def fits(self, row: Row) -> bool:
        """Whether the columns of a row show that it has this format."""

    @abstractmethod
    def read(self, row: Row, columns: Columns, habits: Habits) -> Parts:
        """The parts of a row; columns that are named take the place of the format's own.

        Raises `ValueError` that says what the row lacks.
        """
