"""Cells of a model's maps, read for one question, and the widget that chooses them."""

import copy
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import icotlib as icot
from icotlib import interp
from icotlib.errors import ConfigError
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp import explorer
from icotlib.interp.one_state import OneState
from icotlib.tasks import get_task
from icotlib.tasks.parity import Parity
from icotlib.tasks.questions import draw_questions
from icotlib.widgets.explorer import MAPS, Explorer
from icotlib.widgets.map_grid import NO_VALUE, paint
from tests.planted import ANSWER_DELIMITER, BITS, SEPARATOR, every_question, plant

#: A question of even parity less one, and the same with another third bit.
ODD, EVEN = "1011000000", "1001000000"
PARITY = f"t{BITS}"


@pytest.fixture(scope="module")
def reader():
    """The planted model, which holds the parity at the separator in layer 1 and nothing else."""
    return interp.CellReader(plant(), every_question()[:500])


@pytest.fixture
def run(tiny_run):
    return tiny_run


# --- cells -------------------------------------------------------------------------------------


def test_a_cell_tells_what_is_read_and_used_where_it_was_planted(reader):
    cell = reader.read(ODD, PARITY, 1, SEPARATOR, EVEN)
    assert (cell.decoded, cell.truth, cell.answer) == ("1", "1", "1")
    assert cell.probability > 0.9
    assert (cell.score, cell.decodable, cell.beaten_by) == (1, True, [])
    assert cell.selectivity == cell.score - max(cell.controls.values()) > 0.3
    assert set(cell.controls) == {"untrained", "shuffled labels", "input", "input, MLP"}
    patched, steered = cell.patched, cell.steered
    assert (patched.other_answer, patched.answer) == ("0", "0")
    assert (patched.differing, patched.followed) == (1, 1)
    assert (steered.symbol, steered.expected, steered.answer) == ("0", "0", "0")
    assert (steered.followed, steered.random) == (True, 0)
    text = str(cell)
    assert "planted, 10 tokens removed: t10 at layer 1, position 10 (=)." in text
    assert "decodable." in text
    assert "1 of 1 differing symbols follow" in text
    assert "it becomes 0: it follows. Random directions of this length do it in 0%." in text


def test_a_cell_without_the_variable_says_so(reader):
    cell = reader.read(ODD, PARITY, 1, 0, EVEN)
    assert not cell.seen
    assert not cell.decodable
    assert "has not seen what t10 needs" in str(cell)
    assert (cell.patched.answer, cell.patched.followed) == ("1", 0)
    assert (cell.steered.answer, cell.steered.followed) == ("1", False)
    assert "it does not follow" in str(cell)


def test_a_token_of_the_input_is_beaten_by_the_input(reader):
    cell = reader.read(ODD, "t1", 0, "x0")
    assert cell.score == 1
    assert cell.seen
    assert {"input", "input, MLP"} <= set(cell.beaten_by)
    assert not cell.decodable
    assert cell.patched is None
    assert "beaten by" in str(cell)
    assert "patching" not in cell.sentences


def test_a_probe_is_not_fitted_to_the_question_that_it_reads(reader):
    place, states = (1, SEPARATOR), interp.stored_activations(reader.model, reader.questions)
    asked = reader.asked(reader.questions.questions[7])
    state = OneState.of(reader.model, asked, place, reader.questions, states[place])
    assert state.rows.tolist() == [row for row in range(500) if row != 7]
    assert np.array_equal(state.states.numpy(), np.delete(states[place], 7, axis=0))
    assert np.allclose(state.own.numpy(), states[place][7])


def test_the_map_of_patching_says_what_the_cells_say(reader):
    table = reader.patched(ODD, EVEN)
    assert len(table) == 3 * len(reader.positions)
    expected = {(0, 2): 1.0, (1, SEPARATOR): 1.0, (2, ANSWER_DELIMITER): 1.0}
    effects = table.set_index(["layer", "position"]).effect
    assert effects[effects > 0].to_dict() == expected
    for place in [*expected, (0, 3), (1, 2)]:
        patched = reader.read(ODD, PARITY, *place, EVEN).patched
        assert patched.followed / patched.differing == effects[place]
    assert reader.patched(ODD, "0111000000").effect.isna().all()  # the same parity
    assert "nothing can follow" in str(reader.read(ODD, PARITY, 0, 0, "0111000000"))


