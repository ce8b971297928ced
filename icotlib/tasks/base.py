"""What a task is, and how its name finds it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from icotlib.errors import ConfigError
from icotlib.registry import TASKS

T = TypeVar("T", bound="Task")

#: Marks the unused end of a row in `SymbolBatch`.
PADDING = -1


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

    A *question* is stored as one row of small integers, its entries: the digits of two numbers, for
    example, or a string of bits. A batch is drawn and rendered without a loop over examples.
    """

    #: The name that configs use, such as `mult-4x2`.
    name: str
    #: Every symbol that questions, chains and answers may contain.
    symbols: tuple[str, ...]
    #: The number of different questions; a lower bound where it cannot be computed.
    n_questions: int
    #: A question as a user would type it.
    example_question: str
    #: The number of questions in the `holdout`.
    n_holdout: int = 0

    @classmethod
    @abstractmethod
    def parse(cls, size: str) -> "Task":
        """The task of a size, the part of a name after the dash; `ValueError` if it is none."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n questions independently: `[n, entries]`, integers from 0 to 127.

        The distribution is uniform unless the task documents another one.
        """

    @property
    def grows(self) -> bool:
        """Whether the task has smaller questions to begin with (`sample_up_to`)."""
        return type(self).sample_up_to is not Task.sample_up_to

    def sample_up_to(self, rng: np.random.Generator, n: int, share: float) -> np.ndarray:
        """Draw n questions of every size up to a share of the task's own, `[n, entries]`.

        Args:
            share: 0, the smallest questions alone, to 1, questions of all sizes.

        Raises `ConfigError` where the task has no smaller questions.
        """
        raise ConfigError(f"{self.name} has no smaller questions to begin with")

    @abstractmethod
    def render(self, questions: np.ndarray, rng: np.random.Generator | None = None) -> SymbolBatch:
        """Question, chain and answer as symbols, for questions `[n, entries]`.

        The widths are those of the task's longest example, whatever the questions are. Where a
        question has several valid chains, `rng` chooses one; without it the first is rendered.
        """

    @abstractmethod
    def parse_question(self, typed: str) -> np.ndarray:
        """A question that a user typed, `[1, entries]`; raises `ValueError` if it is none."""

    @property
    def widths(self) -> tuple[int, int, int]:
        """The number of symbols in the longest question, chain and answer."""
        batch = self.render(self.sample(np.random.default_rng(0), 1))
        return tuple(symbols.shape[1] for symbols in batch)

    # --- out of distribution ---

    def shifts(self) -> dict[str, "Task"]:
        """The same problem at other lengths, for tests out of distribution; by the name in tables.

        These tasks must not use symbols that this one does not have.
        """
        return {}

    def holdout(self, questions: np.ndarray) -> np.ndarray:
        """Which of the questions `[n, entries]` contain a held-out combination: `[n]`, bool.

        Each part of the combination also occurs in other questions. With `data.holdout`, training,
        validation and test use only those.
        """
        return np.zeros(len(questions), dtype=bool)

    # --- interpretability ---

    def corrupted(self, questions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each question one with another answer, whose states an analysis puts in the place of
        its own: here the next of the questions given.

        Returns:
            questions like those given, and which of them have such a one: `[n]`.
        """
        return np.roll(questions, -1, axis=0), np.ones(len(questions), dtype=bool)

    #: Whether each entry of a question can be drawn anew without the others, and stands in the
    #: question as the symbol of its name: analysis then finds what a variable depends on.
    independent_entries: bool = False

    @property
    def entry_names(self) -> tuple[str, ...]:
        """Names for the entries of a question in figures; by default `x0`, `x1`, ..."""
        entries = self.sample(np.random.default_rng(0), 1).shape[1]
        return tuple(f"x{i}" for i in range(entries))

    @property
    def question_names(self) -> tuple[str, ...]:
        """Names for the symbols of a rendered question in figures; by default its entries'."""
        return self.entry_names

    def entries(self, asked: np.ndarray) -> np.ndarray:
        """The questions `[n, entries]` that are rendered as these symbols, `[n, width]`.

        Raises `ConfigError` where the task does not define it: it is needed by methods that learn
        from `intermediate_values`.
        """
        raise ConfigError(f"{self.name} does not read its questions back from their symbols")

    def intermediate_values(self, questions: np.ndarray) -> dict[str, np.ndarray]:
        """Numbers that the computation needs but no chain symbol shows, by name: `[n]` each."""
        return {}

    def counterfactual_answer(
        self, questions: np.ndarray, token: int, symbols: np.ndarray
    ) -> np.ndarray:
        """The answers `[n, width]` that follow from a changed chain.

        Args:
            token: the position in the chain, from 0.
            symbols: `[n]`, the symbols at that position instead of the true ones.

        Rows without a valid answer hold `PADDING`. Raises `ConfigError` where the task does not
        define such answers.
        """
        raise ConfigError(f"{self.name} defines no answer that follows from a changed chain")

    def counterfactual_value(
        self, questions: np.ndarray, name: str, values: np.ndarray
    ) -> np.ndarray:
        """The answers `[n, width]` that follow from a changed intermediate number.

        Args:
            name: the number's name in `intermediate_values`.
            values: `[n]`, its values instead of the true ones.

        Rows without a valid answer hold `PADDING`. Raises `ConfigError` where the task does not
        define such answers.
        """
        raise ConfigError(f"{self.name} defines no answer that follows from a changed {name}")

    # --- files ---

    def canonical(self, questions: np.ndarray) -> np.ndarray | None:
        """Keys of questions `[n, entries]`, `[n]` 64-bit integers without sign.

        They are equal for questions that are the same but for names and order, so that
        `data.hold_out` keeps these out as well. None, the default, compares questions by the
        symbols that they are written with.
        """
        return None

    #: The keys of the JSON objects that the task reads itself (`read_json`); none by default.
    json_columns: tuple[str, ...] = ()

    def read_json(self, row: dict[str, Any]) -> Example:
        """The example of an object in a published file that has all of `json_columns`.

        It is written as the task writes its own, so that a model trained on the task can read it.
        Raises `ValueError` that says why the object is no question of the task.
        """
        raise NotImplementedError(f"{self.name} reads no JSON of its own")

    def text(self, batch: SymbolBatch) -> list[Example]:
        """The same examples as text."""
        columns = [_join(rows, self.symbols) for rows in batch]
        return [Example(*example) for example in zip(*columns, strict=True)]

    def to_json(self, examples: list[Example]) -> Any:
        """Examples as JSON, in the form in which such data are published: by default a list of
        objects with question, steps and answer."""
        return [{"question": x.question, "steps": [x.chain], "answer": x.answer} for x in examples]


def _join(rows: np.ndarray, symbols: tuple[str, ...]) -> list[str]:
    table = np.array([*symbols, ""])  # PADDING is -1, the index of the last entry
    return [" ".join(row[row != ""]) for row in table[rows]]


def register(prefix: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: register a task as `<prefix>-<size>`."""

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
