"""Tasks write the papers' text, exactly."""

import numpy as np
import pytest

from icotlib.data.files import format_line, read_examples
from icotlib.errors import ConfigError
from icotlib.tasks import get_task
from icotlib.tasks.multiplication import Multiplication
from icotlib.tasks.parity import Parity

FILES = ["4x4_valid", "4x4_test", "5x5_valid", "7x7_valid", "7x7_test", "9x9_valid", "11x11_valid"]


def lines(task, a, b):
    return [format_line(x) for x in task.text(task.render(task.questions(a, b)))]


def test_multiplication_writes_the_papers_example():
    expected = (
        "9 1 7 3 * 9 4 3 3||1 7 4 3 3 + 0 6 7 8 4 1 ( 1 3 2 2 8 1 ) + 0 0 7 5 1 1 1 "
        "( 1 3 9 7 9 2 1 ) + 0 0 0 7 5 1 1 1 #### 1 3 9 4 5 4 2 1"
    )
    assert lines(Multiplication(4, 4), [3719], [3349]) == [expected]


def test_n_by_two_has_no_brackets_and_n_by_one_one_partial_product():
    assert lines(Multiplication(2, 2), [12], [34]) == ["2 1 * 4 3||8 4 0 + 0 6 3 0 #### 8 0 4 0"]
    assert lines(Multiplication(2, 1), [12], [3]) == ["2 1 * 3||6 3 0 #### 6 3 0"]


@pytest.mark.parametrize("name", FILES)
def test_every_line_of_the_authors_files_is_reproduced(name, reference):
    path = reference / "multiplication" / f"{name}.txt"
    examples = read_examples(path)
    n, m = map(int, name.split("_")[0].split("x"))
    operands = [x.question.replace(" ", "").split("*") for x in examples]
    a, b = ([int(digits[::-1]) for digits in column] for column in zip(*operands, strict=True))
    assert lines(Multiplication(n, m), a, b) == path.read_text().splitlines()


def test_either_order_is_chosen_anew_at_every_occurrence():
    task = get_task("mult-2x2-any")
    question = np.repeat(task.questions([12], [34]), 200, axis=0)
    written = [format_line(x) for x in task.text(task.render(question, np.random.default_rng(0)))]
    orders = ["2 1 * 4 3||8 4 0 + 0 6 3 0 #### 8 0 4 0", "2 1 * 4 3||8 6 0 + 0 4 3 0 #### 8 0 4 0"]
    assert {written.count(order) for order in orders} <= set(range(70, 131))
    assert set(written) == set(orders)
    assert lines(task, [12], [34]) == orders[:1]  # without a generator the first is written
    assert get_task(task.name).any_order


def test_multiplication_is_exact_at_twenty_digits():
    a, b = 10**20 - 1, 98765432109876543210
    text = lines(Multiplication(20, 20), [a], [b])[0]
    answer = text.split(" #### ")[1].replace(" ", "")[::-1]
    assert int(answer) == a * b


def test_sampled_operands_have_no_leading_zero_and_cover_all_digits():
    questions = Multiplication(3, 2).sample(np.random.default_rng(0), 5000)
    assert questions[:, 2].min() == 1
    assert questions[:, 4].min() == 1
    assert questions[:, 0].min() == 0
    assert set(questions.flatten()) == set(range(10))


def test_parity_chain_holds_the_running_parities():
    task = Parity(4)
    example = task.text(task.render(np.array([[1, 0, 1, 1]])))[0]
    assert example == ("1 0 1 1", "1 1 0 1", "1")


@pytest.mark.parametrize(
    ("typed", "task", "question"),
    [
        ("3719 * 84", "mult-4x2", "9 1 7 3 * 4 8"),
        (" 3719x84", "mult-4x2", "9 1 7 3 * 4 8"),
        ("10110101", "parity-8", "1 0 1 1 0 1 0 1"),
        ("1 0 1 1", "parity-4", "1 0 1 1"),
    ],
)
def test_a_typed_question_is_parsed(typed, task, question):
    task = get_task(task)
    assert task.text(task.render(task.parse_question(typed)))[0].question == question
    task.parse_question(task.example_question)  # the example that the task shows can be typed


@pytest.mark.parametrize("typed", ["12 * 34", "0123 * 84", "3719 * 84 * 2", "", "3719"])
def test_text_that_is_no_question_of_the_task_says_what_would_be(typed):
    with pytest.raises(ValueError, match=r"type two numbers .* of 4 and 2 digits"):
        get_task("mult-4x2").parse_question(typed)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mult-4", "digits x digits"),
        ("mult-0x2", "1 to 20"),
        ("mult-21x2", "1 to 20"),
        ("mult-3x2-any", "operands of one length"),
        ("mlut-4x2", "Did you mean 'mult'"),
        ("parity-x", "number of bits"),
    ],
)
def test_a_bad_task_name_says_what_is_wrong(name, message):
    with pytest.raises(ConfigError, match=message):
        get_task(name)
