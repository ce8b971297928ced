"""Methods with latent places: pause tokens, Coconut, CODI, and SIM-CoT's loss on Coconut."""

from collections.abc import Callable
from typing import Any

from icotlib.config import RunConfig
from icotlib.experiments import budgets
from icotlib.experiments.base import check, make
from icotlib.experiments.stepwise import MODEL, STEPS

#: Steps of these methods that take as long as the reference, as a share of its steps, where
#: `icot calibrate` has not measured it.
UNMEASURED = 0.7

#: The share of its steps that Coconut spends on the whole chain, and on each later stage but the
#: last.
FIRST, EACH = 0.1, 0.04

#: Places and what they stand for: of the task's chains, tokens at each stage.
PLACES: dict[str, dict[str, Any]] = {
    "smoke": {"latent.units_per_stage": 2},
    "fast": {"latent.units_per_stage": 2},
    "paper": {"latent.units_per_stage": 8},
}

#: The rate decays over the last half, as in ICoT-SI at `fast`.
DECAY: dict[str, dict[str, Any]] = {
    "smoke": {},
    "fast": {"optim.decay_fraction": 0.5},
    "paper": {},
}

#: What Coconut's curriculum is called with another content, or with SIM-CoT's loss.
PAUSE_AS_THOUGHT = {"label": "pause-as-thought", "latent.content": "fixed"}
SIM_COT = {"label": "sim-cot", "latent.step_weight": 1.0}

#: The run whose budget they get.
REFERENCE = "icot_si"

#: Muon's rate where a run has the reference's seconds and the usual rate is too low for so few
#: steps: tuned at seed 100 (LOG.md).
SHORT: dict[str, dict[str, Any]] = {
    "pause_as_thought": {"optim.muon_lr": 2e-2},
    "coconut": {"optim.muon_lr": 2e-2},
    "sim_cot": {"optim.muon_lr": 2e-2},
}


def coconut(
    preset: str, seed: int = 0, overrides: Any = None, budget: str = "examples"
) -> RunConfig:
    """Coconut: a place for every two tokens of the chain (8 at `paper`).

    Args:
        budget: as many `examples`, or as many `seconds`, as ICoT-SI has.
    """
    return _coconut("coconut", preset, seed, overrides, budget)


def sim_cot(
    preset: str, seed: int = 0, overrides: Any = None, budget: str = "examples"
) -> RunConfig:
    """Coconut with SIM-CoT's loss: each thought must tell the tokens that it stands for."""
    return _coconut("sim_cot", preset, seed, overrides, budget, SIM_COT)


def pause_as_thought(
    preset: str, seed: int = 0, overrides: Any = None, budget: str = "examples"
) -> RunConfig:
    """Coconut's curriculum over places that hold one learned embedding."""
    return _coconut("pause_as_thought", preset, seed, overrides, budget, PAUSE_AS_THOUGHT)


def pause(preset: str, seed: int = 0, overrides: Any = None, budget: str = "examples") -> RunConfig:
    """Pause tokens without a curriculum: six of them."""
    steps = steps_within("pause", preset, overrides, budget)
    return _make("pause", preset, seed, overrides, steps)


def codi(preset: str, seed: int = 0, overrides: Any = None, budget: str = "examples") -> RunConfig:
    """CODI: six thoughts, teacher and student in one model."""
    steps = steps_within("codi", preset, overrides, budget)
    return _make("codi", preset, seed, overrides, steps)


#: The runs here, by name.
LATENT: dict[str, Callable[..., RunConfig]] = {
    "pause": pause,
    "pause_as_thought": pause_as_thought,
    "coconut": coconut,
    "sim_cot": sim_cot,
    "codi": codi,
}


def steps_within(name: str, preset: str, overrides: Any, budget: str) -> int:
    """Steps of a run that take as many `examples`, or `seconds`, as ICoT-SI.

    Raises `ConfigError` for an unknown preset.
    """
    check(preset)
    steps = STEPS[preset][REFERENCE]
    if budget == "examples":
        return steps
    measured = budgets.likely_equal_seconds(preset, REFERENCE, overrides, name)
    return measured or round(UNMEASURED * steps)


def _coconut(
    name: str,
    preset: str,
    seed: int,
    overrides: Any,
    budget: str,
    changes: dict[str, Any] | None = None,
) -> RunConfig:
    steps = steps_within(name, preset, overrides, budget)
    stages = {
        "latent.first_steps": round(FIRST * steps),
        "latent.steps_per_stage": max(1, round(EACH * steps)),
    }
    own = PLACES[preset] | stages | (changes or {})
    if preset == "fast" and budget == "seconds":
        own |= SHORT.get(name, {})
    return _make("coconut", preset, seed, overrides, steps, own)


def _make(
    method: str,
    preset: str,
    seed: int,
    overrides: Any,
    steps: int,
    changes: dict[str, Any] | None = None,
) -> RunConfig:
    own = {"method": method, "train.steps": steps} | MODEL[preset] | DECAY[preset]
    return make(preset, seed, overrides, own | (changes or {}))
