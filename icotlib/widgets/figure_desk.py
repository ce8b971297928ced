"""The figure desk: choose a figure and its runs, see it at its true size, save it for a paper.

It calls `figures.of_runs`, `figures.preview` and `figures.save`.
"""

import contextlib
import io
from collections.abc import Iterable
from typing import Any

from matplotlib.figure import Figure

from icotlib.errors import ConfigError, IcotError
from icotlib.reporting import figures
from icotlib.reporting.figures import FORMATS, FROM_RUNS, Export
from icotlib.reporting.figures.base import FONTS
from icotlib.reporting.figures.export import FOLDER, WIDTHS
from icotlib.reporting.overview import filtered, runs_table
from icotlib.reporting.selection import date_of
from icotlib.runs import Run, all_runs
from icotlib.widgets.parts import (
    NARROW,
    WIDE,
    Filling,
    alert,
    button,
    image,
    is_headless,
    picker,
    status,
)
from icotlib.widgets.picking import filter_field, offer, pick_buttons

#: Widths and fonts as they are chosen; None leaves them as the figure has them.
OWN = "own"
WIDTH_CHOICES = [*((f"{name} ({size} in)", name) for name, size in WIDTHS.items()), (OWN, OWN)]
FONT_CHOICES = [
    ("as it is", None),
    *((f"{name} ({family})", name) for name, family in FONTS.items()),
]

#: Inches of a width of one's own at first.
FIRST_WIDTH = "5"

#: Rows of the list of runs.
ROWS = 6


def figure_desk(
    figure: str | Figure = "accuracy_vs_removed",
    runs: Iterable[Run] | None = None,
    headless: bool | None = None,
) -> Any:
    """Choose a figure, its runs, size, type and colours; preview it at its true size, and save it.

    Args:
        figure: the name of a figure that runs alone suffice for (`figures.FROM_RUNS`), of which
            others can be chosen; or any figure of matplotlib.
        runs: finished runs to choose from, all chosen at first. By default every finished run, and
            chosen are those of the task and preset of the newest.
        headless: return the figure instead; by default where nobody watches, as in a notebook that
            papermill executes.

    Returns an ipywidgets box whose `value` holds the paths of the files that were saved last, or
    the figure. Raises `ConfigError` for an unknown figure, `RunError` where no run has what it
    shows.
    """
    if is_headless(headless):
        if isinstance(figure, Figure):
            return figure
        return figures.of_runs(figure, offered(runs)[1])
    return Desk(figure, runs).box


def offered(runs: Iterable[Run] | None) -> tuple[list[Run], list[Run]]:
    """The runs to choose from, and those that are chosen at first."""
    if runs is not None:
        given = list(runs)
        return given, given
    every = all_runs()
    if not every:
        return [], []
    newest = max(every, key=date_of).config
    alike = (newest.task, newest.preset)
    return every, [run for run in every if (run.config.task, run.config.preset) == alike]


