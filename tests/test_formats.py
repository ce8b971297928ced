"""Shapes of published data sets: each is read as it is meant, or refused with a reason."""

import json
import re

import numpy as np
import pytest

from icotlib.data.formats import NAMES, Columns
from icotlib.data.forms import read_row
from icotlib.data.readers import Report, collect
from icotlib.errors import ConfigError
from tests.helpers import to_example


def parts(row, **columns):
    return tuple(to_example(row, Columns(**columns)))


# --- columns -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"QUESTION": "q", "Steps": "s", "Answer": "4"}, ("q", "s", "4")),
        ({"sQuestion": "q", "lEquations": ["X=1+3"], "lSolutions": [4.0]}, ("q", "X=1+3", "4.0")),
        ({" Question ": "q", "chain-of-thought": "s", "finalAnswer": 4}, ("q", "s", "4")),
        ({"Unnamed: 0": 7, "problem": "q", "rationale": "s", "label": "4"}, ("q", "s", "4")),
        ({"": 7, "query": "q", "CoT": "s", "ground truth": "4"}, ("q", "s", "4")),
        ({"Body": "b.", "Question": "q?", "Equation": "( 1 + 3 )", "Answer": 4.0},
         ("b. q?", "( 1 + 3 )", "4.0")),
        ({"body": "b.", "question": "q?", "formula": "1+3=4", "answer": "4 (apples)"},
         ("b. q?", "1+3=4", "4")),
        ({"context": "c.", "question": "q?", "steps": "s", "answer": "4"}, ("c. q?", "s", "4")),
        ({"context": "", "question": "q?", "steps": "s", "answer": "4"}, ("q?", "s", "4")),
        ({"context": "c.", "question": "c. q?", "answer": "4"}, ("c. q?", "", "4")),
        ({"instruction": "Add.", "input": "1 and 3", "output": "4"}, ("Add. 1 and 3", "", "4")),
        ({"instruction": "Add 1 and 3.", "output": "4"}, ("Add 1 and 3.", "", "4")),
        ({"instruction": "Add.", "input": "1, 3", "output": "1+3=4\n#### 4", "text": "Below is"},
         ("Add. 1, 3", "1+3=4", "4")),
        ({"instruction": "Add.", "context": "1, 3", "response": "4", "category": "x"},
         ("Add. 1, 3", "", "4")),
        ({"instruction": "Solve.", "question": "q", "steps": "s", "answer": "4"},
         ("Solve. q", "s", "4")),
        ({"question": "q", "problem": "q", "answer": "4", "target": " 4"}, ("q", "", "4")),
        ({"question": "q", "steps": "s", "cot": None, "rationale": "", "answer": "4"},
         ("q", "s", "4")),
        ({"question": "q", "reasoning": "s", "solution": "4"}, ("q", "s", "4")),
        ({"problem": "q", "generated_solution": r"s\n so \boxed{4}", "expected_answer": "4"},
         ("q", r"s\n so \boxed{4}", "4")),
        ({"question": "q", "response": "s\nThe answer is 4.", "answer": "4"},
         ("q", "s The answer is 4.", "4")),
        ({"question": "q", "answer": "s\n#### 4", "final_answer": "4"}, ("q", "s", "4")),
        ({"text": "q||s #### 4"}, ("q", "s", "4")),
        ({"question": "There are number0 and number1.", "Numbers": "1.0 3.0",
          "Equation": "+ number0 number1", "Answer": 4.0},
         ("There are 1.0 and 3.0.", "+ 1.0 3.0", "4.0")),
        ({"Question": "N_00 and N_01", "Numbers": "1 3", "Equation": "N_00 + N_01", "Answer": 4},
         ("1 and 3", "1 + 3", "4")),
    ],
)  # fmt: skip
def test_columns_are_recognised(row, expected):
    assert parts(row) == expected


