"""The dial: one question, answered while more and more of the chain is removed."""

import functools
import html
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import pandas as pd

from icotlib.data.corpus import examples_of
from icotlib.evaluation import askable
from icotlib.evaluation.asking import Answer, as_examples, example_of
from icotlib.evaluation.stage_model import StageModel
from icotlib.reporting.parts import alert
from icotlib.runs import Run
from icotlib.tasks import Example

#: Answers whose median time is shown, as single ones vary; slower ones than so many seconds are
#: timed once, so that the dial answers without delay.
TIMED, SLOW = 3, 0.1

#: Questions of one's own test set that the dial suggests.
SUGGESTED = 50

#: Colours of the theme that the page has, so that text stays legible in light and dark ones.
STYLE = """<style>
.icot-dial {overflow-x: auto}
.icot-dial table {font-family: monospace; line-height: 1.6; border-collapse: collapse}
.icot-dial th {text-align: left; font-weight: normal; padding-right: 1.5em; vertical-align: top}
.icot-dial del {opacity: 0.75; text-decoration-thickness: 2px}
</style>"""


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
    question. On data from files, it suggests questions of the test set.

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
    positions = [(stage_in_words(model, removed), removed) for removed in stages]
    field = widgets.Combobox(
        value=question or example_of(model.corpus)[0],
        options=own_questions(model),
        description="Question",
        continuous_update=False,
        layout=widgets.Layout(width="32em", max_width="100%"),
    )
    # Its own readout would change the length of the track, and be a field to type in.
    slider = widgets.SelectionSlider(
        options=positions,
        description="Removed",
        readout=False,
        continuous_update=False,
        layout=widgets.Layout(width="32em", max_width="100%"),
    )
    # The same position as a list with a label, for screen readers, which the slider tells nothing.
    named = widgets.Dropdown(options=positions, description="The model")
    widgets.link((slider, "index"), (named, "index"))
    output = widgets.HTML()

    @functools.cache
    def known() -> dict[str, Example]:
        held_out = [*examples_of(model.corpus.valid), *examples_of(model.corpus.test)]
        return {example.question: example for example in held_out}

    def show(_: object = None) -> None:
        try:
            output.value = page(stages[slider.value], field.value, known)
        except ValueError as error:
            output.value = alert(str(error))

    field.observe(show, names="value")
    slider.observe(show, names="value")
    show()
    return widgets.VBox([field, slider, named, output])


def own_questions(model: StageModel) -> list[str]:
    """Questions to choose from: of data from files, some of the test set; else none."""
    if model.task is not None:
        return []
    return [example.question for example in examples_of(model.corpus.test)[:SUGGESTED]]


def stage_in_words(model: StageModel, removed: int) -> str:
    """A position of the dial."""
    if removed == model.stages[0]:
        return "writes every step"
    if removed == model.stages[-1]:
        return "writes none"
    return f"{counted(removed, model.format.unit)} removed"


def counted(number: int, unit: str) -> str:
    """A number of things, such as `1 token` or `2 tokens`."""
    return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


def removed_chain(model: StageModel, example: Example) -> str:
    """The part of a question's chain that is removed at a model's stage; all of it where a method
    has no chain in its input."""
    if not model.format.chain or not example.chain:
        return example.chain
    encoded = askable.encoded(model.layout, [example])
    batch = model.format.arrange(encoded)
    count = int(model.format.tokens_removed(batch, model.removed)[0])
    start, length = int(batch.question[0]), int(batch.chain[0])
    count = min(count, length)
    start += length - count if model.format.side == "right" else 0
    return str(model.layout.tokenizer.decode(batch.ids[0, start : start + count])).strip()


def page(
    model: StageModel, question: str, known: Callable[[], Mapping[str, Example]] = dict
) -> str:
    """A model's answer as HTML: what was removed is struck through, then what it wrote.

    Args:
        known: examples by question, for data from files; called if they are needed.

    Raises as `StageModel.answer` does.
    """
    answer = model.answer(question)
    more = TIMED - 1 if answer.seconds < SLOW else 0
    seconds = [answer.seconds, *(model.answer(question).seconds for _ in range(more))]
    [example] = as_examples(question, model.task, known)
    gone, written = html.escape(removed_chain(model, example)), html.escape(answer.chain)
    struck = f'<del aria-label="removed: {gone}">{gone}</del>' if gone else ""
    parts = (written, struck) if model.format.side == "right" else (struck, written)
    chain = " ".join(filter(None, parts)) or "<i>nothing</i>"
    verdict = {True: "✔ right", False: "✖ wrong", None: "truth unknown"}[answer.right]
    rows = {
        "chain": chain,
        "answer": f"<b>{html.escape(answer.answer) or 'nothing'}</b> ({verdict})",
        "time": f"{1000 * median(seconds):.1f} ms for {counted(answer.tokens, 'tokens')}",
    }
    body = "".join(f'<tr><th scope="row">{k}</th><td>{x}</td></tr>' for k, x in rows.items())
    opening = f'{STYLE}<div class="icot-dial" role="status" aria-live="polite">'
    return f"{opening}<table>{body}</table></div>"
