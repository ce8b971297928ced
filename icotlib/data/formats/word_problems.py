"""Data sets of word problems, each with columns of its own."""

import re
from dataclasses import dataclass, field
from typing import Any

from icotlib.data.cell_text import cell_text, is_list, unwritten
from icotlib.data.formats.base import Columns, Format, Habits, Parts, Row
from icotlib.data.formats.by_name import ANSWER as ANSWERS
from icotlib.data.formats.by_name import STEPS


@dataclass(frozen=True)
class Fixed(Format):
    """A format with columns of fixed names; of several names for a part, the first that is there.

    To add such a format, add an entry to `FIXED`.
    """

    name: str
    about: str
    #: The columns that are joined to the question: the names of each.
    question: tuple[tuple[str, ...], ...]
    #: None where the text of the answer holds the steps.
    steps: tuple[str, ...] | None
    answer: tuple[str, ...]
    #: Columns by which a row is recognised; none recognises it by `--as` alone.
    marks: tuple[str, ...] = ()
    #: Columns without which it is only recognised.
    without: tuple[str, ...] = field(default=())

    def fits(self, row: Row) -> bool:
        return bool(self.marks) and row.has(*self.marks) and not any(map(row.has, self.without))

    def read(self, row: Row, columns: Columns, habits: Habits) -> Parts:
        asked = columns.question or "+".join(self._column(row, names) for names in self.question)
        answer = columns.answer or self._column(row, self.answer)
        steps = columns.steps or (self._column(row, self.steps) if self.steps else "")
        return Parts(
            self.asked(row, row.joined(asked)),
            self.stepped(row, row.named(steps)) if steps else None,
            self.answered(row.named(answer)),
            (asked.replace("+", " + "), steps, answer),
            only_these_steps=columns.steps is not None,
        )

    def _column(self, row: Row, names: tuple[str, ...]) -> str:
        found = row.columns(names)
        if not found:
            expected = " or ".join(names)
            raise ValueError(f"there is no column {expected}, which a row of {self.name} has")
        return found[0]

    def asked(self, row: Row, texts: list[Any]) -> list[Any]:
        """The texts of the question as they are to be read."""
        return texts

    def stepped(self, row: Row, steps: Any) -> Any:
        """The steps as they are to be read."""
        return steps

    def answered(self, answer: Any) -> Any:
        """The answer as it is to be read."""
        return answer


_OTHERS = frozenset((*STEPS, *ANSWERS)) - {"answer"}


class Gsm8k(Fixed):
    """GSM8K, recognised by the marks in its answers."""

    def fits(self, row: Row) -> bool:
        answer = row.get("answer") if row.has("question", "answer") else None
        return isinstance(answer, str) and "####" in answer and not row.has_any(_OTHERS)


class Mawps(Fixed):
    """MAWPS, as it is published itself, and with `number0` or `N_00` in place of numbers."""

    def asked(self, row: Row, texts: list[Any]) -> list[Any]:
        return [self._filled(row, text) for text in texts]

    def stepped(self, row: Row, steps: Any) -> Any:
        return self._filled(row, steps)

    def _filled(self, row: Row, text: Any) -> Any:
        """A text with the numbers of the column `Numbers` in their places."""
        numbers = unwritten(row.get("numbers"))
        if isinstance(numbers, str):
            numbers = numbers.split()
        if not is_list(numbers) or not isinstance(text, str):
            return text
        values = [cell_text(x) for x in numbers]

        def number(match: re.Match[str]) -> str:
            if int(match[1]) >= len(values):
                raise ValueError(f"the row names {match[0]}, and there are {len(values)} numbers")
            return values[int(match[1])]

        return re.sub(r"\b(?:number|N_)(\d{1,3})\b", number, text)


class Asdiv(Fixed):
    """ASDiv, whose answers have their unit in brackets: `9 (apples)`."""

    def answered(self, answer: Any) -> Any:
        if isinstance(answer, str):
            return re.sub(r"(?<=\d)\s*\([^()\d]*\)\s*$", "", answer)
        return answer


ANSWER = ("answer",)

#: Formats with columns of fixed names.
FIXED: tuple[Fixed, ...] = (
    Gsm8k(
        "gsm8k",
        "question, and answer as prose with <<equations>> and #### before the number",
        question=(("question",),),
        steps=None,
        answer=ANSWER,
    ),
    Fixed(
        "svamp",
        "Body and Question, joined; Equation; Answer",
        question=(("body",), ("question", "ques")),
        steps=("equation",),
        answer=ANSWER,
        marks=("body", "question", "equation", "answer"),
    ),
    Asdiv(
        "asdiv",
        "body and question, joined; formula; answer with its unit in brackets",
        question=(("body",), ("question",)),
        steps=("formula",),
        answer=ANSWER,
        marks=("body", "question", "formula", "answer"),
    ),
    Mawps(
        "mawps",
        "sQuestion, lEquations and lSolutions; or Question, Numbers, Equation and Answer",
        question=(("question", "original_text"),),
        steps=("equations", "equation"),
        answer=("solutions", "answer", "final_ans", "ans"),
        marks=("question", "equations", "solutions"),
    ),
    Mawps(
        "mawps",
        "",
        question=(("question",),),
        steps=("equation",),
        answer=ANSWER,
        marks=("question", "numbers", "equation", "answer"),
    ),
    Fixed(
        "math",
        r"problem, and solution with the answer in \boxed{}",
        question=(("problem",),),
        steps=None,
        answer=("solution",),
        marks=("problem", "solution", "level"),
        without=("answer",),
    ),
    Fixed(
        "metamath",
        "query, and response that ends in 'The answer is: 5'",
        question=(("query",),),
        steps=None,
        answer=("response",),
        marks=("query", "response", "original_question"),
    ),
    Fixed(
        "prosqa",
        "question, steps as a list, answer; as in the repository of Coconut",
        question=(("question",),),
        steps=("steps",),
        answer=ANSWER,
        marks=("question", "steps", "answer", "idx_to_symbol"),
    ),
)
