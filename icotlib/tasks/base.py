"""What a task is, and the register of all tasks by name."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from icotlib.errors import ConfigError
from icotlib.registry import TASKS

T = TypeVar("T", bound="Task")

PADDING = -1  # marks the unused end of a row in `SymbolBatch`


class Example(NamedTuple):
    """One example as text, its symbols separated by single spaces."""

    question: str
    chain: str
    answer: str


class SymbolBatch(NamedTuple):
    """A batch of examples as three integer arrays, each `[examples, width]`.

    Entries index `Task.symbols`; rows that are shorter than the widest end in `PADDING`.
    """

    question: np.ndarray
    chain: np.ndarray
    answer: np.ndarray


class Task(ABC):
    """A family of questions, each with a chain of thought and an answer.

    A *question* is held as one row of small integers (the digits of two numbers, a string of
    bits), so that a whole batch is drawn and written without a Python loop over examples.
    """

    #: The name that configs use, such as `mult-4x2`.
    name: str
    #: Every symbol that a question, chain or answer may hold.
    symbols: tuple[str, ...]
    #: How many different questions exist; a lower bound where they are too many to be counted.
    n_questions: int
    #: A question as a person would type it.
    example_question: str
    #: How many of the questions are `holdout`.
    n_holdout: int = 0

    @classmethod
    @abstractmethod
    def parse(cls, size: str) -> "Task":
        """The task from what follows the dash in its name; `ValueError` if that is no size."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n questions independently, uniformly unless the task says how: `[n, entries]`.

        Entries are integers from 0 to 127.
        """

    @abstractmethod
    def render(self, questions: np.ndarray, rng: np.random.Generator | None = None) -> SymbolBatch:
        """Write out question, chain and answer for `[n, entries]` drawn questions.

        The arrays are as wide as the longest example of the task needs, whatever was drawn. Where
        a question has several valid chains, `rng` draws one; without it the first is written.
        """

    @abstractmethod
    def parse_question(self, typed: str) -> np.ndarray:
        """One question `[1, entries]` as a person types it; `ValueError` if it is none."""

    @property
    def widths(self) -> tuple[int, int, int]:
        """Symbols of the longest question, chain and answer."""
        pieces = self.render(self.sample(np.random.default_rng(0), 1))
        return tuple(piece.shape[1] for piece in pieces)

    # --- out of distribution ---

    def shifts(self) -> dict[str, "Task"]:
        """Neighbouring tasks by the name they have in tables: the same problem at other lengths.

        A model of this task must be able to read and write them: they use no other symbols.
        """
        return {}

    def holdout(self, questions: np.ndarray) -> np.ndarray:
        """Which of `[n, entries]` questions hold the combination that can be kept back: `[n]`.

        Whatever they combine stands, on its own, in other questions, too; `DataConfig.holdout`
        trains on those alone.
        """
        return np.zeros(len(questions), dtype=bool)

    # --- for looking inside ---

    @property
    def entry_names(self) -> tuple[str, ...]:
        """What figures call the entries of a question; here `x0`, `x1`, ..."""
        entries = self.sample(np.random.default_rng(0), 1).shape[1]
        return tuple(f"x{i}" for i in range(entries))

    @property
    def question_names(self) -> tuple[str, ...]:
        """What figures call the symbols of a question as written; here they are its entries."""
        return self.entry_names

    def intermediate_values(self, questions: np.ndarray) -> dict[str, np.ndarray]:
        """Numbers on the way to the answer that no symbol of the chain shows, `[n]` each."""
        return {}

    def counterfactual_answer(
        self, questions: np.ndarray, token: int, symbols: np.ndarray
    ) -> np.ndarray:
        """The answers `[n, width]` that follow if a token of the chain were another, `[n]`.

        A row that has no such answer holds `PADDING`. Raises `ConfigError` where the task cannot
        tell.
        """
        raise ConfigError(f"{self.name} does not say what would follow from another chain")

    def text(self, pieces: SymbolBatch) -> list[Example]:
        """The same examples as text."""
        columns = [_join(rows, self.symbols) for rows in pieces]
        return [Example(*example) for example in zip(*columns, strict=True)]

    def to_json(self, examples: list[Example]) -> Any:
        """Examples as JSON in the form in which such data are published; here a list of objects."""
        return [
            {"question": one.question, "steps": [one.chain], "answer": one.answer}
            for one in examples
        ]


def _join(rows: np.ndarray, symbols: tuple[str, ...]) -> list[str]:
    table = np.array([*symbols, ""])  # the last entry is what PADDING (-1) picks
    return [" ".join(row[row != ""]) for row in table[rows]]


def register(prefix: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: make a task known as `<prefix>-<size>`."""

    def add(cls: type[T]) -> type[T]:
        TASKS.add(prefix, cls)
        return cls

    return add


def get_task(name: str) -> Task:
    """The task of a name such as `mult-4x2` or `parity-8`.

    Raises `ConfigError` if no task has that name or its size cannot be read.
    """
    prefix, _, size = name.partition("-")
    kind = TASKS.get(prefix)
    try:
        return kind.parse(size)
    except ValueError as error:
        raise ConfigError(f"task {name!r}: {error}") from None
