"""Tables below the cells of a notebook, for people: what fits a page, and the rest in a fold."""

import html
from typing import Any

import pandas as pd

from icotlib.reporting.scrolling import scrolling
from icotlib.reporting.tables import presented, side_of

#: The width of a notebook's page, of a character and of the space around a cell, in pixels.
PAGE_WIDTH, CHARACTER, PADDING = 900, 7, 18

#: At most so many characters of a cell count for its column's width: longer ones break.
BREAKS_AT = 40

#: At most so many rows are shown outside the fold.
ROWS = 25

#: Columns that say where a row comes from: they stand in the fold.
ORIGIN = ("run", "commit", "data", "device", "preset", "settings", "reason")


class Table:
    """A table as people read it; `frame` holds the numbers."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self.cells = presented(frame)

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return self.cells[self.columns].to_string(index=False)

    @property
    def columns(self) -> list[str]:
        """The columns outside the fold: as many as fit the page, from the left.

        The first share has its place, however far to the right it stands. Columns that say the same
        in every row leave theirs to others.
        """
        names = [name for name in self.cells if name not in ORIGIN]
        measured = [name for name in names if name.endswith("(%)")][:1]
        others = [name for name in names if name not in measured]
        constant = [name for name in others if len(self) > 1 and self.cells[name].nunique() == 1]
        varied = [name for name in others if name not in constant]
        chosen: list[str] = []
        used = 0
        for name in [*varied[:1], *measured, *varied[1:], *constant]:
            used += self._width(name)
            if used > PAGE_WIDTH and chosen:
                break
            chosen.append(name)
        return [name for name in names if name in chosen]

    def _width(self, name: str) -> int:
        """About how wide a column is, in pixels."""
        longest = max([len(name), *self.cells[name].map(len)])
        return CHARACTER * min(longest, BREAKS_AT) + PADDING

    def _repr_html_(self) -> str:
        first, rest = self.cells[self.columns], self.cells.drop(columns=self.columns)
        parts = [scrolling(_html(first.head(ROWS)))]
        if len(rest.columns) or len(first) > ROWS:
            parts.append(
                f"<details><summary>{html.escape(self._what_is_folded(rest))}</summary>"
                f"{scrolling(_html(self.cells))}</details>"
            )
        return "".join(parts)

    def _what_is_folded(self, rest: pd.DataFrame) -> str:
        rows = [f"all {len(self.cells)} rows"] if len(self.cells) > ROWS else []
        more = f"{len(rest.columns)} more columns: {', '.join(rest)}"
        return ", ".join([*rows, *([more] if len(rest.columns) else [])])


def table(frame: pd.DataFrame) -> Table:
    """A table such as `icot.summary()` or `icot.results_table(runs)` as people read it.

    Shares are in percent, a value and its interval share a cell, methods have their names, and
    there is no index. What does not fit a page is in a fold below. `icot.write_table` writes the
    same cells as Markdown or LaTeX.
    """
    return Table(frame)


def _html(cells: pd.DataFrame) -> str:
    """A table of texts as HTML, numbers to the right; only long texts break."""
    styles = {name: _style(cells[name]) for name in cells}

    def row(tag: str, values: Any, attribute: str = "") -> str:
        inside = "".join(
            f"<{tag}{attribute} style='{style}'>{html.escape(str(value))}</{tag}>"
            for style, value in zip(styles.values(), values, strict=True)
        )
        return f"<tr>{inside}</tr>"

    head = row("th", cells.columns, " scope='col'").replace("nowrap", "normal")
    body = "".join(row("td", values) for values in cells.to_numpy())
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def _style(texts: pd.Series) -> str:
    breaks = "normal" if texts.map(len).max() > BREAKS_AT else "nowrap"
    return f"max-width: 24em; white-space: {breaks}; padding: 2px 8px; text-align: {side_of(texts)}"
