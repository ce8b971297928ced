"""What a notebook shows while it runs: a live plot, and the table of a sweep."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from icotlib.reporting import figures
from icotlib.reporting.results import learning_table
from icotlib.running.progress import in_notebook
from icotlib.running.sweeps import Sweep
from icotlib.runs import Run


def live_plot(draw: Callable[[pd.DataFrame], object] = figures.learning_curves) -> Callable:
    """A `watch` for `ensure`: redraws the learning curves below the cell as they grow."""
    show = _live_display()

    def watch(runs: list[Run]) -> None:
        learning = learning_table(run for run in runs if run.started)
        if not learning.empty and in_notebook():
            show(draw(learning))

    return watch


def live_table() -> Callable[[Sweep], None]:
    """An `on_change` for `icot.sweep`: shows the table of cells below the cell as they end."""
    show = _live_display()

    def on_change(sweep: Sweep) -> None:
        if in_notebook():
            show(sweep.table().drop(columns="runs"))

    return on_change


def _live_display() -> Callable[[object], None]:
    """Shows something below the cell of a notebook, in the place of what it showed before."""
    handle: Any = None

    def show(shown: object) -> None:
        nonlocal handle
        from IPython.display import display  # only a notebook has it

        if handle is None:
            handle = display(shown, display_id=True)
        else:
            handle.update(shown)

    return show
