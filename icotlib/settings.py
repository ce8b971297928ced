"""Sections of settings: frozen dataclasses whose fields carry a type, a range and a meaning."""

import dataclasses
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import yaml

from icotlib.errors import ConfigError, did_you_mean


def meaning(help: str, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """What the field of a setting says of it, as dataclass metadata."""
    return {"help": help, "low": low, "high": high}


def setting(default: Any, help: str, *, low: float | None = None, high: float | None = None) -> Any:
    """A field of a section: its default, its meaning, and its smallest and largest value."""
    return field(default=default, metadata=meaning(help, low, high))


class Section:
    """Base of all sections: checks the type and the range of every setting when it is made.

    Raises `ConfigError` naming the setting as a user writes it, such as `train.steps`.
    """

    #: The name in front of the dot; empty for the settings of the run itself.
    section: ClassVar[str] = ""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for spec in dataclasses.fields(self):  # type: ignore[arg-type]
            if not spec.metadata:
                continue
            name = self.dotted(spec.name)
            value = coerce(getattr(self, spec.name), hints[spec.name], name)
            object.__setattr__(self, spec.name, value)
            low, high = spec.metadata["low"], spec.metadata["high"]
            if low is not None and value is not None and value < low:
                raise ConfigError(f"{name} must be at least {low}, got {value}")
            if high is not None and value is not None and value > high:
                raise ConfigError(f"{name} must be at most {high}, got {value}")

    @classmethod
    def dotted(cls, name: str) -> str:
        """The dotted name of one of its settings."""
        return f"{cls.section}.{name}" if cls.section else name

    def changed(self) -> dict[str, Any]:
        """The settings that differ from their defaults."""
        return {
            spec.name: getattr(self, spec.name)
            for spec in dataclasses.fields(self)  # type: ignore[arg-type]
            if getattr(self, spec.name) != default_of(spec)
        }


def default_of(spec: dataclasses.Field) -> Any:
    """The default value of a dataclass field."""
    if spec.default_factory is not dataclasses.MISSING:
        return spec.default_factory()
    return spec.default


class Variants:
    """A section whose settings depend on one of them: `removal`, on `removal.schedule`.

    Each variant is a section class of its own, so that a setting which the chosen variant does
    not read is an error.
    """

    def __init__(self, section: str, key: str, default: str):
        self.section, self.key, self.default = section, key, default
        self.types: dict[str, type[Section]] = {}

    def choice(self, values: Mapping[str, Any]) -> str:
        """The chosen variant. Raises `ConfigError` for an unknown one."""
        name = values.get(self.key, self.default)
        if name not in self.types:
            known = ", ".join(self.types)
            raise ConfigError(
                f"{self.section}.{self.key} must be one of {known}; got {name!r}."
                f"{did_you_mean(str(name), self.types)}"
            )
        return name

    def readers(self, name: str) -> list[str]:
        """The variants that have a setting."""
        return [one for one, kind in self.types.items() if name in names_of(kind)]

    def needs(self, name: str, chosen: str) -> str:
        """What a setting that the chosen variant does not have needs instead, as an error."""
        key = f"{self.section}.{self.key}"
        return f"needs {key}={' or '.join(self.readers(name))}; this run has {key}={chosen}"


#: What a method declares for one of its sections.
Declared = type[Section] | Variants


def section_type(declared: Declared, values: Mapping[str, Any]) -> type[Section]:
    """The class of a declared section with these values."""
    if isinstance(declared, Variants):
        return declared.types[declared.choice(values)]
    return declared


def names_of(kind: type[Section]) -> list[str]:
    """The settings of a section, without the dot and what stands before it."""
    return [spec.name for spec in dataclasses.fields(kind) if spec.metadata]  # type: ignore[arg-type]


def build_section(declared: Declared, values: Mapping[str, Any]) -> Section:
    """A section from plain values. Raises `ConfigError` for a setting that it does not have."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"unknown setting {declared.section!r}: it is a section of settings")
    kind = section_type(declared, values)
    known = names_of(kind)
    for name in values:
        if name not in known:
            dotted = kind.dotted(name)
            if isinstance(declared, Variants) and declared.readers(name):
                raise ConfigError(f"{dotted} {declared.needs(name, declared.choice(values))}")
            hint = did_you_mean(dotted, map(kind.dotted, known))
            raise ConfigError(f"unknown setting {dotted!r}.{hint}")
    return kind(**values)


@dataclass(frozen=True)
class Description:
    """One setting as `--fields` prints it."""

    name: str
    type: str
    default: Any
    range: str
    help: str
    #: The variants that read it, where not all do.
    only: str = ""


def describe(declared: Declared) -> Iterator[Description]:
    """Every setting of a section, those of all its variants included."""
    if not isinstance(declared, Variants):
        yield from _described(declared)
        return
    seen: set[str] = set()
    # The default first: its class says what the choice itself means.
    for kind in [declared.types[declared.default], *declared.types.values()]:
        for one in _described(kind):
            short = one.name.rpartition(".")[2]
            if short in seen:
                continue
            seen.add(short)
            readers = declared.readers(short)
            if short == declared.key:
                choices = " | ".join(declared.types)
                yield dataclasses.replace(one, type=choices, default=declared.default)
            elif len(readers) == len(declared.types):
                yield one
            else:
                yield dataclasses.replace(one, only=f"{declared.key} {', '.join(readers)}")


def _described(kind: type[Section]) -> Iterator[Description]:
    hints = get_type_hints(kind)
    for spec in dataclasses.fields(kind):  # type: ignore[arg-type]
        if not spec.metadata:
            continue
        low, high = spec.metadata["low"], spec.metadata["high"]
        parts = [f"at least {low:g}" if low is not None else ""]
        parts.append(f"at most {high:g}" if high is not None else "")
        yield Description(
            kind.dotted(spec.name),
            type_name(hints[spec.name]),
            default_of(spec),
            ", ".join(part for part in parts if part),
            spec.metadata["help"],
        )


def type_name(hint: Any) -> str:
    """A type as a person reads it."""
    if get_origin(hint) is Literal:
        return " | ".join(get_args(hint))
    if isinstance(hint, types.UnionType):
        return " or ".join(type_name(one) for one in get_args(hint))
    if hint is type(None):
        return "null"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
        getattr(hint, "__name__", ""), "mapping"
    )


def coerce(value: Any, hint: Any, name: str) -> Any:
    """The value as the hinted type; whole floats pass as int and ints as float, nothing else.

    Raises `ConfigError` naming the setting.
    """
    if isinstance(hint, types.UnionType):
        options = [option for option in get_args(hint) if option is not type(None)]
        return None if value is None else coerce(value, options[0], name)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            known = ", ".join(map(repr, get_args(hint)))
            close = did_you_mean(str(value), get_args(hint))
            raise ConfigError(f"{name} must be one of {known}; got {value!r}.{close}")
        return value
    kind = get_origin(hint) or hint
    if kind is bool or not isinstance(value, bool):
        if isinstance(value, kind):
            return value
        if kind is float and isinstance(value, int):
            return float(value)
        if kind is float and isinstance(value, str):  # YAML reads 1e-3 as text
            try:
                return float(value)
            except ValueError:
                pass
        if kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
    raise ConfigError(f"{name} must be a {type_name(hint)}, got {value!r}")


def parse_overrides(changes: dict[str, Any] | str | None) -> dict[str, Any]:
    """Overrides by dotted name, from a dictionary, YAML text or nothing."""
    if isinstance(changes, str):
        try:
            changes = yaml.safe_load(changes)
        except yaml.YAMLError as error:
            raise ConfigError(f"overrides are not valid YAML: {error}") from None
    if changes is None:
        return {}
    if not isinstance(changes, dict):
        raise ConfigError(f"overrides must map setting names to values, got {changes!r}")
    return type(changes)(flattened(changes))


def flattened(changes: dict[str, Any]) -> dict[str, Any]:
    """Overrides by dotted name: `{"train": {"steps": 50}}` says the same as `{"train.steps": 50}`.

    Mappings that are themselves the value of a setting, such as `model.options`, stay whole.
    """
    found: dict[str, Any] = {}
    for name, value in changes.items():
        if "." not in name and name != "phases" and isinstance(value, dict):
            found |= {f"{name}.{key}": x for key, x in value.items()}
        else:
            found[name] = value
    return found
