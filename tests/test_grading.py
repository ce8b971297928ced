"""One grader: which answers are the same, and that different numbers never are."""

import random
from fractions import Fraction

import pytest

from icotlib.evaluation.grading import same_answer

SAME = [
    *(("1200", "1,200"), ("$1,200.00", "1200"), ("50%", "50"), ("-$3", "-3"), (".5", "0.50")),
    *(("18.", "18"), ("\u22125", "-5"), ("+5", "5"), ("$-5", "-5"), ("5$", "5"), ("₹5", "5")),
    *(("1e+16", "10000000000000000"), ("1.5e3", "1500"), ("1.5 × 10^3", "1500")),
    *(("2 x 10^{-3}", "0.002"), ("10 000", "10,000"), ("10\u202f000", "10,000")),
    *(("1\xa0234\xa0567", "1234567"), ("5 dollars", "5"), ("5 dollars", "$5"), ("5 USD", "$5.00")),
    *(("50 percent", "50%"), ("3 km", "3"), ("3 apples", "3"), ("3 square feet", "3"),
      ("60 miles per hour", "60"), ("5 per cent", "5%"), ("1/2", "0.5"), ("1 1/2", "1.5")),
    *((r"\frac{1}{2}", "0.5"), (r"\dfrac{3}{4}", "3/4"), ("½", "1/2"), ("1½", "3/2")),
    *(("-½", "-0.5"), ("−½", "-1/2"), ("-1½", "-1.5")),
    *(("3,5", "3.5"), ("0,125", "0.125"), ("1.200,50", "1200.5"), ("3,400", "3400")),
    *(("\u200f42", "42"), ("\ufeff42", "42"), ("４２", "42"), ("٤٢", "42"), ("42\u200b", "42")),
    *(("Yes", "yes"), ("yes.", "yes"), ("(B)", "B"), ("b)", "B"), ("[C]", "c"), ("D.", "D")),
    *(("**42**", "42"), (r"\boxed{42}", "42"), (r"\(42\)", "42"), ("$42$", "42")),
    *((r"\text{yes}", "yes"), (r"\$5", "5"), (r"5\%", "5%")),
    *(("(3,400)", "(3, 400)"), ("1, 2", "(1, 2)"), ("[0.5, 1]", "(1/2, 1.0)")),
    *(("{2, 1}", "{1,2}"), ("cafe\u0301", "caf\u00e9"), ("two  words", "two words")),
]  # fmt: skip

DIFFERENT = [
    *(("-", "%"), ("-", "$"), ("", "-"), ("€", "$"), ("£5", "$5"), ("$5", "5%"), ("5 km", "5 m")),
    *(("1 2", "12"), ("0 1 2", "1 2"), ("1 2 3", "1 2 4"), ("1 2 3 4", "1234"), ("12,00", "1200")),
    *(("1200,300", "1200300"), ("yes", "no"), ("", "0"), (None, "0"), ("3.0001", "3")),
    *(("5²", "52"), ("5₂", "52"), ("1/0", "0"), ("1/2", "12"), ("1½", "11/2"), ("0,125", "125")),
    *(("A", "B"), ("A", "Answer"), ("I", "1"), ("(3,400)", "3400"), ("(1, 2)", "(2, 1)")),
    *(("{1, 1}", "{1}"), ("{1, 1, 2}", "{1, 2, 2}"), ("1, 2", "1.2"), ("--5", "5"), ("+-5", "5")),
    *(("1e999999999", "1e999999998"), ("$5 dollars", "6"), ("", " "), ("\u200b", "0")),
    *(("12 34", "1234"), ("1 0000", "10000"), ("true", "yes"), ("10^3", "103")),
    *(("12 is wrong", "12"), ("5 or 6", "5"), (".", ",")),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_these_are_the_same(one, other):
    assert same_answer(one, other)
    assert same_answer(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_these_are_not(one, other):
    assert not same_answer(one, other)


def written(value: Fraction, rng: random.Random) -> str:
    """A number in one of the ways in which people and models write it."""
    whole = value.denominator == 1
    sign = rng.choice(["-", "\u2212"]) if value < 0 else rng.choice(["", "+"])
    size = abs(value)
    if whole:
        digits = str(size.numerator)
        ways = [digits, f"{size.numerator:,}", f"{size.numerator:,}".replace(",", " ")]
        ways += [f"{digits}.0", f"{digits}.00", f"{digits}e0", f"{digits}/1"]
    else:
        text = f"{float(size):.3f}".rstrip("0")  # thousandths are exact below
        ways = [text, f"{text}0", f"{size.numerator}/{size.denominator}"]
        part = text.partition(".")[2]
        if len(part) != 3 or text.startswith("0"):  # else the comma would group
            ways.append(text.replace(".", ","))
    body = rng.choice(ways)
    money = rng.choice(["", "$"]) if "/" not in body and "e" not in body else ""
    marks = [("", ""), (" ", ""), ("", "."), ("\ufeff", ""), ("**", "**"), (r"\boxed{", "}")]
    before, after = rng.choice(marks)
    return f"{before}{sign}{money}{body}{after}"


def test_two_numbers_are_the_same_only_if_they_are_equal():
    """Ten thousand pairs, half of them equal, written in different ways."""
    rng = random.Random(0)
    for _ in range(10_000):
        one = Fraction(rng.choice([rng.randrange(-2000, 2000), rng.randrange(10**9)]))
        one += rng.choice([0, 0, Fraction(rng.randrange(1000), 1000)])
        near = [-one, one + 1, one / 10, one * 10, one * 1000, one + Fraction(1, 1000)]
        other = one if rng.random() < 0.5 else rng.choice(near)
        pair = written(one, rng), written(other, rng)
        assert same_answer(*pair) == (one == other), pair


def test_no_text_is_a_traceback():
    rng = random.Random(1)
    signs = "0123456789+-−.,/ $€%()[]{}\\eExX*^½²٣\u200bfractextboxedyesA\n\t"
    for _ in range(20_000):
        pair = ["".join(rng.choices(signs, k=rng.randrange(9))) for _ in range(2)]
        assert same_answer(*pair) in (True, False)
        assert same_answer(pair[0], pair[0])
