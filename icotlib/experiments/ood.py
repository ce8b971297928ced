"""Which runs are tested out of distribution."""

from collections.abc import Callable
from typing import Any

from icotlib.config import RunConfig, parse_overrides
from icotlib.experiments.distillation import icot_kd
from icotlib.experiments.stepwise import explicit_cot, icot_si, no_cot
from icotlib.tasks import Task, get_task

#: The methods that are compared, by the name that results have for them.
COMPARED: dict[str, Callable[..., RunConfig]] = {
    "explicit_cot": explicit_cot,
    "icot_si": icot_si,
    "icot_kd": icot_kd,
    "no_cot": no_cot,
}


def shifted(preset: str, seed: int = 0, overrides: Any = None) -> dict[str, RunConfig]:
    """Every method on all but the reserved questions, with room for the longest shift, by name.

    Nothing for a task that neither has neighbours nor reserves anything, nor for data from files.
    """
    own = parse_overrides(overrides)
    data = icot_si(preset, seed, own).data
    task = get_task(data.task)
    if data.path is not None or not (task.shifts() or task.n_reserved):
        return {}
    changes = {"label": "shifted", "model.room": room_for_shifts(task)}
    changes["data.reserve"] = task.n_reserved > 0
    return {name: make(preset, seed, changes | own) for name, make in COMPARED.items()}


def room_for_shifts(task: Task) -> int:
    """Tokens by which the longest example of a task's shifts is longer than its own longest."""
    longest = max((sum(other.widths) for other in task.shifts().values()), default=0)
    return max(0, longest - sum(task.widths))
