"""What a notebook shows while it runs: a live plot, and the dial."""

import html
import time
from collections.abc import Callable

import pandas as pd

from icotlib.data.inputs import in_layout
from icotlib.data.layout import Layout
from icotlib.errors import RunError
from icotlib.evaluation.generation import generate
from icotlib.evaluation.stage_model import load_run
from icotlib.reporting import figures
from icotlib.reporting.results import learning_table
from icotlib.running.progress import in_notebook
from icotlib.runs import Run
from icotlib.tasks import get_task


def live_plot(draw: Callable[[pd.DataFrame], object] = figures.learning_curves) -> Callable:
    """A `watch` for `ensure`: redraws the learning curves below the cell as they grow."""
    from IPython.display import display

    handle = None

    def watch(runs: list[Run]) -> None:
        nonlocal handle
        learning = learning_table(run for run in runs if run.started)
        if learning.empty or not in_notebook():
            return
        figure = draw(learning)
        if handle is None:
            handle = display(figure, display_id=True)
        else:
            handle.update(figure)

    return watch


class Ask:
    """A trained model to put questions to: the dial's inside, without any widget.

    Works for a run whose one model serves every stage (random removal), and for runs with a
    checkpoint per stage, whose weights are then loaded stage by stage.

    Raises `RunError` for a run that answers no questions: a student or an emulator alone.
    """

    def __init__(self, run: Run):
        self.run, self.config = run, run.config
        self.task = get_task(self.config.data.task)
        if run.stages.empty or self.config.method == "mind_reading":
            raise RunError(f"{run.name} answers no questions: it is one stage of a distillation")
        self.stages = run.stages.removed.astype(int).tolist()
        self._loaded: dict[int, tuple] = {}

    def _model(self, removed: int) -> tuple:
        if removed not in self._loaded:
            self._loaded[removed] = load_run(self.run, removed)[:2]
        return self._loaded[removed]

    def __call__(self, question: str, removed: int) -> dict[str, object]:
        """What the model writes after a question: chain, answer, tokens, seconds, and the truth.

        Raises `ValueError` if the question is none of the task's; see `Task.read`.
        """
        truth = self.task.text(self.task.render(self.task.parse_question(question)))[0]
        model, layout = self._model(removed)
        batch = in_layout(layout.encode([truth]), self.config.removal)
        start = time.perf_counter()
        removal = self.config.removal
        gone = batch.tokens(removed, removal.side)
        tokens = generate(model, layout, batch, gone, removal.keep_positions)
        seconds = time.perf_counter() - start
        text = layout.texts(tokens)[0]
        return {
            f"{removal.unit} removed": removed,
            "chain": text.partition("####")[0].strip(),
            "answer": Layout.answer(text) or "",
            "right": Layout.answer(text) == truth.answer,
            "tokens written": tokens.shape[1],
            "milliseconds": round(1000 * seconds, 1),
        }

    def position(self, removed: int) -> str:
        """A position of the dial, in words."""
        if removed == self.stages[0]:
            return "writes every step"
        unit = self.config.removal.unit
        return "writes none" if removed == self.stages[-1] else f"{removed} {unit} taken away"

    def table(self, question: str) -> pd.DataFrame:
        """The answers at every stage, from writing every step to writing none."""
        self(question, self.stages[0])  # the first call of a process also warms up
        return pd.DataFrame([self(question, removed) for removed in self.stages])


def dial(run: Run, typed: str | None = None, headless: bool = False):
    """The dial: type a question, slide from "writes every step" to "writes none".

    Returns an ipywidgets box, or, where nobody can slide, the table of all its positions for one
    question.

    Args:
        run: a finished run on a generated task, with one model for every stage or one per stage.
        typed: the first question; a typical one of the task by default.
        headless: return the table instead.
    """
    ask = Ask(run)
    typed = typed or ask.task.example_question
    if headless:
        return ask.table(typed)

    import ipywidgets as widgets

    field = widgets.Text(value=typed, description="Question", continuous_update=False)
    slider = widgets.SelectionSlider(
        options=[(ask.position(removed), removed) for removed in ask.stages],
        value=ask.stages[0],
        description="The model",
        continuous_update=False,
        layout=widgets.Layout(width="32em"),
    )
    output = widgets.HTML()

    def show(_: object = None) -> None:
        try:
            output.value = _page(ask(field.value, slider.value))
        except ValueError as error:
            output.value = f"<p style='color:#D55E00'>{html.escape(str(error))}</p>"

    field.observe(show, names="value")
    slider.observe(show, names="value")
    show()
    return widgets.VBox([field, slider, output])


def _page(said: dict[str, object]) -> str:
    color = "#009E73" if said["right"] else "#D55E00"
    chain_text = html.escape(str(said["chain"])) or "<i>nothing</i>"
    verdict = "right" if said["right"] else "wrong"
    return (
        "<table style='font-family:monospace; line-height:1.6'>"
        f"<tr><td>chain&emsp;</td><td>{chain_text}</td></tr>"
        f"<tr><td>answer</td><td style='color:{color}'><b>{html.escape(str(said['answer']))}</b>"
        f" ({verdict})</td></tr>"
        f"<tr><td>time</td><td>{said['milliseconds']} ms for {said['tokens written']} tokens"
        "</td></tr></table>"
    )
