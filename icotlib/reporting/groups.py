"""Runs in groups that differ in their seed alone, and the settings in which groups differ.

Labels and presets name runs and train nothing, so they do not count. The phases of a run have its
seed; the seed of one that has another is a setting. Runs of another numerics
version, or on data of another hash, are another group whatever their settings say.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from icotlib.config import RunConfig, settings_of
from icotlib.errors import ConfigError, RunError
from icotlib.runs import Run, all_runs, begins, not_found
from icotlib.settings import flattened
from icotlib.system.wording import counted

#: Settings that are no part of a configuration.
NOT_COMPARED = ("seed", "label", "preset")

Settings = dict[str, Any]

#: Characters that settings may take in a figure's legend.
LEGEND = 60


@dataclass(frozen=True)
class Group:
    """The finished runs of one configuration, one for each seed."""

    key: str
    runs: tuple[Run, ...]

    @property
    def config(self) -> RunConfig:
        """The config of its first run."""
        return self.runs[0].config

    @property
    def settings(self) -> Settings:
        return settings_of_run(self.runs[0])


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Runs by configuration, in the order of their names.

    Of one seed that was trained twice, under two labels for example, the run without a label
    counts, or else the first: it is one seed.
    """
    found: dict[str, dict[int, Run]] = {}
    for run in sorted(runs, key=lambda run: (run.config.label, run.name)):
        found.setdefault(configuration(run), {}).setdefault(run.config.seed, run)
    ordered = {key: [x[1] for x in sorted(seeds.items())] for key, seeds in found.items()}
    return [Group(key, tuple(members)) for key, members in ordered.items()]


def configuration(run: Run) -> str:
    """The key that all seeds of a configuration share, and nothing else does, like `c695097fab`."""
    return configuration_key(settings_of_run(run))


def configuration_key(settings: Settings) -> str:
    """`configuration` of the settings of a run."""
    text = json.dumps(settings, sort_keys=True, default=str)
    # The letter keeps readers of CSV from taking digits for a number.
    return "c" + hashlib.sha256(text.encode()).hexdigest()[:9]


def settings_of_run(run: Run) -> Settings:
    """What must be equal in two seeds of one configuration, by dotted name: settings that are not
    at their default, those of phases behind their role, numerics version and data hash."""
    origin = run.provenance
    also = {"numerics": origin.get("numerics", 1), "data": origin["data"]}
    return compared_settings(run.config) | also


def compared_settings(config: RunConfig, seed: int | None = None) -> Settings:
    """The settings of a config that are not at their default, seed, label and preset aside.

    Args:
        seed: that of the run which this is a phase of; None for a run by itself. A phase of
            another seed says which: runs that differ in it are two configurations.
    """
    own = flattened(config.differences())
    own.pop("phases", None)
    own = {name: value for name, value in own.items() if name not in NOT_COMPARED}
    # The method stands even at its default, so that the default of a setting can be looked up.
    settings = {"method": config.method} | own
    if seed not in (None, config.seed):
        settings["seed"] = config.seed
    first = config.seed if seed is None else seed
    for role, phase in config.phases.items():
        settings |= {f"{role}.{name}": x for name, x in compared_settings(phase, first).items()}
    return settings


# --- in what groups differ ---------------------------------------------------------------------


def differing(every: Sequence[Settings]) -> list[str]:
    """The names of the settings that are not equal in all of these."""
    names = dict.fromkeys(name for settings in every for name in settings)
    return [name for name in names if len({_text(one, name) for one in every}) > 1]


def differences_in_words(every: Mapping[str, Settings]) -> dict[str, str]:
    """For each of several configurations, by key, the settings that tell it from the others.

    A configuration that is at a setting's default says so by the value of the default.
    """
    names = differing(list(every.values()))
    return {
        key: ", ".join(f"{name}={_text(settings, name)}" for name in names)
        for key, settings in every.items()
    }


def difference_table(every: Mapping[str, Settings]) -> pd.DataFrame:
    """The settings in which configurations differ: one row each, one column per configuration."""
    names = differing(list(every.values()))
    columns = {key: [_text(one, name) for name in names] for key, one in every.items()}
    return pd.DataFrame({"setting": names, **columns})


