"""Runs that are timed until they answer without writing any step (`icot record`)."""

from collections.abc import Callable
from functools import partial
from typing import Any

from icotlib.config import RunConfig, parse_overrides
from icotlib.errors import ConfigError, did_you_mean
from icotlib.experiments.four_digits import on_four_digits
from icotlib.experiments.stepwise import one_model

#: The match of validation questions to reach.
TARGET = 0.95

#: Tasks with a record: the run, and what it sets besides.
RECORDS: dict[str, tuple[Callable[..., RunConfig], dict[str, Any]]] = {
    "mult-4x2": (one_model, {"train.eval_every": 25}),
    "mult-4x4": (partial(on_four_digits, "icot_si"), {}),
}


def record(task: str, preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """A task's run, trained until the match of validation questions with all tokens removed is 95%,
    in the fastest precision of this machine.

    It is one model for every stage on 4x2 digits, and ICoT-SI by an adaptive schedule on 4x4.

    Raises `ConfigError` for a task without a record.
    """
    if task not in RECORDS:
        raise ConfigError(
            f"no record is kept of {task!r}: one of {', '.join(RECORDS)}."
            f"{did_you_mean(task, RECORDS)}"
        )
    make, own = RECORDS[task]
    changes = {"label": "record", "train.stop_accuracy": TARGET, "train.precision": "fastest"}
    if preset != "smoke":
        changes |= {"data.task": task} | own
    return make(preset, seed, changes | parse_overrides(overrides))