def test_the_map_of_a_probe_is_that_of_all_questions(reader, monkeypatch):
    [variable] = [one for one in interp.variables_of(reader.questions) if one.name == PARITY]
    expected = interp.probe_with_controls(reader.model, reader.questions, [variable])
    table = reader.probed(PARITY)
    pd.testing.assert_frame_equal(table.drop(columns="decodable"), expected)
    assert table[table.decodable].apply(lambda row: (row.layer, row.position), axis=1).tolist() == [
        (1, SEPARATOR),
        (2, SEPARATOR),
        (2, ANSWER_DELIMITER),
    ]
    monkeypatch.setattr(explorer, "compared", None)  # nothing is probed again
    given = interp.CellReader(reader.model, reader.questions, probed=expected)
    assert given.is_probed(PARITY)
    pd.testing.assert_frame_equal(given.probed(PARITY), table)
    assert given.read(ODD, PARITY, 1, "=", EVEN) == reader.read(ODD, PARITY, 1, "=", EVEN)


def test_steering_aims_at_the_symbol_of_the_other_question(run):
    model = StageModel.of(run)
    reader = interp.CellReader(model, draw_questions(model.task, 300))
    question, layer, position = "12 * 34", 1, "="
    own = reader.decoded(question, layer, position).set_index("variable")
    assert own.index.tolist() == [k for k, one in reader.variables.items() if one.kind != "number"]
    for other in ("72 * 34", "52 * 34", "92 * 34"):
        cell = reader.read(question, "t2", layer, position, other)
        assert cell.truth == own.truth["t2"] == "4"  # the tens of 12 x 4, lowest digit first
        there = reader.decoded(other, layer, position).set_index("variable").truth["t2"]
        assert cell.steered.symbol == there
        answer = model.task.counterfactual_answer(
            reader.asked(question).questions, 1, np.array([model.task.symbols.index(there)])
        )
        assert cell.steered.expected == " ".join(model.task.symbols[x] for x in answer[0])
    same = reader.read(question, "t2", layer, position, question)
    assert same.steered.symbol == "5"  # the next one
    assert same.patched.differing == 0


def test_numbers_are_read_and_not_steered(run):
    model = StageModel.of(run)
    cell = interp.CellReader(model, draw_questions(model.task, 200)).read("12 * 34", "c1", 1, "=")
    assert (cell.kind, cell.truth, cell.measure) == ("number", "10", "R2")
    assert cell.steered is None
    assert cell.probability is None
    float(cell.decoded)
    assert "R²" in str(cell)
    assert "sure" not in str(cell)


def test_a_task_that_defines_no_other_answers_is_not_steered(reader, monkeypatch):
    monkeypatch.setattr(Parity, "counterfactual_answer", icot.Task.counterfactual_answer)
    cell = reader.read(ODD, PARITY, 1, SEPARATOR, EVEN)
    assert cell.steered is None
    assert "steering" not in cell.sentences


def test_a_question_is_corrupted_in_one_entry(reader):
    others = reader.others(ODD)
    asked = reader.asked(ODD).questions[0]
    assert len(others) == BITS
    for entry, (name, other) in enumerate(others.items()):
        assert (other != asked).nonzero()[0].tolist() == [entry]
        assert name == f"x{entry}: {asked[entry]} → {other[entry]}"


def test_where_entries_depend_on_each_other_other_questions_are_offered(reader):
    of_facts = copy.copy(reader)
    of_facts.task = get_task("twopaths-8x2")
    of_facts.questions = draw_questions(of_facts.task, 9)
    others = of_facts.others(of_facts.questions.questions[0])
    assert list(others) == [example.question for example in of_facts.questions.examples()[1:6]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("12", PARITY, 1, 0), "type 10 bits"),
        ((ODD, "t11", 1, 0), r"no variable 't11'; there are t1, .*Did you mean 't1"),
        ((ODD, PARITY, 3, 0), "layers 0 to 2 and positions 0 to 13, not layer 3 and position 0"),
        ((ODD, PARITY, 1, 14), "not layer 1 and position 14"),
        ((ODD, PARITY, 1, -1), "not layer 1 and position -1"),
        ((ODD, PARITY, 1, "a0"), "no position 'a0'; there are x0, x1"),
        ((ODD, PARITY, 1, 0, "1"), "type 10 bits"),
    ],
)
def test_what_cannot_be_read_is_explained(reader, arguments, message):
    with pytest.raises(ValueError, match=message):
        reader.read(*arguments)


def test_a_run_is_read_by_one_function(run, monkeypatch):
    monkeypatch.setattr(explorer, "QUESTIONS", 120)
    model = icot.load(run)
    cell = icot.cell(model, "12 * 34", "t1", 1, "=", "12 * 35")
    assert cell.model == run.name
    assert cell.removed == 8
    monkeypatch.setattr(explorer, "compared", None)  # the next cell is there already
    assert icot.cell(model, "56 * 34", "t1", 2, "####").truth == "4"


# --- the widget --------------------------------------------------------------------------------


