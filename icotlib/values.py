"""Values of settings: read from text as typed, checked for type and range, shown in errors."""

import math
import os
import types
import unicodedata
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from icotlib.errors import ConfigError, did_you_mean

#: Words that a terminal and a YAML text may use for true and false.
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

#: Characters of a value in a message.
_SHOWN = 80


class Typed(str):
    """Text as a user typed it, in a terminal or as a scalar of YAML, whose type is not known yet.

    Attributes:
        quoted: whether it stood in quotes, so that `"null"` is a text and `null` is nothing.
    """

    quoted: bool = False

    @classmethod
    def of(cls, text: str, quoted: bool = False) -> "Typed":
        made = cls(text)
        made.quoted = quoted
        return made


def read_text(text: str, hint: Any, name: str) -> Any:
    """The value that a text stands for where a setting of this type is meant.

    Text settings take it as it is. `null` is nothing where nothing is allowed. Numbers are read in
    decimal; YAML is used for mappings alone.

    Args:
        hint: the type of the setting.
        name: the setting, for errors.

    Raises `ConfigError` for a text that is no such value.
    """
    kind, optional = _without_none(hint)
    may_be_nothing = optional and not getattr(text, "quoted", False)
    word = text if is_text(hint) else text.strip().lower()
    if may_be_nothing and (word == "null" or (word in ("none", "~") and not is_text(hint))):
        return None
    if is_text(hint):
        return coerce(str(text), hint, name)
    if not text.strip():
        raise ConfigError(f"{name} has no value (was a variable not set?); {_asked(hint)}")
    if kind is bool:
        return coerce(_WORDS.get(text.strip().lower(), str(text)), hint, name)
    if kind in (int, float):
        return coerce(_number(text), hint, name)
    return coerce(plain_yaml(text, name), hint, name)


def _number(text: str) -> Any:
    """The number in decimal; the text itself if it is none."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:  # also whole numbers of thousands of digits
            continue
    return str(text)


class _Plain(yaml.SafeLoader):
    """YAML without anchors, which can unfold to any size, and without a key given twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("anchors (&) and aliases (*) are not read; quote such text")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep=deep)
        if len(found) < len(node.value):
            raise yaml.YAMLError("a name is given twice")
        return found


class _AsTyped(_Plain):
    """The same, with every scalar as the text that it is (`Typed`)."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return Typed.of(node.value, quoted=node.style is not None)
        return super().construct_object(node, deep=deep)


def plain_yaml(text: str, name: str) -> Any:
    """The value of a YAML text. Raises `ConfigError` naming what it was given for."""
    return _load(text, _Plain, name)


def typed_yaml(text: str, name: str, like: str = "") -> Any:
    """The lists and mappings of a YAML text, with scalars as `Typed`.

    Args:
        like: how it should be written, for the error; by default as settings are.
    """
    return _load(text, _AsTyped, name, like)


def _load(text: str, loader: type, name: str, like: str = "") -> Any:
    try:
        return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        cause = " ".join(str(getattr(error, "problem", None) or error).split()) or "too deep"
        usual = "write it as {name: value, name: value}, with quotes around text that has signs"
        raise ConfigError(
            f"{name} is not valid YAML ({cause}), got {shown(text)}; {like or usual}"
        ) from None


def coerce(value: Any, hint: Any, name: str) -> Any:
    """The value as the hinted type; whole floats pass as int and ints as float, nothing else.

    Paths pass as text, and numbers of numpy and torch as Python's.

    Raises `ConfigError` naming the setting.
    """
    kind, optional = _without_none(hint)
    if value is None and optional:
        return None
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            known = ", ".join(map(repr, get_args(kind)))
            close = did_you_mean(str(value), get_args(kind))
            raise ConfigError(f"{name} must be one of {known}; got {shown(value)}.{close}")
        return str(value)
    kind = get_origin(kind) or kind
    found: Any = None
    if kind is str:
        found = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    elif kind is float or kind is int:
        found = _as_number(value, kind)
    elif isinstance(value, kind):
        found = plain(value, name) if kind is dict else value
    if not isinstance(found, kind):
        raise ConfigError(f"{name} {_asked(hint)}, got {shown(value)}{_quote(value, kind)}")
    return str(found) if kind is str else found


def _as_number(value: Any, kind: type) -> Any:
    """The value as a number of this type; None if it is none."""
    if isinstance(value, str):  # YAML reads 1e-3 as text
        value = _number(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if kind is float:
        try:
            return float(value) + 0.0  # a negative zero is zero
        except OverflowError:
            return math.inf
    return int(value) if isinstance(value, int) or value.is_integer() else None


def _quote(value: Any, kind: type) -> str:
    """What to do about a text that YAML or Python has taken for something else."""
    if kind is not str or not isinstance(value, bool | int | float | None):
        return ""
    return "; put text in quotes, since YAML reads words such as no and 2024 as other values"


def _asked(hint: Any) -> str:
    article = "" if type_name(hint).startswith(("text", "true")) else "a "
    return f"must be {article}{type_name(hint)}"


def in_range(value: Any, low: float | None, high: float | None, name: str) -> None:
    """Raises `ConfigError` for a number that is not finite or outside its range."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    wrong = ""
    if isinstance(value, float) and math.isnan(value):
        wrong = "a number"
    elif low is not None and value < low:
        wrong = f"at least {number_text(low)}"
    elif high is not None and value > high:
        wrong = f"at most {number_text(high)}"
    elif isinstance(value, float) and math.isinf(value):
        wrong = "finite"
    if wrong:
        allowed = f" (allowed: {range_text(low, high)})" if range_text(low, high) else ""
        raise ConfigError(f"{name} must be {wrong}, got {shown(value)}{allowed}")


