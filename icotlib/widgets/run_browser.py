"""The run browser: find runs, pick several, see in what they differ and how they learned.

It shows what `runs_table`, `differences`, `figures.learning_curves` and `executed_copies` tell.
"""

import html
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from icotlib import paths
from icotlib.errors import IcotError
from icotlib.reporting import figures
from icotlib.reporting.orders import ORDERS
from icotlib.reporting.overview import STATES, differences, filtered, runs_table
from icotlib.reporting.readable import table
from icotlib.reporting.results import learning_table
from icotlib.running.copies import executed_copies
from icotlib.running.progress import NAME_WIDTH, short_name
from icotlib.runs import Run, all_runs
from icotlib.widgets.parts import (
    ANY,
    Filling,
    alert,
    as_png,
    button,
    image,
    is_headless,
    picker,
    status,
)
from icotlib.widgets.picking import filter_field, offer, pick_buttons

#: The columns that a picker filters by.
FILTERS = ("method", "task", "preset", "state")

#: Rows of the list, and the widths of its columns in characters.
ROWS, COLUMNS = 12, (NAME_WIDTH, 12, 9, 16, 10)
HEADINGS = ("run", "right", "trained", "ended (UTC)", "key")

#: Lines of the list and its headings stand in columns.
STYLE = """<style>
.icot-runs select, .icot-runs .icot-columns {font-family: monospace; font-size: 13px}
.icot-runs .icot-columns {margin-left: 4.6em; white-space: pre}
.icot-runs h4 {margin: 0.6em 0 0.2em}
</style>"""

HINT = "Pick runs in the list, several with Ctrl or Shift, or all that are shown, to compare them."


def run_browser(runs: Iterable[Run] | None = None, headless: bool | None = None) -> Any:
    """A list of runs to filter, to sort and to pick from, and what sets the picked ones apart.

    Below the list stand the settings in which picked runs differ (`icot.differences`), their
    learning curves, and links to the executed notebooks that ask for them.

    Args:
        runs: by default all, finished or not.
        headless: return the table of runs (`icot.runs_table`) instead; by default where nobody
            watches, as in a notebook that papermill executes.

    Returns an ipywidgets box whose `value` holds the picked runs, or that table.
    """
    if is_headless(headless):
        return table(runs_table(runs))
    return Browser(runs).box


class Browser:
    """The list, its filters, and what is shown of the picked runs."""

    def __init__(self, runs: Iterable[Run] | None = None):
        self._given = None if runs is None else list(runs)
        self._look()
        self._make()
        self.box = self._arranged()
        self._filling = Filling()
        #: The runs that are shown; None where what is shown may be old.
        self._picked_before: list[Run] | None = None
        for widget in (self.text, self.sort, *self.pickers.values()):
            widget.observe(self._filter, names="value")
        self.list.observe(self._picked, names="value")
        self._fill_pickers()
        self._filter()

    def _make(self) -> None:
        """Make the widgets."""
        import ipywidgets as widgets  # a terminal does without

        self.text = filter_field()
        self.pickers = {name: picker(name.capitalize(), [ANY]) for name in FILTERS}
        self.sort = picker("Sort by", list(ORDERS))
        self.list = widgets.SelectMultiple(
            description="Runs",
            rows=ROWS,
            style={"description_width": "4em"},
            layout=widgets.Layout(width="54em", max_width="98%"),
        )
        self.reload = button("Reload", "look for runs again", self._reload, self._failed)
        self.all, self.none = pick_buttons(self.list, self._picked, self._failed)
        self.said, self.settings, self.curves = (widgets.HTML() for _ in range(3))
        #: An output, not HTML: JupyterLab opens notebooks that are linked there.
        self.links = widgets.Output()

    def _arranged(self) -> Any:
        """The box that they stand in."""
        import ipywidgets as widgets
        import traitlets

        heads = html.escape(_columns(HEADINGS))
        head = widgets.HTML(f'{STYLE}<div class="icot-columns" aria-hidden="true">{heads}</div>')
        row = widgets.Layout(flex_flow="row wrap")
        filters = widgets.HBox([*self.pickers.values(), self.sort], layout=row)
        picking = widgets.HBox([self.all, self.none], layout=row)
        shown = [self.said, self.settings, self.curves, self.links]
        top = widgets.HBox([self.text, self.reload], layout=row)
        box = widgets.VBox([top, filters, head, self.list, picking, *shown])
        box.add_class("icot-runs")
        box.add_traits(value=traitlets.Tuple())
        return box

    @property
    def runs(self) -> list[Run]:
        """The picked runs, in the order of the list."""
        picked = set(self.list.value)
        shown = (name for _, name in self.list.options if name in self._runs)
        return [self._runs[name] for name in shown if name in picked]

    def _look(self) -> None:
        """Look for runs, where none were given."""
        runs = all_runs(finished=False) if self._given is None else self._given
        #: The runs by name. Given ones may be in any folder.
        self._runs = {run.name: run for run in runs}
        self.table = runs_table(runs)

    def _reload(self) -> None:
        self._picked_before = None
        self._look()
        self._fill_pickers()
        self._filter()

    def _fill_pickers(self) -> None:
        for name, one in self.pickers.items():
            known = sorted(set(self.table[name]))
            known = [x for x in STATES if x in known] if name == "state" else known
            before = one.value
            with self._filling:
                one.options = [(ANY, ANY), *((value or "none", value) for value in known)]
                one.value = before if before in known else ANY

    def _filter(self, _: object = None) -> None:
        """Show the runs that are asked for; picked ones stay picked as long as they are shown."""
        if self._filling:
            return
        equal = {name: None if x.value == ANY else x.value for name, x in self.pickers.items()}
        try:
            runs = self._runs.values()
            found = filtered(self.table, self.text.value, self.sort.value, runs, **equal)
        except IcotError as error:
            self._failed(str(error))
            return
        with self._filling:
            offer(self.list, [(line_of(row), row.run) for row in found.itertuples()])
        self._picked()

    def _picked(self, _: object = None) -> None:
        if self._filling:
            return
        runs = self.runs
        shown = f"{len(self.list.options)} of {len(self.table)} runs, {len(runs)} picked."
        self.said.value = status(shown if runs else f"{shown} {HINT}")
        if runs == self._picked_before:
            return
        self._picked_before = runs
        self.box.value = tuple(runs)
        self.settings.value = self.curves.value = ""
        self._show_links("")
        try:
            self.settings.value = settings_html(runs)
            self.curves.value = curves_html(runs)
            self._show_links(links_html(runs))
        except (IcotError, OSError) as error:
            self._failed(str(error))

    def _show_links(self, text: str) -> None:
        data = {"text/html": text, "text/plain": "executed notebooks"}
        shown = {"output_type": "display_data", "data": data, "metadata": {}}
        self.links.outputs = (shown,) if text else ()

    def _failed(self, problem: str) -> None:
        self.said.value = alert(problem)


