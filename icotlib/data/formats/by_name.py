"""Columns with their usual names, several of which may belong together."""

from typing import Any

from icotlib.data.cell_text import cell_text, has_content, unwritten
from icotlib.data.formats.base import Columns, Format, Habits, Parts, Row, ambiguous
from icotlib.data.responses import agree, final_answer, read_response

#: Usual names of the column with the question.
QUESTION = (
    *("question", "problem", "query", "prompt", "input", "question_text", "problem_text"),
    *("input_text", "original_text", "math_problem", "q"),
)

#: Columns that stand before the question and belong to it.
BEFORE = ("instruction", "instructions", "context", "passage", "body", "background", "story")

#: Usual names of the column with the steps.
STEPS = (
    *("steps", "cot", "chain", "chain_of_thought", "rationale", "solution", "explanation"),
    *("positive_explanation", "reasoning", "reasoning_content", "reasoning_steps", "thought"),
    *("thoughts", "thinking", "equation", "equations", "formula", "working", "derivation"),
    *("scratchpad", "solution_steps", "cot_steps", "intermediate_steps", "proof", "chains"),
    *("rationales", "chains_of_thought"),
)

#: Usual names of the column with the answer alone, or with an answer in GSM8K's form.
ANSWER = (
    *("answer", "answers", "final_answer", "final_ans", "ans", "expected_answer", "target"),
    *("correct_answer", "gold_answer", "gold", "ground_truth", "label", "result", "solutions"),
    *("answer_value", "numeric_answer", "target_text", "output_text"),
)

#: Columns that hold steps and answer in one text, or an answer alone.
RESPONSE = ("response", "output", "completion", "generated_solution", "model_output")


class ByName(Format):
    name = "columns"
    about = "columns with usual names: question (or problem, ...), steps (or cot, ...), answer"

    def fits(self, row: Row) -> bool:
        return True

    def read(self, row: Row, columns: Columns, habits: Habits) -> Parts:
        question, asked = question_of(row, columns)
        answer = columns.answer or _answer_column(row, columns, habits)
        steps = columns.steps or _steps_column(row, answer)
        if steps is None:
            steps = _response_column(row, answer, habits)
        cell = row.named(answer)
        return Parts(
            question,
            None if steps is None else row.named(steps),
            cell,
            (asked, steps or "", answer),
            only_these_steps=columns.steps is not None,
        )


def question_of(row: Row, columns: Columns) -> tuple[list[Any], str]:
    """The texts of the question and the names of their columns.

    Raises `ValueError` if there is none, or several that differ.
    """
    if columns.question is not None:
        return row.joined(columns.question), columns.question
    before = [column for column in row.columns(BEFORE) if has_content(row.cells[column])]
    main = row.one("question", QUESTION)
    if main is None and not before:
        raise ValueError("no column looks like the question: name it (--question COLUMN)")
    cells = [] if main is None else [row.cells[main]]
    text = cell_text(cells[0]) if cells and isinstance(cells[0], str) else ""
    before = [column for column in before if cell_text(row.cells[column]) not in text]
    names = [*before, *([] if main is None else [main])]
    return [row.cells[column] for column in before] + cells, " + ".join(names)


def _answer_column(row: Row, columns: Columns, habits: Habits) -> str:
    """The column of the answer, found by its name.

    Raises `ValueError` if there is none, or several that give different answers.
    """
    found = row.distinct(ANSWER) or row.distinct(RESPONSE)
    if not found:
        found = [column for column in row.columns(("solution",)) if column != columns.steps]
    if not found:
        raise ValueError("no column looks like the answer: name it (--answer COLUMN)")
    if len(found) == 1:
        return found[0]
    answers = [_answer_in(row.cells[column], habits) for column in found]
    if not all(agree(answers[0], answer) for answer in answers[1:]):
        raise ambiguous("answer", [(column, row.cells[column]) for column in found])
    return max(found, key=lambda column: len(str(row.cells[column])))  # it may hold the steps


def _answer_in(cell: Any, habits: Habits) -> str:
    cell = unwritten(cell)
    if isinstance(cell, list) and len(cell) == 1:
        cell = cell[0]
    if not isinstance(cell, str):
        return cell_text(cell)
    return final_answer(cell, habits.equations).answer or ""


def _steps_column(row: Row, answer: str) -> str | None:
    """The column of the steps; None if there is none beside that of the answer."""
    names = [name for name in STEPS if answer not in row.columns([name])]
    return row.one("steps", names)


def _response_column(row: Row, answer: str, habits: Habits) -> str | None:
    """A text that holds steps, and the same answer as the column of the answer.

    Raises `ValueError` if it gives another one.
    """
    column = row.one("steps", [name for name in RESPONSE if answer not in row.columns([name])])
    if column is None or not has_content(row.cells[column]):
        return None
    response = read_response(str(row.cells[column]), habits.equations)
    given = response.answer if response.answer is not None else cell_text(row.cells[column])
    if response.answer is None and len(response.steps) > 1:
        return column
    if not agree(given, _answer_in(row.named(answer), habits)):
        raise ambiguous("answer", [(name, row.cells[name]) for name in (answer, column)])
    return column if response.answer is not None and response.steps else None