@pytest.mark.parametrize(
    ("row", "readings"),
    [
        ({"question": "a", "problem": "b", "answer": "4"}, "--question question or --question pr"),
        ({"Question": "a", "question": "b", "answer": "4"}, "--question Question or --question q"),
        ({"input": "a", "prompt": "b", "answer": "4"}, "--question prompt or --question input"),
        ({"question": "q", "steps": "a", "cot": "b", "answer": "4"}, "--steps steps or --steps c"),
        ({"question": "q", "Rationale ": "a", "equation": "b", "answer": "4"},
         "--steps 'Rationale ' or --steps equation"),
        ({"question": "q", "answer": "4", "label": "5"}, "--answer answer or --answer label"),
        ({"question": "q", "answer": "4", "output": "5"}, "--answer answer or --answer output"),
        ({"question": "q", "response": "4", "completion": "5"}, "response or --answer completion"),
        ({"question": "q", "answer": "s\n#### 4", "target": "5"}, "--answer answer or --answer ta"),
        ({"question": "q", "steps": ["a"], "answer": "b\n#### 4"}, "--steps steps or --steps an"),
        ({"question": "q", "response": "s\n#### 4", "answer": "5"}, "answer or --answer response"),
        ({"problem": "q", "solution": r"so \boxed{4}", "answer": "5"}, "end in the answer '4'"),
    ],
)  # fmt: skip
def test_a_row_that_can_be_read_in_two_ways_is_refused_with_both(row, readings):
    with pytest.raises(ValueError, match=re.escape(readings)):
        to_example(row)


def test_the_choice_that_an_error_offers_is_taken():
    row = {"question": "q", "problem": "r", "steps": "a", "cot": "b", "answer": "4", "label": "5"}
    assert parts(row, question="problem", steps="cot", answer="label") == ("r", "b", "5")
    assert parts({"question": "q", "answer": "one\ntwo"}, answer="answer") == ("q", "", "one two")
    assert parts(row, question="question+problem", steps="STEPS", answer="answer") == (
        ("q r", "a", "4")
    )


