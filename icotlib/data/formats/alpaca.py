"""Instructions with an input, as in Alpaca and Dolly."""

from icotlib.data.cell_text import has_content
from icotlib.data.formats.base import Columns, Format, Habits, Parts, Row


class Alpaca(Format):
    name = "alpaca"
    about = "instruction and input (or context), joined; output (or response)"

    def fits(self, row: Row) -> bool:
        return (
            row.has("instruction")
            and (row.has("output") != row.has("response"))
            and not row.columns(("question", "problem", "query", "steps", "cot", "answer"))
        )

    def read(self, row: Row, columns: Columns, habits: Habits) -> Parts:
        if not row.has("instruction") and columns.question is None:
            raise ValueError("there is no column instruction, which a row of alpaca has")
        asked = [*row.columns(("instruction",)), *row.columns(("input", "context"))]
        cells = (
            [row.cells[column] for column in asked if has_content(row.cells[column])]
            if columns.question is None
            else row.joined(columns.question)
        )
        answer = columns.answer or next(iter(row.columns(("output", "response"))), None)
        if answer is None:
            raise ValueError("there is no column output or response, which a row of alpaca has")
        steps = columns.steps or row.one("steps", ("reasoning", "rationale", "thought"))
        return Parts(
            cells,
            row.named(steps) if steps else None,
            row.named(answer),
            (columns.question or " + ".join(asked), steps or "", answer),
            only_these_steps=columns.steps is not None,
        )
