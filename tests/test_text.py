"""Text as it is stored and compared."""

import pytest

from icotlib.data.text import clean, decode, same_question, split_lines

PERSIAN, FAMILY = "می\u200cخواهم", "👨\u200d👩"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  a \t b\r\n c\v", "a b c"),
        ("cafe\u0301", "café"),
        ("\ufeff1 + 2", "1 + 2"),
        ("1\u200b2 \u20603\u00ad", "12 3"),
        ("1\u00a0000\u202f000\u2009\u3000 x", "1 000 000 x"),
        ("a\u2028b\u2029c\u0085d", "a b c d"),
        ("a\u200db \u200cc\u200c", "ab c"),
        ("\u202ba\u202c \u200eb", "a b"),
        ("\u1100\u1161", "\uac00"),
        (PERSIAN, PERSIAN),
        (FAMILY, FAMILY),
        ("x² ≠ “x2”", "x² ≠ “x2”"),
        ("", ""),
    ],
)
def test_a_text_is_cleaned(text, cleaned):
    assert clean(text) == cleaned
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\0", "a NUL byte"),
        ("é\ud83d", "half a surrogate pair"),
        ("\ud83d", "half a surrogate pair"),
        ("\boxed{2}", "U\\+0008"),
        ("a\x7f", "U\\+007F"),
        ("a\x9b", "U\\+009B"),
        ("\frac{1}{2}", "lost its backslash"),
        ("2\times 3", "lost its backslash"),
        ("2 \text{ cm}", "lost its backslash"),
    ],
)
def test_a_text_that_was_damaged_on_its_way_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        clean(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Café?", "CAFE\u0301?"),
        ("Ann’s 3 − 2", "ann's 3 - 2"),
        ("“so”", '"so"'),
        ("a\u200bb", "ab"),
        (PERSIAN, PERSIAN.replace("\u200c", "")),
        ("a  b\n", "a b"),
        ("İ", "i̇"),
        ("Straße", "STRASSE"),
        ("❤\ufe0f", "❤"),
    ],
)
def test_questions_that_read_the_same_are_one(one, other):
    assert same_question(one) == same_question(other)


@pytest.mark.parametrize(("one", "other"), [("x²", "x2"), ("1 2", "12"), ("a-b", "a b")])
def test_other_questions_are_not(one, other):
    assert same_question(one) != same_question(other)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_marks_of_encodings_are_understood(encoding):
    assert decode("é\n".encode(encoding)) == "é\n"


def test_other_encodings_are_refused():
    for data in ("é".encode("latin-1"), b"\xff"):
        with pytest.raises(ValueError, match="codec can't decode"):
            decode(data)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\r\n\r\nb", ["a", "", "b"]),
        ("a\rb\r", ["a", "b"]),
        ("a\u2028b\x0cc\n", ["a\u2028b\x0cc"]),
        ("", []),
    ],
)
def test_lines_end_in_every_usual_way(text, lines):
    assert split_lines(text) == lines