# --- steps -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "chain"),
    [
        (["a", "b"], "a ; b"),
        (("a", "b"), "a ; b"),
        (np.array(["a", "b"]), "a ; b"),
        ("a\nb", "a ; b"),
        ("a\r\n\r\n  b\n", "a ; b"),
        ("a\rb", "a ; b"),
        ("['a', 'b']", "a ; b"),
        ('["a", "b"]', "a ; b"),
        ("['a' 'b']", "a ; b"),
        ("['a'\n 'it']", "a ; it"),
        ("[\"it's\" 'b, c']", "it's ; b, c"),
        ("('a', 'b')", "('a', 'b')"),
        ("[1.50, -2]", "1.50 ; -2"),
        ('["caf\\u00e9", null]', "café"),
        ("array(['a', 'b'], dtype=object)", "a ; b"),
        ("[a] is not [b]", "[a] is not [b]"),
        ("[3 + 4] = 7", "[3 + 4] = 7"),
        ([{"step": "a"}, {"step": "b"}], "a ; b"),
        ([{"text": "a", "id": 1}], "a"),
        ("<think>a\nb</think>", "a ; b"),
        ([], ""),
        (None, ""),
        (float("nan"), ""),
        ("nan", ""),
        (" NULL ", ""),
        ("1. a\n2. b", "1. a ; 2. b"),
        ("a\u2028b", "a b"),
    ],
)
def test_steps_of_every_shape(steps, chain):
    assert parts({"question": "q", "steps": steps, "answer": "4"}, between=" ; ") == (
        "q",
        chain,
        "4",
    )


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ("['a' ... 'b']", "looks like a list"),
        ("['a', b]", "looks like a list"),
        ("['a', 'it''s']", "looks like a list"),
        ("['a', ['b']", "looks like a list"),
        ([b"a"], "holds bytes"),
        ([{"a": 1}], "holds dict"),
        (["a ; b", "c"], "contains ';'"),
        (["a || b"], "contains '||'"),
        (["a", "b #### c"], "contains '||' or '####'"),
        ("<think>a", "does not end"),
    ],
)
def test_steps_that_cannot_be_read_are_refused(steps, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        parts({"question": "q", "steps": steps, "answer": "4"}, between=" ; ")


def test_several_chains_of_a_row_are_counted_or_kept():
    rows = [("r:1", {"question": "q", "chains": [["a", "b"], ["c"], ["d"]], "answer": "4"})]
    report = Report()
    collect(rows, report, Columns())
    assert [example.chain for example in report.kept] == ["a b"]
    assert sum(report.dropped.values()) == 2
    report = Report()
    collect(rows, report, Columns(), all_chains=True)
    assert [example.chain for example in report.kept] == ["a b", "c", "d"]
    assert not report.dropped


# --- answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "chain", "expected"),
    [
        (5, "", "5"),
        (51.0, "", "51.0"),
        ("51.0", "", "51.0"),
        ([5], "", "5"),
        (["5"], "", "5"),
        ("[5.0]", "", "5.0"),
        ("['five']", "", "five"),
        ("[0, 5]", "", "[0, 5]"),
        ([5, 5], "", "5"),
        (True, "", "yes"),
        (np.bool_(False), "", "no"),
        (np.float32(0.1), "", "0.1"),
        ("True", "", "True"),
        ({"text": "5"}, "", "5"),
        ("#### 5", "", "5"),
        ("The answer is 5.", "", "5"),
        ("Answer: 5", "", "5"),
        (r"\boxed{5}", "", "5"),
        (r"$\boxed{\frac{1}{2}}$", "", r"\frac{1}{2}"),
        ("a\n#### 5", "a", "5"),
        ("a\r\nb\r\n#### 5\r\n", "a b", "5"),
        ("a #### 5", "a", "5"),
        ("a\n#### 5\nThe answer is: 5", "a", "5"),
        ("a #### 5 The answer is: 5", "a", "5"),
        ("a\n#### $5\nThe answer is: 5", "a", "5"),
        ("a\n#### 1,234\nThe answer is: 1234", "a", "1234"),
        ("a. So the answer is 5.", "a.", "5"),
        ("a.\nTherefore, the final answer is: $5$.", "a.", "5"),
        ("a.\n**Answer:** 5", "a.", "5"),
        ("a. Hence, answer is 5", "a.", "5"),
        ("a.\nFinal Answer: The final answer is $5$. I hope it is correct.", "a.", "5"),
        ("a.\nThe answer is 2.50.", "a.", "2.50"),
        ("a.\nThe answer is (B).", "a.", "(B)"),
        ("a. The answer is 4? No.\nb. The answer is 5", "a. The answer is 4? No. b.", "5"),
        ("a\nThe answer is $\\boxed{5}$.", "a", "5"),
        ("a\n\\[\\boxed{5}\\]", "a", "5"),
        ("a so $x = \\boxed{\\sqrt{2}}$.", "a so $x = \\boxed{\\sqrt{2}}$.", r"\sqrt{2}"),
        (r"a \boxed{5}, so \boxed{5}", r"a \boxed{5}, so \boxed{5}", "5"),
        ("<think>a\nb</think>\n\n5", "a b", "5"),
        ("<think>a</think> Prose here.\nThe answer is 5.", "a", "5"),
        ("<think>\n\n</think>\n\na\n#### 5", "a", "5"),
        ("a</think>5", "a", "5"),
        ("<think>a</think><answer>5</answer>", "a", "5"),
        ("<reasoning>a</reasoning>\n<answer> 5 </answer>", "a", "5"),
        ("<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>5<|end_of_solution|>",
         "a", "5"),
        ("Paris", "", "Paris"),
        ("Tom is a lempus.", "", "Tom is a lempus."),
    ],
)  # fmt: skip
def test_answers_of_every_shape(answer, chain, expected):
    assert parts({"question": "q", "answer": answer}) == ("q", chain, expected)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("a\n#### 5\nThe answer is: 6", "two answers are marked: '5' and '6'"),
        (r"\boxed{5} or \boxed{6}", "two answers are marked"),
        ("#### 5\n#### 6", "two answers are marked"),
        ("a\n#### 5\nb b b", "text follows the answer: 'b b b'"),
        ("The answer is 5. Because of a.", "text follows the answer"),
        (r"\boxed{5", "not closed"),
        ("<think>a\n5", "does not end"),
        ("one\ntwo\nthree", "marks no answer"),
        ("word " * 31, "marks no answer"),
        ([5, 6], "a list of 2"),
        ("['a', 'b']", "a list of 2"),
        ([], "a list of 0"),
        (None, "the answer is empty"),
        (float("nan"), "the answer is empty"),
        ("NaN", "the answer is missing"),
        ("<NA>", "the answer is missing"),
        (float("inf"), "infinite"),
        (b"12", "holds bytes"),
        ({"a": 1}, "holds dict"),
        ("#### ", "the answer is empty"),
    ],
)
def test_answers_that_are_none_are_refused(answer, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        to_example({"question": "q", "answer": answer})


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([("user", "q"), ("assistant", "a\n#### 5")], ("q", "a", "5")),
        ([("system", "Be brief."), ("user", "q"), ("assistant", "5")], ("Be brief. q", "", "5")),
        ([("human", "q"), ("gpt", "a\nThe answer is 5.")], ("q", "a", "5")),
        ([("User", "q"), ("Assistant", "<think>a</think>5")], ("q", "a", "5")),
        ([("user", [{"type": "text", "text": "q"}]), ("model", "5")], ("q", "", "5")),
    ],
)
def test_conversations(messages, expected):
    for role, text in (("role", "content"), ("from", "value")):
        rows = [{role: who, text: said} for who, said in messages]
        assert parts({"messages": rows, "id": 3}) == expected
        assert parts({"conversations": rows}) == expected
        assert parts({"messages": json.dumps(rows)}) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": [{"role": "user", "content": "q"},
                       {"role": "assistant", "content": "b\n#### 5", "reasoning_content": "a"}]},
         ("q", "a", "5")),
        ({"prompt": [{"role": "user", "content": "q"}],
          "completion": [{"role": "assistant", "content": "a\n#### 5"}]}, ("q", "a", "5")),
        ({"prompt": [{"role": "user", "content": "q"}], "ability": "math",
          "reward_model": {"ground_truth": "5", "style": "rule"}}, ("q", "", "5")),
        ({"prompt": [{"role": "user", "content": "q"}], "answer": "a #### 5"}, ("q", "a", "5")),
        ({"prompt": "q", "messages": [{"role": "user", "content": "q"},
                                      {"role": "assistant", "content": "a #### 5"}]},
         ("q", "a", "5")),
        ({"problem": "q", "solution": "a\n#### 5", "messages": [{"role": "user", "content": "x"}]},
         ("q", "a", "5")),
    ],
)  # fmt: skip
def test_conversations_beside_other_columns(row, expected):
    assert parts(row) == expected


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([("user", "q"), ("assistant", "5"), ("user", "r"), ("assistant", "6")], "2 questions"),
        ([("user", "q")], "no answer of the assistant"),
        ([("assistant", "5")], "0 questions"),
        ([("user", "q"), ("tool", "5"), ("assistant", "5")], "the role 'tool'"),
        ([("assistant", "5"), ("user", "q")], "does not end with its one answer"),
        ([("user", [{"type": "image"}]), ("assistant", "5")], "something besides text"),
    ],
)
def test_conversations_that_are_not_one_question_and_answer(messages, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        to_example({"messages": [{"role": who, "content": said} for who, said in messages]})


def test_a_system_prompt_that_all_share_is_left_out_and_named():
    def row(i, system="You help."):
        said = [("system", system), ("user", f"q{i}"), ("assistant", "5")]
        return f"r:{i}", {"messages": [{"role": who, "content": text} for who, text in said]}

    report = Report()
    collect([row(1), row(2)], report, Columns())
    assert [example.question for example in report.kept] == ["q1", "q2"]
    assert "You help." in "".join(report.lines("train"))
    report = Report()
    collect([row(1), row(2, "Be brief.")], report, Columns())
    assert [example.question for example in report.kept] == ["You help. q1", "Be brief. q2"]


# --- multiple choice ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": "q", "options": ["A)21", "B)22"], "rationale": "s", "correct": "B"},
         ("q (A) 21 (B) 22", "s", "B")),
        ({"question": "q", "options": "['A)21', 'B)22']", "rationale": "s", "correct": "B"},
         ("q (A) 21 (B) 22", "s", "B")),
        ({"Problem": "q", "options": "a ) 1,000 , b ) 27.5 , c ) none of these", "correct": "c",
          "Rationale": "s", "annotated_formula": "add(1,2)"},
         ("q (a) 1,000 (b) 27.5 (c) none of these", "s", "c")),
        ({"question": "q", "choices": ["x", "y", "z"], "answer": 2, "explanation": "s"},
         ("q (A) x (B) y (C) z", "s", "C")),
        ({"question": "q", "choices": ["x", "y"], "answer": "y", "solution": "s"},
         ("q (A) x (B) y", "s", "B")),
        ({"question": "q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2",
          "rationale": "s"}, ("q (1) x (2) y", "s", "2")),
        ({"question": "q", "choices": "{'label': array(['A', 'B'], dtype=object), 'text': "
          "array(['x', 'y'], dtype=object)}", "answerKey": "B", "rationale": "s"},
         ("q (A) x (B) y", "s", "B")),
        ({"context": "c", "query": "q", "options": ["x", "y"], "correct_option": 0, "cot": "s"},
         ("c q (A) x (B) y", "s", "A")),
        ({"question_stem": "q", "choices": {"text": ["x", "y"], "label": ["A", "B"]},
          "answerKey": "B", "explanation": "s"}, ("q (A) x (B) y", "s", "B")),
        ({"question": "q", "options": {"A": "x", "B": "y"}, "answer": "B", "steps": "s"},
         ("q (A) x (B) y", "s", "B")),
        ({"q_text": "q", "q_op1": "x", "q_op2": "y", "q_ans": "y", "taskB": "s"},
         ("q (1) x (2) y", "s", "2")),
        ({"question": "q", "optionA": "x", "optionB": "y", "answer": "B", "rationale": "s"},
         ("q (A) x (B) y", "s", "B")),
        ({"question": "q", "options": [], "steps": "s", "answer": "4"}, ("q", "s", "4")),
    ],
)  # fmt: skip
def test_choices_join_the_question(row, expected):
    assert parts(row) == expected


