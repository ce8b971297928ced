"""Multiple choice: labelled choices join the question, and the answer is a label."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from icotlib.data.cell_text import Number, cell_text, has_content, is_list, unwritten
from icotlib.data.formats.base import (
    Columns,
    Final,
    Format,
    Habits,
    Parts,
    Row,
    ambiguous,
    normal_name,
)
from icotlib.data.formats.by_name import BEFORE, STEPS
from icotlib.data.responses import final_answer

_LETTERS = "ABCDEFGHIJ"
_KEYS = (
    "answer_key",
    "correct",
    "correct_option",
    "answer",
    "label",
    "final_answer",
    "gold",
    "q_ans",
)
_STEMS = (
    "question",
    "question_stem",
    "stem",
    "problem",
    "query",
    "question_text",
    "prompt",
    "q_text",
)
#: Columns that hold a choice each: `option_a`, `choice1`, ECQA's `q_op1`.
_COLUMN = re.compile(r"(?:q_)?(?:op|opt|option|choice)_?([a-j1-9])")
_LABELLED = re.compile(r"\s*\(?([A-Za-z0-9])\s*[).:]\s*(.+)", re.DOTALL)


class Choices(Format):
    """CommonsenseQA, AQuA, MathQA, MMLU and their kind, with a column of rationales."""

    name = "commonsenseqa"
    about = "question, choices with label and text, answerKey, rationale"

    def fits(self, row: Row) -> bool:
        return (
            _is_stem(row.get("question"))
            or row.has("answer_key")
            or has_content(unwritten(row.get("choices", "options")))
            or len(_choice_columns(row)) > 1
        )

    def read(self, row: Row, columns: Columns, habits: Habits) -> Parts:
        asked, stem, labels, texts = self._asked(row, columns)
        answer = columns.answer or self._answer_column(row)
        label = _label(row.named(answer), labels, texts, habits.first_choice or 0)
        if not has_content(stem):
            raise ValueError("the question is empty")
        steps = columns.steps or row.one("steps", (*STEPS, "task_b"))
        if steps is None or not has_content(row.named(steps)):
            raise ValueError("there are choices but no rationale: name it (--steps COLUMN)")
        before = [] if columns.question else row.columns(BEFORE)
        before = [column for column in before if has_content(row.cells[column])]
        listed = " ".join(f"({name}) {text}" for name, text in zip(labels, texts, strict=True))
        names = " + ".join([*before, asked, "the choices"])
        return Parts(
            [*(row.cells[column] for column in before), stem, listed],
            row.named(steps),
            Final(label),
            (names, steps, answer),
        )

    def answer_number(self, row: Row, columns: Columns) -> tuple[int, int] | None:
        """The number by which an answer chooses, and how many choices there are; None where it
        chooses by a label or a text, or the row cannot be read."""
        try:
            _, _, labels, texts = self._asked(row, columns)
            cell = cell_text(unwritten(row.named(columns.answer or self._answer_column(row))))
        except ValueError:
            return None
        chooses = cell.isdecimal() and len(cell) < 3 and cell not in (*labels, *texts)
        return (int(cell), len(labels)) if chooses else None

    def _asked(self, row: Row, columns: Columns) -> tuple[str, Any, list[str], list[str]]:
        """The column of the question, its text, and labels and texts of the choices."""
        asked = columns.question or next(iter(row.columns(_STEMS)), None)
        if asked is None:
            raise ValueError("no column looks like the question: name it (--question COLUMN)")
        stem, choices = row.named(asked), row.get("choices", "options")
        if isinstance(stem, dict):
            choices = stem.get("choices", choices)
            stem = stem.get("stem")
        labels, texts = _choices((_choice_columns(row) or None) if choices is None else choices)
        return asked, stem, labels, texts

    def _answer_column(self, row: Row) -> str:
        found = row.distinct(_KEYS[:3]) or row.distinct(_KEYS[3:])
        if len(found) > 1:
            raise ambiguous("answer", [(column, row.cells[column]) for column in found])
        if not found:
            raise ValueError("there are choices but no answerKey: name it (--answer COLUMN)")
        return found[0]


class Aqua(Choices):
    name = "aqua"
    about = "question, options such as 'A)21', rationale, correct"

    def fits(self, row: Row) -> bool:
        return row.has("options", "correct")


def first_choice(rows: Iterable[Row], columns: Columns) -> int | None:
    """The number of the first choice, where answers of a file number the choices: 1 if some answer
    is the number of its choices and none is 0, else 0; None if no answer numbers them."""
    form = Choices()
    found = [number for row in rows if (number := form.answer_number(row, columns))]
    from_one = any(answer == choices for answer, choices in found)
    return int(from_one and all(answer > 0 for answer, _ in found)) if found else None


def _choice_columns(row: Row) -> dict[str, Any]:
    """The choices of a row that has a column for each, by their labels."""
    columns = _columns_of_choices(tuple(row.cells))
    cells = {label: row.cells[column] for label, column in columns.items()}
    return {label: cell for label, cell in cells.items() if has_content(cell)}


@lru_cache(maxsize=1000)
def _columns_of_choices(columns: tuple[str, ...]) -> dict[str, str]:
    found = ((_COLUMN.fullmatch(normal_name(column)), column) for column in columns)
    return {match[1].upper(): column for match, column in found if match}


def _is_stem(cell: Any) -> bool:
    return isinstance(cell, dict) and ("stem" in cell or "choices" in cell)


def _choices(choices: Any) -> tuple[list[str], list[str]]:
    """Labels and texts of choices.

    Args:
        choices: a list of objects, an object of two lists, a list of texts, or one text with all:
            `a ) 38 , b ) 27`. Texts without labels get letters.
    """
    choices = unwritten(choices)
    labels: Any
    texts: Any
    if isinstance(choices, dict) and {"label", "text"} <= set(choices):
        labels, texts = choices["label"], choices["text"]
    elif isinstance(choices, dict) and all(len(str(name)) == 1 for name in choices):
        labels, texts = list(choices), list(choices.values())
    elif is_list(choices) and all(isinstance(choice, dict) for choice in choices):
        labels, texts = ([choice.get(name) for choice in choices] for name in ("label", "text"))
    elif is_list(choices) and all(isinstance(choice, str) for choice in choices):
        labels, texts = _labelled(list(choices))
    elif isinstance(choices, str):
        listed = " ".join(choices.split())
        parts = re.split(r"(?:^| ?, ?| )(?=\(?[a-zA-Z] ?\))", listed)
        labels, texts = _labelled([part for part in parts if part.strip()])
        if len(labels) < 2 or list(map(str.upper, labels)) != list(_LETTERS[: len(labels)]):
            raise ValueError("the choices are not a list of labels and texts")
    else:
        raise ValueError("the choices are not a list of labels and texts")
    if not (is_list(labels) and is_list(texts) and len(labels) == len(texts)):
        raise ValueError("the choices are not a list of labels and texts")
    labels, texts = [cell_text(label) for label in labels], [cell_text(text) for text in texts]
    if len(labels) < 2 or not all(labels + texts) or len(set(labels)) < len(labels):
        raise ValueError("there are fewer than two choices, an empty text, or equal labels")
    return labels, texts


def _labelled(texts: list[str]) -> tuple[list[str], list[str]]:
    """Choices as texts that begin with their labels, `A)21`; or else get letters."""
    matches = [_LABELLED.fullmatch(text) for text in texts]
    labels = [match[1] for match in matches if match]
    if len(labels) == len(texts) and labels[0] in "Aa1":
        return labels, [match[2] for match in matches if match]
    if len(texts) > len(_LETTERS):
        raise ValueError(f"there are {len(texts)} choices without labels")
    return list(_LETTERS[: len(texts)]), texts


def _label(cell: Any, labels: list[str], texts: list[str], first: int) -> str:
    """The label that an answer gives by itself, by its text, or by its number.

    Args:
        first: the number of the first choice.

    Raises `ValueError` if it does not, or could be two of them.
    """
    cell = unwritten(cell)
    if is_list(cell) and len(cell) == 1:
        cell = cell[0]
    if isinstance(cell, (int, Number)):
        number = cell_text(cell)
        if number in labels or number in texts:
            if number not in labels and _numbered(number, labels, first):
                raise ValueError(
                    f"the answer {number} may be a choice's text, or its number from {first} on"
                )
            return number if number in labels else labels[texts.index(number)]
        if (label := _numbered(number, labels, first)) is not None:
            return label
        raise ValueError("the answer is not a label of the choices")
    given = cell_text(cell)
    if not given:
        raise ValueError("no answer is given")
    for name in (given, given.strip("(). "), given.upper(), given.lower()):
        if name in labels:
            return name
    if given in texts:
        return labels[texts.index(given)]
    label = _numbered(given, labels, first)  # a table has text for numbers
    if label is not None and not set(labels) & set("0123456789"):
        return label
    marked = final_answer(cell, False).answer if isinstance(cell, str) else given
    if marked and marked != given:
        return _label(marked, labels, texts, first)
    raise ValueError("the answer is not a label of the choices")


def _numbered(text: str, labels: list[str], first: int) -> str | None:
    """The label of the choice with a number; None for a text that is no choice's number."""
    place = int(text) - first if text.isdecimal() and len(text) < 3 else -1
    return labels[place] if 0 <= place < len(labels) else None
