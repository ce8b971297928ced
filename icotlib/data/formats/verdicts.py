"""Questions answered by yes or no, or true or false: StrategyQA and ProntoQA."""

from dataclasses import replace
from typing import Any

from icotlib.data.cell_text import cell_text, has_content, unwritten
from icotlib.data.formats.base import Columns, Final, Format, Habits, Parts, Row
from icotlib.data.formats.by_name import STEPS, ByName, question_of

_VERDICTS = {"true": "yes", "yes": "yes", "false": "no", "no": "no"}


class Strategyqa(Format):
    """The steps are in `facts` or, without those, in `decomposition`.

    A row that has such a column by chance, and its steps in a named or a usual one, keeps its form,
    except that a boolean answer becomes yes or no.
    """

    name = "strategyqa"
    about = "question, facts or decomposition, answer as a boolean: yes or no"

    def fits(self, row: Row) -> bool:
        return row.has("facts") or row.has("decomposition")

    def read(self, row: Row, columns: Columns, habits: Habits) -> Parts:
        answer = columns.answer or row.one("answer", ("answer", "label"))
        if answer is None:
            raise ValueError("no column looks like the answer: name it (--answer COLUMN)")
        verdict = _VERDICTS.get(_short_text(row.named(answer)).lower())
        if columns.steps is not None or row.columns(STEPS):
            parts = ByName().read(row, columns, habits)
            return parts if verdict is None else replace(parts, answer=Final(verdict))
        if verdict is None:
            raise ValueError(
                "there are facts or a decomposition, but the answer is neither true nor false: "
                "name the steps if they are in another column (--steps COLUMN)"
            )
        reasons = row.columns(("facts", "decomposition"))
        steps = next((name for name in reasons if has_content(unwritten(row.cells[name]))), None)
        if steps is None:
            raise ValueError("facts and decomposition are empty")
        question, asked = question_of(row, columns)
        return Parts(question, row.cells[steps], Final(verdict), (asked, steps, answer))


def _short_text(cell: Any) -> str:
    try:
        return cell_text(cell)
    except ValueError:
        return ""


class Prontoqa(Format):
    """The facts are in `question`, the statement to judge in `query`."""

    name = "prontoqa"
    about = "facts in question, statement to judge in query, chain_of_thought, answer"

    def fits(self, row: Row) -> bool:
        return row.has("query", "chain_of_thought", "question")

    def read(self, row: Row, columns: Columns, habits: Habits) -> Parts:
        asked = columns.question
        if asked is None:
            facts, query = row.get("question"), row.get("query")
            if not (has_content(facts) and has_content(query)):
                raise ValueError("the question or the query is empty")
            asked = "+".join([*row.columns(("question",)), *row.columns(("query",))])
        steps = columns.steps or row.one("steps", ("chain_of_thought", *STEPS))
        answer = columns.answer or row.one("answer", ("answer", "label"))
        if answer is None or steps is None:
            missing = "answer" if answer is None else "steps"
            raise ValueError(f"no column looks like the {missing}: name it (--{missing} COLUMN)")
        return Parts(
            row.joined(asked),
            row.named(steps),
            row.named(answer),
            (asked.replace("+", " + "), steps, answer),
            only_these_steps=True,
        )
