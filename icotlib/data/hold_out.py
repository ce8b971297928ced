"""Questions of a file, compared with those of a generated task: kept out of it, or found in it.

Questions are compared by their symbols, without regard to case, spaces and the form of their
letters. They may stand in the file as the task writes them, `9 1 7 3 * 4 8`, as a person types
them, `3719 * 84`, or in the published form of the task. Where a task says which questions are the
same but for names and order (`Task.canonical`), none of those is drawn either.
"""

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from icotlib.data.readers import FURTHER, read_file
from icotlib.data.text import clean, same_question
from icotlib.errors import DataError
from icotlib.sources import HELD_OUT_FILE, file_digest
from icotlib.system.wording import counted
from icotlib.tasks import Task
from icotlib.tasks.base import PADDING


def question_keys(questions: np.ndarray) -> np.ndarray:
    """A 64-bit key for each row of `[n, entries]`: `[n]`, equal for equal rows.

    Different rows share a key once in 2^64 pairs; a draw is then refused without need, which is
    harmless. Entries of -1 (padding) at the end of a row do not change its key.
    """
    factors = _key_factors(questions.shape[1])
    keys = ((questions.astype(np.uint64) + 1) * factors).sum(axis=1, dtype=np.uint64)
    return keys ^ (keys >> np.uint64(29))


@functools.cache
def _key_factors(entries: int) -> np.ndarray:
    """An odd number for each entry, the same ones everywhere."""
    rng = np.random.default_rng(0x1C07)
    return rng.integers(0, 2**63, entries, dtype=np.uint64) * 2 + 1


def is_in_sorted(values: np.ndarray, sorted_values: np.ndarray) -> np.ndarray:
    """Which values occur in a sorted array, `[n]`."""
    if not len(sorted_values):
        return np.zeros(len(values), dtype=bool)
    at = np.searchsorted(sorted_values, values).clip(max=len(sorted_values) - 1)
    return sorted_values[at] == values


def rendered_keys(task: Task, questions: np.ndarray) -> np.ndarray:
    """The keys of questions `[n, entries]` by the symbols that they are written with: `[n]`."""
    return symbol_keys(task, task.render(questions).question)


def same_keys(task: Task, questions: np.ndarray) -> np.ndarray:
    """Keys of questions `[n, entries]` that are equal for those that the task takes for the same
    (`Task.canonical`), by default those with the same symbols: `[n]`."""
    keys = task.canonical(questions)
    return rendered_keys(task, questions) if keys is None else keys


def drawn_keys(task: Task, questions: np.ndarray) -> np.ndarray:
    """Keys of drawn questions `[n, entries]` that are equal for those that the task takes for the
    same (`Task.canonical`), by default those with the same entries: `[n]`."""
    keys = task.canonical(questions)
    return question_keys(questions) if keys is None else keys


def symbol_keys(task: Task, symbols: np.ndarray) -> np.ndarray:
    """The keys of rendered questions, symbol numbers `[n, width]`: `[n]`."""
    return question_keys(_one_case(task)[symbols])


def _one_case(task: Task) -> np.ndarray:
    """For each symbol the first that differs from it in capitals at most; `PADDING` at the end."""
    numbers = _numbers(task)
    return np.array([*(numbers[symbol.casefold()] for symbol in task.symbols), PADDING])


def _numbers(task: Task) -> dict[str, int]:
    """The number of each symbol without regard to capitals."""
    found: dict[str, int] = {}
    for number, symbol in enumerate(task.symbols):
        found.setdefault(symbol.casefold(), number)
    return found


def keys_of_texts(task: Task, questions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The keys of questions as text, and which of them the task could have written: `[n]` each."""
    numbers = _numbers(task)
    rows = [_symbols(task, numbers, question) for question in questions]
    width = max(map(len, rows), default=0)
    padded = np.full((len(rows), max(width, 1)), PADDING)
    for row, found in zip(padded, rows, strict=True):
        row[: len(found)] = found
    return question_keys(padded), np.array([len(row) > 0 for row in rows], dtype=bool)


def same_keys_of_texts(task: Task, questions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """`same_keys` of questions as text, and which of them are questions of the task: `[n]` each."""
    if type(task).canonical is Task.canonical:
        return keys_of_texts(task, questions)
    rows = np.repeat(task.parse_question(task.example_question), len(questions), axis=0)
    known = np.zeros(len(questions), dtype=bool)
    for number, question in enumerate(questions):
        with contextlib.suppress(ValueError):
            rows[number] = task.parse_question(clean(question))
            known[number] = True
    return same_keys(task, rows), known


def _symbols(task: Task, numbers: dict[str, int], question: str) -> np.ndarray:
    """The symbol numbers of a question, as the task writes it or as typed; empty if it is none."""
    words = same_question(question).split()
    if all(word in numbers for word in words):
        return np.array([numbers[word] for word in words], dtype=np.int64)
    try:
        row = task.render(task.parse_question(clean(question))).question[0]
    except ValueError:
        return np.array([], dtype=np.int64)
    return _one_case(task)[row[row != PADDING]]


class HoldOut:
    """The questions of a file that a generated task must not draw.

    Args:
        setting: the value of `data.hold_out`: the file and, behind `#`, the hash of its content.

    Raises `DataError` if the file is missing, has changed since the config was made, has a row that
    cannot be read, or holds no question of the task.
    """

    def __init__(self, setting: str, task: Task):
        path, digest = HELD_OUT_FILE.fullmatch(setting).groups()  # type: ignore[union-attr]
        self.path, self.digest = Path(path), digest
        if not self.path.is_file():
            raise DataError(f"data.hold_out: {path} is missing; this run needs it, to keep its "
                            "questions out of training")  # fmt: skip
        if file_digest(self.path) != digest:
            raise DataError(
                f"data.hold_out: {path} has changed since this run was configured (hash {digest} "
                f"then, {file_digest(self.path)} now): put it back, or train a new run"
            )
        report = read_file(self.path, task)
        harmless = {FURTHER, *report.foreign}  # a question that is kept out, or none of the task
        lost = {reason: n for reason, n in report.dropped.items() if reason not in harmless}
        if lost:
            reason = next(iter(lost))
            raise DataError(
                f"data.hold_out: {path} has {counted(sum(lost.values()), 'rows')} whose questions "
                f"could not be kept out of training: {reason} (at {report.first[reason]}). Mend or "
                "delete them"
            )
        questions = [example.question for example in report.kept]
        keys, known = same_keys_of_texts(task, questions)
        if not known.any():
            raise DataError(
                f"data.hold_out: {path} holds no question of {task.name}, such as "
                f"{task.example_question!r}; its first is {questions[0]!r}"
            )
        #: Sorted keys of the questions.
        self.keys = np.unique(keys[known])
        #: Questions in the file, and those of them that are no question of the task.
        self.questions, self.foreign = len(questions), int((~known).sum())
        #: How often such a question would have been trained on, and was left out.
        self.met = 0

    def holds(self, task: Task, questions: np.ndarray) -> np.ndarray:
        """Which of the questions `[n, entries]` are held out: `[n]`, bool."""
        return is_in_sorted(same_keys(task, questions), self.keys)

    def __str__(self) -> str:
        foreign = f", {self.foreign:,} of them no questions of the task" if self.foreign else ""
        return f"hold-out: {self.questions:,} questions of {self.path.name}{foreign}"
