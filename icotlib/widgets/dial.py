"""The dial: one question, answered while more and more of the chain is removed, by one model or by
several side by side."""

import functools
import html
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import pandas as pd

from icotlib.asked import as_run
from icotlib.data.corpus import examples_of
from icotlib.errors import ConfigError, IcotError
from icotlib.evaluation import askable
from icotlib.evaluation.asking import Answer, as_examples, example_of
from icotlib.evaluation.stage_model import StageModel
from icotlib.runs import Run
from icotlib.system.wording import counted
from icotlib.tasks import Example
from icotlib.widgets.parts import alert, is_headless

#: Answers whose median time is shown, as single ones vary; slower ones than so many seconds are
#: timed once, so that the dial answers without delay.
TIMED, SLOW = 3, 0.1

#: Models at a stage that are held at once: turning back to one is then quick.
HELD = 16

#: Questions of one's own test set that the dial suggests.
SUGGESTED = 50

#: Colours of the theme that the page has, so that text stays legible in light and dark ones.
STYLE = """<style>
.icot-dial {overflow-x: auto}
.icot-dial table {font-family: monospace; line-height: 1.6; border-collapse: collapse}
.icot-dial th {text-align: left; font-weight: normal; padding-right: 1.5em; vertical-align: top}
.icot-dial thead th, .icot-dial td {padding-right: 1.5em; text-align: left; vertical-align: top}
.icot-dial del {opacity: 0.75; text-decoration-thickness: 2px}
</style>"""


def answers_by_stage(run: Run | str, question: str | None = None) -> pd.DataFrame:
    """What a run writes after one question at each of its removal stages.

    Args:
        question: as a person types it; by default the task's example, or the first test question.

    Returns:
        one row per stage: `<unit> removed`, chain, answer, right, tokens written, milliseconds.
    """
    return _at_all_stages(StageModel.of(run), question)


def _at_all_stages(model: StageModel, question: str | None) -> pd.DataFrame:
    question = question or example_of(model.corpus)[0]
    stages = (model.at(removed) for removed in model.stages)
    return pd.DataFrame([_row(stage, *timed_answer(stage, question)) for stage in stages])


def timed_answer(model: StageModel, question: str, models: int = 1) -> tuple[Answer, float]:
    """What a model writes, and its median seconds.

    Args:
        models: how many models are waited for.
    """
    answer = model.answer(question)
    more = TIMED if models * answer.seconds < SLOW else 0  # the first call also warms up
    seconds = [model.answer(question).seconds for _ in range(more)]
    return answer, median(seconds or [answer.seconds])


def runs_by_stage(runs: Mapping[str, Run], question: str | None = None) -> pd.DataFrame:
    """`answers_by_stage` of several runs, with a first column model. Raises as `check_units`."""
    models = {name: StageModel.of(run) for name, run in runs.items()}
    check_units(list(models.values()))
    tables = {name: _at_all_stages(model, question) for name, model in models.items()}
    for name, table in tables.items():
        table.insert(0, "model", name)
    return pd.concat(tables.values(), ignore_index=True)


def _row(stage: StageModel, answer: Answer, seconds: float) -> dict[str, object]:
    return {
        f"{stage.format.unit} removed": stage.removed,
        "chain": answer.chain,
        "answer": answer.answer,
        "right": answer.right,
        "tokens written": answer.tokens,
        "milliseconds": round(1000 * seconds, 1),
    }


#: One run, or several: each by its method's name, or by names of one's own. A run may be its name.
Runs = Run | str | Sequence[Run | str] | Mapping[str, Run | str]