def line_of(row: Any) -> str:
    """A run as a line of the list.

    Args:
        row: of `runs_table`.
    """
    right = "-" if pd.isna(row.accuracy) else f"{row.accuracy:.1%}"
    if row.state != "finished":
        right = f"{row.step / row.steps:.0%} trained" if row.state == "training" else "unfinished"
    cells = (
        short_name(row.run),
        right,
        f"{row.train_seconds:,.0f} s",
        f"{row.date:%Y-%m-%d %H:%M}",
    )
    return _columns((*cells, row.configuration))


def _columns(cells: Sequence[str]) -> str:
    """Cells in columns; lists of browsers keep no other spaces."""
    padded = (f"{cell:{width}}" for cell, width in zip(cells, COLUMNS, strict=True))
    return "  ".join(padded).rstrip().replace(" ", "\u00a0")


def settings_html(runs: Sequence[Run]) -> str:
    """The settings in which several runs differ, as HTML; empty for fewer than two."""
    if len(runs) < 2:
        return ""
    found = differences(runs)
    shown = found.to_html(index=False, border=0) if len(found) else "They differ in no setting."
    return f'<h4>Settings that differ</h4><div style="overflow-x:auto">{shown}</div>'


def curves_html(runs: Sequence[Run]) -> str:
    """The learning curves of runs over each other, as HTML; empty before an evaluation."""
    learning = learning_table(runs)
    if learning.empty:
        return ""
    figure = figures.learning_curves(learning)
    return f"<h4>Learning curves</h4>{image(as_png(figure), figures.alt_text(figure))}"


def links_html(runs: Sequence[Run]) -> str:
    """Links to the executed notebooks that ask for one of these runs, as HTML."""
    copies = sorted({copy for run in runs for copy in executed_copies(run.name)})
    if not copies:
        return ""
    items = "".join(
        f'<li><a href="{quote(_address(copy))}">'
        f"{html.escape(copy.relative_to(paths.executed_root()).as_posix())}</a></li>"
        for copy in copies
    )
    return f"<h4>Executed notebooks</h4><ul>{items}</ul>"


def _address(copy: Path) -> str:
    """A copy as a link below a cell has it: relative to the notebook, and below JupyterLab's
    root, which `icot lab` makes sure of by a link of its own."""
    linked = paths.LAB / "executed"
    if linked.is_symlink():
        copy = linked / copy.relative_to(paths.executed_root())
    return Path(os.path.relpath(copy, Path.cwd())).as_posix()
