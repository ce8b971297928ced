"""The papers' lines, `question||chain #### answer`, in a column of texts."""

from icotlib.data.cell_text import cell_text
from icotlib.data.files import parse_line
from icotlib.data.formats.base import Columns, Final, Format, Habits, Parts, Row


class Authors(Format):
    name = "authors"
    about = "lines of the papers, question||chain #### answer, in a column text"

    def fits(self, row: Row) -> bool:
        text = row.get("text") if len(row.cells) <= 2 else None
        return isinstance(text, str) and "||" in text and "####" in text

    def read(self, row: Row, columns: Columns, habits: Habits) -> Parts:
        question, chain, answer = parse_line(cell_text(row.get("text")))
        return Parts([question], [chain], Final(answer), ("text",) * 3)
