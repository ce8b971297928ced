"""Which runs the workbook consists of, and which of them each notebook asks for."""

from collections.abc import Callable
from typing import Any

from icotlib.config import RunConfig, field_names
from icotlib.experiments.base import SharedOverrides, configs_of
from icotlib.experiments.distillation import (
    PHASE_METHODS,
    icot_kd,
    kd_emulator,
    kd_no_cot,
    kd_student,
)
from icotlib.experiments.latent import coconut, codi, pause
from icotlib.experiments.ood import METHODS, shifted
from icotlib.experiments.stepwise import (
    explicit_cot,
    icot_si,
    no_cot,
    one_model,
    paper_pace,
    running_sums,
    schedule_ablations,
    tour,
)
from icotlib.registry import METHODS as REGISTRY

#: The methods of the series.
SERIES = ("icot_si", "one_model", "no_cot", "explicit_cot")


def series(preset: str, seed: int = 0, overrides: Any = None) -> list[RunConfig]:
    """Stepwise internalization and what it is compared with, the longest first."""
    overrides = SharedOverrides.of(overrides, SERIES)
    makers = (one_model, icot_si, no_cot, explicit_cot)
    return [make(preset, seed, overrides) for make in makers]


def workbook(preset: str, seed: int = 0, overrides: Any = None) -> list[RunConfig]:
    """Every run that the main notebooks need: those that most depend on, and the longest, first."""
    overrides = shared(overrides)
    main = [icot_kd(preset, seed, overrides), *series(preset, seed, overrides)]
    return [
        *main,
        *schedule_ablations(preset, seed, overrides).values(),
        tour(preset, seed, overrides),
    ]


def all_studies(preset: str, seed: int = 0, overrides: Any = None) -> list[RunConfig]:
    """What every notebook that `make workbook` leaves out needs beyond the workbook, apart from
    runs of seeds of their own; and ICoT-KD's No CoT, the control of its probes."""
    overrides = shared(overrides)
    alone = [make(preset, seed, overrides) for make in (coconut, kd_no_cot)]
    return [*shifted(preset, seed, overrides).values(), *alone]


#: Methods that only studies train.
STUDIED = ("coconut", "pause", "codi", "running_sums")


#: What each notebook asks for, by the number that its name begins with.
NEEDED: dict[str, tuple[Callable[..., Any], ...]] = {
    "00": (tour,),
    "01": (),
    "02": (explicit_cot, no_cot),
    "03": (kd_student,),
    "04": (kd_emulator,),
    "05": (icot_kd,),
    "06": (icot_si, one_model),
    "07": (schedule_ablations,),
    "08": (series,),
    "09": (),  # runs of its own seeds (`icotlib.studies`), which it makes itself
    "10": (),
    "11": (one_model, icot_kd, no_cot),
    "12": (one_model, icot_kd),
    "13": (one_model, icot_kd, no_cot, explicit_cot),
    "14": (),  # a run of the user's own, which it makes itself
    "15": (),
    "16": (),
    "17": (coconut,),
    "18": (),
    "19": (),
    "20": (),
    "21": (),
    "22": (),
    "23": (),
    "99": (series,),
}


#: Notebooks that read a config without training its run.
READ: dict[str, tuple[Callable[..., Any], ...]] = {
    "01": (icot_si,),
    "09": (series, icot_kd),
    "10": (icot_kd,),
    "14": (icot_si,),
    "15": (series, icot_kd),
    "16": (one_model,),
    "18": (series, icot_kd, coconut, pause, codi),
    "19": (no_cot, running_sums),
    "20": (series, icot_kd, running_sums),
    "21": (icot_si, no_cot, explicit_cot),
    "22": (series,),
    "23": (shifted,),
    "99": (icot_kd, shifted),  # which it shows where they are finished
}


def needed(
    notebook: str, preset: str, seed: int = 0, overrides: Any = None
) -> tuple[RunConfig, ...]:
    """The runs that a notebook asks for.

    Args:
        notebook: its name, or the number that this begins with.
    """
    return tuple(configs_of(NEEDED[notebook[:2]], preset, seed, shared(overrides)))


def overrides_for(notebook: str, preset: str, overrides: Any = None) -> dict[str, Any]:
    """Those of a workbook's overrides that the runs of one notebook read.

    Raises `ConfigError` for a setting that no run of the workbook reads.
    """
    all_changes = shared(overrides)
    makers = (*NEEDED[notebook[:2]], *READ.get(notebook[:2], ()))
    methods: dict[str, None] = {}
    for config in configs_of(makers, preset, 0, all_changes):
        methods |= dict.fromkeys(one.method for one in config.family().values())
    phased = any(REGISTRY.get(method).phases for method in methods)
    roles = [role for role, method in PHASE_METHODS.items() if phased and method in methods]
    known = {name for method in methods for name in field_names(method)}
    return {
        name: value
        for name, value in all_changes.items()
        if name in known or name.partition(".")[0] in roles
    }


def shared(overrides: Any = None) -> SharedOverrides:
    """Overrides for several runs at once: each takes those that its method reads.

    Raises `ConfigError` for a setting that no run of the workbook reads.
    """
    return SharedOverrides.of(overrides, (*METHODS, *STUDIED), PHASE_METHODS)


def baselines(preset: str, seed: int = 0, overrides: Any = None) -> dict[str, RunConfig]:
    """Explicit CoT and No CoT beside stepwise internalization, by the names tables have."""
    overrides = SharedOverrides.of(overrides, ("explicit_cot", "no_cot"))
    return {
        "Explicit CoT": explicit_cot(preset, seed, overrides),
        "No CoT, about equal seconds": no_cot(preset, seed, overrides),
        "No CoT, equal examples": no_cot(preset, seed, overrides, budget="examples"),
    }


def compared(preset: str, seed: int = 0, overrides: Any = None) -> list[RunConfig]:
    """What the main figures compare: the series, and two runs that no notebook trains."""
    overrides = SharedOverrides.of(overrides, SERIES)
    return [
        *series(preset, seed, overrides),
        no_cot(preset, seed, overrides, budget="examples"),
        paper_pace(preset, seed, overrides),
    ]
