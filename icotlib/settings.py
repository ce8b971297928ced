"""Sections of settings: frozen dataclasses whose fields carry a type, a range and a meaning."""

import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from icotlib.errors import ConfigError, did_you_mean
from icotlib.system.names import check_name
from icotlib.values import (
    check_text,
    coerce,
    in_range,
    range_text,
    read_text,
    shown,
    type_name,
)

#: What a text stands for: any text; part of a run's name, which may be empty; or a path, in which
#: `~` is the home folder.
Meant = Literal["text", "name", "path"]

#: The largest number of steps, and the largest seed: the libraries take 32 bits.
MOST_STEPS, LARGEST_SEED = 10**9, 2**32 - 1


def meaning(
    help: str, low: float | None = None, high: float | None = None, meant: Meant = "text"
) -> dict[str, Any]:
    """What the field of a setting says of it, as dataclass metadata."""
    return {"help": help, "low": low, "high": high, "meant": meant}


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    meant: Meant = "text",
) -> Any:
    """A field of a section: its default, its meaning, and its smallest and largest value.

    Every number has both: what is beyond them is a slip, and would end in an error of a library.
    """
    return field(default=default, metadata=meaning(help, low, high, meant))


class Section:
    """Base of all sections: checks the type and the range of every setting when it is made.

    Raises `ConfigError` naming the setting as a user writes it, such as `train.steps`, its value
    and what is allowed.
    """

    #: The name in front of the dot; empty for the settings of the run itself.
    section: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name in names_of(type(self)):
            object.__setattr__(self, name, self.checked(name, getattr(self, name)))

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        """A value of one of its settings as a section keeps it, whatever its other settings are.

        Raises `ConfigError` for a value of another type or outside the range.
        """
        about, dotted = cls.__dataclass_fields__[name].metadata, cls.dotted(name)  # type: ignore[attr-defined]
        value = coerce(value, _hints(cls)[name], dotted)
        if isinstance(value, str):
            value = _checked(value, about["meant"], dotted)
        in_range(value, about["low"], about["high"], dotted)
        return value

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


_HINTS: dict[Any, dict[str, Any]] = {}


def _hints(kind: Any) -> dict[str, Any]:
    """The types of the settings of a section, looked up once."""
    if kind not in _HINTS:
        _HINTS[kind] = get_type_hints(kind)
    return _HINTS[kind]


def _checked(text: str, meant: Meant, name: str) -> str:
    """A text as its setting keeps it. Raises `ConfigError` for one that cannot be what is meant."""
    check_text(text, name, may_be_empty=meant == "name")
    if meant == "name" and text:
        check_name(text, name)
    if meant == "path" and max(len(os.fsencode(part)) for part in text.split("/")) > 255:
        raise ConfigError(f"{name} is too long for a path, got {shown(text)}")
    if meant == "path" and text.startswith("~"):
        if os.path.expanduser(text) == text:
            raise ConfigError(f"{name}: {shown(text)} names no home folder; write the path out")
        return os.path.expanduser(text)
    return text


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
        if not isinstance(name, str) or name not in self.types:
            known = ", ".join(self.types)
            raise ConfigError(
                f"{self.section}.{self.key} must be one of {known}; got {shown(name)}."
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


def keep_what_is_read(
    values: dict[str, Any],
    changes: Mapping[str, Any],
    sections: Mapping[str, Declared],
    common: Sequence[str],
) -> None:
    """Drop from stored values what the newly chosen method or variant does not read.

    Args:
        values: of a whole config, by section.
        changes: by dotted name, the choice of a method or of variants among them.
        sections: those that the method declares; `common`: the names of what all methods have.
    """
    for name in [name for name in values if name not in (*common, *sections)]:
        del values[name]
    for name, declared in sections.items():
        own = values.setdefault(name, {})
        if isinstance(declared, Variants):
            chosen = f"{name}.{declared.key}"
            if chosen in changes:
                own[declared.key] = changes[chosen]
            elif own.get(declared.key) not in declared.types:
                own.pop(declared.key, None)
        known = names_of(section_type(declared, own))
        values[name] = {key: x for key, x in own.items() if key in known}


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
    #: The type itself.
    kind: Any = None
    #: What may be chosen, where only some texts may.
    choices: tuple[str, ...] = ()
    #: The section that it belongs to; of a variant's setting, the first that has it.
    section: Any = Section
    #: What its text is, beyond text.
    meant: Meant = "text"

    def read(self, text: str) -> Any:
        """The value that a text stands for, checked on its own (`values.read_text`).

        Raises `ConfigError` for a text that is no value of this setting.
        """
        return self.section.checked(
            self.name.rpartition(".")[2], read_text(text, self.kind, self.name)
        )


def describe(declared: Declared) -> Iterator[Description]:
    """Every setting of a section, those of all its variants included."""
    if not isinstance(declared, Variants):
        yield from _described(declared)  # type: ignore[arg-type]
        return
    seen: set[str] = set()
    # The default first: its class says what the choice itself means.
    for kind in [declared.types[declared.default], *declared.types.values()]:
        for one in _described(kind):  # type: ignore[arg-type]
            short = one.name.rpartition(".")[2]
            if short in seen:
                continue
            seen.add(short)
            readers = declared.readers(short)
            if short == declared.key:
                names = tuple(declared.types)
                default = declared.default
                yield dataclasses.replace(
                    one, type=" | ".join(names), default=default, choices=names
                )
            elif len(readers) == len(declared.types):
                yield one
            else:
                yield dataclasses.replace(one, only=f"{declared.key} {', '.join(readers)}")


@functools.lru_cache
def _described(kind: type[Section]) -> tuple[Description, ...]:
    hints = _hints(kind)
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    return tuple(_description(kind, spec, hints[spec.name]) for spec in fields if spec.metadata)


def _description(kind: type[Section], spec: dataclasses.Field, hint: Any) -> Description:
    return Description(
        kind.dotted(spec.name),
        type_name(hint),
        default_of(spec),
        range_text(spec.metadata["low"], spec.metadata["high"]),
        spec.metadata["help"],
        kind=hint,
        choices=get_args(hint) if get_origin(hint) is Literal else (),
        section=kind,
        meant=spec.metadata["meant"],
    )


def flattened(changes: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted name, from those of sections: the inverse of nesting by one level.

    Mappings that are themselves the value of a setting, such as `model.options`, stay whole.
    """
    found: dict[str, Any] = {}
    for name, value in changes.items():
        if "." not in name and name != "phases" and isinstance(value, dict):
            found |= {f"{name}.{key}": x for key, x in value.items()}
        else:
            found[name] = value
    return found
