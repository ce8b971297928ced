"""Distillation (ICoT-KD, arXiv 2311.01460): the phases, their baselines, ablations and studies.

An override counts for every phase that reads it, or, behind a phase's name, for that phase alone:
`{"model.width": 64, "student.train.steps": 500}`. The ablations are written the same way.
"""

from collections.abc import Collection
from typing import Any

from icotlib.config import RunConfig, field_names, parse_overrides
from icotlib.experiments.base import SharedOverrides, check, make
from icotlib.experiments.stepwise import no_cot
from icotlib.registry import METHODS

#: No CoT in distillation's layout, without chain and second separator.
NO_CHAIN = {"method": "no_cot", "removal.layout": "no_chain"}


#: What all phases have in common. At `fast` the model has one layer for each position from the
#: first to the second separator, so that the diagonal visits every chain token.
COMMON: dict[str, dict[str, Any]] = {
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
    "paper": {"train.precision": "fp32"},
}


#: The paper starts student and emulator from pretrained weights, and trains up to 40 epochs.
PAPER_PHASE = {"distill.initial_weights": "model", "train.steps": 25_250 * 40}

#: The teacher is explicit CoT under a name of its own, beside the baseline.
KD_TEACHER = {"label": "kd-teacher"}

#: What each phase has of its own.
PHASES: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {"teacher": KD_TEACHER, "student": {}, "emulator": {}, "coupled": {}},
    "fast": {
        "teacher": {
            **KD_TEACHER,
            "train.steps": 1100,
            "optim.decay_fraction": 0.4,
            "optim.muon_lr": 1.5e-2,
        },
        "student": {"train.steps": 2200},
        "emulator": {"train.steps": 2000},
        "coupled": {"train.steps": 800, "optim.muon_lr": 3e-3, "optim.lr": 3e-4},
    },
    "paper": {
        "teacher": KD_TEACHER,
        "student": PAPER_PHASE,
        "emulator": PAPER_PHASE,
        "coupled": PAPER_PHASE,
    },
}


#: The method that each phase trains.
PHASE_METHODS = {
    "teacher": "explicit_cot",
    "student": "kd_student",
    "emulator": "kd_emulator",
    "coupled": "icot_kd",
}


