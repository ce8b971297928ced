"""The experiments of the workbook as configs, at three sizes of one code path.

- `smoke`: seconds; proves that everything runs (tests and CI).
- `fast`: minutes on a laptop with two cores; the default, and what `figures/` shows.
- `paper`: the papers' own settings, on one GPU: pretrained GPT-2 small on 4x4 multiplication.
"""

from collections.abc import Callable
from typing import Any

from icotlib.config import RunConfig
from icotlib.experiments.base import PRESETS, Shared
from icotlib.experiments.distillation import (
    ablations,
    depths,
    few_examples,
    icot_kd,
    kd_emulator,
    kd_no_cot,
    kd_skipped,
    kd_student,
    kd_teacher,
    mixtures,
    weak_model,
)
from icotlib.experiments.interp import N_EXAMPLES, NO_COT_CONTROL, interp_runs
from icotlib.experiments.ood import COMPARED, METHODS, shifted
from icotlib.experiments.own import PROBLEMS, own, own_kd, own_si
from icotlib.experiments.stepwise import (
    LEVERS,
    explicit_cot,
    icot_si,
    levers,
    no_cot,
    paper_pace,
    tour,
)

__all__ = [
    "COMPARED",
    "LEVERS",
    "NO_COT_CONTROL",
    "N_EXAMPLES",
    "PRESETS",
    "PROBLEMS",
    "ablations",
    "depths",
    "explicit_cot",
    "few_examples",
    "icot_kd",
    "icot_si",
    "interp_runs",
    "kd_emulator",
    "kd_no_cot",
    "kd_skipped",
    "kd_student",
    "kd_teacher",
    "levers",
    "mixtures",
    "needed",
    "no_cot",
    "own",
    "own_kd",
    "own_si",
    "paper_pace",
    "series",
    "shifted",
    "studies",
    "tour",
    "weak_model",
    "workbook",
]


def series(preset: str, seed: int = 0, overrides: Any = None) -> list[RunConfig]:
    """Stepwise internalization and what it is compared with, the longest first."""
    overrides = Shared.of(overrides, ("icot_si", "no_cot", "explicit_cot"))
    return [make(preset, seed, overrides) for make in (icot_si, no_cot, explicit_cot)]


def workbook(preset: str, seed: int = 0, overrides: Any = None) -> list[RunConfig]:
    """Every run that the main notebooks need: those that most depend on, and the longest, first."""
    overrides = Shared.of(overrides, METHODS)
    main = [icot_kd(preset, seed, overrides), *series(preset, seed, overrides)]
    return [*main, *levers(preset, seed, overrides).values(), tour(preset, seed, overrides)]


def studies(preset: str, seed: int = 0, overrides: Any = None) -> list[RunConfig]:
    """What the studies need beyond that: baselines, ablations, depth, mixture, shifts."""
    overrides = Shared.of(overrides, METHODS)
    groups = (ablations, weak_model, depths, mixtures, few_examples, shifted)
    baselines = [make(preset, seed, overrides) for make in (kd_skipped, kd_no_cot)]
    return [*baselines, *(run for make in groups for run in make(preset, seed, overrides).values())]


#: What each notebook asks for, by the number that its name begins with.
NEEDED: dict[str, tuple[Callable[..., Any], ...]] = {
    "00": (tour,),
    "01": (),
    "02": (explicit_cot, no_cot),
    "03": (kd_student,),
    "04": (kd_emulator,),
    "05": (icot_kd,),
    "06": (icot_si,),
    "07": (levers,),
    "08": (series,),
    "09": (studies,),
    "10": (studies,),
    "11": (icot_si, icot_kd, no_cot),
    "12": (icot_si, icot_kd),
    "13": (icot_si, icot_kd, no_cot, explicit_cot),
    "14": (),  # a run of the user's own, which it makes itself
    "99": (series,),
}


def needed(
    notebook: str, preset: str, seed: int = 0, overrides: Any = None
) -> tuple[RunConfig, ...]:
    """The runs that a notebook asks for.

    Args:
        notebook: its name, or the number that this begins with.
    """
    found: list[RunConfig] = []
    overrides = Shared.of(overrides, METHODS)
    for make in NEEDED[notebook[:2]]:
        made = make(preset, seed, overrides)
        made = made.values() if isinstance(made, dict) else made
        found += [made] if isinstance(made, RunConfig) else made
    return tuple(found)
