"""The dial and the live plot."""

import re
import shutil
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from icotlib import experiments
from icotlib.config import RunConfig
from icotlib.data.files import write_examples
from icotlib.errors import ConfigError, RunError
from icotlib.evaluation.stage_model import StageModel
from icotlib.runs import Run
from icotlib.system.wording import counted
from icotlib.tasks import Example
from icotlib.tasks.questions import QuestionSet
from icotlib.training.trainer import train
from icotlib.widgets import live
from icotlib.widgets.dial import answers_by_stage, dial, page, stage_in_words
from icotlib.widgets.live import live_plot
from tests.helpers import TINY_SIZES

#: A run that removes tokens one by one, whose positions shift.
SHIFTING = {
    "method": "icot_si",
    "removal.keep_positions": False,
    "removal.pace": 1.0,
    "removal.steps_per_epoch": 1,
}


@pytest.fixture
def run(tiny_run):
    return tiny_run


def on_own_data(tiny, folder, **changes) -> Run:
    """A run on files: 18 questions, their chains of three tokens."""
    digits = {"train": "123456789", "valid": "12345", "test": "6789"}
    for split, tens in {"train": "1", "valid": "2", "test": "2"}.items():
        examples = [Example(f"{tens} {x}", f"{x} + {tens}", x) for x in digits[split]]
        write_examples(folder / "own" / f"{split}.txt", examples)
    return train(tiny.override({"data.path": str(folder / "own"), "train.steps": 4, **changes}))


def opened(*asked):
    """The dial as a user sees it who can slide."""
    return dial(*asked, headless=False)


def test_the_model_answers_at_every_position_of_the_dial(run):
    table = answers_by_stage(run, "12 * 34")
    assert table["tokens removed"].tolist() == list(range(9))
    assert table["milliseconds"].gt(0).all()
    truth = "8 0 4 0"
    assert (table["right"] == (table["answer"] == truth)).all()
    model = StageModel.of(run)
    for row, removed in zip(table.itertuples(), range(9), strict=True):
        answer = model.at(removed).answer("12 * 34")
        assert (row.chain, row.answer) == (answer.chain, answer.answer)
        assert table["tokens written"][removed] == answer.tokens


def test_the_dial_moves_and_explains_a_bad_question(run):
    box = opened(run)
    field, slider, named, output = box.children
    assert field.value == StageModel.of(run).task.example_question
    first = output.value
    slider.value = slider.options[-1][1]
    assert slider.options[-1][0] == "writes none"
    assert output.value != first
    assert named.label == "writes none"  # the same position in words
    named.index = 1
    assert slider.label == "1 token removed"
    assert (slider.description, named.description) == ("Removed", "The model")
    field.value = "12 * x"
    assert "type two numbers with a * between them" in output.value
    field.value = "12 * 34"
    assert "<table" in output.value


def test_the_dial_shows_what_the_model_writes_there(run):
    field, slider, _, output = opened(run, "12 * 34").children
    assert field.value == "12 * 34"
    for label, removed in slider.options:
        slider.value = removed
        answer = StageModel.of(run, removed).answer("12 * 34")
        assert f"<b>{answer.answer or 'nothing'}</b>" in output.value
        assert ("✔ right" if answer.right else "✖ wrong") in output.value
        assert label == stage_in_words(StageModel.of(run), removed)
    assert [label for label, _ in slider.options[:3]] == [
        "writes every step",
        "1 token removed",
        "2 tokens removed",
    ]


@pytest.mark.parametrize("side", ["left", "right"])
def test_removed_tokens_are_struck_through(runs_folder, tiny, side):
    run = train(tiny.override(SHIFTING | {"removal.side": side}))
    model = StageModel.of(run)
    chain = QuestionSet.parse(model.task, "12 * 34").examples()[0].chain
    for removed in model.stages:
        gone = re.findall("<del.*?>(.*?)</del>", page(model.at(removed), "12 * 34"))
        tokens = chain.split()
        expected = tokens[:removed] if side == "left" else tokens[len(tokens) - removed :]
        assert gone == ([" ".join(expected)] if removed else [])


def test_a_model_that_ends_with_a_part_of_its_chain_writes_the_rest(runs_folder, tiny):
    run = train(tiny.override({"removal.stage": 3}))
    [(label, removed)] = opened(run).children[1].options
    assert (label, removed) == ("3 tokens removed", 3)


def test_the_dial_says_where_weights_are_gone(runs_folder, tiny):
    run = train(tiny.override(SHIFTING))
    box = opened(run)
    shutil.rmtree(run.folder / "stages")
    _, slider, _, output = box.children
    slider.index = 1
    assert 'role="alert"' in output.value


def test_one_thing_is_counted_in_the_singular():
    assert [counted(n, "tokens") for n in (0, 1, 2)] == ["0 tokens", "1 token", "2 tokens"]


def test_a_coupled_run_answers_and_its_phases_alone_do_not(runs_folder):
    run = train(experiments.icot_kd("smoke", overrides={"train.steps": 2}))
    table = answers_by_stage(run, "6 * 31")
    assert table["tokens removed"].tolist() == [6]
    assert (table["right"] == (table["answer"] == "6 8 1")).all()
    for role in ("student", "emulator"):
        with pytest.raises(RunError, match="answers no questions by itself: it is one phase of"):
            answers_by_stage(Run.of(run.config.phases[role]))


