"""Progress of runs in training, from their directories: bars, or one line per evaluation."""

import contextlib
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from tqdm.auto import tqdm as notebook_tqdm
from tqdm.std import tqdm as terminal_tqdm

from icotlib.config import RunConfig
from icotlib.runs import Run
from icotlib.system.variables import switch

#: Seconds between two readings of the run directories, while a user watches and otherwise.
POLL, UNWATCHED = 0.5, 2.0


def is_live() -> bool:
    """Whether a user is watching: in a terminal, or in a notebook that a person runs.

    `ICOT_LIVE=0` or `1` overrides the guess. A notebook that papermill executes is not live: its
    saved copy gets one line per evaluation instead of every frame of a progress bar.
    """
    if (asked := switch("ICOT_LIVE")) is not None:
        return asked
    shell = notebook_shell()
    if shell is None:
        return sys.stderr.isatty()
    # What asked for the cell says whether it can ask its user for input: JupyterLab, editors, Colab
    # and Kaggle can; papermill and nbconvert cannot. Only frontends send messages of widgets.
    asked_by = shell.kernel.get_parent()
    is_widget = asked_by.get("msg_type") == "comm_msg"
    return is_widget or bool(asked_by.get("content", {}).get("allow_stdin"))


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel."""
    return notebook_shell() is not None


def notebook_shell() -> Any:
    """IPython's shell in a Jupyter kernel; None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell if getattr(shell, "kernel", None) is not None else None


class ProgressBars:
    """Bars with the time left if a user is watching, else one printed line per evaluation."""

    def __init__(self, configs: Sequence[RunConfig]):
        self.runs = {Run.of(config).name: Run.of(config) for config in configs}
        self.steps = {config.run_name: config.train.steps for config in configs}
        #: Evaluations of each run that are shown, or were there before.
        self.shown: dict[str, int] = {name: len(run.metrics) for name, run in self.runs.items()}
        self.bars: dict[str, terminal_tqdm] = {}
        #: What the bar of a run is about.
        self.phases: dict[str, str] = {}
        self.live = is_live()
        #: Seconds until the next update is due.
        self.poll = POLL if self.live else UNWATCHED

    @property
    def evaluations(self) -> int:
        """The number of evaluations of all runs that have been shown."""
        return sum(self.shown.values())

    def update(self) -> None:
        """Read the run directories and show what is new there."""
        for name, run in list(self.runs.items()):
            done, state = run.done, run.progress  # done first: metrics read after it are complete
            if self.live:
                self._show(run, state)
            rows = run.metrics
            for _, row in rows.iloc[self.shown[name] :].iterrows():
                if not self.live:
                    print(line_of(name, row, self.steps[name]), flush=True)
            self.shown[name] = len(rows)
            if not done:
                continue
            del self.runs[name]
            self._close(name, "finished")

    def _show(self, run: Run, state: dict[str, Any]) -> None:
        """The bar of a run: while its data and model are loaded, in training, or in its test."""
        name, short = run.name, short_name(run.name)
        if "testing" in state:
            self._begin(name, "testing", f"{short}, test", state["to_answer"])
            _move(self.bars[name], state["answered"], f"{state['testing']} stages done")
        elif state:
            self._begin(name, "training", short, state["steps"], state["step"])
            removed = f"removed {state['removed']}/{state['chain']}"
            _move(self.bars[name], state["step"], f"loss {state['loss']:.3f}, {removed}")
        elif run.in_training:
            self._begin(name, "loading", short, self.steps[name])
            _move(self.bars[name], 0, "loading data and model")

    def _begin(self, name: str, phase: str, short: str, total: int, initial: int = 0) -> None:
        """Give a run a bar of this phase, in the place of that of the phase before."""
        if self.phases.get(name) == phase:
            return
        if self.phases.get(name) == "training":
            self._close(name, "trained")
        elif name in self.bars:
            self.bars.pop(name).close()
        self.phases[name] = phase
        self.bars[name] = _new_bar(short, total, initial, leave=phase != "loading")

    def _close(self, name: str, word: str) -> None:
        """Close a run's bar as one that has come to its end."""
        if name in self.bars:
            bar = self.bars.pop(name)
            _move(bar, bar.total, word)
            bar.close()

    def close(self) -> None:
        """Close all bars that are still open."""
        for bar in self.bars.values():
            bar.close()


#: Characters of a bar's name, which leave room for everything else in a terminal of 80 columns.
NAME_WIDTH = 29

#: Name, share, time left, loss, tokens removed.
BAR = "{desc} {percentage:3.0f}%|{bar}| {remaining} left{postfix}"


def _new_bar(name: str, total: int, initial: int, leave: bool) -> terminal_tqdm:
    bar_class = notebook_tqdm if in_notebook() else terminal_tqdm
    return bar_class(
        desc=name,
        total=total,
        initial=initial,
        leave=leave,
        bar_format=BAR,
        dynamic_ncols=not in_notebook(),
    )


def _move(bar: terminal_tqdm, done: int, text: str) -> None:
    """Show that a bar has come so far.

    An update by zero would begin tqdm's clock anew, so that the next one seems to come at once,
    and the time left is far too short.
    """
    if done != bar.n:
        bar.update(done - bar.n)
    bar.set_postfix_str(text)


def short_name(name: str) -> str:
    """A run's name without version and digest, in so few characters that a bar fits beside it."""
    short = name.rsplit("-", 2)[0]
    return short if len(short) <= NAME_WIDTH else f"{short[: NAME_WIDTH - 1]}…"


@contextlib.contextmanager
def progress_bars(configs: Sequence[RunConfig]) -> Iterator[ProgressBars]:
    """Progress bars of these runs, closed at the end of the block."""
    bars = ProgressBars(configs)
    try:
        yield bars
    finally:
        bars.close()


def line_of(name: str, row: pd.Series, steps: int) -> str:
    """One evaluation as a line of text, with the time left.

    Args:
        row: a row of metrics.csv.
        steps: all steps of the run.
    """
    left = row.seconds / row.step * (steps - row.step)
    if math.isnan(row.valid_match):  # an emulator, which answers nothing
        quality = f"explained variance {row.explained:.1%}"
    else:
        quality = f"removed {row.removed:.0f}  valid match {row.valid_match:.1%}"
    return (
        f"{name}  step {row.step:.0f}/{steps}  loss {row.loss:.3f}  {quality}  "
        f"about {left / 60:.1f} min left"
    )
