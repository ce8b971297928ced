"""Explicit CoT, No CoT (with running sums or without), stepwise internalization (arXiv 2405.14838),
and one model for all k."""

from typing import Any

from icotlib.config import RunConfig, parse_overrides
from icotlib.experiments import budgets
from icotlib.experiments.base import PAPER_OPTIM, PAPER_REMOVAL, check, make
from icotlib.registry import METHODS

#: Steps of each run. No CoT has as many as the run whose budget it gets, or more (`no_cot`).
STEPS = {
    "smoke": {
        "icot_si": 40,
        "one_model": 40,
        "explicit_cot": 40,
    },
    "fast": {
        "icot_si": 1500,
        "one_model": 1500,
        "explicit_cot": 400,
    },
    "paper": {
        "icot_si": 25_250 * 9,
        "one_model": 25_250 * 9,
        "explicit_cot": 25_250,
    },
}


#: Steps of No CoT that take as long as one of a method with chains, where `icot calibrate` has not
#: measured it (`icotlib.experiments.budgets`).
UNMEASURED = 1.3


#: Their model, beyond its size: ReLU takes a fifth less time than GELU, at no loss of accuracy.
MODEL: dict[str, dict[str, Any]] = {
    "smoke": {},
    "fast": {"model.options": {"activation_function": "relu"}},
    "paper": {},
}


#: How each preset removes tokens step by step. `fast` has the paper's smoothing and optimizer
#: reset, a token every 30 steps, most of its steps behind the last removal, and a rate at which no
#: tuning seed is late in learning what comes then (LOG.md).
REMOVAL: dict[str, dict[str, Any]] = {
    "smoke": {
        "removal.warmup_steps": 10,
        "removal.pace": 1.0,
        "removal.steps_per_epoch": 4,
    },
    "fast": {
        "optim.decay_fraction": 0.5,
        "optim.muon_lr": 1.5e-2,
        "removal.pace": 1.0,
        "removal.reset_optimizer": True,
        "removal.smoothing": 4.0,
        "removal.steps_per_epoch": 30,
        "removal.warmup_steps": 150,
    },
    "paper": PAPER_REMOVAL | {"removal.steps_per_epoch": 25_250, "removal.warmup_steps": 25_250},
}

#: How each preset removes tokens, where one model serves all stages.
EVERY_STAGE: dict[str, dict[str, Any]] = {
    "smoke": {"removal.warmup_steps": 10},
    "fast": {},
    "paper": {"removal.warmup_steps": 25_250},
}

#: How each preset trains on answers alone: at the best of four rates (LOG.md), in the positions
#: that its ICoT-SI ends with.
ANSWERS: dict[str, dict[str, Any]] = {
    "smoke": {},
    "fast": {"optim.muon_lr": 1.5e-2},
    "paper": {"removal.keep_positions": False},
}

#: A problem that takes a minute, with a model and rates that suit it (AdamW is too slow).
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


#: Of the ablations: a smaller problem on which the paper's linear schedule takes a minute.
SCHEDULE_ABLATIONS_BASE: dict[str, dict[str, Any]] = {
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
    "paper": {
        "data.task": "mult-7x7",
        "removal.warmup_steps": 25_250,
        "train.steps": 25_250 * 21,
    },
}


SCHEDULE_ABLATIONS: dict[str, dict[str, Any]] = {
    "paper": {},
    "pace 16": {"removal.pace": 16.0},
    "no reset": {"removal.reset_optimizer": False},
    "no smoothing": {"removal.smoothing": None},
    "right side": {"removal.side": "right"},
}


def explicit_cot(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """The teacher: it writes every step."""
    changes: dict[str, Any] = {"method": "explicit_cot"}
    if preset == "fast":  # it learns from few examples; a rate that falls too early stops it short
        changes |= {"optim.decay_fraction": 0.4, "train.batch_size": 96}
    return make(preset, seed, overrides, _size(preset, "explicit_cot") | changes)


def no_cot(
    preset: str,
    seed: int = 0,
    overrides: Any = None,
    budget: str = "seconds",
    reference: str = "one_model",
) -> RunConfig:
    """Answers alone, with as many `seconds` as another run, or as many `examples`.

    Its sequences are shorter, so that it sees more examples in the same time: the workbook trains
    that, the harder of the two comparisons. Its rate and its decay are those that suit it.

    Args:
        reference: the run whose budget it has, `one_model` or `icot_si`.
    """
    check(preset)
    steps = STEPS[preset][reference]
    if budget == "seconds":
        precision = parse_overrides(overrides).get("train.precision", "auto")
        measured = budgets.equal_seconds(preset, reference, precision)
        steps = measured or round(UNMEASURED * steps)
    changes = {"method": "no_cot", "label": f"equal-{budget}", "train.steps": steps}
    return make(preset, seed, overrides, MODEL[preset] | ANSWERS[preset] | changes)


def running_sums(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """No CoT with as many examples as ICoT-SI, and an auxiliary loss on running sums."""
    check(preset)
    changes = {"method": "running_sums", "train.steps": STEPS[preset]["icot_si"]}
    changes |= METHODS.get("running_sums").presets.get(preset, {})
    return make(preset, seed, overrides, MODEL[preset] | ANSWERS[preset] | changes)


def icot_si(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """Stepwise internalization by the paper's linear schedule; at `paper`, at its own pace."""
    return make(preset, seed, overrides, _size(preset, "icot_si") | REMOVAL[preset])


def one_model(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """One model for all k: every example loses its own number of tokens."""
    changes = _size(preset, "one_model") | {"method": "one_model"} | EVERY_STAGE[preset]
    return make(preset, seed, overrides, changes)


def paper_pace(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """The paper's linear schedule at its true pace: 101,000 examples for each removed token.

    About an hour at `fast`, so no notebook trains it; it is shown where its run exists. Its model
    has GPT-2's own GELU.
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
    return make(preset, seed, overrides, changes)


def schedule_ablations(preset: str, seed: int = 0, overrides: Any = None) -> dict[str, RunConfig]:
    """The settings of the stepwise paper, and each changed alone."""
    check(preset)
    base = (
        PAPER_OPTIM | PAPER_REMOVAL | {"train.length_groups": 1} | SCHEDULE_ABLATIONS_BASE[preset]
    )
    return {
        name: make(preset, seed, overrides, base, change, {"label": name.replace(" ", "-")})
        for name, change in SCHEDULE_ABLATIONS.items()
    }


def tour(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """A small task that shows the idea within a minute, with any number of steps."""
    check(preset)
    changes: dict[str, Any] = {"label": "tour", "method": "one_model"}
    if preset == "smoke":
        changes |= EVERY_STAGE["smoke"]
    else:
        preset = "fast"
        changes |= SMALL | {"train.steps": 1000, "optim.decay_fraction": 0.6}
    return make(preset, seed, overrides, changes)


def _size(preset: str, run: str) -> dict[str, Any]:
    check(preset)
    return MODEL[preset] | {"train.steps": STEPS[preset][run]}
