"""Rows of other data sets as examples.

Columns are found by their usual names. ProntoQA, StrategyQA and multiple choice as in CommonsenseQA
have forms of their own, which are recognised by their fields.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from icotlib.data.files import format_line, parse_line
from icotlib.errors import did_you_mean
from icotlib.tasks import Example

#: Usual names of columns, in the order in which they are looked for.
NAMES = {
    "question": ("question", "problem", "input", "prompt"),
    "steps": (
        *("steps", "cot", "chain", "chain_of_thought", "rationale", "solution", "explanation"),
        *("positive explanation", "positive_explanation"),
    ),
    "answer": ("answer", "output", "target", "label"),
}

_EQUATION = re.compile(r"<<(.*?)>>", re.DOTALL)
_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


@dataclass(frozen=True)
class Columns:
    """The columns that hold question, steps and answer; None finds them by their usual names."""

    question: str | None = None
    steps: str | None = None
    answer: str | None = None
    #: Text to write between the steps of a list, by which `removal.step_end` can tell them apart.
    between: str = " "


#: Columns found by their usual names.
BY_NAME = Columns()


def to_example(row: dict[str, Any], columns: Columns = BY_NAME) -> Example:
    """One row as an example; raises `ValueError` that says what is wrong with the row.

    Steps may be a list or a text. Without steps, an answer in GSM8K's form (prose with equations in
    `<<...>>`, and the number behind `####`) is split: its equations are the steps. The forms of
    ProntoQA, StrategyQA and CommonsenseQA are recognised by their fields.
    """
    row, columns = _known_form(row, columns)
    question = cell_text(_column(row, "question", columns.question))
    answer = _column(row, "answer", columns.answer)
    steps = _column(row, "steps", columns.steps, required=columns.steps is not None)
    if steps is None and isinstance(answer, str) and "####" in answer:
        prose, _, answer = answer.rpartition("####")
        steps = [f"<<{equation}>>" for equation in _EQUATION.findall(prose)]
    if isinstance(steps, (list, tuple, np.ndarray)):
        steps = columns.between.join(cell_text(step) for step in steps)
    chain, answer = plain_numbers(cell_text(steps)), plain_numbers(cell_text(answer))
    if not question:
        raise ValueError("the question is empty")
    if not answer:
        raise ValueError("the answer is empty")
    for part in (question, chain, answer):
        if "||" in part or "####" in part:
            raise ValueError("a part contains '||' or '####', which separate the parts")
    example = Example(question, chain, answer)
    if parse_line(format_line(example)) != example:
        raise ValueError("written as one line, it cannot be read back")
    return example


def _column(row: dict[str, Any], part: str, name: str | None, required: bool = True) -> Any:
    """The cell of a part (question, steps or answer), in the named column or a usual one.

    Raises `ValueError` if the named column is missing, or a required part has no usual one.
    """
    if name is not None:
        if name not in row:
            known = ", ".join(map(str, row))
            raise ValueError(f"there is no column {name!r} but {known}{did_you_mean(name, row)}")
        return row[name]
    usual = next((known for known in NAMES[part] if known in row), None)
    if usual is None and required:
        raise ValueError(f"no column looks like the {part}: name it (--{part} COLUMN)")
    return None if usual is None else row[usual]


def _known_form(row: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], Columns]:
    """The row, converted to the common form where its fields show that it has another one.

    Raises `ValueError` that says what such a row lacks. Columns that are named stay as named.
    """
    if "test_example" in row:
        row = row["test_example"]
        if not isinstance(row, dict):
            raise ValueError("the test_example is not an object")
    if "query" in row and "chain_of_thought" in row:
        return _judged(row, columns)
    question = row.get(columns.question or "question")
    nested = isinstance(question, dict) and ("stem" in question or "choices" in question)
    if nested or "answerKey" in row or row.get("choices"):
        return _multiple_choice(row, columns)
    if "facts" in row or "decomposition" in row:
        return _yes_or_no(row, columns)
    return row, columns


def _judged(row: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], Columns]:
    """ProntoQA: the facts are in `question`, the statement to judge in `query`."""
    if columns.question is not None:
        return row, columns
    facts, query = cell_text(row.get("question")), cell_text(row["query"])
    if not (facts and query):
        raise ValueError("the question or the query is empty")
    return row | {"question": f"{facts} {query}"}, columns


def _yes_or_no(row: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], Columns]:
    """StrategyQA: a boolean answer; the steps are in `facts` or, without those, `decomposition`.

    A row that has such a column by chance, and its steps in a named or a usual one, keeps its form,
    except that a boolean answer becomes yes or no.
    """
    answer = _column(row, "answer", columns.answer)
    verdict = {"true": "yes", "yes": "yes", "false": "no", "no": "no"}.get(
        cell_text(answer).lower()
    )
    if columns.steps is None and not any(name in row for name in NAMES["steps"]):
        reasons = [row.get(name) for name in ("facts", "decomposition")]
        steps = next((reason for reason in reasons if _has_text(reason)), None)
        if verdict is None:
            raise ValueError(
                "there are facts or a decomposition, but the answer is neither true nor false: "
                "name the steps if they are in another column (--steps COLUMN)"
            )
        if steps is None:
            raise ValueError("facts and decomposition are empty")
        row, columns = row | {"steps": steps}, replace(columns, steps="steps")
    if verdict is not None:
        row, columns = row | {"answer": verdict}, replace(columns, answer="answer")
    return row, columns


def _multiple_choice(row: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], Columns]:
    """CommonsenseQA: labelled choices are appended to the question; the answer is a label."""
    stem: Any = _column(row, "question", columns.question)
    choices = row.get("choices")
    if isinstance(stem, dict):
        stem, choices = stem.get("stem"), stem.get("choices", choices)
    labels, texts = _choices(choices)
    if columns.answer is None and "answerKey" not in row:
        raise ValueError("there are choices but no answerKey: name it (--answer COLUMN)")
    key = cell_text(_column(row, "answer", columns.answer or "answerKey"))
    if key not in labels:
        raise ValueError(
            "the answer is not a label of the choices" if key else "no answer is given"
        )
    if not cell_text(stem):
        raise ValueError("the question is empty")
    steps = _column(row, "steps", columns.steps, required=False)
    if not _has_text(steps):
        raise ValueError("there are choices but no rationale: name it (--steps COLUMN)")
    listed = " ".join(f"({label}) {text}" for label, text in zip(labels, texts, strict=True))
    converted = {"question": f"{cell_text(stem)} {listed}", "steps": steps, "answer": key}
    return converted, Columns(between=columns.between)


def _choices(choices: Any) -> tuple[list[str], list[str]]:
    """Labels and texts of a list of objects, or of an object of two lists."""
    if isinstance(choices, dict):
        labels, texts = choices.get("label"), choices.get("text")
    elif isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices):
        labels, texts = ([choice.get(name) for choice in choices] for name in ("label", "text"))
    else:
        labels = texts = None
    if not (isinstance(labels, list) and isinstance(texts, list) and len(labels) == len(texts)):
        raise ValueError("the choices are not a list of labels and texts")
    labels, texts = [cell_text(label) for label in labels], [cell_text(text) for text in texts]
    if len(labels) < 2 or not all(labels + texts) or len(set(labels)) < len(labels):
        raise ValueError("there are fewer than two choices, an empty text, or equal labels")
    return labels, texts


def _has_text(steps: Any) -> bool:
    """Whether a text, or a list of texts, is not empty."""
    if isinstance(steps, (list, tuple, np.ndarray)):
        return any(cell_text(step) for step in steps)
    return bool(cell_text(steps))


def cell_text(value: Any) -> str:
    """A cell as one line of text; empty for a missing one.

    Raises `ValueError` for a cell that holds no text.
    """
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, (dict, list)):
        raise ValueError(f"a cell holds {type(value).__name__}, not text")
    text = str(value)
    if "\0" in text:
        raise ValueError("a cell holds a NUL byte")
    if not text.isascii() and text != text.encode("utf-8", "ignore").decode():
        raise ValueError("a cell holds half a surrogate pair")
    return " ".join(text.split())


def plain_numbers(text: str) -> str:
    """Text with the commas between thousands removed from its numbers."""
    return _COMMA.sub("", text)
