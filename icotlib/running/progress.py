"""TODO."""

import contextlib
import math
import os
import sys
from collections.abc import Sequence

from tqdm.auto import tqdm as notebook_tqdm
from tqdm.std import tqdm as terminal_tqdm

from icotlib.config import RunConfig
from icotlib.runs import Run

# --- showing progress --------------------------------------------------------------------------


def is_live() -> bool:
    """Whether somebody is watching: a notebook in JupyterLab or an editor, or a terminal.

    `ICOT_LIVE=0` or `1` overrides the guess. A notebook executed by papermill is not live: its
    saved copy gets one line per evaluation instead of every frame of a bar.
    """
    if os.environ.get("ICOT_LIVE"):
        return os.environ["ICOT_LIVE"] != "0"
    if in_notebook():
        return "JPY_SESSION_NAME" in os.environ or "VSCODE_PID" in os.environ
    return sys.stderr.isatty()


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel."""
    return "ipykernel" in sys.modules


class Display:
    """Progress of runs in training: bars with time left, or one line per evaluation."""

    def __init__(self, configs: Sequence[RunConfig]):
        self.runs = {Run.of(config).name: Run.of(config) for config in configs}
        self.steps = {config.run_name: config.train.steps for config in configs}
        self.shown: dict[str, int] = {name: len(run.metrics) for name, run in self.runs.items()}
        self.bars: dict[str, terminal_tqdm] = {}
        self.live = is_live()

    @property
    def evaluations(self) -> int:
        """Evaluations of all runs that have been shown."""
        return sum(self.shown.values())

    def update(self) -> None:
        """Show what is new in the run directories."""
        for name, run in list(self.runs.items()):
            done, state = run.done, run.progress  # done is read first: its metrics are then whole
            if state and self.live:
                self._bar(name, state)
            rows = run.metrics
            for _, row in rows.iloc[self.shown[name] :].iterrows():
                if not self.live:
                    print(line_of(name, row, self.steps[name]), flush=True)
            self.shown[name] = len(rows)
            if not done:
                continue
            del self.runs[name]
            if name in self.bars:
                bar = self.bars.pop(name)
                bar.update(bar.total - bar.n)
                bar.set_postfix_str("finished")
                bar.close()

    def _bar(self, name: str, state: dict) -> None:
        kind = notebook_tqdm if in_notebook() else terminal_tqdm
        if name not in self.bars:
            short = name.rpartition("-")[0]  # without the digest
            self.bars[name] = kind(total=state["steps"], desc=short, initial=state["step"])
        bar = self.bars[name]
        bar.update(state["step"] - bar.n)
        if "testing" in state:
            bar.set_postfix_str(f"testing, {state['testing']} stages done")
        else:
            removed = f"{state['removed']}/{state['chain']}"
            bar.set_postfix_str(f"loss {state['loss']:.3f}, removed {removed}")

    def close(self) -> None:
        for bar in self.bars.values():
            bar.close()


@contextlib.contextmanager
def _display(configs: Sequence[RunConfig]):
    display = Display(configs)
    try:
        yield display
    finally:
        display.close()


def line_of(name: str, row, steps: int) -> str:
    """One evaluation as one line of text, with the time left."""
    left = row.seconds / row.step * (steps - row.step)
    if math.isnan(row.valid_accuracy):  # an emulator answers nothing yet
        quality = f"explained variance {row.explained:.1%}"
    else:
        quality = f"removed {row.removed:.0f}  valid {row.valid_accuracy:.1%}"
    return (
        f"{name}  step {row.step:.0f}/{steps}  loss {row.loss:.3f}  {quality}  "
        f"about {left / 60:.1f} min left"
    )
