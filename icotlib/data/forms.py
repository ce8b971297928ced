"""Rows of other data sets as examples: the cells that a format finds, cleaned and checked."""

from typing import Any, NamedTuple

from icotlib.data.cell_text import (
    MISSING,
    Number,
    cell_text,
    has_content,
    is_list,
    listed_numbers,
    plain_numbers,
    texts_of,
    unwritten,
)
from icotlib.data.files import format_line, parse_line
from icotlib.data.formats import BY_NAME, NO_HABITS, Columns, Habits, Parts, Row, format_of
from icotlib.data.formats.base import Final
from icotlib.data.responses import Response, agree, final_answer, has_thought, read_response
from icotlib.data.text import clean
from icotlib.tasks import Example

__all__ = ["BY_NAME", "Columns", "Reading", "read_row"]


class Reading(NamedTuple):
    """What a row was read as."""

    #: The name of its format.
    form: str
    #: The columns that were taken as question, steps and answer; all in `question` where a task
    #: reads its own form.
    question: str
    steps: str = ""
    answer: str = ""

    def __str__(self) -> str:
        if not self.answer:
            return f"{self.form}: {self.question}"
        if not self.steps:
            return f"{self.form}: question = {self.question}, answer and any steps = {self.answer}"
        parts = f"question = {self.question}, steps = {self.steps}, answer = {self.answer}"
        return f"{self.form}: {parts}"


def unwrapped(row: dict[str, Any]) -> dict[str, Any]:
    """The row itself, or in ProntoQA's files the object that it holds.

    Raises `ValueError` where that is none.
    """
    if "test_example" not in row:
        return row
    if not isinstance(row["test_example"], dict):
        raise ValueError("the test_example is not an object")
    return row["test_example"]


def read_row(
    row: dict[str, Any], columns: Columns = BY_NAME, habits: Habits = NO_HABITS
) -> tuple[list[Example], Reading]:
    """One row as examples, one for each of its chains, and what it was read as.

    Steps may be a list or a text, in a column of their own or in the text of the answer
    (`icotlib.data.responses`). The format is the first of `icotlib.data.formats` that fits.

    Raises `ValueError` that says what is wrong with the row.
    """
    cells = Row(unwrapped(row))
    form = format_of(cells, columns.form)
    parts = form.read(cells, columns, habits)
    reading = Reading(form.name, *parts.taken)
    question = " ".join(text for text in map(cell_text, parts.question) if text)
    if not question:
        raise ValueError("the question is empty")
    if _is_missing(question):
        raise ValueError("the question is missing")
    answer = _answer(parts, columns, habits)
    if not answer.answer:
        raise ValueError("the answer is empty")
    chains = _chains(parts, answer, columns, habits)
    texts = [_joined(chain, columns.between) for chain in chains]
    return [_example(question, chain, answer.answer, habits) for chain in texts], reading


def _answer(parts: Parts, columns: Columns, habits: Habits) -> Response:
    """The answer of a row, and the steps in front of it.

    A column that is named may hold a long answer, which is not marked.
    """
    cell = parts.answer
    if isinstance(cell, Final):
        return Response([], str(cell))
    if is_list(cell) or (isinstance(cell, str) and cell.lstrip().startswith("[")):
        cell = _only_entry(unwritten(cell), cell)
    if isinstance(cell, dict):
        cell = cell_text(cell)
    if not isinstance(cell, str) or isinstance(cell, Number):
        return Response([], cell_text(cell))
    if _is_missing(cell):
        raise ValueError("the answer is missing")
    if columns.answer is None:
        return final_answer(cell, habits.equations)
    response = read_response(cell, habits.equations)
    return response if response.answer is not None else Response([], clean(cell))


def _is_missing(text: str) -> bool:
    """Whether a text stands for nothing, as tables of pandas, R or a database write it."""
    return text.strip().lower() in MISSING


