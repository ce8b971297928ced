"""Overrides: changes of settings by dotted name, from a terminal, from YAML text or a mapping."""

import copy
import os
import re
from collections.abc import Collection, Mapping
from typing import Any

from icotlib.errors import ConfigError
from icotlib.values import Typed, is_text, plain_yaml, read_text, shown, typed_yaml


class Known:
    """The type of every setting by its dotted name, and which of them name a file or a folder."""

    def __init__(self, types: Mapping[str, Any], paths: Collection[str] = ()):
        self.types, self.paths = types, paths
        #: The last words of the names of settings that are text.
        self.text_names = {name.rpartition(".")[2] for name, one in types.items() if is_text(one)}

    def type_of(self, name: str) -> Any:
        """The type of a setting, with or without a phase in front; None if there is none."""
        return self.types.get(self._own(name))

    def is_path(self, name: str) -> bool:
        """Whether a setting, with or without a phase in front, names a file or a folder."""
        return self._own(name) in self.paths

    def _own(self, name: str) -> str:
        """The name of a setting without a phase; empty if there is no such setting."""
        while name and name not in self.types:
            name = name.partition(".")[2]
        return name


def parse(changes: Mapping[str, Any] | str | None, known: Known) -> dict[str, Any]:
    """Overrides by dotted name, with text as the value that it stands for (`values.read_text`).

    Args:
        changes: by dotted name or nested, to any depth; or YAML text of the same. In text, a value
            is read by the type of its setting, so that `no` and `>>` are texts where text is meant.
            A path that leads somewhere from the working directory is made absolute: notebooks and
            workers have directories of their own.

    Raises `ConfigError` for what is no mapping, a name that is given twice, and a text that is not
    a value of its setting.
    """
    if isinstance(changes, str):
        changes = typed_yaml(_quoted(changes, known), "overrides") if changes.strip() else None
    if changes is None:
        return {}
    if not isinstance(changes, Mapping):
        raise ConfigError(
            f"overrides must map setting names to values, got {shown(changes)}; write "
            '{"train.steps": 300}, or {train.steps: 300} as text'
        )
    found: dict[str, Any] = {}
    for name, value in _flat(changes, "", known):
        if name in found:
            raise ConfigError(f"overrides name {name} twice: leave one of them out")
        found[name] = value
    if not isinstance(changes, dict):
        return found
    made = copy.copy(changes)  # of the same class
    made.clear()
    made.update(found)
    return made


def _flat(changes: Mapping[str, Any], above: str, known: Known) -> list[tuple[str, Any]]:
    """Names and values of nested mappings; one that is the value of a setting stays whole."""
    found: list[tuple[str, Any]] = []
    for key, value in changes.items():
        if not isinstance(key, str):
            raise ConfigError(f"overrides: names of settings are text, got {shown(key)}")
        name = f"{above}.{key}" if above else str(key)
        kind = known.type_of(name)
        if isinstance(value, Typed):
            value = _read(value, name, kind, known)
        if isinstance(value, Mapping) and kind is None and key != "phases":
            found += _flat(value, name, known)
        else:
            value = _untyped(value)
            found.append((name, absolute(value) if known.is_path(name) else value))
    return found


def absolute(value: Any) -> Any:
    """A path that is there as an absolute one; anything else, such as a hub's id, as it is."""
    if not isinstance(value, str | os.PathLike) or not str(value).strip():
        return value
    path = os.path.expanduser(value)
    return os.path.abspath(path) if os.path.exists(path) else value


def _read(text: Typed, name: str, kind: Any, known: Known) -> Any:
    """The value of a text; of a section or an unknown name whatever YAML makes of it."""
    if kind is not None:
        return read_text(text, kind, name)
    if text.quoted:
        return str(text)
    if text.lstrip().startswith("{"):
        return typed_yaml(_quoted(text, known), name)
    try:
        return plain_yaml(text, name)
    except ConfigError:
        return str(text)


def _untyped(value: Any) -> Any:
    """A value in which every text has the type that YAML gives it."""
    if isinstance(value, Typed):
        return str(value) if value.quoted else plain_yaml(value, "overrides")
    if type(value) is dict:
        return {str(k) if isinstance(k, Typed) else k: _untyped(x) for k, x in value.items()}
    return [_untyped(x) for x in value] if type(value) is list else value


#: A name and a value without quotes, up to the next name, the end of a mapping or of a line.
_PAIR = re.compile(
    r"([\w.]+)(\s*:[ \t]+)([^\s\"'{}\[].*?)"
    r"(?=\s*\}*\s*(?:,\s*[\w.]+\s*:\s|\Z)|\s*,?\s*\}+\s*\Z|[ \t]*$)",
    re.MULTILINE,
)

#: Values that YAML does not take for text: they begin with one of its signs, or hold one.
_SIGNS = re.compile(r"[@%?|>&*!`#,:-]|.*(\s#|:\s|[,\[\]{}])")


def _quoted(text: str, known: Known) -> str:
    """YAML text with quotes around values of text settings that hold signs of YAML."""

    def quote(pair: re.Match) -> str:
        name, colon, value = pair.groups()
        if name.rpartition(".")[2] not in known.text_names or not _SIGNS.match(value):
            return pair.group()
        return f"{name}{colon}'{value.replace(chr(39), 2 * chr(39))}'"

    return _PAIR.sub(quote, text)
