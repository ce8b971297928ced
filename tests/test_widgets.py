"""The dial and the live plot."""

import pytest

from icotlib import experiments
from icotlib.errors import RunError
from icotlib.reporting.widgets import Ask, dial, live_plot
from icotlib.runs import Run
from icotlib.training.trainer import train


@pytest.fixture
def run(runs_folder, tiny):
    return train(tiny)


def test_the_model_answers_at_every_position_of_the_dial(run):
    ask = Ask(run)
    table = ask.table("12 * 34")
    assert table["tokens removed"].tolist() == list(range(9))
    assert table["milliseconds"].gt(0).all()
    truth = "8 0 4 0"
    assert (table["right"] == (table["answer"] == truth)).all()


def test_the_dial_moves_and_explains_a_bad_question(run):
    box = dial(run)
    field, slider, output = box.children
    assert field.value == run_task(run).example_question
    first = output.value
    slider.value = slider.options[-1][1]
    assert slider.options[-1][0] == "writes none"
    assert output.value != first
    field.value = "12 * x"
    assert "type a number of 2 digits" in output.value
    field.value = "12 * 34"
    assert "<table" in output.value


def test_a_coupled_run_answers_and_its_stages_alone_do_not(runs_folder):
    run = train(experiments.icot_kd("smoke", overrides={"train.steps": 2}))
    table = Ask(run).table("6 * 31")
    assert table["tokens removed"].tolist() == [6]
    assert (table["right"] == (table["answer"] == "6 8 1")).all()
    for role in ("student", "emulator"):
        with pytest.raises(RunError, match="answers no questions"):
            Ask(Run.of(run.config.parents[role]))


def run_task(run):
    return Ask(run).task


def test_without_anybody_to_slide_the_dial_is_a_table(run):
    assert len(dial(run, headless=True)) == 9


def test_a_live_plot_outside_a_notebook_does_nothing(run):
    live_plot()([run])
