"""The experiments of the workbook as configs, at three sizes of one code path.

- `smoke`: seconds; proves that everything runs (tests and CI).
- `fast`: minutes on a laptop with two cores; the default, and what `figures/` shows.
- `paper`: the papers' own settings, on one GPU: pretrained GPT-2 small on 4x4 multiplication.
"""

from typing import Any

from icotlib.config import RunConfig, parse_overrides
from icotlib.errors import ConfigError, did_you_mean

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
        "removal.warmup_steps": 10,
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
        "removal.warmup_steps": 25_250,
        "train.batch_size": 32,
        "train.length_groups": 1,
        "train.eval_every": 2000,
        "train.steps": 25_250,
    },
}

#: Steps of stepwise internalization, of explicit CoT, and of No CoT for as many seconds.
STEPS = {
    "smoke": {"icot_si": 40, "explicit_cot": 40, "no_cot_seconds": 60},
    "fast": {"icot_si": 1200, "explicit_cot": 500, "no_cot_seconds": 1520},
    "paper": {"icot_si": 25_250 * 9, "explicit_cot": 25_250, "no_cot_seconds": 25_250 * 12},
}

#: A problem that takes a minute, and a model and rates that suit it. AdamW is too slow for it.
SMALL = {
    "data.task": "mult-2x2",
    "model.layers": 2,
    "model.width": 96,
    "model.heads": 4,
    "optim.name": "muon",
    "optim.lr": 2e-3,
    "optim.muon_lr": 2e-2,
    "train.batch_size": 64,
}

#: The levers notebook: a smaller problem on which the paper's linear schedule takes a minute.
LEVERS_BASE: dict[str, dict[str, Any]] = {
    "smoke": {
        "removal.steps_per_epoch": 40,
        "removal.warmup_steps": 8,
        "optim.warmup_steps": 4,
        "train.steps": 40,
    },
    "fast": {
        **SMALL,
        "removal.steps_per_epoch": 1200,
        "removal.warmup_steps": 300,
        "train.eval_every": 50,
        "train.steps": 1600,
    },
    "paper": {"data.task": "mult-7x7", "train.steps": 25_250 * 21},
}

LEVERS: dict[str, dict[str, Any]] = {
    "paper": {},
    "pace 16": {"removal.pace": 16.0},
    "no reset": {"removal.reset_optimizer": False},
    "no smoothing": {"removal.smoothing": None},
    "right side": {"removal.side": "right"},
}


#: Distillation's layout, and what all its stages share at each preset. One state of the teacher
#: per layer wants about as many layers as the chain has tokens.
DIRECT = {"removal.schedule": "all", "removal.direct": True}
KD: dict[str, dict[str, Any]] = {
    "smoke": {"model.layers": 3, "model.width": 32, "model.heads": 2},
    "fast": {
        "model.layers": 12,
        "model.width": 64,
        "model.heads": 4,
        "model.options": {"activation_function": "relu"},
        "optim.muon_lr": 1.5e-2,
        "optim.decay_fraction": 1.0,
        "train.batch_size": 64,
    },
    "paper": {"distill.start": "model"},
}
KD_STAGES: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {"teacher": {}, "student": {}, "emulator": {}, "coupled": {}},
    "fast": {
        "teacher": {"train.steps": 900, "optim.decay_fraction": 0.5},
        "student": {"train.steps": 2000},
        "emulator": {"train.steps": 2000},
        "coupled": {"train.steps": 800, "optim.muon_lr": 3e-3, "optim.lr": 2e-4},
    },
    "paper": {
        "teacher": {},
        "student": {"train.steps": 25_250 * 40},
        "emulator": {"train.steps": 25_250 * 40},
        "coupled": {"train.steps": 25_250 * 40},
    },
}


