"""Parts of the instruments in notebooks: sentences that are read out, images, pickers, buttons."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure

from icotlib.errors import IcotError
from icotlib.running.progress import is_live

#: The layout of a field that is at most as wide as the page.
WIDE = {"width": "40em", "max_width": "98%"}
NARROW = {"width": "22em", "max_width": "98%"}

#: The choice of a picker that leaves nothing out.
ANY = "any"


def is_headless(asked: bool | None) -> bool:
    """Whether an instrument returns what it would show, without widgets.

    Args:
        asked: the instrument's argument `headless`; by default it is headless where nobody watches.
    """
    return not is_live() if asked is None else asked


class Filling:
    """Tells the changes that an instrument makes to its own widgets from those of its user.

    The instrument fills in values in a `with` block, which may stand in another one. Inside, the
    object is true, and the instrument's observers return at once.
    """

    def __init__(self) -> None:
        self._open = 0

    def __enter__(self) -> None:
        self._open += 1

    def __exit__(self, *_: object) -> None:
        self._open -= 1

    def __bool__(self) -> bool:
        return self._open > 0


def status(text: str) -> str:
    """A sentence that a screen reader reads out when it changes, as HTML."""
    return f'<div role="status" aria-live="polite">{html.escape(text)}</div>'


def alert(problem: str) -> str:
    """What is wrong, as HTML; empty if nothing is."""
    if not problem:
        return ""
    look = "line-height: 1.4; white-space: pre-line"
    return f'<div role="alert" style="{look}"><b>✖ {html.escape(problem)}</b></div>'


def as_png(figure: Figure) -> bytes:
    """A figure as an instrument shows it, without margins."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, bbox_inches="tight")
    return file.getvalue()


def image(png: bytes, about: str, width: str = "") -> str:
    """An image as HTML.

    Args:
        about: what is seen in it, for who does not see it.
        width: of CSS, such as `3.35in`; by default its own, at most that of the page.
    """
    size = f"width:{width}; max-width:none" if width else "max-width:100%"
    data = base64.b64encode(png).decode()
    return (
        f'<img alt="{html.escape(about)}" style="{size}; background:white" '
        f'src="data:image/png;base64,{data}">'
    )


def picker(label: str, options: Sequence[Any], value: Any = None, **traits: Any) -> Any:
    """A list to choose one option from, behind its label; by default the first is chosen."""
    import ipywidgets as widgets  # a terminal does without

    chosen = options[0] if value is None else value
    if isinstance(chosen, tuple):
        chosen = chosen[1]
    layout = widgets.Layout(**traits.pop("layout", NARROW))
    return widgets.Dropdown(
        options=options, value=chosen, description=label, layout=layout, **traits
    )


def button(
    label: str,
    about: str,
    act: Callable[[], None],
    failed: Callable[[str], None],
    after: Callable[[], None] = lambda: None,
) -> Any:
    """A button.

    Args:
        about: what it does, for its tooltip.
        failed: called with the message of an error that a user can cause; empty before each click.
        after: called at the end of each click, whether it failed or not.
    """
    import ipywidgets as widgets

    made = widgets.Button(description=label, tooltip=f"{label}: {about}")

    def clicked(_: object) -> None:
        failed("")
        try:
            act()
        except (IcotError, OSError) as error:
            failed(str(error))
        after()

    made.on_click(clicked)
    return made