@pytest.fixture
def shown(reader):
    return Explorer(reader, ODD, PARITY)


def texts(shown: Explorer) -> list[list[str]]:
    return [[cell["text"] for cell in row] for row in shown.grid.cells]


def test_the_explorer_opens_where_the_variable_is_read_best(shown, reader):
    assert shown.grid.selected == [1, SEPARATOR]
    assert shown.grid.rows == ["layer 0", "layer 1", "layer 2"]
    assert shown.grid.columns == reader.positions
    selectivity = reader.probed(PARITY).set_index(["layer", "position"]).selectivity
    for layer, row in enumerate(texts(shown)):
        for position, text in enumerate(row):
            value = 100 * selectivity[layer, position]
            assert float(text.rstrip("•")) == pytest.approx(value, abs=0.51)
    assert texts(shown)[1][SEPARATOR].endswith("•")
    label = shown.grid.cells[1][SEPARATOR]["label"]
    assert re.fullmatch(r"layer 1, position 10 =: \d+ percent, decodable", label)
    assert 'role="status"' in shown.said.value
    assert "at layer 1, position 10 (=)." in shown.said.value


def test_a_chosen_cell_is_told_and_the_map_stays(shown, reader):
    before = shown.grid.cells
    shown.grid.selected = [0, 2]
    assert shown.grid.cells is before
    expected = reader.read(ODD, PARITY, 0, 2, next(iter(reader.others(ODD).values())))
    for sentence in expected.sentences.values():
        assert sentence in shown.said.value
    shown.changed.index = 2  # its own bit
    assert "1 of 1 differing symbols follow" in shown.said.value


def test_variable_map_and_questions_can_be_changed(shown):
    shown.variable.value = "t1"
    assert "t1 at layer 1" in shown.said.value
    assert texts(shown)[0][0] == "0"  # the input reads it as well
    shown.shown.value = "score of the probe"
    assert texts(shown)[0][0] == "100"
    shown.shown.value = "effect of patching"
    assert shown.changed.value == "x0: 1 → 0"
    assert texts(shown)[0][:3] == ["100", "0", "0"]
    shown.changed.index = 2
    assert texts(shown)[0][:3] == ["0", "0", "100"]
    shown.question.value = EVEN
    assert shown.changed.value == "x2: 0 → 1"  # the same entry
    shown.typed.value = "1001000001"
    assert texts(shown)[0][9] == "100"
    shown.typed.value = EVEN  # the same question
    assert set(texts(shown)[0]) == {""}
    assert shown.grid.title.endswith("(the two answers are the same)")
    assert "no value" in shown.grid.cells[0][0]["label"]


def test_a_question_that_is_none_is_explained_and_can_be_mended(shown):
    shown.question.value = "12"
    assert 'role="alert"' in shown.said.value
    assert "type 10 bits" in shown.said.value
    shown.grid.selected = [0, 0]
    assert 'role="alert"' in shown.said.value
    shown.question.value = EVEN
    assert "The model answers 0." in shown.said.value
    shown.typed.value = "<b>"
    assert 'role="alert"' in shown.said.value
    shown.typed.value = ""
    assert "The model answers 0." in shown.said.value


def test_every_number_can_be_read_on_its_colour():
    values = np.linspace(-1, 1, 201)[None]
    for _, colours in MAPS.values():
        for colour, ink in paint(values, *colours)[0]:
            light, dark = sorted((luminance(colour), luminance(ink)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5
    assert paint(np.array([[np.nan]]), "viridis", 0, 1) == [[NO_VALUE]]


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in to_rgb(colour)]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


def test_where_nobody_watches_the_explorer_is_a_figure(reader):
    figure = icot.explorer(reader, ODD, PARITY)
    assert isinstance(figure, Figure)
    maps = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in maps[:2]] == [
        "selectivity, t10",
        "patching one pair of questions",
    ]
    box = maps[0].patches[0].get_bbox()
    assert (box.x0, box.y0) == (SEPARATOR - 0.5, 0.5)
    assert "cell outlined" in icot.figures.alt_text(figure)


def test_a_run_is_explored(run, monkeypatch):
    monkeypatch.setattr(explorer, "QUESTIONS", 120)
    box = icot.explorer(run, headless=False)
    question, *_, variable, _, grid, said = box.children
    assert question.value == StageModel.of(run).task.example_question
    assert variable.value == "t1"
    assert len(grid.cells) == 3
    assert run.name in said.value
    with pytest.raises(ConfigError, match="no variable"):
        icot.explorer(run, variable="t99")
    with pytest.raises(ValueError, match="type two numbers with"):
        icot.explorer(run, "1 * 2", headless=False)
