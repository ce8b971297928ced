"""What a notebook shows while it runs: a live plot, the table of a sweep, and the dial."""

import html
from collections.abc import Callable
from typing import Any

import pandas as pd

from icotlib.evaluation.asking import Answer, example_of
from icotlib.evaluation.stage_model import StageModel
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


def answers_by_stage(run: Run, question: str | None = None) -> pd.DataFrame:
    """What a run writes after one question at each of its removal stages.

    Args:
        question: as a person types it; by default the task's example, or the first test question.

    Returns:
        one row per stage: `<unit> removed`, chain, answer, right, tokens written, milliseconds.
    """
    model = StageModel.of(run)
    question = question or example_of(model.corpus)[0]
    stages = [model.at(removed) for removed in model.stages]
    stages[0].answer(question)  # the first call of a process also warms up
    return pd.DataFrame([_row(stage, stage.answer(question)) for stage in stages])


def _row(stage: StageModel, answer: Answer) -> dict[str, object]:
    return {
        f"{stage.format.unit} removed": stage.removed,
        "chain": answer.chain,
        "answer": answer.answer,
        "right": answer.right,
        "tokens written": answer.tokens,
        "milliseconds": round(1000 * answer.seconds, 1),
    }


def dial(run: Run, question: str | None = None, headless: bool = False) -> Any:
    """The dial: type a question, slide from "writes every step" to "writes none".

    Returns an ipywidgets box, or, where nobody can slide, the table of all its positions for one
    question.

    Args:
        run: a finished run with one model for every stage, or one per stage.
        question: the first question; by default as for `answers_by_stage`.
        headless: return the table instead.
    """
    if headless:
        return answers_by_stage(run, question)

    import ipywidgets as widgets  # a terminal does without

    model = StageModel.of(run)
    stages = {removed: model.at(removed) for removed in model.stages}
    field = widgets.Text(
        value=question or example_of(model.corpus)[0],
        description="Question",
        continuous_update=False,
    )
    slider = widgets.SelectionSlider(
        options=[(stage_in_words(model, removed), removed) for removed in stages],
        value=model.stages[0],
        description="The model",
        continuous_update=False,
        layout=widgets.Layout(width="32em"),
    )
    output = widgets.HTML()

    def show(_: object = None) -> None:
        try:
            output.value = _page(stages[slider.value].answer(field.value))
        except ValueError as error:
            output.value = f"<p style='color:#D55E00'>{html.escape(str(error))}</p>"

    field.observe(show, names="value")
    slider.observe(show, names="value")
    show()
    return widgets.VBox([field, slider, output])


def stage_in_words(model: StageModel, removed: int) -> str:
    """A position of the dial."""
    if removed == model.stages[0]:
        return "writes every step"
    if removed == model.stages[-1]:
        return "writes none"
    unit = model.format.unit.removesuffix("s") if removed == 1 else model.format.unit
    return f"{removed} {unit} removed"


def _page(answer: Answer) -> str:
    color, verdict = ("#009E73", "right") if answer.right else ("#D55E00", "wrong")
    if answer.right is None:
        color, verdict = "#666666", "truth unknown"
    chain = html.escape(answer.chain) or "<i>nothing</i>"
    return (
        "<table style='font-family:monospace; line-height:1.6'>"
        f"<tr><td>chain&emsp;</td><td>{chain}</td></tr>"
        f"<tr><td>answer</td><td style='color:{color}'><b>{html.escape(answer.answer)}</b>"
        f" ({verdict})</td></tr>"
        f"<tr><td>time</td><td>{1000 * answer.seconds:.1f} ms for {answer.tokens} tokens"
        "</td></tr></table>"
    )
