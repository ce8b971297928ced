"""When two answers are the same: one grader for training, evaluation and asking.

Both sides are normalised alike, and then compared as the first of these that both are:

    choices     a letter, also in brackets or with a full stop: `(B)`, `b.`
    numbers     exact rational numbers, with their units
    sequences   numbers or texts between commas: in brackets in order, in braces in any order
    texts       without regard to case and to a full stop at the end

A number may have a sign, a currency, a percent sign or a unit in words, commas or spaces between
thousands, a decimal comma, an exponent, or be a fraction: `$1,200.00`, `1.2e3`, `1 200`, `0,5` and
`1/2`. One comma before exactly three digits groups them (`3,400`), unless the number begins with
0. A number without a unit equals one with any unit; two units must be equal: `5` is `5%` and `5
dollars`, but `5%` is not `$5`. Digits with single spaces between them are a text, as the answers
of the digit tasks are.
"""

import re
import unicodedata
from collections import Counter
from fractions import Fraction
from typing import Any, NamedTuple

#: Exponents beyond this are left as text: their numbers would not fit memory.
LARGEST_EXPONENT = 400

#: Signs for minus, and marks that are not seen: zero-width, direction, byte order.
_MINUS = dict.fromkeys(map(ord, "\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d"), "-")
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\u00ad]")

#: What currencies are called.
_CURRENCIES = {
    **dict.fromkeys(("$", "dollar", "dollars", "usd"), "$"),
    **dict.fromkeys(("€", "euro", "euros", "eur"), "€"),
    **dict.fromkeys(("£", "pound", "pounds", "gbp"), "£"),
    **dict.fromkeys(("₹", "rupee", "rupees", "inr"), "₹"),
    **dict.fromkeys(("¥", "yen", "jpy"), "¥"),
    **dict.fromkeys(("%", "percent", "per cent"), "%"),
}
_SIGNS = "$€£₹¥"

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)\s?(?P<before>[{_SIGNS}]?)\s?(?P<inner>[+-]?)"
    rf"(?P<body>{_DIGITS}(?:\.\d+)?|\.\d+|\d+,\d+|\d{{1,3}}(?:\.\d{{3}})+,\d+)"
    r"(?:[eE](?P<exponent>[+-]?\d+)|\s?[×x*]\s?10\^\{?(?P<power>[+-]?\d+)\}?)?"
    rf"\s?(?P<after>[{_SIGNS}%]|per cent|(?:(?:square|cubic) )?[a-z]+(?: per [a-z]+)?)?",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"(?P<sign>[+-]?)\s?(?:(?P<whole>\d+) )?(?P<top>\d+)\s?/\s?(?P<bottom>\d+)")
_LATEX = re.compile(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_CHOICE = re.compile(r"\(?([A-Za-z])[).:]?|\[([A-Za-z])\]")


class _Number(NamedTuple):
    value: Fraction
    unit: str


def same_answer(given: str | None, truth: str) -> bool:
    """Whether an answer is the true one, by the rules of this module."""
    if given is None or given == truth:
        return given == truth
    ours, theirs = normalised(given), normalised(truth)
    if not ours or not theirs:
        return False
    if ours.casefold() == theirs.casefold():
        return True
    for read in (_choice, _number, _sequence):
        one, other = read(ours), read(theirs)
        if one is not None and other is not None:
            return _equal(one, other)
    return False


def normalised(text: str) -> str:
    """A text as answers are compared: composed letters, plain spaces and signs, no unseen marks, no
    mark of emphasis or of mathematics around it, no full stop at its end."""
    text = "".join(map(_plain, unicodedata.normalize("NFC", text)))
    text = " ".join(_UNSEEN.sub("", text).translate(_MINUS).split())
    text = _LATEX.sub(r"\1/\2", text)
    for around in (r"\*\*(.+)\*\*", r"\\\((.+)\\\)", r"\\boxed\{(.+)\}", r"\\text\{(.+)\}"):
        if found := re.fullmatch(around, text):
            text = found[1].strip()
    if len(text) > 2 and text[0] == text[-1] == "$" and "$" not in text[1:-1]:
        text = text[1:-1].strip()
    text = text.replace(r"\$", "$").replace(r"\%", "%")
    return text[:-1].rstrip() if len(text) > 1 and text.endswith(".") else text


def _plain(character: str) -> str:
    """Wide letters and digits as usual ones, and fractions such as ½ as `1/2`.

    Superscripts stay: 5² is not 52.
    """
    kind = unicodedata.decomposition(character)
    if kind.startswith("<fraction>"):
        return " " + unicodedata.normalize("NFKC", character).replace("\u2044", "/")
    if kind.startswith(("<wide>", "<noBreak>")):
        return unicodedata.normalize("NFKC", character)
    return character


def _choice(text: str) -> str | None:
    found = _CHOICE.fullmatch(text)
    return (found[1] or found[2]).upper() if found else None


def _number(text: str) -> _Number | None:
    fraction = _FRACTION.fullmatch(text)
    if fraction:
        if int(fraction["bottom"]) == 0:
            return None
        value = Fraction(int(fraction["top"]), int(fraction["bottom"]))
        value += int(fraction["whole"] or 0)
        return _Number(-value if fraction["sign"] == "-" else value, "")
    found = _NUMBER.fullmatch(text)
    if found is None or (found["sign"] and found["inner"]):
        return None
    exponent = int(found["exponent"] or found["power"] or 0)
    if abs(exponent) > LARGEST_EXPONENT or (found["before"] and found["after"]):
        return None
    value = Fraction(_decimal(found["body"])) * Fraction(10) ** exponent
    negative = "-" in (found["sign"], found["inner"])
    unit = (found["before"] or found["after"] or "").lower()
    return _Number(-value if negative else value, _CURRENCIES.get(unit, unit))


def _decimal(body: str) -> str:
    """Digits with a decimal point, and nothing between thousands."""
    body = body.replace(" ", "")
    last_comma, last_point = body.rfind(","), body.rfind(".")
    if last_comma > last_point >= 0:  # 1.200,50
        return body.replace(".", "").replace(",", ".")
    groups = re.fullmatch(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", body)
    if last_comma >= 0 and not groups:  # 3,5 and 0,125
        return body.replace(",", ".")
    return body.replace(",", "")


def _sequence(text: str) -> Any:
    """Values between commas, in order (a list), or in any order (a counter)."""
    kind = {"(": ")", "[": "]", "{": "}"}.get(text[0])
    if kind is not None and text[-1] == kind:
        inner = text[1:-1]
    elif ", " in text:
        inner, kind = text, ")"
    else:
        return None
    parts = [part.strip() for part in inner.split(",")]
    if len(parts) < 2 or not all(parts):
        return None
    values = [_number(part) or part.casefold() for part in parts]
    return Counter(values) if kind == "}" else values


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, _Number) and isinstance(other, _Number):
        units_agree = one.unit == other.unit or not (one.unit and other.unit)
        return one.value == other.value and units_agree
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other
