"""The settings form: fill in the settings of a run, see what is wrong and what the run will take.

It shows what `icotlib.experiments.drafts.draft` makes of what is typed, and the plan of that run.
"""

import asyncio
import html
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd

from icotlib.config import RunConfig, parse_overrides
from icotlib.errors import ConfigError
from icotlib.experiments.base import PRESETS
from icotlib.experiments.drafts import (
    FURTHER,
    WHOLE,
    Draft,
    Field,
    Make,
    as_text,
    draft,
    fields_of,
    makeable,
    maker,
    overrides_cell,
    unchanged,
)
from icotlib.planning.planner import Planned, Planner
from icotlib.reporting.readable import table
from icotlib.widgets.parts import (
    NARROW,
    WIDE,
    Filling,
    alert,
    button,
    is_headless,
    picker,
    status,
)
from icotlib.widgets.settings_rows import NAMES, Row, section_of

#: What the picker of sections offers beside the sections themselves.
ALL, CHANGED = "all", "changed"

#: The section that is shown at first.
FIRST = "train"


def settings_table(
    run: str | RunConfig | Make, preset: str = "fast", seed: int = 0, overrides: Any = None
) -> pd.DataFrame:
    """Every setting of a run: value, default, type, range and meaning, one row each.

    Args:
        run: a name that `icot train` knows, a config, or what makes one from overrides.

    Raises `ConfigError` for an unknown name or preset, and for overrides that do not fit.
    """
    config = maker(run, preset, seed)(parse_overrides(overrides))
    rows = [
        {
            "setting": one.name,
            "value": one.text,
            "default": as_text(one.about.default),
            "type": one.about.type,
            "allowed": one.about.range,
            "meaning": one.about.help,
        }
        for one in fields_of(config)
    ]
    return pd.DataFrame(rows)


def settings_form(
    run: str | RunConfig | Make = "icot_si",
    preset: str = "fast",
    seed: int = 0,
    overrides: Any = None,
    headless: bool | None = None,
) -> Any:
    """A form with every setting of a run: it says what is wrong beside each, and plans the run.

    Args:
        run: a name that `icot train` knows, of which others can then be chosen in the form; or a
            config to start from; or a function that makes the config from overrides.
        preset: the preset that is chosen at first, where `run` is a name.
        overrides: changes to begin with.
        headless: return the table of settings (`icot.settings_table`) instead; by default where
            nobody watches, as in a notebook that papermill executes.

    Returns an ipywidgets box whose `value` holds the overrides: what differs from the preset, as it
    was when everything was right last. Or that table. Raises `ConfigError` for an unknown name or
    preset, and for overrides that are no mapping.
    """
    if is_headless(headless):
        return table(settings_table(run, preset, seed, overrides))
    return Form(run, preset, seed, overrides).box