@pytest.mark.parametrize(
    ("numbers", "labels"),
    [
        (["1", "2", "4"], ["A", "B", "D"]),  # nothing is 0, and 4 is the last of four
        ([0, 2, 3], ["A", "C", "D"]),
        (["1", "2", "3"], ["B", "C", "D"]),  # nothing shows it: from 0
    ],
)
def test_numbers_of_choices_count_as_in_the_whole_file(numbers, labels):
    report = Report()
    rows = [
        {"question": f"q{i}", "choices": ["w", "x", "y", "z"], "answer": x, "rationale": "s"}
        for i, x in enumerate(numbers)
    ]
    collect([(f"f:{i}", row) for i, row in enumerate(rows)], report, Columns(), "f")
    assert [example.answer for example in report.kept] == labels
    first = int(labels[0] == "A" and str(numbers[0]) == "1")
    assert f"f: answers number the choices from {first}" in report.notes


@pytest.mark.parametrize(
    ("answer", "choices", "reason"),
    [
        (1, ["5", "1"], "may be a choice's text, or its number"),
        (3, ["x", "y"], "not a label"),
        ("z", ["x", "y"], "not a label"),
        ("A", ["x"], "fewer than two"),
        ("A", ["x", ""], "empty text"),
    ],
)
def test_an_answer_that_chooses_nothing_is_refused(answer, choices, reason):
    row = {"question": "q", "choices": choices, "answer": answer, "rationale": "s"}
    with pytest.raises(ValueError, match=re.escape(reason)):
        to_example(row)