def range_text(low: float | None, high: float | None) -> str:
    """A range as errors and `--fields` write it; empty without bounds."""
    if low is not None and high is not None:
        return f"{number_text(low)} to {number_text(high)}"
    if low is not None:
        return f"at least {number_text(low)}"
    return f"at most {number_text(high)}" if high is not None else ""


def number_text(value: float) -> str:
    """A bound as people write it: 65,536 and 0.9."""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def check_text(text: str, name: str, may_be_empty: bool = False) -> None:
    """Raises `ConfigError` for an empty text, and for one with characters that no text has."""
    if not text and not may_be_empty:
        raise ConfigError(f"{name} is empty (was a variable not set?); give it a text")
    for sign in text:
        if unicodedata.category(sign) in ("Cc", "Cs"):
            raise ConfigError(
                f"{name} has the control character {sign!r}, got {shown(text)}; leave it out"
            )


def plain(value: Any, name: str) -> Any:
    """A value as JSON holds it: text, finite numbers, true, false, null, lists and mappings.

    Raises `ConfigError` for any other, such as a date that YAML has made of 2024-01-01.
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{name}: names must be text, got {shown(key)}")
        return {str(key): plain(x, f"{name}.{key}") for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [plain(x, name) for x in value]
    if isinstance(value, str):
        check_text(value, name, may_be_empty=True)
        return str(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value + 0.0
    raise ConfigError(
        f"{name} must be text, a finite number, true, false, null, a list or a mapping; got "
        f"{shown(value)}"
    )


def shown(value: Any) -> str:
    """A value for a message, cut to a length that fits in a line."""
    try:
        text = repr(str(value) if isinstance(value, str) else value)
    except ValueError:  # a whole number of thousands of digits
        text = "a number of thousands of digits"
    text = " ".join(text.split()) if "\n" in text else text
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


#: Of `int | None`, and of `Optional[int]`.
UNIONS = (types.UnionType, Union)


def type_name(hint: Any) -> str:
    """A type as a person reads it."""
    if get_origin(hint) is Literal:
        return " | ".join(get_args(hint))
    if get_origin(hint) in UNIONS:
        return " or ".join(type_name(one) for one in get_args(hint))
    if hint is type(None):
        return "null"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
        getattr(hint, "__name__", ""), "mapping"
    )


def is_text(hint: Any) -> bool:
    """Whether a setting of this type is a text, one of some choices included."""
    kind = _without_none(hint)[0]
    return kind is str or get_origin(kind) is Literal


def _without_none(hint: Any) -> tuple[Any, bool]:
    """A type without None, and whether None was one of its choices."""
    if get_origin(hint) in UNIONS:
        options = [one for one in get_args(hint) if one is not type(None)]
        return options[0], len(options) < len(get_args(hint))
    return hint, False