def explicit_cot(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """The teacher: it writes every step."""
    changes: dict[str, Any] = {"method": "explicit_cot", "removal.schedule": "none"}
    if preset == "fast":  # it learns early; a rate that falls too soon stops it short
        changes["optim.decay_fraction"] = 0.4
    return _make(preset, seed, overrides, _steps(preset, "explicit_cot") | changes)


def no_cot(preset: str, seed: int = 0, overrides: Any = None, budget: str = "seconds") -> RunConfig:
    """Answers alone, with as many `seconds` as stepwise internalization, or as many `examples`.

    Its sequences are shorter, so that it sees more examples in the same time: the workbook trains
    that, the harder of the two comparisons. Both end with the same decay of the learning rate.
    """
    steps = _steps(preset, {"examples": "icot_si", "seconds": "no_cot_seconds"}[budget])
    changes = {"method": "no_cot", "removal.schedule": "all", "label": f"equal-{budget}"}
    return _make(preset, seed, overrides, steps | changes)


def icot_si(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """Stepwise internalization as the preset does it best (`paper`: as the paper does it)."""
    changes = PAPER_REMOVAL | {"removal.steps_per_epoch": 25_250} if preset == "paper" else {}
    return _make(preset, seed, overrides, _steps(preset, "icot_si") | changes)


def paper_pace(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """The paper's linear schedule at its true pace: 101,000 examples for each removed token.

    Hours at `fast`, so no notebook trains it; it is shown where its run exists.
    """
    changes = (
        PAPER_OPTIM
        | PAPER_REMOVAL
        | {
            "label": "paper-pace",
            "data.test_examples": 2000,
            "optim.lr": 5e-4,
            "removal.steps_per_epoch": 25_250,
            "removal.warmup_steps": 2000,
            "train.batch_size": 32,
            "train.length_groups": 1,
            "train.eval_every": 500,
            "train.steps": 43_041,
        }
    )
    return _make(preset, seed, overrides, changes)


def levers(preset: str, seed: int = 0, overrides: Any = None) -> dict[str, RunConfig]:
    """The stepwise paper's own levers: its settings, and each of them changed alone."""
    _check(preset)
    base = PAPER_OPTIM | PAPER_REMOVAL | {"train.length_groups": 1} | LEVERS_BASE[preset]
    return {
        name: _make(preset, seed, overrides, base, change, {"label": name.replace(" ", "-")})
        for name, change in LEVERS.items()
    }


def tour(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """A small task that shows the idea within a minute, with any number of steps."""
    _check(preset)
    changes: dict[str, Any] = {"label": "tour"}
    if preset != "smoke":
        preset = "fast"
        changes |= SMALL | {"train.steps": 1000, "optim.decay_fraction": 0.6}
    return _make(preset, seed, overrides, changes)


def kd_teacher(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """Distillation's teacher: explicit CoT on a model with about a layer per chain token."""
    return explicit_cot(preset, seed, _kd("teacher", preset, overrides))


def kd_student(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """Mind-reading: a student that answers from the teacher's states."""
    teacher = kd_teacher(preset, seed, overrides)
    changes = _kd("student", preset, overrides)
    return _make(preset, seed, changes, {"method": "mind_reading", "teacher": teacher} | DIRECT)


def kd_emulator(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """Thought emulation: an emulator that predicts those states from the question."""
    teacher = kd_teacher(preset, seed, overrides)
    changes = _kd("emulator", preset, overrides)
    return _make(preset, seed, changes, {"method": "emulation", "teacher": teacher} | DIRECT)


def icot_kd(
    preset: str,
    seed: int = 0,
    overrides: Any = None,
    mind_reading: bool = True,
    emulation: bool = True,
) -> RunConfig:
    """Distillation as a whole: emulator and student coupled; either stage can be skipped."""
    parents: dict[str, Any] = {"teacher": kd_teacher(preset, seed, overrides)}
    if mind_reading:
        parents["student"] = kd_student(preset, seed, overrides)
    if emulation:
        parents["emulator"] = kd_emulator(preset, seed, overrides)
    changes = _kd("coupled", preset, overrides)
    return _make(preset, seed, changes, {"method": "icot_kd"} | parents | DIRECT)


def _kd(stage: str, preset: str, overrides: Any) -> dict[str, Any]:
    """The settings of a stage of distillation: the preset's, under what the user asks for.

    An override counts for every stage, or, behind a stage's name (`student.train.steps`), for
    that stage alone.
    """
    _check(preset)
    changes = KD[preset] | KD_STAGES[preset][stage]
    every, own = {}, {}
    for name, value in parse_overrides(overrides).items():
        first, _, rest = name.partition(".")
        if first not in KD_STAGES[preset]:
            every[name] = value
        elif first == stage:
            own[rest] = value
    return changes | every | own


def workbook(preset: str, seed: int = 0, overrides: Any = None) -> list[RunConfig]:
    """Every run that the notebooks need, the longest first."""
    main = [
        icot_si(preset, seed, overrides),
        no_cot(preset, seed, overrides),
        explicit_cot(preset, seed, overrides),
    ]
    return [*main, *levers(preset, seed, overrides).values(), tour(preset, seed, overrides)]


def _steps(preset: str, run: str) -> dict[str, int]:
    _check(preset)
    return {"train.steps": STEPS[preset][run]}


def _check(preset: str) -> None:
    if preset not in PRESETS:
        hint = did_you_mean(str(preset), PRESETS)
        raise ConfigError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}.{hint}")


def _make(preset: str, seed: int, overrides: Any, *changes: dict[str, Any]) -> RunConfig:
    _check(preset)
    merged: dict[str, Any] = {"preset": preset, "seed": seed, **MAIN[preset]}
    for change in changes:
        merged |= change
    return RunConfig().override(merged | parse_overrides(overrides))
