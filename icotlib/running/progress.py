"""Progress of runs in training, from their directories: bars, or one line per evaluation."""

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from tqdm.auto import tqdm as notebook_tqdm
from tqdm.std import tqdm as terminal_tqdm

from icotlib.config import RunConfig
from icotlib.runs import Run
from icotlib.system.variables import switch

#: Seconds between two readings of the run directories.
POLL = 0.5


def is_live() -> bool:
    """Whether a user is watching: in a terminal, or a notebook in JupyterLab or an editor.

    `ICOT_LIVE=0` or `1` overrides the guess. A notebook that papermill executes is not live: its
    saved copy gets one line per evaluation instead of every frame of a progress bar.
    """
    if (asked := switch("ICOT_LIVE")) is not None:
        return asked
    if in_notebook():
        return "JPY_SESSION_NAME" in os.environ or "VSCODE_PID" in os.environ
    return sys.stderr.isatty()


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


class ProgressBars:
    """Bars with the time left if a user is watching, else one printed line per evaluation."""

    def __init__(self, configs: Sequence[RunConfig]):
        self.runs = {Run.of(config).name: Run.of(config) for config in configs}
        self.steps = {config.run_name: config.train.steps for config in configs}
        #: Evaluations of each run that are shown, or were there before.
        self.shown: dict[str, int] = {name: len(run.metrics) for name, run in self.runs.items()}
        self.bars: dict[str, terminal_tqdm] = {}
        #: Runs that are in their final test.
        self.testing: set[str] = set()
        self.live = is_live()

    @property
    def evaluations(self) -> int:
        """The number of evaluations of all runs that have been shown."""
        return sum(self.shown.values())

    def update(self) -> None:
        """Read the run directories and show what is new there."""
        for name, run in list(self.runs.items()):
            done, state = run.done, run.progress  # done first: metrics read after it are complete
            if state and self.live:
                self._test_bar(name, state) if "testing" in state else self._bar(name, state)
            rows = run.metrics
            for _, row in rows.iloc[self.shown[name] :].iterrows():
                if not self.live:
                    print(line_of(name, row, self.steps[name]), flush=True)
            self.shown[name] = len(rows)
            if not done:
                continue
            del self.runs[name]
            self._close(name, "finished")

    def _bar(self, name: str, state: dict[str, Any]) -> None:
        if name not in self.bars:
            bar_class = notebook_tqdm if in_notebook() else terminal_tqdm
            short = name.rpartition("-")[0]  # without the digest
            self.bars[name] = bar_class(total=state["steps"], desc=short, initial=state["step"])
        bar = self.bars[name]
        bar.update(state["step"] - bar.n)
        removed = f"{state['removed']}/{state['chain']}"
        bar.set_postfix_str(f"loss {state['loss']:.3f}, removed {removed}")

    def _test_bar(self, name: str, state: dict[str, Any]) -> None:
        """A bar of the final test, in the place of that of the training."""
        if name not in self.testing:
            self._close(name, "trained")
            self.testing.add(name)
            bar_class = notebook_tqdm if in_notebook() else terminal_tqdm
            short = f"{name.rpartition('-')[0]}, test"
            self.bars[name] = bar_class(total=state["to_answer"], desc=short)
        bar = self.bars[name]
        bar.update(state["answered"] - bar.n)
        bar.set_postfix_str(f"{state['testing']} stages done")

    def _close(self, name: str, word: str) -> None:
        """Close a run's bar as one that has come to its end."""
        if name in self.bars:
            bar = self.bars.pop(name)
            bar.update(bar.total - bar.n)
            bar.set_postfix_str(word)
            bar.close()

    def close(self) -> None:
        """Close all bars that are still open."""
        for bar in self.bars.values():
            bar.close()


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