def kd_teacher(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """The teacher: explicit CoT on distillation's model."""
    return _phase("teacher", preset, seed, overrides)


def kd_student(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """Mind-reading: a student that answers from the teacher's states."""
    return _phase("student", preset, seed, overrides)


def kd_emulator(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """Thought emulation: an emulator that predicts those states from the question."""
    return _phase("emulator", preset, seed, overrides)


def icot_kd(
    preset: str, seed: int = 0, overrides: Any = None, skip: Collection[str] = ()
) -> RunConfig:
    """Distillation as a whole: emulator and student, coupled.

    Args:
        skip: phases to skip, `student` (mind-reading) or `emulator` (emulation).
    """
    return _phase("coupled", preset, seed, overrides, skip)


def _phase(
    role: str, preset: str, seed: int, overrides: Any, skip: Collection[str] = ()
) -> RunConfig:
    """A phase, after those that it builds on."""
    check(preset)
    before = METHODS.get(PHASE_METHODS[role]).phases
    methods = {one: PHASE_METHODS[one] for one in (*before, role)}
    overrides = SharedOverrides.of(overrides, methods.values(), methods)
    phases = {one: _phase(one, preset, seed, overrides) for one in before if one not in skip}
    changes = {"method": PHASE_METHODS[role]} | COMMON[preset] | PHASES[preset][role]
    return make(preset, seed, overrides.for_phase(role, methods), changes | {"phases": phases})


# --- baselines ---------------------------------------------------------------------------------


def kd_no_cot(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """No CoT in distillation's layout and model, on as many examples as all phases together."""
    phases, mine = _beside(preset, seed, overrides)
    steps = sum(phase.train.steps for phase in phases)
    own = COMMON[preset] | PHASES[preset]["student"] | {"label": "kd-examples"} | NO_CHAIN
    return make(preset, seed, mine | {"train.steps": steps}, own)


def kd_no_cot_wide(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """No CoT in the workbook's model and at the rate tuned for it, on as many examples as all
    phases of distillation together."""
    phases, mine = _beside(preset, seed, overrides)
    examples = sum(phase.train.steps * phase.train.batch_size for phase in phases)
    config = no_cot(preset, seed, mine, "examples")
    steps = examples // config.train.batch_size
    return config.override({"label": "kd-examples-wide", "train.steps": steps})


def _beside(preset: str, seed: int, overrides: Any) -> tuple[tuple[RunConfig, ...], dict[str, Any]]:
    """All phases of distillation, and the overrides of No CoT beside them."""
    overrides = SharedOverrides.of(overrides, ["no_cot"], PHASE_METHODS)
    whole = icot_kd(preset, seed, overrides)
    mine = overrides.for_phase("student", {"student": "no_cot"})
    return (whole, *whole.phases.values()), mine


def kd_skipped(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """The coupled architecture, mind-reading and emulation skipped, on as many examples."""
    return ablations(preset, seed, overrides)["both skipped"]


# --- ablations ---------------------------------------------------------------------------------


def other_states(label: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Overrides by which every phase that needs the teacher's states needs others."""
    changes = changes | {"label": label}
    return {
        f"{s}.{key}": x for s in ("student", "emulator", "coupled") for key, x in changes.items()
    }


def ablations(preset: str, seed: int = 0, overrides: Any = None) -> dict[str, RunConfig]:
    """The paper's ablations, all with the same teacher; `full` is the method itself.

    A skipped phase leaves its steps to coupling, which then needs, and gets, the full
    learning rate: every row sees as many examples. A row's own settings win over the overrides,
    whose steps of coupling count in that sum.
    """
    rows: dict[str, dict[str, Any]] = {"full": {}}
    for subset in ("first_column", "last_column", "bottom_row", "top_row"):
        states = other_states(subset.replace("_", "-"), {"distill.subset": subset})
        rows[subset.replace("_", " ")] = states
    rows["fixed emulator"] = {
        "coupled.distill.train_emulator": False,
        "coupled.label": "fixed-emulator",
    }
    skipped = {
        "no mind-reading": ["student"],
        "no emulation": ["emulator"],
        "both skipped": ["student", "emulator"],
    }
    for name, phases in skipped.items():
        rows[name] = _skipping(phases, preset, seed, overrides)
        rows[name]["coupled.label"] = name.replace(" ", "-")
    return {
        name: icot_kd(preset, seed, _merged(overrides, changes), skipped.get(name, ()))
        for name, changes in rows.items()
    }


def _merged(*parts: Any) -> dict[str, Any]:
    """Overrides, each over those before it; shared by several runs if one of them is."""
    parsed = [parse_overrides(part) for part in parts]
    whole = {name: value for part in parsed for name, value in part.items()}
    shared = any(isinstance(part, SharedOverrides) for part in parsed)
    return SharedOverrides(whole) if shared else whole


def without_overridden(changes: dict[str, Any], overrides: Any) -> dict[str, Any]:
    """Changes without those of a single phase whose setting the overrides give for all phases."""
    given = parse_overrides(overrides)
    return {
        name: value
        for name, value in changes.items()
        if not (name.partition(".")[0] in PHASE_METHODS and name.partition(".")[2] in given)
    }


def _skipping(phases: list[str], preset: str, seed: int, overrides: Any) -> dict[str, Any]:
    whole = icot_kd(preset, seed, overrides)
    steps = whole.train.steps + sum(whole.phases[role].train.steps for role in phases)
    student = whole.phases["student"].optim
    rates = {"coupled.optim.lr": student.lr, "coupled.optim.muon_lr": student.muon_lr}
    return {"coupled.train.steps": steps} | rates


#: A model so weak that emulation alone does not solve the task: two heads in place of four. At
#: `paper` the models are pretrained, and 5x5 digits are hard enough.
WEAK_MODEL: dict[str, dict[str, Any]] = {
    "smoke": {"model.heads": 1},
    "fast": {"model.heads": 2},
    "paper": {"data.task": "mult-5x5"},
}


def weak_model(preset: str, seed: int = 0, overrides: Any = None) -> dict[str, RunConfig]:
    """The method, and its emulator fixed, where emulation alone leaves much to be done."""
    check(preset)
    own = _merged(WEAK_MODEL[preset] | {"label": "weak-model"}, overrides)
    fixed = {
        "coupled.distill.train_emulator": False,
        "coupled.label": "weak-model-fixed-emulator",
    }
    return {
        "full": icot_kd(preset, seed, own),
        "fixed emulator": icot_kd(preset, seed, _merged(own, fixed)),
    }


UNTRAINED_GPT2 = {"model.pretrained": None, "model.width": 768, "model.heads": 12}


def at_depth(preset: str, seed: int, layers: int, overrides: Any = None) -> RunConfig:
    """The method in a model of so many layers, from random weights."""
    changes = {"model.layers": layers, "label": f"{layers}-layers"}
    return icot_kd(preset, seed, _merged(changes, _untrained(preset), overrides))


def shape(preset: str, layers: int) -> dict[str, Any]:
    """The settings by which another method has distillation's model, at some depth."""
    common = {name: value for name, value in COMMON[preset].items() if name.startswith("model.")}
    return common | _untrained(preset) | {"model.layers": layers}


def _untrained(preset: str) -> dict[str, Any]:
    return UNTRAINED_GPT2 if preset == "paper" else {}


# --- several valid chains ----------------------------------------------------------------------

#: Two chains for every question; one layer per position again.
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
        for phase in ("emulator", "coupled"):
            read = field_names(PHASE_METHODS[phase])
            own = {key: value for key, value in changes.items() if key in read}
            settings |= {f"{phase}.{key}": value for key, value in {"label": label, **own}.items()}
        task = without_overridden(TWO_CHAINS[preset], overrides)
        made[name] = icot_kd(preset, seed, _merged(task | settings, overrides))
    return made


# --- few examples ------------------------------------------------------------------------------


def few_examples(preset: str, seed: int = 0, overrides: Any = None) -> dict[str, RunConfig]:
    """Coupling on few examples, over and over; and what may keep it from learning them by heart.

    The rate is that of mind-reading, and a tenth of it.
    """
    rates = icot_kd(preset, seed, overrides).phases["student"].optim
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
        label = {"coupled.label": "few-examples-" + name.replace(" ", "-")}
        made[name] = icot_kd(preset, seed, _merged(few, overrides, rate | label | changes))
    return made
