"""The runs that `icot train NAME` knows: experiments of the workbook, and every method."""

from collections.abc import Callable
from functools import partial
from typing import Any

from icotlib.config import RunConfig, parse_overrides
from icotlib.errors import ConfigError, did_you_mean
from icotlib.experiments.base import check, make
from icotlib.experiments.distillation import (
    icot_kd,
    kd_emulator,
    kd_no_cot,
    kd_skipped,
    kd_student,
    kd_teacher,
)
from icotlib.experiments.four_digits import FOUR_DIGITS
from icotlib.experiments.graphs import GRAPHS
from icotlib.experiments.latent import LATENT
from icotlib.experiments.own import own_kd, own_si
from icotlib.experiments.stepwise import (
    MODEL,
    explicit_cot,
    icot_si,
    no_cot,
    one_model,
    paper_pace,
    running_sums,
    tour,
)
from icotlib.registry import METHODS

#: How each run of `icot train NAME` is made; any registered method can be named as well.
RUNS: dict[str, Callable[..., RunConfig]] = {
    "explicit_cot": explicit_cot,
    "no_cot": no_cot,
    "no_cot_examples": partial(no_cot, budget="examples"),
    "icot_si": icot_si,
    "icot_kd": icot_kd,
    "kd_emulator": kd_emulator,
    "kd_no_cot": kd_no_cot,
    "kd_skipped": kd_skipped,
    "kd_student": kd_student,
    "kd_teacher": kd_teacher,
    "one_model": one_model,
    "own_kd": own_kd,
    "own_si": own_si,
    "paper_pace": paper_pace,
    "running_sums": running_sums,
    "tour": tour,
    **LATENT,
    **GRAPHS,
    **FOUR_DIGITS,
}


def run_config(name: str, preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """The run of a name: an experiment of the workbook, or a method at its own preset settings.

    Raises `ConfigError` for a name that is neither.
    """
    if name in RUNS:
        return RUNS[name](preset, seed, overrides)
    if name in METHODS.names():
        return plain(name, preset, seed, overrides)
    known = sorted({*RUNS, *METHODS.names()})
    raise ConfigError(
        f"{name!r} names no run: one of {', '.join(known)}, or a number of the papers' tables "
        f"(icot train --list).{did_you_mean(name, known)}"
    )


def plain(method: str, preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """A method's run at the preset's shared settings and its own, with the runs it builds on.

    Those are trained on the same data, and have the same model, whatever the overrides say.
    """
    check(preset)
    spec, overrides = METHODS.get(method), parse_overrides(overrides)
    shared = {name: x for name, x in overrides.items() if name.startswith(("data.", "model."))}
    phases = {role: run_config(phase, preset, seed, shared) for role, phase in spec.phases.items()}
    changes = {"method": method, "phases": phases} | spec.presets.get(preset, {})
    return make(preset, seed, overrides, MODEL[preset], changes)
