"""Measuring budgets: how many steps of No CoT take as many seconds as a run of another method."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from icotlib.config import RunConfig
from icotlib.experiments import budgets, stepwise
from icotlib.running.timed import training_seconds
from icotlib.runs import Run
from icotlib.system.devices import best_device, device_name
from icotlib.system.origin import git_commit
from icotlib.training.trainer import Trainer

#: The runs whose seconds No CoT gets.
REFERENCES: dict[str, Callable[..., RunConfig]] = {
    "icot_si": stepwise.icot_si,
    "one_model": stepwise.one_model,
}

#: Points of a run at which its steps are timed: its first steps differ from its last.
POINTS = 25


def calibrate(
    preset: str,
    overrides: Any = None,
    rounds: int = 5,
    on_round: Callable[[int], None] = lambda number: None,
) -> list[dict[str, str]]:
    """Rows of `budgets.csv`: steps of No CoT that take as long as each reference.

    The runs take turns, so that what else the machine does meets all alike; the ratio of a round
    counts, and of all rounds the median.

    Args:
        on_round: called with the number of rounds that are finished.
    """
    configs = {name: make(preset, 0, overrides) for name, make in REFERENCES.items()}
    configs["no_cot"] = stepwise.no_cot(preset, 0, overrides, budget="examples")
    ratios: dict[str, list[float]] = {name: [] for name in REFERENCES}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="icotlib-budget-")))
        trainers = {
            name: Trainer(config, Run(folder / config.run_name)) for name, config in configs.items()
        }
        for number in range(rounds):
            seconds = {name: training_seconds(one, POINTS) for name, one in trainers.items()}
            for name in REFERENCES:
                ratios[name].append(seconds[name] / seconds["no_cot"])
            on_round(number + 1)
    no_cot = configs["no_cot"]
    shared = {
        "preset": preset,
        "precision": no_cot.train.precision,
        "device": device_name(best_device()),
        "commit": git_commit(),
        "date": date.today().isoformat(),
    }
    return [
        shared | {"reference": name, "steps": str(_rounded(no_cot.train.steps * median(found)))}
        for name, found in ratios.items()
    ]


def _rounded(steps: float) -> int:
    """Steps to ten, or to one where there are few."""
    return round(steps) if steps < 500 else 10 * round(steps / 10)


def sentence(row: dict[str, str]) -> str:
    """A row in words."""
    return (
        f"No CoT takes as many seconds as {row['reference']} ({row['preset']}, "
        f"{row['precision']}) with {int(row['steps']):,} steps"
    )


def keep(found: list[dict[str, str]]) -> None:
    """Write measured rows to `budgets.csv`, where the presets read them."""
    budgets.write(found)