def test_without_anybody_to_slide_the_dial_is_a_table(run):
    assert len(dial(run, headless=True)) == 9


def test_a_run_may_be_its_name(run):
    asked = [StageModel.of(run.name), StageModel.of(run)]
    assert [model.run.name for model in asked] == [run.name] * 2
    drop = ["milliseconds"]
    by_name, by_run = (answers_by_stage(one).drop(columns=drop) for one in (run.name, run))
    pd.testing.assert_frame_equal(by_name, by_run)
    assert opened(run.name).children[0].value == opened(run).children[0].value


def test_several_methods_answer_side_by_side(run):
    plain = train(RunConfig().override(TINY_SIZES | {"method": "no_cot"}))
    written = train(RunConfig().override(TINY_SIZES | {"method": "explicit_cot"}))
    runs = [run, plain, written]
    field, slider, _, output = opened(runs, "12 * 34").children
    assert slider.options == opened(runs[0]).children[1].options  # of the one that has stages
    heads = re.compile('<th scope="row">(.*?)</th><td>(.*?)</td>')
    labels = [run.config.spec.label for run in runs]
    for label, removed in slider.options:
        slider.value = removed
        stages = [label, "writes none", "writes every step"]
        assert heads.findall(output.value) == list(zip(labels, stages, strict=True))
        for run in runs:
            model = StageModel.of(run, removed if run is runs[0] else None)
            answer = model.answer("12 * 34").answer or "nothing"
            row = output.value.split(f">{run.config.spec.label}<")[1].split("</tr>")[0]
            assert f"<b>{answer}</b>" in row
    field.value = "1"
    assert 'role="alert"' in output.value
    table = dial(runs, "12 * 34", headless=True)
    assert table.model.drop_duplicates().tolist() == labels
    assert table.groupby("model", sort=False).size().tolist() == [9, 1, 1]
    twice = dial({"first": runs[0], "again": runs[0]}, headless=True)
    assert twice.model.unique().tolist() == ["first", "again"]


def test_the_dial_refuses_runs_that_cannot_answer_one_question(run, tiny):
    other = train(tiny.override({"data.task": "mult-1x2"}))
    with pytest.raises(ConfigError, match=r"learned different tasks .*mult-2x2, .*mult-1x2"):
        opened([run, other])
    steps = train(tiny.override(SHIFTING | {"removal.step_end": "+"}))
    with pytest.raises(ConfigError, match="in steps and tokens"):
        opened([run, steps])
    with pytest.raises(ConfigError, match="none was given"):
        opened([])


def test_a_model_of_one_stage_says_what_it_writes(runs_folder):
    plain = train(RunConfig().override(TINY_SIZES | {"method": "no_cot"}))
    assert opened(plain).children[1].label == "writes none"


def test_on_own_data_the_dial_asks_ones_own_question(runs_folder, tiny, tmp_path):
    run = on_own_data(tiny, tmp_path, **SHIFTING)
    field, slider, _, output = opened(run).children
    assert field.value == "2 6"  # the first test question, whose truth is known
    assert "✔ right" in output.value or "✖ wrong" in output.value
    assert field.options == ("2 6", "2 7", "2 8", "2 9")  # to choose from
    field.value = "2 3 1"  # a question of no file
    for _, removed in slider.options:
        slider.value = removed
        answer = StageModel.of(run, removed).answer("2 3 1")
        assert (answer.truth, answer.right) == (None, None)
        assert "(truth unknown)" in output.value
        assert f"<b>{answer.answer or 'nothing'}</b>" in output.value
    field.value = "2 x"
    assert "the tokenizer has no token for &#x27;x&#x27;" in output.value
    table = dial(run, "2 3 1", headless=True)
    assert table["right"].isna().all()


def test_on_own_data_with_kept_positions_the_dial_asks_a_new_question_too(
    runs_folder, tiny, tmp_path
):
    run = on_own_data(tiny, tmp_path)
    field, slider, _, output = opened(run).children
    field.value = "2 3 1"
    slider.value = slider.options[-1][1]
    assert "(truth unknown)" in output.value


# --- the live plot -----------------------------------------------------------------------------


def test_a_live_plot_outside_a_notebook_draws_nothing(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    drawn = []
    live_plot(drawn.append)([run])
    assert drawn == []


def test_a_live_plot_in_a_notebook_is_drawn_once_and_then_updated(run, monkeypatch):
    shown, updated = [], []

    def display(figure, display_id):
        assert display_id
        shown.append(figure)
        return SimpleNamespace(update=updated.append)

    monkeypatch.setattr(live, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    watch = live_plot(lambda learning: learning.run.unique().tolist())
    not_begun = Run.of(RunConfig().override(seed=7))
    watch([not_begun])
    assert shown == updated == []
    watch([run, not_begun])
    watch([run])
    assert shown == updated == [[run.name]]
    figure = live_plot()
    figure([run])  # the learning curves
    assert shown[1].axes[0].get_ylabel() == "training loss per token"
