"""Cells of rows as text: numbers as they are written, lists that were written into a cell."""

import ast
import re
import warnings
from decimal import Decimal
from typing import Any

import numpy as np

from icotlib.data.text import clean

#: What stands for a missing number where a table is written by pandas, R or a database.
MISSING = frozenset({"nan", "<na>", "null", "#n/a"})

#: A number with commas that may part thousands: groups of three digits, the first not zero.
_GROUPED = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d|\.\d+,)")

#: Numbers alone in brackets: a point, an interval, a set.
_BRACKETED = re.compile(r"[(\[{]\s*[-+]?\d+(?:(?:[.,;]\s*|\s+)[-+]?\d+)*\s*[)\]}]")

_DECIMAL_COMMA = re.compile(r"(?<![\d.,(\[{])(?:0,\d+|[1-9]\d*,(?:\d{1,2}|\d{4,}))(?![\d,)\]}])")
_DECIMAL_POINT = re.compile(r"(?<![\d.,])\d+\.\d+(?![.,]?\d)")

_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
#: A list of texts as NumPy prints it, without commas; one or more items.
_PRINTED_LIST = re.compile(rf"\[\s*(?:{_QUOTED})(?:\s+(?:{_QUOTED}))*\s*\]", re.DOTALL)

_SIMPLE = r"""'[^'\\]*'|"[^"\\]*\""""
#: A list of texts without escapes, as Python writes it: read at once, because there are many.
_SIMPLE_LIST = re.compile(rf"\[\s*(?:{_SIMPLE})(?:\s*,\s*(?:{_SIMPLE}))*\s*\]")


class Number(str):
    """A number of a JSON file, with the digits that stand there."""

    __slots__ = ()


def cell_text(value: Any) -> str:
    """A cell as one line of text; empty for a missing one, yes or no for a boolean.

    Raises `ValueError` for a cell that holds no text, or text that was damaged.
    """
    if isinstance(value, str):
        return clean(value)
    if value is None:
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        if np.isinf(value):
            raise ValueError("a cell holds an infinite number")
        return "" if np.isnan(value) else str(value)
    if isinstance(value, (int, np.integer, Decimal)):
        return str(value)
    if isinstance(value, ValueError):  # found while the file was read
        raise value
    if isinstance(value, dict):
        return cell_text(_only_text(value))
    raise ValueError(f"a cell holds {type(value).__name__}, not text")


def _only_text(cell: dict[str, Any]) -> Any:
    """The text of an object that has one, such as `{"text": "5", "start": 3}`."""
    found = [cell[name] for name in ("text", "value", "content", "step") if name in cell]
    if len(found) != 1 or isinstance(found[0], dict):
        raise ValueError("a cell holds dict, not text")
    return found[0][0] if isinstance(found[0], list) and len(found[0]) == 1 else found[0]


def is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray))


def has_content(value: Any) -> bool:
    """Whether a cell, or anything in it where it is a list, is there and not empty."""
    if is_list(value):
        return any(has_content(entry) for entry in value)
    if isinstance(value, str):
        return bool(value.strip())
    return not (value is None or (isinstance(value, float) and np.isnan(value)) or value == {})


def unwritten(value: Any) -> Any:
    """A cell, or the list or object that was written into it as text.

    Lists are understood as Python, JSON and NumPy write them. Raises `ValueError` for a text that
    begins and ends as a list of texts does, and is none.
    """
    if not isinstance(value, str) or isinstance(value, Number):
        return value
    text = value.strip()
    if text[:1] + text[-1:] not in ("[]", "{}") and not text.startswith("array(["):
        return value
    if _SIMPLE_LIST.fullmatch(text):
        return [part[1:-1] for part in re.findall(_SIMPLE, text)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if _PRINTED_LIST.fullmatch(text):  # Python would read 'a' 'b' as one text
                return [ast.literal_eval(part) for part in re.findall(_QUOTED, text, re.DOTALL)]
            text = text.replace("\r", " ").replace("\n", " ")
            return _literal(ast.parse(text, mode="eval").body, text.encode())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, IndexError):
        if re.match(r"(array\()?\[\s*['\"]", text):
            raise ValueError("a cell looks like a list and cannot be read as one") from None
        return value


def _literal(node: ast.expr, source: bytes) -> Any:
    """The value of an expression of lists, objects, texts, numbers and NumPy's `array(...)`."""
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(entry, source) for entry in node.elts]
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _literal(key, source) for key in node.keys]
        values = [_literal(value, source) for value in node.values]
        if len(set(keys)) < len(keys):
            raise ValueError("a key stands twice")
        return dict(zip(keys, values, strict=True))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "array":
        return _literal(node.args[0], source)
    if isinstance(node, ast.Name) and node.id in ("true", "false", "null", "nan"):
        return {"true": True, "false": False}.get(node.id)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        if not re.fullmatch(_QUOTED, source[node.col_offset : node.end_col_offset].decode()):
            raise ValueError("two texts without a comma between them")
        return node.value
    if isinstance(node, ast.Constant) and isinstance(node.value, (bool, type(None))):
        return node.value
    constant = node.operand if isinstance(node, ast.UnaryOp) else node
    if not (isinstance(constant, ast.Constant) and isinstance(constant.value, (int, float))):
        raise ValueError("neither a text nor a number")
    return Number(source[node.col_offset : node.end_col_offset].decode())  # its digits as written


def texts_of(cell: Any) -> list[str]:
    """The steps of a cell: the entries of a list, or the lines of a text."""
    cell = unwritten(cell)
    if is_list(cell):
        texts = [cell_text(entry) for entry in cell]
    elif isinstance(cell, str):
        texts = [clean(line) for line in re.split(r"[\r\n]+", cell)]
    else:
        texts = [cell_text(cell)]
    return [text for text in texts if text]


def has_decimal_commas(texts: list[str]) -> bool:
    """Whether texts part the decimals of numbers by a comma, more often than by a point."""
    commas = sum(len(_DECIMAL_COMMA.findall(text)) for text in texts if "," in text)
    return commas > 0 and commas > sum(len(_DECIMAL_POINT.findall(text)) for text in texts)


def has_groups(text: str) -> bool:
    """Whether a text has a number whose commas may part thousands."""
    return "," in text and bool(_GROUPED.search(text))


def listed_numbers(texts: list[str]) -> frozenset[str]:
    """Numbers in brackets whose commas part numbers: `3,400` of the point `(3,400)`."""
    spans = [span for text in texts if "," in text for span in _BRACKETED.findall(text)]
    return frozenset(number for span in spans for number in _GROUPED.findall(span))


def plain_numbers(text: str, listed: frozenset[str] = frozenset()) -> str:
    """Text without the commas that part thousands in its numbers, `1,200` as `1200`.

    Commas stay in numbers that stand in brackets with nothing but numbers, `(3,400)`; in the
    numbers of `listed`; and where no group of three digits follows, `0,125` or `1,5`.
    """
    if "," not in text:
        return text
    listed |= listed_numbers([text])

    def plain(match: re.Match[str]) -> str:
        number = match.group()
        return number if number in listed else number.replace(",", "")

    return _GROUPED.sub(plain, text)
