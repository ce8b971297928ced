"""What holds in the whole of a file, seen in its first rows."""

from collections.abc import Sequence
from typing import Any

from icotlib.data.cell_text import has_decimal_commas, has_groups
from icotlib.data.formats import Columns, Habits, Row
from icotlib.data.formats.choices import first_choice
from icotlib.data.formats.messages import shared_system_prompt
from icotlib.data.tables import SemicolonRow
from icotlib.tasks import Example

#: So many rows at the start of a file show its habits.
SEEN = 2_000


def habits_of(rows: Sequence[Any], columns: Columns) -> Habits:
    """What the first rows of a file have in common.

    Args:
        rows: dictionaries and examples; others show nothing.
        columns: the columns that were named.
    """
    seen = [row for row in rows[:SEEN] if isinstance(row, (dict, Example))]
    cells = [row.values() if isinstance(row, dict) else row for row in seen]
    texts = [plain_text(cell) for row in cells for cell in row]
    tables = [Row(row) for row in seen if isinstance(row, dict)]
    semicolons = bool(seen) and isinstance(seen[0], SemicolonRow)
    return Habits(
        equations=any("<<" in text and "####" in text for text in texts),
        decimal_commas=has_decimal_commas(texts) or (semicolons and any(map(has_groups, texts))),
        first_choice=first_choice(tables, columns),
        system_prompt=shared_system_prompt(tables),
    )


def plain_text(cell: Any) -> str:
    """A cell as text, however deeply it is nested."""
    try:
        return str(cell)
    except RecursionError:
        return "[[...]]"