def dial(runs: Runs, question: str | None = None, headless: bool | None = None) -> Any:
    """The dial: type a question, slide from "writes every step" to "writes none".

    Several runs of one task answer side by side, each at its stage that is nearest to the dial's
    position: a method without stages at the only one that it has. Returns an ipywidgets box, or,
    where nobody can slide, the table of all its positions for one question. On data from files, it
    suggests questions of the test set.

    Args:
        runs: a finished run with one model for every stage, or one per stage; or several runs.
        question: the first question; by default as for `answers_by_stage`.
        headless: return the table instead; by default where nobody watches, as in a notebook that
            papermill executes.

    Raises `ConfigError` for runs of different tasks, or that count what is removed in different
    units.
    """
    headless = is_headless(headless)
    if headless and isinstance(runs, (Run, str)):
        return answers_by_stage(runs, question)
    named = _named(runs)
    if headless:
        return runs_by_stage(named, question)

    import ipywidgets as widgets  # a terminal does without

    from icotlib.widgets.stage_slider import StageSlider

    models = SideBySide({name: StageModel.of(run, name=name) for name, run in named.items()})
    model = models.first
    field = widgets.Combobox(
        value=question or example_of(model.corpus)[0],
        options=own_questions(model),
        description="Question",
        continuous_update=False,
        layout=widgets.Layout(width="32em", max_width="100%"),
    )
    slider = StageSlider(models.positions, "Removed")
    # The same position in words, which the slider shows to screen readers alone.
    named_position = widgets.Dropdown(options=models.positions, description="The model")
    widgets.link((slider, "index"), (named_position, "index"))
    output = widgets.HTML()

    def show(_: object = None) -> None:
        try:
            output.value = models.page(slider.value, field.value)
        except (ValueError, IcotError, OSError) as error:
            output.value = alert(str(error))

    field.observe(show, names="value")
    slider.observe(show, names="index")
    show()
    return widgets.VBox([field, slider, named_position, output])


def _named(runs: Runs) -> dict[str, Run]:
    """Runs by name: that of their method, or their own where a method comes twice.

    Raises `ConfigError` if there is none, or if they are of different tasks.
    """
    if isinstance(runs, (Run, str)):
        run = as_run(runs)
        return {run.name: run}
    if isinstance(runs, Mapping):
        named = {name: as_run(run) for name, run in runs.items()}
    else:
        several = list(map(as_run, runs))
        labels = [run.config.spec.label for run in several]
        often = Counter(labels)
        pairs = zip(labels, several, strict=True)
        named = {label if often[label] == 1 else run.name: run for label, run in pairs}
    if not named:
        raise ConfigError("the dial needs a run: none was given")
    tasks = {name: run.config.data.path or run.config.data.task for name, run in named.items()}
    if len(set(tasks.values())) > 1:
        found = ", ".join(f"{name}: {task}" for name, task in tasks.items())
        raise ConfigError(f"these runs learned different tasks ({found}): choose runs of one task")
    return named


