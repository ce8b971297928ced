"""TODO."""

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from icotlib.data.files import format_line, parse_line
from icotlib.errors import did_you_mean
from icotlib.tasks import Example

#: Columns as they are called in the wild, in the order in which they are looked for.
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
    """Names of the columns that hold question, steps and answer; None finds them by `NAMES`."""

    question: str | None = None
    steps: str | None = None
    answer: str | None = None
    #: What is written between the steps of a list: `removal.step_end` can then tell them apart.
    between: str = " "


# --- rows --------------------------------------------------------------------------------------


#: Columns found by their usual names.
BY_NAME = Columns()


def to_example(row: dict[str, Any], columns: Columns = BY_NAME) -> Example:
    """One row as an example. `ValueError` says what is wrong with it.

    Steps may be a list or a text. Without steps, an answer in GSM8K's form, prose with equations
    in `<<...>>` and the number behind `####`, is taken apart: its equations are the steps. The
    forms of ProntoQA, StrategyQA and CommonsenseQA are known by their fields.
    """
    row, columns = _known_form(row, columns)
    question = _text(_column(row, "question", columns.question))
    answer = _column(row, "answer", columns.answer)
    steps = _column(row, "steps", columns.steps, required=columns.steps is not None)
    if steps is None and isinstance(answer, str) and "####" in answer:
        prose, _, answer = answer.rpartition("####")
        steps = [f"<<{equation}>>" for equation in _EQUATION.findall(prose)]
    if isinstance(steps, (list, tuple, np.ndarray)):
        steps = columns.between.join(_text(step) for step in steps)
    chain, answer = _plain(_text(steps)), _plain(_text(answer))
    if not question:
        raise ValueError("the question is empty")
    if not answer:
        raise ValueError("the answer is empty")
    for part in (question, chain, answer):
        if "||" in part or "####" in part:
            raise ValueError("'||' or '####', which separate the parts, stands inside one")
    example = Example(question, chain, answer)
    if parse_line(format_line(example)) != example:
        raise ValueError("its parts run together when they are written as one line")
    return example


def _column(row: dict[str, Any], part: str, name: str | None, required: bool = True) -> Any:
    if name is not None:
        if name not in row:
            known = ", ".join(map(str, row))
            raise ValueError(f"there is no column {name!r} but {known}{did_you_mean(name, row)}")
        return row[name]
    found = next((known for known in NAMES[part] if known in row), None)
    if found is None and required:
        raise ValueError(f"no column looks like the {part}: name it (--{part} COLUMN)")
    return None if found is None else row[found]


# --- forms known by their fields ---


def _known_form(row: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], Columns]:
    """The row in the common form, if its fields are those of a data set that has its own.

    `ValueError` says what such a row lacks. A named column is looked for as in any other row.
    """
    if "test_example" in row:
        row = row["test_example"]
        if not isinstance(row, dict):
            raise ValueError("the test_example is no object")
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
    """ProntoQA: the facts stand in `question`, what is to be judged in `query`."""
    if columns.question is not None:
        return row, columns
    facts, query = _text(row.get("question")), _text(row["query"])
    if not (facts and query):
        raise ValueError("the question or the query is empty")
    return row | {"question": f"{facts} {query}"}, columns


def _yes_or_no(row: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], Columns]:
    """StrategyQA: a boolean answer, its reasons in `facts` or, failing these, `decomposition`.

    A row of another data set that happens to have such a column keeps its form if its steps stand
    in a column that is named, or has a usual name; only a boolean answer becomes yes or no.
    """
    answer = _column(row, "answer", columns.answer)
    verdict = {"true": "yes", "yes": "yes", "false": "no", "no": "no"}.get(_text(answer).lower())
    if columns.steps is None and not any(name in row for name in NAMES["steps"]):
        reasons = [row.get(name) for name in ("facts", "decomposition")]
        steps = next((one for one in reasons if _has_text(one)), None)
        if verdict is None:
            raise ValueError(
                "beside facts or a decomposition, the answer is neither true nor false: name the "
                "steps if they are something else (--steps COLUMN)"
            )
        if steps is None:
            raise ValueError("facts and decomposition are empty")
        row, columns = row | {"steps": steps}, replace(columns, steps="steps")
    if verdict is not None:
        row, columns = row | {"answer": verdict}, replace(columns, answer="answer")
    return row, columns


def _multiple_choice(row: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], Columns]:
    """CommonsenseQA: the choices, with their labels, follow the question; the answer is a label."""
    stem = _column(row, "question", columns.question)
    choices = row.get("choices")
    if isinstance(stem, dict):
        stem, choices = stem.get("stem"), stem.get("choices", choices)
    labels, texts = _choices(choices)
    if columns.answer is None and "answerKey" not in row:
        raise ValueError("there are choices but no answerKey: name it (--answer COLUMN)")
    key = _text(_column(row, "answer", columns.answer or "answerKey"))
    if key not in labels:
        raise ValueError(f"the answer is {'no label of' if key else 'missing beside'} the choices")
    if not _text(stem):
        raise ValueError("the question is empty")
    steps = _column(row, "steps", columns.steps, required=False)
    if not _has_text(steps):
        raise ValueError("no rationale stands beside the choices: name it (--steps COLUMN)")
    listed = " ".join(f"({label}) {text}" for label, text in zip(labels, texts, strict=True))
    found = {"question": f"{_text(stem)} {listed}", "steps": steps, "answer": key}
    return found, Columns(between=columns.between)


def _choices(choices: Any) -> tuple[list[str], list[str]]:
    """Labels and texts of a list of objects, or of an object of two lists."""
    if isinstance(choices, dict):
        labels, texts = choices.get("label"), choices.get("text")
    elif isinstance(choices, list) and all(isinstance(one, dict) for one in choices):
        labels, texts = ([one.get(name) for one in choices] for name in ("label", "text"))
    else:
        labels = texts = None
    if not (isinstance(labels, list) and isinstance(texts, list) and len(labels) == len(texts)):
        raise ValueError("the choices are no list of labels and texts")
    labels, texts = [_text(label) for label in labels], [_text(text) for text in texts]
    if len(labels) < 2 or not all(labels + texts) or len(set(labels)) < len(labels):
        raise ValueError("the choices are fewer than two, or have an empty text or equal labels")
    return labels, texts


def _has_text(steps: Any) -> bool:
    """Whether there is any step: in a text, or in a list of texts."""
    if isinstance(steps, (list, tuple, np.ndarray)):
        return any(_text(step) for step in steps)
    return bool(_text(steps))


# --- cells ---


def _text(value: Any) -> str:
    """A cell as one line of text; nothing for a missing one."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, (dict, list)):
        raise ValueError(f"a cell holds {type(value).__name__}, not text")
    text = str(value)
    if "\0" in text:
        raise ValueError("a cell holds a NUL byte")
    if not text.isascii() and text != text.encode("utf-8", "ignore").decode():
        raise ValueError("a cell holds half a character")
    return " ".join(text.split())


def _plain(text: str) -> str:
    """Numbers without the commas between their thousands."""
    return _COMMA.sub("", text)
