"""Which runs are tested out of distribution."""

from collections.abc import Callable
from typing import Any

from icotlib.config import RunConfig
from icotlib.experiments.base import SharedOverrides
from icotlib.experiments.distillation import PHASE_METHODS, icot_kd
from icotlib.experiments.stepwise import explicit_cot, icot_si, no_cot, one_model
from icotlib.tasks import Task, get_task

#: The methods that are compared, by the name that results have for them.
COMPARED: dict[str, Callable[..., RunConfig]] = {
    "explicit_cot": explicit_cot,
    "icot_si": icot_si,
    "one_model": one_model,
    "icot_kd": icot_kd,
    "no_cot": no_cot,
}


#: Their methods, phases included.
METHODS = (*COMPARED, *PHASE_METHODS.values())


def shifted(preset: str, seed: int = 0, overrides: Any = None) -> dict[str, RunConfig]:
    """Every method, by name, without the held-out combinations, with positions for longer shifts.

    Nothing for a task without shifts and held-out combinations, nor for data from files.
    """
    overrides = SharedOverrides.of(overrides, METHODS, PHASE_METHODS)
    data = one_model(preset, seed, overrides).data
    task = get_task(data.task)
    if data.path is not None or not (task.shifts() or task.n_holdout):
        return {}
    changes = {"label": "shifted", "model.extra_positions": extra_positions(task)}
    changes["data.holdout"] = task.n_holdout > 0
    changes = SharedOverrides(changes | overrides)
    return {name: make(preset, seed, changes) for name, make in COMPARED.items()}


def extra_positions(task: Task) -> int:
    """Tokens by which the longest example of a task's shifts is longer than its own longest."""
    longest = max((sum(other.widths) for other in task.shifts().values()), default=0)
    return max(0, longest - sum(task.widths))
