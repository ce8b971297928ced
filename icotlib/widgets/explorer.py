"""The explorer: choose a cell of a model's maps, and read what it says about one question.

It shows what `icotlib.interp.explorer.CellReader` tells: maps of a probe, of its best control and
of patching, and below them the chosen cell in sentences.
"""

import html
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from icotlib.errors import IcotError
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp import best_positions
from icotlib.interp.explorer import CellReader, OneQuestion, reader_of
from icotlib.interp.map_cells import Cell
from icotlib.reporting import figures
from icotlib.runs import Run
from icotlib.widgets.parts import alert, is_headless, status

SHARES = ("viridis", 0.0, 1.0)

#: The maps by their names: the column that they show, and its colours.
MAPS = {
    "selectivity of the probe": ("selectivity", ("RdBu_r", -0.6, 0.6)),
    "score of the probe": ("score", SHARES),
    "score of its best control": ("control_score", SHARES),
    "effect of patching": ("effect", SHARES),
}

#: Legible in JupyterLab's light and dark themes, and on a page of 400 pixels.
STYLE = """<style>
.icot-explorer {overflow-x: auto; line-height: 1.5; max-width: 60em}
.icot-explorer table {border-collapse: collapse}
.icot-explorer caption {text-align: left; font-weight: 600; padding: 4px 0}
.icot-explorer th {text-align: left; font-weight: normal; padding-right: 1.5em;
  vertical-align: top; white-space: nowrap}
</style>"""


def explorer(
    asked: StageModel | Run | str | CellReader,
    question: str | None = None,
    variable: str | None = None,
    headless: bool | None = None,
) -> Any:
    """The explorer: choose a cell by click or arrow key, a question and one to patch in.

    Args:
        asked: a model at a removal stage, a run (its last stage), or a `CellReader` with questions
            and controls of its own.
        question: the first question; by default the task's example.
        variable: the first variable; by default the first chain token.
        headless: return the maps as a figure instead, the variable's best cell outlined; by
            default where nobody watches, as in a notebook that papermill executes.

    Returns an ipywidgets box, or that figure.
    """
    reader = _reader(asked)
    question = question or reader.task.example_question
    reader.asked(question)  # or say what is wrong with it
    variable = variable or next(iter(reader.variables))
    if is_headless(headless):
        return static(reader, question, variable)
    return Explorer(reader, question, variable).box


def _reader(asked: StageModel | Run | str | CellReader) -> CellReader:
    if isinstance(asked, CellReader):
        return asked
    return reader_of(asked if isinstance(asked, StageModel) else StageModel.of(asked))


def static(reader: CellReader, question: str, variable: str) -> Figure:
    """The maps of a variable and of the first question that can be patched in."""
    other = next(iter(reader.others(question).values()))
    table, patched = reader.probed(variable), reader.patched(question, other)
    return figures.cell_maps(table, patched, reader.positions, *best_cell(table))


def best_cell(table: pd.DataFrame) -> tuple[int, int]:
    """Layer and position where a variable is read best (`best_positions`)."""
    best = best_positions(table).iloc[0]
    return int(best.layer), int(best.position)


class Explorer:
    """The widgets of an explorer."""

    def __init__(self, reader: CellReader, question: str, variable: str):
        import ipywidgets as widgets  # a terminal does without

        from icotlib.widgets.map_grid import MapGrid

        self.reader = reader
        wide: dict[str, Any] = {"layout": widgets.Layout(width="30em", max_width="100%")}
        wide["style"] = {"description_width": "7em"}
        typed = wide | {"continuous_update": False}
        self.question = widgets.Text(value=question, description="Question", **typed)
        self.changed = widgets.Dropdown(description="Patched in", **wide)
        about = "a whole question instead"
        self.typed = widgets.Text(description="Or type", placeholder=about, **typed)
        names = list(reader.variables)
        self.variable = widgets.Dropdown(
            options=names, value=variable, description="Variable", **wide
        )
        self.shown = widgets.Dropdown(options=list(MAPS), description="Map", **wide)
        self.grid, self.said = MapGrid(), widgets.HTML()
        asked = [self.question, self.changed, self.typed, self.variable, self.shown]
        self.box = widgets.VBox([*asked, self.grid, self.said])
        #: Questions to patch in, by what they change.
        self._others: dict[str, np.ndarray] = {}
        self._asking = False
        self.grid.selected = list(best_cell(reader.probed(variable)))
        self._ask()
        self.question.observe(self._ask, names="value")
        for one in (self.changed, self.typed, self.variable, self.shown):
            one.observe(self.refresh, names="value")
        self.grid.observe(self._tell, names="selected")

    @property
    def other(self) -> OneQuestion:
        """The question whose state is patched in."""
        return self.typed.value.strip() or self._others[self.changed.value]

    def _ask(self, _: object = None) -> None:
        """Offer the questions that can be patched into a new one."""
        try:
            self._others = self.reader.others(self.question.value)
        except ValueError as error:
            self._alert(error)
            return
        at = self.changed.index or 0  # the same entry as before
        self._asking = True
        self.changed.options = list(self._others)
        self.changed.index = min(at, len(self._others) - 1)
        self._asking = False
        self.refresh()

    def refresh(self, _: object = None) -> None:
        """Show the map and the cell."""
        if not self._asking:
            self._try(self._draw, self._tell)

    def _tell(self, _: object = None) -> None:
        """Show what the chosen cell says."""
        self._try(lambda: setattr(self.said, "value", page(self.cell)))

    def _try(self, *shows: Callable[[], None]) -> None:
        try:
            for show in shows:
                show()
        except (ValueError, IcotError) as error:
            self._alert(error)

    @property
    def cell(self) -> Cell:
        """The chosen cell."""
        layer, position = self.grid.selected
        asked, variable = self.question.value, self.variable.value
        return self.reader.read(asked, variable, layer, position, self.other)

    def _draw(self) -> None:
        name, variable = self.shown.value, self.variable.value
        column, colours = MAPS[name]
        if not self.reader.is_probed(variable):
            self._said(f"probing {variable} at every layer and position …")
        table, marked, unit = self.reader.probed(variable), None, "percent"
        if column == "effect":
            title = f"{name} in percent of the differing symbols"
            table = self.reader.patched(self.question.value, self.other)
            title += "" if table.effect.notna().any() else " (the two answers are the same)"
        else:
            unit = "percent" if "accuracy" in set(table.measure) else "hundredths of R²"
            title = f"{name} in {unit}, {variable}"
            if column != "control_score":
                marked = table.pivot(index="layer", columns="position", values="decodable")
                title += " (• decodable)"
                marked = marked.to_numpy(bool)
        values = table.pivot(index="layer", columns="position", values=column).to_numpy(float)
        self.grid.show(title, values, self.reader.positions, colours, marked, unit)

    def _said(self, text: str) -> None:
        self.said.value = status(text)

    def _alert(self, error: Exception) -> None:
        self.said.value = alert(str(error))


def page(cell: Cell) -> str:
    """A cell in sentences, as HTML that a screen reader reads out when it changes."""
    said = {topic: html.escape(text) for topic, text in cell.sentences.items()}
    caption = said.pop("cell")
    rows = "".join(f'<tr><th scope="row">{k}</th><td>{x}</td></tr>' for k, x in said.items())
    opening = f'{STYLE}<div class="icot-explorer" role="status" aria-live="polite">'
    return f"{opening}<table><caption>{caption}</caption>{rows}</table></div>"
