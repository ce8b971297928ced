"""Interchange interventions: the planted subspace is found, and nothing is where nothing is."""

import numpy as np
import pytest
import torch

from icotlib import experiments, interp
from icotlib.errors import ConfigError
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.subspaces import Interchanges, _Exchange, _StatesAt
from icotlib.interp.variables import counterfactual_answers
from icotlib.tasks import Task, get_task
from icotlib.tasks.base import PADDING
from icotlib.tasks.questions import QuestionSet
from icotlib.training.trainer import train
from tests.planted import BITS, ONES, PARITY, SEPARATOR, every_question, plant

COLUMNS = [
    *("model", "seed", "variable", "layer", "position", "rank"),
    *("accuracy", "control", "ci_low", "ci_high"),
]


@pytest.fixture(scope="module")
def planted():
    return plant(), every_question()


def variable(questions, name):
    return next(one for one in interp.variables_of(questions) if one.name == name)


def test_the_planted_subspace_is_learned_and_random_ones_fail(planted):
    """The separator's state has the parity in one coordinate after layer 0, and nowhere else."""
    model, questions = planted
    parity = variable(questions, f"t{BITS}")
    basis = interp.learn_subspace(model, questions, parity, 1, SEPARATOR, rank=1, steps=60)
    assert basis.shape == (16, 1)
    assert float(basis.norm()) == pytest.approx(1, abs=1e-5)
    assert float(basis[PARITY].abs()) > 0.8
    controls = [model.untrained(seed=5)]
    where = (parity, 1, SEPARATOR)
    table = interp.interchange(model, questions, *where, controls=controls, steps=60)
    assert list(table) == COLUMNS
    assert table.model.tolist() == ["planted", "untrained"]
    assert set(table.position) == {"="}
    ours, untrained = table.accuracy
    assert ours == 1
    assert table.ci_low[0] > 0.9
    assert (table.control < 0.1).all()
    assert untrained < 0.1
    assert all(parameter.requires_grad for parameter in model.model.parameters())


def test_no_subspace_of_a_state_that_is_not_used(planted):
    """The first bit stands at its own position, but nothing attends to it above layer 0."""
    model, questions = planted
    first = variable(questions, "t1")
    table = interp.interchange(model, questions, first, 1, 0, rank=4, steps=20)
    assert table.accuracy[0] == 0 == table.control[0]
    assert table.ci_high[0] < 0.05


def test_what_lies_in_the_subspace_is_exchanged_and_nothing_else(planted):
    model, questions = planted
    parity = variable(questions, f"t{BITS}")
    pairs = Interchanges.of(questions, parity, slice(0, 60))
    assert 20 < len(pairs) < 40  # those whose source has the other parity
    exchange = _Exchange(_StatesAt.of(model, questions, 1, SEPARATOR), pairs)
    axis = torch.eye(16)
    assert exchange.right(axis).all()  # the whole state
    assert exchange.right(axis[:, [PARITY]]).all()
    assert not exchange.right(axis[:, [ONES]]).any()
    others = [i for i in range(16) if i != PARITY]
    assert not exchange.right(axis[:, others]).any()
    turned = axis[:, [PARITY, ONES]] @ torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    assert exchange.right(turned).all()  # a basis of the same plane
    # Half the difference of the two parities does not reach the other side.
    diagonal = (axis[:, [PARITY]] + axis[:, [0]]) / 2**0.5
    assert not (exchange.logits(diagonal)[:, 0].argmax(-1) == exchange.wanted[:, 0]).all()


def test_counterfactual_answers_of_3719_by_84():
    """312396 with another value of each kind of variable, and what does not fit."""
    task = get_task("mult-4x2")
    questions = QuestionSet(task, task.questions([3719], [84]))

    def answer(name, kind, index, value):
        one = interp.Variable(name, kind, index, np.array([0]))
        digits = counterfactual_answers(questions, one, np.array([value]))[0]
        return None if (digits == PADDING).any() else int("".join(map(str, digits[::-1])))

    assert answer("a1 b0", "number", 0, 9) == 312396 + 50  # 1 x 4 = 4 -> 9, tens
    assert answer("a0 b1", "number", 0, 0) == 312396 - 720
    assert answer("c2", "number", 0, 40) == 312396 + (40 - 43) * 100
    assert answer("carry3", "number", 0, 7) == 312396 + 3000  # instead of 4
    assert answer("carry5", "number", 0, 30) is None
    assert answer("t2", "chain", 1, 9) == 312396 + 20  # 14876 -> 14896
    assert answer("s0", "answer", 0, 1) == 312391


def test_a_task_that_cannot_tell_the_answer_of_a_number_says_so():
    questions = QuestionSet(get_task("parity-4"), np.zeros((1, 4), dtype=int))
    one = interp.Variable("sum", "number", 0, np.array([0]))
    with pytest.raises(ConfigError, match=r"parity-4 defines no answer .* sum"):
        counterfactual_answers(questions, one, np.array([1]))
    assert Task.counterfactual_value is not type(get_task("mult-2x2")).counterfactual_value


def test_what_cannot_be_learned_is_refused(planted):
    model, questions = planted
    parity = variable(questions, f"t{BITS}")
    with pytest.raises(ConfigError, match="rank must be 1 to 16"):
        interp.learn_subspace(model, questions, parity, 1, SEPARATOR, rank=17)
    with pytest.raises(ConfigError, match="layers 0 to 2 and positions 0 to 13, not layer 3"):
        interp.learn_subspace(model, questions, parity, 3, SEPARATOR)
    with pytest.raises(ConfigError, match="1024 questions, and 100 were given"):
        interp.learn_subspace(model, questions[:100], parity, 1, SEPARATOR)
    with pytest.raises(ConfigError, match="no two of 1 questions"):
        Interchanges.of(questions, parity, slice(0, 1))


def test_the_states_of_a_coupled_model_are_exchanged(runs_folder):
    """Beside a No CoT model, which is given the same sequences."""
    quick = {"train.steps": 2, "train.eval_every": 2, "data.test_examples": 8}
    model = StageModel.of(train(experiments.icot_kd("smoke", overrides=quick)), name="ICoT-KD")
    no_cot = StageModel.of(train(experiments.no_cot("smoke", overrides=quick)), name="No CoT")
    questions = interp.draw_questions_of([model.config, no_cot.config], 60)
    where = variable(questions, "c1"), 1, interp.separator_position(model, questions)
    table = interp.interchange(model, questions, *where, 2, [no_cot], steps=3)
    assert table.model.tolist() == ["ICoT-KD", "No CoT"]
    assert set(table.variable) == {"c1"}
    assert table.accuracy.between(0, 1).all()
