"""The training panel: start, pause, resume and stop runs from a notebook whose kernel stays free.

It shows what `icotlib.running.background.Training` tells, and its buttons call the methods of the
same names.
"""

import asyncio
import contextlib
import html
import time
from collections.abc import Callable, Sequence
from typing import Any

from icotlib.config import RunConfig
from icotlib.errors import IcotError
from icotlib.reporting import figures
from icotlib.reporting.results import learning_table
from icotlib.running.background import Progress, Training
from icotlib.running.progress import short_name
from icotlib.system.wording import counted, duration
from icotlib.widgets import parts
from icotlib.widgets.parts import as_png, image, is_headless

#: Seconds between two looks at the runs.
EVERY = 1.0

#: Looks after which a panel of runs that nothing trains waits for a click.
IDLE = 60

#: Between two drawings of the curves, so many times as long as the last one took.
PAUSE = 30

#: A sign for each state beside its name, so that no state is told by colour alone.
SIGNS = {
    "not started": "○",
    "waiting": "…",
    "loading": "…",
    "training": "▶",
    "testing": "▶",
    "pausing": "…",
    "paused": "❚❚",
    "failed": "✖",
    "finished": "✔",
}

#: Legible in JupyterLab's light and dark themes, and on a page of 400 pixels.
STYLE = """<style>
.icot-panel {overflow-x: auto; line-height: 1.5}
.icot-panel table {border-collapse: collapse; font-size: 13px}
.icot-panel caption {text-align: left; font-weight: 600; padding: 4px 0}
.icot-panel th, .icot-panel td {text-align: right; padding: 2px 6px; vertical-align: top}
.icot-panel tbody th, .icot-panel thead th:first-child {text-align: left; min-width: 120px}
.icot-panel tbody th span {font-weight: normal}
.icot-panel td {white-space: nowrap}
.icot-panel progress {display: block; width: 100px; accent-color: #0072B2}
</style>"""

COLUMNS = ("run", "steps", "loss", "valid match", "removed")


def training_panel(
    configs: RunConfig | Sequence[RunConfig],
    workers: int | None = None,
    headless: bool | None = None,
) -> Any:
    """A panel to start, pause, resume and stop the training of some runs.

    Runs train in a process of their own. The kernel is free meanwhile, closing the page or
    restarting the kernel loses nothing, and a panel of the same runs finds them under way.

    Args:
        workers: runs side by side, as in `icot.ensure`.
        headless: return the table of the runs' progress (`Training.table`) instead of buttons; by
            default where nobody watches, as in a notebook that papermill executes.

    Returns an ipywidgets box, or that table.
    """
    training = Training(configs, workers)
    if is_headless(headless):
        return training.table()
    return Panel(training).box


class Panel:
    """The buttons and the table of a training."""

    def __init__(self, training: Training):
        import ipywidgets as widgets  # a terminal does without

        self.training = training
        self.start = self._button("Start", "train from the last checkpoint", training.start)
        self.pause = self._button("Pause", "write a checkpoint, then end", training.pause)
        about = "end at once; what came after the last checkpoint is lost"
        self.stop = self._button("Stop", about, training.stop)
        self.said, self.table, self.curves = (widgets.HTML() for _ in range(3))
        buttons = widgets.HBox([self.start, self.pause, self.stop])
        self.box = widgets.VBox([buttons, self.said, self.table, self.curves])
        #: What went wrong at the last click.
        self.problem = ""
        #: Evaluations that the curves show, and when they may be drawn again.
        self._drawn, self._draw_after = 0, 0.0
        self.refresh()
        _keep_fresh(self)

    def _button(self, label: str, about: str, act: Callable[[], None]) -> Any:
        return parts.button(label, about, act, self._failed, self._clicked)

    def _failed(self, problem: str) -> None:
        self.problem = problem

    def _clicked(self) -> None:
        self.refresh()
        if _fresh.get(tuple(self.training.runs), (None, None))[0] is not self:
            _keep_fresh(self)

    def refresh(self) -> None:
        """Show how the runs stand now."""
        shown = self.training.progress
        states = {one.state for one in shown}
        active = self.training.active and states != {"finished"}
        self.start.description = "Resume" if "paused" in states else "Start"
        self.start.disabled = active or states == {"finished"}
        self.pause.disabled = not active or "pausing" in states
        self.stop.disabled = not active
        self.said.value = status(shown, self.problem or self.training.error or "")
        self.table.value = table(shown)
        self._draw_curves()

    def _draw_curves(self) -> None:
        """Draw the learning curves again once there are more evaluations.

        The kernel waits meanwhile: drawing takes a small part of its time, and the end of training
        is always drawn.
        """
        start = time.monotonic()
        if start < self._draw_after and not self.training.finished:
            return
        learning = learning_table(run for run in self.training.runs.values() if run.started)
        if len(learning) and len(learning) != self._drawn:  # fewer where a run went back
            self._drawn = len(learning)
            about = "learning curves; the table above has the last loss and match of each run"
            self.curves.value = image(as_png(figures.learning_curves(learning)), about)
            self._draw_after = time.monotonic() + PAUSE * (time.monotonic() - start)