def value_of(settings: Settings, name: str) -> Any:
    """A setting's value, or its default; None where the method does not read it, and for the seed
    of a phase that is the seed of its run."""
    if name in settings:
        return settings[name]
    return None if _is_phase_seed(settings, name) else _default(settings, name)


def _is_phase_seed(settings: Settings, name: str) -> bool:
    """Whether a setting is the seed of a phase, not that of its data."""
    phase, _, last = name.rpartition(".")
    return last == "seed" and f"{phase}.method" in settings


def _default(settings: Settings, name: str) -> Any:
    role, _, rest = name.partition(".")
    if f"{role}.method" in settings:  # a setting of a phase
        own = f"{role}."
        phase = {key.removeprefix(own): x for key, x in settings.items() if key.startswith(own)}
        return _default(phase, rest)
    return defaults(settings["method"]).get(name)


@functools.cache
def defaults(method: str) -> dict[str, Any]:
    """The default of every setting that a method reads."""
    return {one.name: one.default for one in settings_of(method)}


def _text(settings: Settings, name: str) -> str:
    value = value_of(settings, name)
    if isinstance(value, dict):
        return json.dumps(value)
    if value is None:
        return "the run's" if _is_phase_seed(settings, name) else "-"
    return str(value)


def told_apart(
    table: pd.DataFrame, names: Sequence[str] = ("task", "method", "schedule", "variant")
) -> pd.Series:
    """For each row of a results or learning table, the settings that tell its configuration from
    others of the same name; empty where there are none.

    Args:
        names: the columns that name a configuration for readers.
    """
    words = pd.Series("", index=table.index, dtype=object)
    for _, rows in table.groupby(list(names)):
        settings = rows.drop_duplicates("configuration").set_index("configuration").settings
        every = {str(key): json.loads(text) for key, text in settings.items()}
        if len(every) > 1:
            words[rows.index] = rows.configuration.map(differences_in_words(every))
    return words


def distinct_variants(table: pd.DataFrame) -> pd.DataFrame:
    """A results or learning table in which no two configurations share method and variant: where
    they did, the settings in which they differ follow the variant, or their key if that is long.

    A table without the columns `configuration` and `settings` is returned as it is.
    """
    if not {"configuration", "settings"} <= set(table.columns):
        return table
    table = table.fillna({"variant": ""})  # empty text, as CSV was read
    apart = [
        words if len(words) <= LEGEND else f"configuration {key}"
        for words, key in zip(
            told_apart(table, ("method", "variant")), table.configuration, strict=True
        )
    ]
    both = zip(table.variant, apart, strict=True)
    return table.assign(variant=[", ".join(part for part in pair if part) for pair in both])


# --- finding -----------------------------------------------------------------------------------


def _is_known(run: Run) -> bool:
    """Whether its method is known here; that of a user's own file may not be (`--import`)."""
    try:
        return bool(run.config)
    except ConfigError:
        return False


def find_group(name: str) -> Group:
    """The finished runs that a name stands for.

    A whole name is that run alone. Otherwise all seeds of the configuration whose key is this, or
    whose runs' names begin so; a configuration without a label goes before labelled ones.

    Raises `RunError` that lists the choices if there is none, or several.
    """
    runs = [run for run in all_runs() if _is_known(run)]
    exact = [run for run in runs if run.name == name]
    if exact:
        return group_runs(exact)[0]
    groups = group_runs(runs)
    found = [group for group in groups if group.key == name]
    found = found or group_runs(run for run in runs if begins(run.name, name))
    plain = [group for group in found if not group.config.label]
    for choice in (found, plain):
        if len(choice) == 1:
            return choice[0]
    if not found:
        raise RunError(not_found(name))
    words = differences_in_words({group.key: group.settings for group in plain or found})
    listed = "".join(
        f"\n  {group.key}  {group.runs[0].name}, "
        f"{counted(len(group.runs), 'seeds')}: {words[group.key]}"
        for group in plain or found
    )
    raise RunError(
        f"several configurations have runs that begin with {name!r}; give more of the name, or "
        f"the key in front:{listed}"
    )
