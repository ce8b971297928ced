"""The config of a run: sections of settings, checked when they are made, hashed to name the run.

Every run has the sections `data`, `model`, `optim` and `train`; its method adds its own, such as
`removal` or `distill`. `RunConfig.override` changes any setting by its dotted name. An unknown
name, and a setting that the chosen method does not read, are errors.
"""

import dataclasses
import functools
import hashlib
import json
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from icotlib import paths
from icotlib.errors import ConfigError, did_you_mean
from icotlib.overrides import Known, parse
from icotlib.registry import METHODS
from icotlib.sections import DataConfig, ModelConfig, OptimConfig, TrainConfig
from icotlib.settings import (
    LARGEST_SEED,
    Description,
    Section,
    Variants,
    build_section,
    describe,
    keep_what_is_read,
    names_of,
    setting,
)
from icotlib.sources import forget_contents
from icotlib.system.names import as_name, not_too_long

#: Raised by hand when a change to the code alters what a config trains to, or when a default
#: changes, and for no other reason. It is part of every run's name: runs of different versions
#: never mix.
NUMERICS = 2


@dataclass(frozen=True)
class RunConfig(Section):
    """Everything that decides the numbers of one run.

    The sections that the method declares are attributes too: `config.removal`, `config.distill`.
    """

    method: str = setting("icot_si", "The method's id; `icot train --list` shows all.")
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    #: The sections that the method declares, by name.
    own: dict[str, Section] = field(default_factory=dict)
    seed: int = setting(
        0,
        "Seed of weights, batches and removal; data.seed splits the data.",
        low=0,
        high=LARGEST_SEED,
    )
    label: str = setting(
        "", "Tells runs of one method apart: the column `variant` of tables.", meant="name"
    )
    preset: str = setting("", "The preset that this config was made from.", meant="name")
    #: The configs of the runs that this one builds on, by role; a phase may be skipped.
    phases: dict[str, "RunConfig"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        spec = self.spec
        own = {k: self.own.get(k) or build_section(one, {}) for k, one in spec.sections.items()}
        for name in self.own:
            if name not in own:
                raise ConfigError(f"method {self.method!r} has no settings {name!r}")
        object.__setattr__(self, "own", own)
        if self.train.precision == "fastest":  # a run is known by what it computes in
            train = dataclasses.replace(self.train, precision=spec.fastest_precision(self))
            object.__setattr__(self, "train", train)
        if self.train.precision == "int8" and (
            self.train.gradient_checkpointing or self.model.lora
        ):
            raise ConfigError(
                "train.precision=int8 works neither with train.gradient_checkpointing nor with "
                "model.lora: a step must see every hidden matrix and train it"
            )
        self.data.check_growth(self.train.steps)
        self._check_phases()
        spec.check(self)

    def __getattr__(self, name: str) -> Any:
        # Called only for names that are no fields: the method's own sections.
        own = self.__dict__.get("own", {})
        if name in own:
            return own[name]
        raise AttributeError(f"this config of {self.__dict__.get('method')!r} has no {name!r}")

    def _check_phases(self) -> None:
        spec = self.spec
        for role, phase in self.phases.items():
            if spec.phases.get(role) != phase.method:
                needed = ", ".join(f"{one}={name}" for one, name in spec.phases.items()) or "none"
                raise ConfigError(f"phases of {self.method}: {needed}; got {role}={phase.method}")
            for name in (*MUST_MATCH, *spec.must_match.get(role, ())):
                value = operator.attrgetter(name)
                mine, other = value(self), value(phase)
                if mine != other:
                    raise ConfigError(
                        f"{name} must be equal in a run and in those that it builds on: the "
                        f"{role} has {other!r}, this {self.method} run {mine!r}"
                    )
            self.data.check_same(phase.data, role)
            self.model.check_same(phase.model, role)

    @property
    def spec(self) -> Any:
        """The class of the method (`icotlib.methods.base.Method`)."""
        return METHODS.get(self.method)

    @property
    def input_format(self) -> Any:
        """How the method turns examples into input (`icotlib.data.inputs.InputFormat`)."""
        return self.spec.input_format(self)

    def ancestors(self) -> dict[str, "RunConfig"]:
        """Every run that this one builds on, directly or not, by name."""
        return {name: one for name, one in self.family().items() if one is not self}

    def family(self) -> dict[str, "RunConfig"]:
        """This run and all that it builds on, by name: a run after those that it builds on."""
        found: dict[str, RunConfig] = {}
        for phase in self.phases.values():
            found |= phase.family()
        return found | {self.run_name: self}

    @property
    def task(self) -> str:
        """The task as tables name it."""
        return self.data.task if self.data.path is None else Path(self.data.path).name

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of all settings, and of what data and pretrained model hold.

        Settings at their default are left out, so that a setting added later does not rename the
        runs made before. A default that changes must therefore raise `NUMERICS`.
        """
        text = json.dumps([NUMERICS, self.differences()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def plain_name(self) -> str:
        """The name of a new run directory: readable first, unique by its end."""
        schedule = self.spec.schedule_name(self)
        parts = [self.method, schedule, as_name(self.task), self.label]
        parts += [f"s{self.seed}", f"v{NUMERICS}", self.digest[:10]]
        return not_too_long("-".join(part for part in parts if part))

    @property
    def run_name(self) -> str:
        """The name of the run directory. Data may have been under another name when it was made."""
        name = self.plain_name
        return name if self.data.path is None else paths.known_run(name)

    def pinned(self) -> "RunConfig":
        """The same with the hashes of what its data and pretrained models hold now."""
        sections: dict[str, Any] = {
            name: dataclasses.replace(section, content=section.identity)
            for name, section in (("data", self.data), ("model", self.model))
            if section.content is None and section.identity is not None
        }
        phases = {role: phase.pinned() for role, phase in self.phases.items()}
        return dataclasses.replace(self, **sections, phases=phases)

    def differences(self) -> dict[str, Any]:
        """The settings that are not at their default; a phase stands as its digest."""
        found: dict[str, Any] = {}
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            if isinstance(value, Section):
                value = value.changed()
            elif spec.name == "own":
                found |= {name: x for name in value if (x := self._own_differences(name))}
                continue
            elif spec.name == "phases":
                value = {role: phase.digest for role, phase in value.items()}
            elif value == spec.default:
                continue
            if value not in ({}, None):
                found[spec.name] = value
        return found

    def _own_differences(self, name: str) -> dict[str, Any]:
        declared, section = self.spec.sections[name], self.own[name]
        changed = section.changed()
        if isinstance(declared, Variants):  # each variant has the choice of itself as default
            choice = getattr(section, declared.key)
            changed |= {declared.key: choice} if choice != declared.default else {}
        return changed

    def override(self, changes: "dict[str, Any] | str | None" = None, **more: Any) -> "RunConfig":
        """A copy with settings changed by dotted name, e.g. `{"train.steps": 50}` or `seed=1`.

        Text is read as YAML, so that a papermill `-p overrides '{train.steps: 50}'` works too.
        Where another method or variant is chosen, settings that it does not read are dropped.

        Raises `ConfigError` for an unknown name, a value that does not fit, and a setting that the
        method, or the variant chosen in it, does not read.
        """
        flat = parse_overrides(changes) | parse_overrides(more)
        values = to_dict(self)
        forget_contents(values, flat)
        values["method"] = flat.get("method", values["method"])
        keep_what_is_read(values, flat, METHODS.get(values["method"]).sections, COMMON)
        for name, value in flat.items():
            section, _, last = name.rpartition(".")
            if name == "phases":
                phases = value.values() if isinstance(value, dict) else [None]
                if not all(isinstance(phase, RunConfig) for phase in phases):
                    raise ConfigError(f"phases must map roles to configs of runs, got {value!r}")
                values["phases"] = {role: to_dict(phase) for role, phase in value.items()}
            elif not section:
                values[last] = value
            elif section == "phases" or not isinstance(values.get(section, {}), dict):
                raise ConfigError(unknown_setting(name))
            else:
                values.setdefault(section, {})[last] = value
        return from_dict(values)


def families(configs: Iterable[RunConfig]) -> dict[str, RunConfig]:
    """Some runs and all that they build on, by name: a run after those that it builds on."""
    return {name: one for config in configs for name, one in config.family().items()}


#: Settings that must be equal in a run and in every run that it builds on: what one holds out, the
#: other must hold out too.
MUST_MATCH = (
    *(f"model.{name}" for name in names_of(ModelConfig) if name not in ("pretrained", "content")),
    *("data.task", "data.seed", "data.holdout", "data.hold_out"),
    *("data.valid_examples", "data.test_examples"),
)


#: The fields of every config; all others are sections of methods.
COMMON = tuple(spec.name for spec in dataclasses.fields(RunConfig) if spec.name != "own")

#: The sections of every config, that of the run itself first.
COMMON_SECTIONS = (RunConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Nested plain values, ready for JSON."""
    values = {
        spec.name: getattr(config, spec.name)
        for spec in dataclasses.fields(config)
        if spec.name not in ("own", "phases")
    }
    values |= config.own
    values = {
        name: dataclasses.asdict(value) if isinstance(value, Section) else value  # type: ignore[call-overload]
        for name, value in values.items()
    }
    return values | {"phases": {role: to_dict(phase) for role, phase in config.phases.items()}}


def from_dict(values: dict[str, Any]) -> RunConfig:
    """A `RunConfig` from `to_dict`'s output. Raises `ConfigError` for an unknown setting."""
    hints = get_type_hints(RunConfig)
    arguments: dict[str, Any] = {}
    own: dict[str, Section] = {}
    method = values.get("method", RunConfig.method)
    sections = METHODS.get(method).sections
    for name, value in values.items():
        if name == "phases":
            arguments[name] = {role: from_dict(phase) for role, phase in value.items()}
        elif name in sections:
            _check_read(name, value, method)
            own[name] = build_section(sections[name], value)
        elif name not in COMMON:
            _check_read(name, value, method)
            raise ConfigError(unknown_setting(next(_dotted(name, value), name)))
        elif isinstance(hints[name], type) and issubclass(hints[name], Section):
            arguments[name] = build_section(hints[name], value)
        else:
            arguments[name] = value
    return RunConfig(**arguments, own=own)


def _check_read(section: str, values: Any, method: str) -> None:
    """Raises `ConfigError` for a setting that other methods read, and this one does not."""
    known = field_names(method)
    for dotted in _dotted(section, values):
        if dotted not in known and dotted in field_names():
            raise ConfigError(unknown_setting(dotted, f"method {method!r} does not read it"))


def unknown_setting(name: str, unread: str = "", known: Iterable[str] | None = None) -> str:
    """The error of a setting that is not read, with the methods that do or the nearest name.

    Args:
        unread: who does not read it.
        known: the settings to compare a misspelt name with; by default all.
    """
    readers = [method for method in METHODS.names() if unread and name in field_names(method)]
    if readers:
        return f"{name} does not apply: {unread}; it is a setting of {' and '.join(readers)}"
    mapping, _, key = name.rpartition(".")
    if mapping in field_names():  # such as model.options.n_inner
        nested = f"{mapping}={{{key}: ...}}"
        return f"unknown setting {name!r}: {mapping} is one value; write a mapping as {nested}"
    return f"unknown setting {name!r}.{did_you_mean(name, known or field_names())}"


def _dotted(section: str, values: Any) -> Iterator[str]:
    """The dotted names of plain values."""
    return (f"{section}.{key}" for key in values) if isinstance(values, dict) else iter(())


def settings_of(method: str) -> Iterator[Description]:
    """Every setting of a method's runs with its meaning, type, default and range."""
    for declared in (*COMMON_SECTIONS, *METHODS.get(method).sections.values()):
        yield from describe(declared)


def parse_overrides(changes: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """Overrides by dotted name, from a mapping, nested or not, from YAML text or from nothing.

    Raises `ConfigError` for what is no such thing (`icotlib.overrides.parse`).
    """
    return parse(changes, known_settings())


def known_settings() -> Known:
    """The settings of all methods, which tell the type of one, and whether it names a file."""
    return _known(tuple(METHODS.items().items()))


@functools.lru_cache(maxsize=4)
def _known(methods: tuple[tuple[str, Any], ...]) -> Known:
    every = [one for name, _ in methods for one in settings_of(name)]
    paths = {one.name for one in every if one.meant == "path"}
    return Known({one.name: one.kind for one in every}, paths)


def field_names(method: str | None = None) -> list[str]:
    """The dotted name of every setting: of one method's runs, or of any method's."""
    methods = METHODS.names() if method is None else [method]
    return list(dict.fromkeys(one.name for name in methods for one in settings_of(name)))