def status(shown: Sequence[Progress], problem: str) -> str:
    """A sentence that a screen reader reads out when it changes, as HTML."""
    counts = {state: sum(one.state == state for one in shown) for state in SIGNS}
    text = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    text = f"{counted(len(shown), 'runs')}: {text}"
    return parts.status(text) + parts.alert(problem)


def table(shown: Sequence[Progress]) -> str:
    """How far each run is, as HTML."""
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    rows = "".join(_row(one) for one in shown)
    return (
        f'{STYLE}<div class="icot-panel"><table><caption>Training</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(one: Progress) -> str:
    name = html.escape(short_name(one.name))
    bar = (
        f'<progress max="{one.steps}" value="{one.step}" aria-label="steps of {name}"></progress>'
        f"{one.step:,} of {one.steps:,}"
        + ("" if one.left is None else f"<br>{duration(one.left)} left")
    )
    cells = [
        bar,
        "-" if one.loss is None else f"{one.loss:.3f}",
        "-" if one.valid_match is None else f"{one.valid_match:.1%}",
        "-" if one.removed is None else f"{one.removed} of {one.chain}",
    ]
    state = f'<span><span aria-hidden="true">{SIGNS[one.state]}</span> {one.state}</span>'
    title = html.escape(one.name)
    return (
        f'<tr><th scope="row" title="{title}">{name}<br>{state}</th>'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
    )


#: The panel of some runs that is kept fresh, and the task that does so, by their names.
_fresh: dict[tuple[str, ...], tuple[Panel, asyncio.Task]] = {}


def _keep_fresh(panel: Panel) -> None:
    """Refresh a panel between cells, on the kernel's own loop, in place of an earlier one of the
    same runs, as long as there is something to see. Nothing happens where there is no such loop."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    key = tuple(panel.training.runs)
    if key in _fresh:
        _fresh[key][1].cancel()
    task = loop.create_task(_watch(panel))
    _fresh[key] = panel, task
    task.add_done_callback(lambda task: _forget(key, task))


async def _watch(panel: Panel) -> None:
    """Refresh a panel until all is finished, its box is closed, or nothing was in training for
    `IDLE` looks."""
    ended, idle = False, 0
    while not ended and idle < IDLE and panel.box.comm is not None:
        await asyncio.sleep(EVERY)
        ended = panel.training.finished  # before the last look, which is whole then
        with contextlib.suppress(IcotError, OSError):  # a file between two writes
            panel.refresh()
            idle = 0 if panel.training.active else idle + 1


def _forget(key: tuple[str, ...], task: asyncio.Task) -> None:
    """Forget a task that has ended, unless another has taken its place."""
    if key in _fresh and _fresh[key][1] is task:
        del _fresh[key]