class Form:
    """The fields of a form, the overrides that they make, and the plan."""

    def __init__(
        self,
        run: str | RunConfig | Make = "icot_si",
        preset: str = "fast",
        seed: int = 0,
        overrides: Any = None,
    ):
        import traitlets

        self.given, self.seed = run, seed
        #: What was typed, by setting, where it is not what the run has anyway.
        self.texts = {name: as_text(x) for name, x in parse_overrides(overrides).items()}
        #: With the settings that the run cannot do without, which are never forgotten.
        plain, self.needed = unchanged(maker(run, preset, seed), self.texts)
        known = {one.name for one in fields_of(plain)}
        others = [
            f"{name}: {self.texts.pop(name)}" for name in list(self.texts) if name not in known
        ]
        #: The rows that were shown so far, by setting, and the settings of those shown now.
        self.rows: dict[str, Row] = {}
        self.shown: list[str] = []
        self._make_choices(run, preset)
        self._make_fields(f"{{{', '.join(others)}}}" if others else "")
        self.box = self._arranged()
        self.box.add_traits(value=traitlets.Dict())
        self.planner = _planner(self._tell)
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        #: What the form amounts to now.
        self.draft: Draft
        self._filling = Filling()
        for widget in filter(None, (self.run, self.preset, self.further, self.speed)):
            widget.observe(self.refresh, names="value")
        for widget in (self.section, self.find):
            widget.observe(self._choose_rows, names="value")
        self.refresh()

    def _make_choices(self, run: str | RunConfig | Make, preset: str) -> None:
        self.run: Any = None
        self.preset: Any = None
        if isinstance(run, str):
            names = makeable(preset)
            self.run = picker("Run", names if run in names else (run, *names), run)
            self.preset = picker("Preset", PRESETS, preset)
        self.section = picker("Show", [FIRST])

    def _make_fields(self, further: str) -> None:
        import ipywidgets as widgets  # a terminal does without

        wide = widgets.Layout(**WIDE)
        about = "a word of a name or meaning"
        self.find = widgets.Text(description="Find", placeholder=about, layout=wide)
        self.fields = widgets.VBox()
        self.further = widgets.Text(
            value=further,
            description="Further overrides",
            placeholder="{student.train.steps: 300}",
            style=NAMES,
            layout=wide,
        )
        self.problem, self.plan, self.planning = (widgets.HTML() for _ in range(3))
        self.cell = widgets.Textarea(description="Cell to copy", rows=3, layout=wide)
        self.speed = widgets.Text(
            description="Time on device",
            placeholder="h100, or TFLOP/s such as 0.05",
            layout=widgets.Layout(**NARROW),
        )
        about = "measure a few steps on this machine"
        self.time = button("Time it here", about, self._time, self._say)

    def _arranged(self) -> Any:
        import ipywidgets as widgets

        row = widgets.Layout(flex_flow="row wrap")
        chosen = [one for one in (self.run, self.preset) if one is not None]
        parts = [
            *([widgets.HBox(chosen, layout=row)] if chosen else []),
            widgets.HBox([self.section, self.find], layout=row),
            *(self.fields, self.further, self.problem, self.cell),
            widgets.HBox([self.speed, self.time], layout=row),
            *(self.planning, self.plan),
        ]
        return widgets.VBox(parts)

    # --- from what is typed to overrides ---

    def refresh(self, _: object = None) -> None:
        """Read what is typed, and show what follows from it."""
        if self._filling:
            return
        run = self.given if self.run is None else self.run.value
        make = maker(run, self.preset.value if self.preset else "", self.seed)
        try:
            found = draft(make, self.texts, self.further.value)
        except ConfigError as error:  # not even without changes
            self.problem.value = alert(str(error))
            if hasattr(self, "draft"):
                self.draft = replace(self.draft, errors={WHOLE: str(error)}, config=None)
                self._say(f"Not planned: {self._wrong()}.")
            return
        before, self.draft = getattr(self, "draft", None), found
        if before is None or names_of(before) != names_of(found):
            self._offer_sections()
        self._show_rows()
        wrong = found.errors
        self.problem.value = alert("\n".join(wrong[x] for x in (WHOLE, FURTHER) if x in wrong))
        if found.config is not None:
            self.box.value = found.overrides
            self.cell.value = overrides_cell(found.overrides)
            self._ask()
        else:
            self._say(f"Not planned: {self._wrong()}.")

    def _wrong(self) -> str:
        """Where to look for what is wrong."""
        names = (name for name in self.draft.errors if name not in (WHOLE, FURTHER))
        return f"look at {', '.join(names) or 'what is wrong above'}"

    def _offer_sections(self) -> None:
        sections = list(dict.fromkeys(map(section_of, names_of(self.draft))))
        before = self.section.value
        with self._filling:
            self.section.options = (*sections, CHANGED, ALL)
            self.section.value = before if before in self.section.options else sections[0]
        self._choose_rows()

    def _choose_rows(self, _: object = None) -> None:
        """Choose the settings to show: a section, or all that have the word looked for."""
        if self._filling:
            return
        word, section = self.find.value.strip().lower(), self.section.value
        changed = {*self.draft.overrides, *self.draft.errors}
        self.shown = []
        for one in self.draft.fields:
            if word:  # in all sections
                chosen = word in f"{one.name} {one.about.help}".lower()
            elif section in (ALL, CHANGED):
                chosen = section == ALL or one.name in changed
            else:
                chosen = section_of(one.name) == section
            if chosen:
                self.shown.append(one.name)
        self._show_rows()

    def _show_rows(self) -> None:
        """Show the chosen settings, and below them others that are wrong, which then stay."""
        errors = self.draft.errors
        fields = {one.name: one for one in self.draft.fields}
        self.shown += [name for name in fields if name in errors and name not in self.shown]
        rows = []
        for name in self.shown:
            row = self.rows.get(name)
            if row is None or row.field.about != fields[name].about:
                row = self.rows[name] = Row(fields[name], self._typed)
            with self._filling:
                row.show(fields[name], self.texts.get(name), errors.get(name, ""))
            rows.append(row.box)
        if tuple(rows) != self.fields.children:
            self.fields.children = rows

    def _typed(self, field: Field, text: str) -> None:
        """Take note of a setting that its user has changed."""
        if self._filling:
            return
        if text == field.text and field.name not in self.needed:
            self.texts.pop(field.name, None)
        else:
            self.texts[field.name] = text
        self.refresh()

    # --- the plan ---

    def _ask(self) -> None:
        assert self.draft.config is not None
        self._say("Planning ...")
        self.planner.ask(self.draft.config, self.speed.value.strip() or None)

    def _time(self) -> None:
        if self.draft.config is not None:
            self._say("Timing steps on this machine ...")
            self.planner.ask(self.draft.config, timed=True)
        else:
            self._say(f"Nothing is timed: {self._wrong()}.")

    def _tell(self, planned: Planned) -> None:
        """Show a plan: between cells, on the kernel's own loop, where there is one."""
        if self._loop is None or self._loop.is_closed():
            self.show_plan(planned)
        else:
            self._loop.call_soon_threadsafe(self.show_plan, planned)

    def show_plan(self, planned: Planned) -> None:
        """Show a plan, or what kept it from being made, unless something is wrong by now."""
        if self.draft.config is None:
            return
        if planned.error:
            self.planning.value = alert(planned.error)
            self.plan.value = ""  # the one before was of other settings
            return
        if planned.speed is not None:  # further plans calculate with it
            with self._filling:
                self.speed.value = f"{planned.speed:.3g}"
        self._say("Planned.")
        text = html.escape("\n".join(planned.lines))
        look = "white-space: pre-wrap; word-break: normal; line-height: 1.4"
        self.plan.value = f'<pre style="{look}">{text}</pre>'

    def _say(self, text: str) -> None:
        self.planning.value = status(text)


#: The planner of the form that was opened last: each has a process.
_planners: list[Planner] = []


def _planner(tell: Callable[[Planned], None]) -> Planner:
    """A planner, in place of those of earlier forms."""
    while _planners:
        _planners.pop().close()
    _planners.append(Planner(tell))
    return _planners[-1]


def names_of(found: Draft) -> tuple[str, ...]:
    """The settings that a run reads."""
    return tuple(one.name for one in found.fields)
