"""Distillation (ICoT-KD, arXiv 2311.01460): the stages, their baselines, ablations and studies.

An override counts for every stage, or, behind a stage's name, for that stage alone:
`{"model.width": 64, "student.train.steps": 500}`. The ablations are written the same way.
"""

from typing import Any

from icotlib.config import RunConfig, parse_overrides
from icotlib.experiments.base import check, fitting, make
from icotlib.experiments.stepwise import explicit_cot

#: The layout without chain and second separator.
DIRECT = {"removal.schedule": "all", "removal.direct": True}


#: What all stages share. At `fast` the model has one layer for each place from the first to the
#: second separator, so that the diagonal visits every chain token.
SHARED: dict[str, dict[str, Any]] = {
    "smoke": {"model.layers": 3, "model.width": 32, "model.heads": 2},
    "fast": {
        "model.layers": 14,
        "model.width": 48,
        "model.heads": 4,
        "model.options": {"activation_function": "relu"},
        "optim.muon_lr": 8e-3,
        "optim.decay_fraction": 1.0,
        "train.batch_size": 64,
    },
    "paper": {"distill.start": "model", "train.precision": "fp32"},
}


#: What each stage has of its own.
STAGES: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {"teacher": {}, "student": {}, "emulator": {}, "coupled": {}},
    "fast": {
        "teacher": {
            "train.steps": 1100,
            "optim.decay_fraction": 0.4,
            "optim.muon_lr": 1.5e-2,
        },
        "student": {"train.steps": 2200},
        "emulator": {"train.steps": 2000},
        "coupled": {"train.steps": 800, "optim.muon_lr": 3e-3, "optim.lr": 3e-4},
    },
    "paper": {
        "teacher": {},
        "student": {"train.steps": 25_250 * 40},
        "emulator": {"train.steps": 25_250 * 40},
        "coupled": {"train.steps": 25_250 * 40},
    },
}


