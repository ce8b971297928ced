"""One setting of the settings form: its field, what is wrong with it, what it means."""

import html
from collections.abc import Callable

from icotlib.experiments.drafts import Field, as_text
from icotlib.widgets.parts import WIDE, alert

#: The width of the names of settings.
NAMES = {"description_width": "15em"}


class Row:
    """One setting of a form: its field, what it means, and what is wrong with it."""

    def __init__(self, field: Field, typed: Callable[[Field, str], None]):
        import ipywidgets as widgets

        self.field = field
        look = {"description": field.name, "style": NAMES, "layout": widgets.Layout(**WIDE)}
        if field.choices:
            self.input = widgets.Dropdown(options=field.choices, value=field.text, **look)
        else:
            self.input = widgets.Text(value=field.text, **look)
        self.input.tooltip = f"{field.name}: {field.about.help}"
        #: What is wrong, and what the setting means.
        self.note = widgets.HTML()
        self.box = widgets.VBox([self.input, self.note])
        self.input.observe(lambda change: typed(self.field, change["new"]), names="value")

    def show(self, field: Field, text: str | None, problem: str) -> None:
        """Show a setting as it stands now.

        Args:
            text: what its user has typed, if anything.
        """
        self.field = field
        value = field.text if text is None else text
        if field.choices and value not in field.choices:
            value = field.text
        if self.input.value != value:
            self.input.value = value
        self.note.value = (
            '<div style="margin: 0 0 0.6em 15.5em; line-height: 1.3; max-width: 46em">'
            f"{alert(problem)}{meaning_of(field)}</div>"
        )


def section_of(name: str) -> str:
    """The section of a setting; those of the run itself are in `run`."""
    return name.rpartition(".")[0] or "run"


def meaning_of(field: Field) -> str:
    """What a setting means, as HTML: its help, type, range and default."""
    about = {
        "type": field.about.type,
        "allowed": field.about.range,
        "default": as_text(field.about.default) or "empty",
    }
    facts = "; ".join(f"{name}: {text}" for name, text in about.items() if text)
    return f"{html.escape(field.about.help)} <i>({html.escape(facts)})</i>"