# --- formats by name ---------------------------------------------------------------------------

BY_NAME = {
    "gsm8k": {"question": "q", "answer": "a <<1+4=5>>5\n#### 5"},
    "svamp": {"Body": "b", "Question": "q", "Equation": "1+4", "Answer": 5.0},
    "asdiv": {"body": "b", "question": "q", "formula": "1+4=5", "answer": "5 (dogs)"},
    "mawps": {"sQuestion": "q", "lEquations": ["x=1+4"], "lSolutions": [5.0]},
    "math": {"problem": "q", "level": "Level 1", "type": "Algebra", "solution": r"\boxed{5}"},
    "metamath": {"query": "q", "response": "The answer is: 5", "original_question": "o"},
    "aqua": {"question": "q", "options": ["A)5", "B)6"], "rationale": "s", "correct": "A"},
    "commonsenseqa": {"question": "q", "choices": ["x", "y"], "answerKey": "A", "rationale": "s"},
    "strategyqa": {"question": "q", "facts": ["f"], "answer": True},
    "prontoqa": {"question": "q", "query": "r", "chain_of_thought": ["s"], "answer": "True"},
    "prosqa": {"question": "q", "steps": ["s"], "answer": "a", "target": 3, "idx_to_symbol": []},
    "alpaca": {"instruction": "i", "input": "", "output": "5"},
    "messages": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "5"}]},
    "authors": {"text": "q||s #### 5"},
    "columns": {"question": "q", "steps": "s", "answer": "5"},
}  # fmt: skip