def kd_teacher(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """The teacher: explicit CoT on distillation's model."""
    changes = {"label": "kd-teacher"} | _stage("teacher", preset, overrides)
    return explicit_cot(preset, seed, changes)


def kd_student(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """Mind-reading: a student that answers from the teacher's states."""
    parents = {"teacher": kd_teacher(preset, seed, overrides)}
    changes = {"method": "mind_reading"} | DIRECT | parents
    return make(preset, seed, _stage("student", preset, overrides), changes)


def kd_emulator(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """Thought emulation: an emulator that predicts those states from the question."""
    parents = {"teacher": kd_teacher(preset, seed, overrides)}
    changes = {"method": "emulation"} | DIRECT | parents
    return make(preset, seed, _stage("emulator", preset, overrides), changes)


def icot_kd(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """Distillation as a whole: emulator and student, coupled.

    The override `{"coupled.student": None}` skips mind-reading, `{"coupled.emulator": None}`
    emulation.
    """
    parents = {
        "teacher": kd_teacher(preset, seed, overrides),
        "student": kd_student(preset, seed, overrides),
        "emulator": kd_emulator(preset, seed, overrides),
    }
    changes = {"method": "icot_kd"} | DIRECT | parents
    return make(preset, seed, _stage("coupled", preset, overrides), changes)


def _stage(stage: str, preset: str, overrides: Any) -> dict[str, Any]:
    """The settings of a stage: the preset's, under the overrides that concern it."""
    check(preset)
    every, own = {}, {}
    for name, value in parse_overrides(overrides).items():
        first, dot, rest = name.partition(".")
        if not dot or first not in STAGES[preset]:
            every[name] = value
        elif first == stage:
            own[rest] = value
    own = every | own
    changes = fitting(SHARED[preset] | STAGES[preset][stage], own) | own
    if stage == "teacher":  # it is the same whatever is distilled from it
        changes = {name: x for name, x in changes.items() if not name.startswith("distill.")}
    return changes


# --- baselines ---------------------------------------------------------------------------------


def kd_no_cot(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """No CoT in distillation's layout and model, on as many examples as all stages together."""
    whole = icot_kd(preset, seed, overrides)
    steps = whole.train.steps + sum(parent.train.steps for parent in whole.parents.values())
    changes = {"method": "no_cot", "train.steps": steps} | DIRECT
    student = {"label": "kd-examples"} | _stage("student", preset, overrides)
    return make(preset, seed, student | changes)


def kd_skipped(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """The coupled architecture with both stages of distillation skipped, on as many examples."""
    return ablations(preset, seed, overrides)["both skipped"]


# --- ablations ---------------------------------------------------------------------------------


def _subset(name: str) -> dict[str, Any]:
    changes = {"distill.subset": name, "label": name.replace("_", "-")}
    return {
        f"{s}.{key}": x for s in ("student", "emulator", "coupled") for key, x in changes.items()
    }


def ablations(preset: str, seed: int = 0, overrides: Any = None) -> dict[str, RunConfig]:
    """The paper's ablations, all with the same teacher; `full` is the method itself.

    A stage that is skipped leaves its steps to coupling, which then needs, and gets, the full
    learning rate: every row sees as many examples.
    """
    overrides = parse_overrides(overrides)
    rows: dict[str, dict[str, Any]] = {"full": {}}
    for subset in ("first_column", "last_column", "bottom_row", "top_row"):
        rows[subset.replace("_", " ")] = _subset(subset)
    rows["fixed emulator"] = {
        "coupled.distill.train_emulator": False,
        "coupled.label": "fixed-emulator",
    }
    for name, skipped in {
        "no mind-reading": ["student"],
        "no emulation": ["emulator"],
        "both skipped": ["student", "emulator"],
    }.items():
        rows[name] = _skipping(skipped, preset, seed, overrides)
        rows[name]["coupled.label"] = name.replace(" ", "-")
    return {name: icot_kd(preset, seed, changes | overrides) for name, changes in rows.items()}


def _skipping(stages: list[str], preset: str, seed: int, overrides: dict[str, Any]) -> dict:
    whole = icot_kd(preset, seed, overrides)
    steps = whole.train.steps + sum(whole.parents[stage].train.steps for stage in stages)
    student = whole.parents["student"].optim
    rates = {"coupled.optim.lr": student.lr, "coupled.optim.muon_lr": student.muon_lr}
    return {f"coupled.{stage}": None for stage in stages} | {"coupled.train.steps": steps} | rates


#: A model so weak that emulation alone does not solve the task: two heads in place of four. At
#: `paper` the models are pretrained, and 5x5 digits are hard enough.
HARDER = {
    "smoke": {"model.heads": 1},
    "fast": {"model.heads": 2},
    "paper": {"data.task": "mult-5x5"},
}


def harder(preset: str, seed: int = 0, overrides: Any = None) -> dict[str, RunConfig]:
    """The method, and its emulator fixed, where emulation alone leaves much to be done."""
    check(preset)
    own = HARDER[preset] | {"label": "harder"} | parse_overrides(overrides)
    fixed = {"coupled.distill.train_emulator": False, "coupled.label": "harder-fixed-emulator"}
    return {
        "full": icot_kd(preset, seed, own),
        "fixed emulator": icot_kd(preset, seed, own | fixed),
    }


#: Depths to compare. A pretrained model has the depth it has, so `paper` starts from random
#: weights here.
DEPTHS: dict[str, tuple[int, ...]] = {
    "smoke": (2, 3),
    "fast": (4, 6, 8, 12),
    "paper": (4, 6, 8, 12),
}


UNTRAINED_GPT2 = {"model.pretrained": None, "model.width": 768, "model.heads": 12}


def depths(preset: str, seed: int = 0, overrides: Any = None) -> dict[int, RunConfig]:
    """The method at other depths, each with a teacher of its own."""
    check(preset)
    size = UNTRAINED_GPT2 if preset == "paper" else {}
    own = parse_overrides(overrides)
    return {
        layers: icot_kd(
            preset, seed, {"model.layers": layers, "label": f"{layers}-layers"} | size | own
        )
        for layers in DEPTHS[preset]
    }


# --- several valid chains ----------------------------------------------------------------------

#: Two chains for every question; one layer per place again.
TWO_CHAINS: dict[str, dict[str, Any]] = {
    "smoke": {"data.task": "mult-2x2-any"},
    "fast": {
        "data.task": "mult-2x2-any",
        "model.layers": 10,
        "teacher.train.steps": 1200,
        "student.train.steps": 800,
        "emulator.train.steps": 800,
        "coupled.train.steps": 300,
    },
    "paper": {"data.task": "mult-4x4-any"},
}


MIXTURES: dict[str, dict[str, Any]] = {
    "no mixture": {},
    "2 components": {"distill.mixture": 2},
    "16 components": {"distill.mixture": 16},
    "one for each token": {"distill.mixture": 0},
    "16, temperature 1": {"distill.mixture": 16, "distill.mixture_temperature": 1.0},
    "supervised": {"distill.mixture": 0, "distill.mixture_supervision": 1.0},
    "supervised, next token": {
        "distill.mixture": 0,
        "distill.mixture_supervision": 1.0,
        "distill.mixture_offset": 1,
    },
}


def mixtures(preset: str, seed: int = 0, overrides: Any = None) -> dict[str, RunConfig]:
    """Every kind of mixture on a task whose questions have two valid chains.

    Teacher and student are shared.
    """
    check(preset)
    made = {}
    for name, changes in MIXTURES.items():
        label = "two-chains-" + name.replace(",", "").replace(" ", "-")
        settings: dict[str, Any] = {"teacher.label": "two-chains", "student.label": "two-chains"}
        for stage in ("emulator", "coupled"):
            settings[f"{stage}.label"] = label
            settings |= {f"{stage}.{key}": value for key, value in changes.items()}
        merged = TWO_CHAINS[preset] | settings | parse_overrides(overrides)
        made[name] = icot_kd(preset, seed, merged)
    return made


# --- limited data ------------------------------------------------------------------------------


def limited(preset: str, seed: int = 0, overrides: Any = None) -> dict[str, RunConfig]:
    """Coupling on few examples, over and over; and what may keep it from learning them by heart.

    The rate is that of mind-reading, and a tenth of it.
    """
    own = parse_overrides(overrides)
    rates = icot_kd(preset, seed, own).student.optim
    few = {"coupled.data.train_examples": 100 if preset == "smoke" else 1000}
    rows: dict[str, tuple[float, dict[str, Any]]] = {
        "everything trained": (1.0, {}),
        "fixed emulator": (1.0, {"coupled.distill.train_emulator": False}),
        "a tenth of the rate": (0.1, {}),
    }
    made = {}
    for name, (share, changes) in rows.items():
        rate = {
            "coupled.optim.lr": share * rates.lr,
            "coupled.optim.muon_lr": share * rates.muon_lr,
        }
        label = {"coupled.label": "limited-" + name.replace(" ", "-")}
        made[name] = icot_kd(preset, seed, few | rate | label | changes | own)
    return made