class SideBySide:
    """Models of one task, each at all of its stages.

    Raises `ConfigError` where they count what is removed in different units.
    """

    def __init__(self, models: Mapping[str, StageModel]):
        self.models = dict(models)
        self.stages = {name: model.stages for name, model in models.items()}
        #: A model at a stage. Where each stage has weights of its own, few are held at once.
        self.at_stage = functools.lru_cache(maxsize=HELD)(self._at_stage)
        self.first = next(iter(models.values()))
        turned = check_units(list(models.values()))
        #: The positions of the dial: in words, and the units removed.
        self.positions = self._positions(turned or [self.first])

    @staticmethod
    def _positions(models: Sequence[StageModel]) -> list[tuple[str, int]]:
        every = sorted({removed for model in models for removed in model.stages})
        longest = max(map(chain_length, models))
        unit = models[0].format.unit
        return [(_in_words(removed, longest, unit), removed) for removed in every]

    @functools.cached_property
    def _examples(self) -> dict[str, Example]:
        corpus = self.first.corpus
        held_out = [*examples_of(corpus.valid), *examples_of(corpus.test)]
        return {example.question: example for example in held_out}

    def _at_stage(self, name: str, removed: int) -> StageModel:
        return self.models[name].at(removed)

    def at(self, removed: int) -> dict[str, StageModel]:
        """Each model at its stage that is nearest to a number of units removed."""
        nearest = {
            name: min(stages, key=lambda stage: (abs(stage - removed), stage))
            for name, stages in self.stages.items()
        }
        return {name: self.at_stage(name, stage) for name, stage in nearest.items()}

    def page(self, removed: int, question: str) -> str:
        """Their answers as HTML, nearest to a position of the dial."""
        models = self.at(removed)
        if len(models) == 1:
            [model] = models.values()
            return page(model, question, lambda: self._examples)
        rows = []
        for name, model in models.items():
            row = {"model": html.escape(name), "stage": stage_in_words(model, model.removed)}
            rows.append(row | _parts(model, question, lambda: self._examples, len(models)))
        head = "".join(f'<th scope="col">{name}</th>' for name in rows[0])
        body = ""
        for row in rows:
            first, *rest = row.values()
            cells = "".join(f"<td>{cell}</td>" for cell in rest)
            body += f'<tr><th scope="row">{first}</th>{cells}</tr>'
        return _announced(f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>")


def own_questions(model: StageModel) -> list[str]:
    """Questions to choose from: of data from files, some of the test set; else none."""
    if model.task is not None:
        return []
    return [example.question for example in examples_of(model.corpus.test)[:SUGGESTED]]


def stage_in_words(model: StageModel, removed: int) -> str:
    """A position of the dial."""
    return _in_words(removed, chain_length(model), model.format.unit)


def chain_length(model: StageModel) -> int:
    """The length of the longest chain that a model learned, in the units that are removed."""
    return int(model.run.totals["chain_length"]) if model.run else max(model.stages)


def _in_words(removed: int, longest: int, unit: str) -> str:
    if removed == 0:
        return "writes every step"
    return "writes none" if removed >= longest else f"{counted(removed, unit)} removed"


def check_units(models: Sequence[StageModel]) -> list[StageModel]:
    """Those of some models that have several stages.

    Raises `ConfigError` where they count what is removed in different units.
    """
    turned = [model for model in models if len(model.stages) > 1]
    units = sorted({model.format.unit for model in turned})
    if len(units) > 1:
        raise ConfigError(
            f"these runs count what is removed in {' and '.join(units)}: choose runs that count in "
            "the same unit"
        )
    return turned


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
    rows = _parts(model, question, known)
    return _announced(
        "".join(f'<tr><th scope="row">{k}</th><td>{x}</td></tr>' for k, x in rows.items())
    )


def _parts(
    model: StageModel,
    question: str,
    known: Callable[[], Mapping[str, Example]],
    models: int = 1,
) -> dict[str, str]:
    """Chain, answer and time of an answer as HTML.

    Args:
        models: how many models the page waits for.
    """
    answer, seconds = timed_answer(model, question, models)
    [example] = as_examples(question, model.task, known)
    gone, written = html.escape(removed_chain(model, example)), html.escape(answer.chain)
    struck = f'<del aria-label="removed: {gone}">{gone}</del>' if gone else ""
    parts = (written, struck) if model.format.side == "right" else (struck, written)
    verdict = {True: "✔ right", False: "✖ wrong", None: "truth unknown"}[answer.right]
    verdict += ": more chain than this stage leaves" * answer.is_late
    return {
        "chain": " ".join(filter(None, parts)) or "<i>nothing</i>",
        "answer": f"<b>{html.escape(answer.answer) or 'nothing'}</b> ({verdict})",
        "time": f"{1000 * seconds:.1f} ms for {counted(answer.tokens, 'tokens')}",
    }


def _announced(rows: str) -> str:
    """Rows of a table that a screen reader reads out when they change."""
    opening = f'{STYLE}<div class="icot-dial" role="status" aria-live="polite">'
    return f"{opening}<table>{rows}</table></div>"