def test_the_table_has_every_format():
    assert set(BY_NAME) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_format_is_recognised_and_can_be_named(name):
    examples, reading = read_row(BY_NAME[name])
    assert reading.form == name
    assert read_row(BY_NAME[name], Columns(form=name)) == (examples, reading)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"columns"}))
def test_a_row_that_has_not_the_named_format_is_refused(name):
    with pytest.raises(ValueError, match=r"column|conversation|choices|'\|\|'|query"):
        read_row({"words": "q", "number": "5"}, Columns(form=name))


def test_an_unknown_format_is_named():
    with pytest.raises(ConfigError, match="Did you mean 'svamp'"):
        read_row(BY_NAME["svamp"], Columns(form="swamp"))


# --- commas ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "answer", "expected"),
    [
        ("1,200/2=600", "1,600", ("1200/2=600", "1600")),
        ("She has $1,234,567.50 left", "1,234,567.50", ("She has $1234567.50 left", "1234567.50")),
        ("a", "(3,400)", ("a", "(3,400)")),
        ("a", "0,125", ("a", "0,125")),
        ("{1,250}", "1,250", ("{1,250}", "1,250")),
        ("a", "[-1,250; 3]", ("a", "[-1,250; 3]")),
        ("(1,200+300)/2", "750", ("(1200+300)/2", "750")),
        ("1,2,3 and 12,34", "1,2,300", ("1,2,3 and 12,34", "1,2,300")),
        ("12,3456", "1.234,567", ("12,3456", "1.234,567")),
        ("f(1,000 dogs)", "1,000 dogs", ("f(1000 dogs)", "1000 dogs")),
        ("1,200, 1,300", "1,200,", ("1200, 1300", "1200,")),
        ("01,234", "00,125", ("01,234", "00,125")),
    ],
)
def test_grouping_commas_alone_are_removed(steps, answer, expected):
    example = to_example({"question": "q 1,000", "steps": steps, "answer": answer})
    assert example == ("q 1,000", *expected)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["1,5", "2,250"], ["1,5", "2,250"]),
        (["0,125", "1,250"], ["0,125", "1,250"]),
        (["1.5", "2,250"], ["1.5", "2250"]),
        (["1.5", "2.5", "1,5", "2,250"], ["1.5", "2.5", "1,5", "2250"]),
        (["(1,5)", "2,250"], ["(1,5)", "2250"]),
    ],
)
def test_decimal_commas_of_a_file_stay(answers, expected):
    report = Report()
    rows = [(f"r:{i}", {"question": f"q{i}", "answer": x}) for i, x in enumerate(answers)]
    collect(rows, report, Columns())
    assert [example.answer for example in report.kept] == expected


def test_equations_are_the_steps_of_a_whole_file_or_of_no_row():
    rows = [
        {"question": "q0", "answer": "a <<1+4=5>>5\n#### 5"},
        {"question": "q1", "answer": "plain prose\n#### 5"},
    ]
    report = Report()
    collect([(f"r:{i}", row) for i, row in enumerate(rows)], report, Columns())
    assert [example.chain for example in report.kept] == ["<<1+4=5>>", ""]
    report = Report()
    collect([("r:1", rows[1])], report, Columns())
    assert [example.chain for example in report.kept] == ["plain prose"]