class Desk:
    """The choices of a figure, its preview, and its files."""

    def __init__(
        self, figure: str | Figure = "accuracy_vs_removed", runs: Iterable[Run] | None = None
    ):
        import traitlets

        #: The figure as it is drawn now; None where it cannot be drawn.
        self.figure: Figure | None = figure if isinstance(figure, Figure) else None
        self._given = self.figure
        self._make_source(figure, runs)
        self._make_look()
        self._make_files("figure" if isinstance(figure, Figure) else figure)
        self.box = self._arranged()
        self.box.add_traits(value=traitlets.Tuple())
        looks = (self.width, self.inches, self.height, self.font_size, self.font, self.grey)
        for widget in filter(None, (self.kind, self.runs, *looks)):
            widget.observe(self.refresh, names="value")
        if self.runs is not None:
            self.text.observe(self._filter, names="value")
        self.refresh()

    def _make_source(self, figure: str | Figure, runs: Iterable[Run] | None) -> None:
        import ipywidgets as widgets  # a terminal does without

        self.kind: Any = None
        self.runs: Any = None
        #: The rows of widgets by which a figure and its runs are chosen.
        self._source: list[tuple[Any, ...]] = []
        self._filling = Filling()
        if isinstance(figure, Figure):
            return
        if figure not in FROM_RUNS:
            figures.of_runs(figure, [])  # raises, with those that there are
        names = [(name.replace("_", " "), name) for name in FROM_RUNS]
        self.kind = picker("Figure", names, figure)
        every, chosen = offered(runs)
        self._runs = {run.name: run for run in every}
        self._table = runs_table(every)
        self.runs = widgets.SelectMultiple(
            options=[(name, name) for name in self._runs],
            value=[run.name for run in chosen],
            description="Runs",
            rows=min(ROWS, max(2, len(every))),
            layout=widgets.Layout(**WIDE),
        )
        self.text = filter_field()
        # `refresh` watches the list, and says what is wrong.
        self.all, self.none = pick_buttons(self.runs, lambda: None, lambda problem: None)
        self._source = [(self.kind,), (self.text,), (self.runs,), (self.all, self.none)]

    def _filter(self, _: object = None) -> None:
        """Show the runs that are asked for; picked ones stay picked as long as they are shown."""
        try:
            found = filtered(self._table, self.text.value, among=self._runs.values())
        except IcotError as error:
            self._failed(str(error))
            return
        with self._filling:
            offer(self.runs, [(name, name) for name in self._runs if name in set(found.run)])
        self.refresh()

    def _make_look(self) -> None:
        import ipywidgets as widgets

        def number(label: str, about: str) -> Any:
            return widgets.Text(
                description=label,
                placeholder=about,
                continuous_update=False,
                layout=widgets.Layout(width="14em", max_width="100%"),
            )

        self.width = picker("Width", WIDTH_CHOICES)
        self.inches = number("Inches", "of its width")
        self.inches.value, self.inches.disabled = FIRST_WIDTH, True
        self.height = number("Height", "inches")
        self.font_size = number("Font size", "points")
        self.font = widgets.Dropdown(
            options=FONT_CHOICES, description="Font", layout=widgets.Layout(**NARROW)
        )
        self.grey = widgets.Checkbox(description="Grey, without colours", indent=False)

    def _make_files(self, name: str) -> None:
        import ipywidgets as widgets

        narrow, wide = widgets.Layout(**NARROW), widgets.Layout(**WIDE)
        self.name = widgets.Text(value=name, description="Name", layout=narrow)
        self.folder = widgets.Text(value=FOLDER, description="Folder", layout=narrow)
        self.formats = {
            kind: widgets.Checkbox(
                value=True, description=kind, indent=False, layout=widgets.Layout(width="5em")
            )
            for kind in FORMATS
        }
        self.replace = widgets.Checkbox(description="Replace files that differ", indent=False)
        self.save = button(
            "Save figure", "write the files into the folder", self._save, self._failed
        )
        self.said, self.preview = widgets.HTML(), widgets.HTML()
        self.latex = widgets.Text(description="LaTeX", placeholder="once saved", layout=wide)

    def _arranged(self) -> Any:
        import ipywidgets as widgets

        row = widgets.Layout(flex_flow="row wrap")
        rows = [
            *self._source,
            (self.width, self.inches, self.height),
            (self.font_size, self.font, self.grey),
            (self.name, self.folder, *self.formats.values()),
            (self.save, self.replace),
        ]
        boxes = [widgets.HBox(one, layout=row) for one in rows]
        return widgets.VBox([*boxes, self.said, self.latex, self.preview])

    @property
    def export(self) -> Export:
        """What is chosen. Raises `ConfigError` for a text where a number is meant."""
        own = _number(self.inches.value, "width") if self.width.value == OWN else None
        return Export(
            width=own if self.width.value == OWN else self.width.value,
            height=_number(self.height.value, "height"),
            font_size=_number(self.font_size.value, "font_size"),
            grey=self.grey.value,
            folder=self.folder.value.strip() or None,
            replace=self.replace.value,
            font=self.font.value,
            formats=[kind for kind, one in self.formats.items() if one.value],
        )

    def refresh(self, change: Any = None) -> None:
        """Draw the figure as it is chosen now."""
        if self._filling:
            return
        of_figure = change is not None and change["owner"] is self.kind
        if of_figure and self.name.value == change["old"]:  # not a name of the user's
            self.name.value = change["new"]
        self.inches.disabled = self.width.value != OWN
        try:
            export = self.export
            self.figure = self._given or self._drawn(export)
            shown = figures.preview(self.figure, export)
        except (IcotError, OSError) as error:
            self.figure = None
            self.preview.value = ""
            self._failed(str(error))
            return
        size = f"{shown.width:.2f} by {shown.height:.2f} inches"
        self.said.value = status(f"{size}, shown at this size where 96 pixels are an inch.")
        picture = image(shown.png, figures.alt_text(self.figure), f"{shown.width:.3f}in")
        self.preview.value = f'<div style="overflow-x:auto">{picture}</div>'

    def _drawn(self, export: Export) -> Figure:
        runs = [self._runs[name] for name in self.runs.value]
        if not runs:
            raise ConfigError("choose at least one run")
        return figures.of_runs(self.kind.value, runs, **look_of(export))

    def _save(self) -> None:
        if self.figure is None:
            self.refresh()  # says what is wrong
            return
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            written = figures.save(self.figure, self.name.value.strip(), **vars(self.export))
        self.latex.value = printed.getvalue().strip()
        self.box.value = tuple(written)
        names = ", ".join(path.name for path in written)
        self.said.value = status(f"Written to {written[0].parent}: {names}")

    def _failed(self, problem: str) -> None:
        self.said.value = alert(problem)


def look_of(export: Export) -> dict[str, Any]:
    """The arguments of a figure that say how it looks."""
    names = ("width", "height", "font_size", "grey", "font")
    return {name: getattr(export, name) for name in names}


def _number(text: str, name: str) -> float | None:
    """The number in a field; None if it is empty."""
    if not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{name} must be a number, got {text!r}") from None