def _only_entry(entries: Any, cell: Any) -> Any:
    """The entry of a list of one, or of equal ones.

    Raises `ValueError` for others; several numbers that stand in a text stay that text.
    """
    if not is_list(entries):
        return cell
    if isinstance(cell, str) and len(entries) != 1 and all(type(x) is Number for x in entries):
        return cell
    texts = {cell_text(entry) for entry in entries}
    if len(texts) != 1:
        raise ValueError(f"the answer is a list of {len(entries)}")
    return entries[0]


def _chains(parts: Parts, answer: Response, columns: Columns, habits: Habits) -> list[list[str]]:
    """The chains of a row as steps; at least one, which may be empty.

    Raises `ValueError` if the text of the answer has other steps than the column of the steps.
    """
    steps = unwritten(parts.steps) if isinstance(parts.steps, str) else parts.steps
    if not has_content(steps) or (isinstance(steps, str) and _is_missing(steps)):
        return [answer.steps]
    if is_list(steps) and any(is_list(entry) for entry in steps):
        if not all(is_list(entry) for entry in steps if has_content(entry)):
            raise ValueError("the steps are texts and lists in one list")
        chains = [texts_of(entry) for entry in steps if has_content(entry)]
    elif isinstance(steps, str) and not isinstance(steps, Number):
        chosen = columns.answer is not None
        chains = [_steps_of_text(steps, None if chosen else answer.answer, habits)]
    else:
        chains = [texts_of(steps)]
    if answer.steps and not parts.only_these_steps and answer.steps not in chains:
        _, where, answered = parts.taken
        if where != answered and " ".join(answer.steps) != " ".join(chains[0]):
            raise ValueError(
                f"there are steps in {where}, and others in {answered}: choose by --steps {where} "
                f"or --steps {answered}"
            )
    return chains


def _steps_of_text(text: str, answer: str | None, habits: Habits) -> list[str]:
    """The steps of a text, without the marked answer that may stand behind them.

    Raises `ValueError` if it marks another number than the answer; None allows any.
    """
    if "####" not in text and not has_thought(text):
        if "boxed" in text or "nswer" in text:
            _check_agreement(read_response(text).answer, answer)
        return texts_of(text)
    response = read_response(text, habits.equations)
    _check_agreement(response.answer, answer)
    if "####" in text:
        _check_nothing_follows(response.answer or "", answer)
    return response.steps


def _check_nothing_follows(marked: str, answer: str | None) -> None:
    """Raises `ValueError` if a text marked as the answer is longer than it, and says another."""
    if answer is None or len(marked.split()) <= len(answer.split()) + 1 or agree(marked, answer):
        return
    raise ValueError(f"in the steps more than the answer follows '####': {marked[:40]!r}")


def _check_agreement(marked: str | None, answer: str | None) -> None:
    if marked is None or answer is None or set(marked + answer) & set("\\{}()[],"):
        return
    numeric = marked[-1:].isdecimal() and answer[-1:].isdecimal()
    if numeric and not agree(marked, answer):
        raise ValueError(
            f"the steps end in the answer {marked[:40]!r}, and the answer is {answer[:40]!r}: "
            "choose one by --answer COLUMN"
        )


def _joined(steps: list[str], between: str) -> str:
    """Raises `ValueError` if a step contains what is written between steps."""
    mark = between.strip()
    if mark and len(steps) > 1 and any(mark in step for step in steps):
        raise ValueError(f"a step contains {mark!r}, by which --between tells steps apart")
    return between.join(steps)


def _example(question: str, chain: str, answer: str, habits: Habits) -> Example:
    """Raises `ValueError` for texts that cannot be written as a line and read back."""
    if ("," in chain or "," in answer) and not habits.decimal_commas:
        listed = listed_numbers([question, chain, answer])
        chain, answer = plain_numbers(chain, listed), plain_numbers(answer, listed)
    for part in (question, chain, answer):
        if "||" in part or "####" in part:
            raise ValueError("a part contains '||' or '####', which separate the parts")
    example = Example(question, " ".join(chain.split()), answer)
    if parse_line(format_line(example)) != example:
        raise ValueError("written as one line, it cannot be read back")
    return example
