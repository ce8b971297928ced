"""What all experiments share: the three presets, and how a config is made from them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from icotlib.config import (
    COMMON_SECTIONS,
    ModelConfig,
    RunConfig,
    field_names,
    parse_overrides,
    unknown_setting,
)
from icotlib.errors import ConfigError, did_you_mean
from icotlib.registry import METHODS
from icotlib.settings import Section, names_of, section_type

PRESETS = ("smoke", "fast", "paper")

#: The optimizer of the papers: AdamW at a constant rate.
PAPER_OPTIM = {
    "optim.name": "adamw",
    "optim.beta2": 0.999,
    "optim.weight_decay": 0.01,
    "optim.decay_fraction": 0.0,
}

#: The paper's stepwise internalization: linear pace, smoothing, optimizer reset, left side.
PAPER_REMOVAL = {
    "removal.schedule": "linear",
    "removal.pace": 8.0,
    "removal.smoothing": 4.0,
    "removal.reset_optimizer": True,
    "removal.keep_positions": False,
}

#: What every main run of a preset shares.
MAIN: dict[str, dict[str, Any]] = {
    "smoke": {
        "data.task": "mult-1x2",
        "data.valid_examples": 50,
        "data.test_examples": 50,
        "model.layers": 2,
        "model.width": 32,
        "model.heads": 2,
        "train.steps": 40,
        "train.batch_size": 32,
        "train.eval_every": 10,
    },
    "fast": {"data.task": "mult-4x2", "optim.decay_fraction": 0.7},
    "paper": {
        **PAPER_OPTIM,
        "data.task": "mult-4x4",
        "data.train_examples": 808_000,
        "data.valid_examples": 1000,
        "data.test_examples": 1000,
        "model.pretrained": "openai-community/gpt2",
        "model.spaced_separators": True,
        "optim.lr": 5e-5,
        "optim.warmup_steps": 0,
        "train.batch_size": 32,
        "train.length_groups": 1,
        "train.eval_every": 2000,
        "train.steps": 25_250,
    },
}


class SharedOverrides(dict[str, Any]):
    """Overrides that several runs share: each run takes those that its method reads."""

    @classmethod
    def of(
        cls, overrides: Any, methods: Iterable[str], phases: Mapping[str, str] = {}
    ) -> "SharedOverrides":
        """Overrides for runs of these methods.

        Args:
            phases: the methods that can be addressed alone, by the name in front of the setting.

        Raises `ConfigError` for a setting that none of them reads.
        """
        overrides = parse_overrides(overrides)
        if isinstance(overrides, cls):
            return overrides
        known = list(dict.fromkeys(name for one in methods for name in field_names(one)))
        checked = cls()
        for name, value in overrides.items():
            phase, _, rest = name.partition(".")
            if name in known:
                checked[name] = value
            elif phase in phases and rest:
                checked |= cls._for_one(phase, phases[phase], {rest: value})
            elif rest in known and phases:
                raise ConfigError(
                    f"unknown setting {name!r}: {phase!r} is no phase of these runs, which have "
                    f"{', '.join(phases)}.{did_you_mean(phase, phases)}"
                )
            else:
                raise ConfigError(unknown_setting(name, "none of these runs reads it", known))
        return checked

    @staticmethod
    def _for_one(phase: str, method: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Changes of one phase, by their names in all overrides."""
        known = field_names(method)
        for name in changes:
            if name not in known:
                unread = f"method {method!r} does not read it"
                raise ConfigError(f"{phase}: {unknown_setting(name, unread, known)}")
        return {f"{phase}.{name}": value for name, value in changes.items()}

    def for_method(self, method: str) -> dict[str, Any]:
        """Those that a method reads."""
        known = field_names(method)
        return {name: value for name, value in self.items() if name in known}

    def for_phase(self, role: str, methods: Mapping[str, str]) -> dict[str, Any]:
        """Those that a phase's method reads, and, before them, those for this phase alone."""
        known, own = field_names(methods[role]), {}
        for name, value in self.items():
            phase, _, rest = name.partition(".")
            if phase == role and rest in known:
                own[rest] = value
        return self.for_method(methods[role]) | own


def make(preset: str, seed: int, overrides: Any, *changes: dict[str, Any]) -> RunConfig:
    """A config from the preset's shared settings, then the changes, then the user's overrides.

    Settings of the preset that an overriding method or schedule does not read are left out.

    Raises `ConfigError` for an unknown preset or setting, for another preset or seed among the
    overrides, and for an override that the run does not read.
    """
    check(preset)
    merged: dict[str, Any] = {"preset": preset, "seed": seed, **MAIN[preset]}
    for change in changes:
        merged |= change
    overrides = parse_overrides(overrides)
    for name, own in {"preset": preset, "seed": seed}.items():
        if overrides.get(name, own) != own:
            raise ConfigError(
                f"{name}={overrides[name]!r} among the settings, but the run is made with "
                f"{name}={own!r}: say it once, by --{name} ({name}=... in Python)"
            )
    if isinstance(overrides, SharedOverrides):
        overrides = overrides.for_method(merged.get("method", RunConfig.method))
    read = names_read(merged | overrides)
    settings = {name: value for name, value in fitting(merged, overrides).items() if name in read}
    return RunConfig().override(settings | overrides)


def fitting(settings: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """A preset's settings, less options of its architecture where overrides name another model."""
    usual = ModelConfig()
    another = (
        overrides.get("model.architecture", usual.architecture) != usual.architecture
        or overrides.get("model.pretrained") is not None
    )
    return {name: x for name, x in settings.items() if not (another and name == "model.options")}


def configs_of(
    makers: Iterable[Callable[..., Any]], preset: str, seed: int = 0, overrides: Any = None
) -> list[RunConfig]:
    """All runs of some experiments, each of which makes one config, or several as list or dict."""
    found: list[RunConfig] = []
    for maker in makers:
        made = maker(preset, seed, overrides)
        made = made.values() if isinstance(made, dict) else made
        found += [made] if isinstance(made, RunConfig) else made
    return found


def check(preset: str) -> None:
    """Raises `ConfigError` for an unknown preset."""
    if preset not in PRESETS:
        hint = did_you_mean(str(preset), PRESETS)
        raise ConfigError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}.{hint}")


def names_read(settings: dict[str, Any]) -> set[str]:
    """The dotted names that a run with these settings reads: by its method and chosen variants.

    Args:
        settings: by dotted name; the method, and the choices of variants among them.
    """
    method = settings.get("method", RunConfig.method)
    kinds: list[type[Section]] = [*COMMON_SECTIONS]
    for name, declared in METHODS.get(method).sections.items():
        own = {
            key.partition(".")[2]: x for key, x in settings.items() if key.startswith(f"{name}.")
        }
        kinds.append(section_type(declared, own))
    return {"phases"} | {kind.dotted(name) for kind in kinds for name in names_of(kind)}
