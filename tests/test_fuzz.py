"""A small share of the fuzz of data files, and its second reader against faults of the past.

All of it: `python -m tests.fuzz_data --files 10000`.
"""

import json

import pytest

from icotlib.tasks import Example
from tests.fuzz_data import BYTES, TEXT_BYTES, VALUES, Literal, check, confirms, make, readings

FILES = 400


def test_every_file_ends_in_a_clean_error_or_in_confirmed_rows(tmp_path):
    files = [make(seed) for seed in range(FILES)]
    assert {file.fault for file in files} == {*VALUES, *BYTES, *TEXT_BYTES}
    wrong = {seed: found for seed, file in enumerate(files) if (found := check(file, tmp_path))}
    assert wrong == {}


@pytest.mark.parametrize(
    ("cell", "right", "wrong"),
    [
        ("0.5,100", "0.5,100", "0.5100"),
        ("(3,400)", "(3,400)", "(3400)"),
        ("3,400", "3400", "3.400"),
        ("0,125", "0,125", "0125"),
        (b"12", "12", "b'12'"),
        (Literal("1e400"), "1e400", "inf"),
        (Literal("0.12345678901234567890123"), "0.12345678901234567890123", "0.12345678901234568"),
        (True, "yes", "1"),
        ("e\u0301  x\u200b", "é x", "e\u0301 x"),
        (["a", "b"], "a b", "['a', 'b']"),
    ],
)
def test_the_second_reader_refuses_altered_values(cell, right, wrong):
    rows = [{"question": "q", "steps": None, "answer": cell}]
    assert confirms(rows, [Example("q", "", right)])
    assert not confirms(rows, [Example("q", "", wrong)])
    assert not confirms(rows, [Example("q", "", right), Example("q", "", right)])


def test_the_second_reader_knows_no_row_with_a_key_twice():
    line = '{"question": "q", "answer": "1", "answer": "2"}'
    (rows, _) = readings(".jsonl", line.encode())
    assert not confirms(rows, [Example("q", "", "2")])
    (rows, _) = readings(".jsonl", json.dumps({"question": "q", "answer": "2"}).encode())
    assert confirms(rows, [Example("q", "", "2")])
