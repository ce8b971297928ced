"""A list of runs to pick several from, with a filter and buttons.

JupyterLab takes the arrow keys for itself: without a mouse, filter and pick what is left.
"""

from collections.abc import Callable, Sequence
from typing import Any

from icotlib.widgets.parts import WIDE, button


def filter_field() -> Any:
    """The field for words by which a list is filtered (`overview.filtered`)."""
    import ipywidgets as widgets  # a terminal does without

    about = "words of the name, or a setting such as removal.pace=8"
    return widgets.Text(description="Filter", placeholder=about, layout=widgets.Layout(**WIDE))


def offer(listed: Any, options: Sequence[tuple[str, str]]) -> None:
    """Put other runs into a list; picked ones stay picked as long as they are in it.

    Args:
        listed: a `SelectMultiple`.
        options: the line and the name of each run.
    """
    picked = set(listed.value)
    listed.options = options
    listed.value = [name for _, name in options if name in picked]


def pick_buttons(
    listed: Any, picked: Callable[[], None], failed: Callable[[str], None]
) -> tuple[Any, Any]:
    """Buttons that pick all runs of a list, and none.

    Args:
        listed: a `SelectMultiple` whose options were given to `offer`.
        picked: called after the click.
        failed: as in `parts.button`.
    """

    def pick_all() -> None:
        listed.value = [name for _, name in listed.options]
        picked()

    def pick_none() -> None:
        listed.value = []
        picked()

    every = button("Pick all shown", "take every run of the list", pick_all, failed)
    return every, button("Pick none", "begin anew", pick_none, failed)
