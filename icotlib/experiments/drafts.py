"""Settings of a run as they are typed: what is wrong with each, and the overrides that they make.

A field that a person fills in holds text. It is read as the terminal reads `--set`, and checked on
its own, so that several mistakes are told at once, each with its setting.
"""

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from icotlib.config import RunConfig, parse_overrides, settings_of
from icotlib.errors import ConfigError
from icotlib.experiments.runs import RUNS, run_config
from icotlib.registry import METHODS
from icotlib.settings import Description
from icotlib.values import Typed

#: Makes the config of a run from overrides.
Make = Callable[[Mapping[str, Any]], RunConfig]

#: Settings that are chosen in another place, or filled in when a run begins.
NOT_ASKED = ("method", "preset", "seed", "data.content", "model.content")

#: The name under which errors of no single setting, and of further overrides, are told.
WHOLE, FURTHER = "", "further"

#: At most so many characters of overrides stand in one line.
LINE = 88


@dataclass(frozen=True)
class Field:
    """A setting that a run reads, and its value as text where nobody changes it."""

    about: Description
    text: str

    @property
    def name(self) -> str:
        return self.about.name

    @property
    def choices(self) -> tuple[str, ...]:
        """The texts that may be chosen, where not any text may be typed."""
        if self.about.kind is bool:
            return ("true", "false")
        return self.about.choices


@dataclass(frozen=True)
class Draft:
    """What typed settings amount to."""

    #: Every setting that the run reads, in order.
    fields: tuple[Field, ...]
    #: The right settings that differ from those of the run without changes.
    overrides: dict[str, Any]
    #: What is wrong, by the setting that it concerns, `FURTHER` or `WHOLE`.
    errors: dict[str, str] = field(default_factory=dict)
    #: The run; None while something is wrong.
    config: RunConfig | None = None


def maker(run: str | RunConfig | Make, preset: str = "fast", seed: int = 0) -> Make:
    """What makes a run from overrides.

    Args:
        run: a name that `icot train` knows; a config to change; or a function, which is returned.
    """
    if isinstance(run, RunConfig):
        return lambda changes: run.override(dict(changes))
    return partial(run_config, run, preset, seed) if isinstance(run, str) else run


def makeable(preset: str = "fast") -> tuple[str, ...]:
    """The names that `icot train` knows whose runs need nothing of the user's own."""
    return tuple(name for name in dict.fromkeys([*RUNS, *METHODS.names()]) if _can(name, preset))


def _can(name: str, preset: str) -> bool:
    try:
        return bool(run_config(name, preset))
    except ConfigError:
        return False


def draft(make: Make, texts: Mapping[str, str], further: str = "") -> Draft:
    """Typed settings, read and checked.

    Args:
        make: `maker` of the run.
        texts: settings by dotted name as they are typed. Those that the run does not read, because
            another method or schedule is chosen, count for nothing.
        further: more overrides as YAML text, such as `{student.train.steps: 300}`.

    Raises `ConfigError` if the run cannot be made with nothing but the settings that it needs.
    """
    plain, needed = unchanged(make, texts)
    abouts = _asked(plain)
    values, errors = _values(abouts, texts)
    # Other settings have other values, or are not read, where another schedule is chosen.
    keys = {one.name: values[one.name] for one in abouts if _is_key(one) and one.name in values}
    try:
        chosen = make(needed | keys)
    except ConfigError as error:
        chosen, errors = plain, errors | dict.fromkeys(keys, str(error))
    fields = tuple(_fields(abouts, chosen))
    overrides = {
        one.name: values[one.name]
        for one in fields
        if one.name in values
        and (
            one.name in needed
            or values[one.name] != _value(plain if one.name in keys else chosen, one.name)
        )
    }
    try:
        overrides |= parse_overrides(further)
    except ConfigError as error:
        errors[FURTHER] = str(error)
    if errors:
        return Draft(fields, overrides, errors)
    try:
        return Draft(fields, overrides, {}, make(overrides))
    except ConfigError as error:
        return Draft(fields, overrides, {_concerned(str(error), fields, overrides): str(error)})


def unchanged(make: Make, texts: Mapping[str, str]) -> tuple[RunConfig, dict[str, Any]]:
    """A run before any change, and the typed settings that it cannot be made without, such as the
    path of its data.

    Args:
        make, texts: as in `draft`.

    Raises `ConfigError` for one that needs other settings than these.
    """
    needed: dict[str, Any] = {}
    while True:
        try:
            return make(needed), needed
        except ConfigError as error:
            named = [name for name in texts if name not in needed and name in str(error)]
            if not named:
                raise
            needed |= parse_overrides({name: Typed(texts[name]) for name in named})


def _values(
    abouts: Sequence[Description], texts: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of texts that are right, and what is wrong with the others, by setting."""
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for one in abouts:
        if one.name in texts:
            try:
                values[one.name] = _read(one, texts[one.name])
            except ConfigError as error:
                errors[one.name] = str(error)
    return values, errors


def _is_key(one: Description) -> bool:
    """Whether a setting chooses which others are read."""
    return bool(one.choices) and one.kind is str


def _read(one: Description, text: str) -> Any:
    if _is_key(one) and text not in one.choices:
        raise ConfigError(f"{one.name} must be one of {', '.join(one.choices)}; got {text!r}.")
    return one.read(text)


def fields_of(config: RunConfig) -> tuple[Field, ...]:
    """Every setting that a run reads, with its value."""
    return tuple(_fields(_asked(config), config))


def _asked(config: RunConfig) -> list[Description]:
    return [one for one in settings_of(config.method) if one.name not in NOT_ASKED]


def _fields(abouts: Sequence[Description], config: RunConfig) -> Iterator[Field]:
    for one in abouts:
        value = _value(config, one.name)
        if value is not _ABSENT:
            yield Field(one, as_text(value))


_ABSENT = object()


def _value(config: RunConfig, name: str) -> Any:
    """A setting's value; `_ABSENT` where the chosen variant does not read it."""
    try:
        return functools.reduce(getattr, name.split("."), config)
    except AttributeError:
        return _ABSENT


def _concerned(error: str, fields: tuple[Field, ...], changed: Mapping[str, Any]) -> str:
    """The setting that an error names, a changed one before others; `FURTHER` or `WHOLE`."""
    known = [one.name for one in fields]
    for name in (*changed, *(name for name in known if "." in name and name not in changed)):
        if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", error):
            return name if name in known else FURTHER
    return WHOLE


def as_text(value: Any) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return json.dumps(value)
    return "null" if value is None else str(value)


def overrides_cell(overrides: Mapping[str, Any]) -> str:
    """Overrides as the line of Python that sets a notebook's parameter of this name."""
    line = f"overrides = {_literal(overrides)}"
    if len(line) <= LINE:
        return line
    parts = (f"    {_literal(name)}: {_literal(value)}," for name, value in overrides.items())
    return "\n".join(["overrides = {", *parts, "}"])


def _literal(value: Any) -> str:
    """A value in Python, its texts in double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(k)}: {_literal(x)}" for k, x in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value)
