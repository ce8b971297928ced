"""What each part of the recipe brings: the settings of stepwise internalization changed one at a
time.

Where the whole recipe succeeds, a setting matters if the run fails, or falls behind, without it.
Every run sees as many examples, and has as many steps behind its last removal, apart from the arm
that changes the pace. Removing from the right needs positions that are not kept, so that it is
compared with the arm that only gives those up. At `fast` all train on a smaller problem than the
workbook's, which the whole recipe solves in minutes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig, parse_overrides
from icotlib.experiments.base import SharedOverrides
from icotlib.experiments.stepwise import REMOVAL, icot_si
from icotlib.reporting import figures
from icotlib.studies.base import Member, Study, compared, distinct, of_arm, register

#: The recipe of `icot_si` as it is.
RECIPE = ("recipe", "whole")

#: The problem, by preset, where it is not the workbook's.
PROBLEM: dict[str, dict[str, Any]] = {
    "fast": {
        "data.task": "mult-3x2",
        "model.layers": 2,
        "removal.steps_per_epoch": 25,
        "train.steps": 1400,
    }
}

#: What changes another setting too is compared with the arm where only that one is changed.
BESIDE = {("side", "right"): ("kept positions", "no")}

#: The value of each lever that differs from the recipe.
LEVERS: dict[tuple[str, str], dict[str, Any]] = {
    RECIPE: {},
    ("smoothing", "none"): {"removal.smoothing": None},
    ("optimizer reset", "none"): {"removal.reset_optimizer": False},
    ("pace", "half"): {},
    ("kept positions", "no"): {"removal.keep_positions": False},
    ("side", "right"): {"removal.side": "right", "removal.keep_positions": False},
    ("optimizer", "AdamW"): {"optim.name": "adamw"},
    ("decay", "none"): {"optim.decay_fraction": 0.0},
}


@register
class Levers(Study):
    name = "levers"
    file = "levers"
    notebook = "22"
    question = "Which settings of stepwise internalization matter, each changed alone?"

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        asked = parse_overrides(overrides)
        shared = SharedOverrides(problem_of(preset, asked) | asked)
        changes = {_arm(lever): changes_of(lever, preset, shared) for lever in LEVERS}
        made = {arm: icot_si(preset, seed, of_arm(shared, one)) for arm, one in changes.items()}
        return distinct(made, _arm(RECIPE))

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        levers, rows = {_arm(lever): lever for lever in LEVERS}, []
        for arm, table in self.rows_by_arm(members).items():
            lever, value = levers[arm]
            for row in table.itertuples():
                found = {"lever": lever, "value": value, "seed": row.seed, "removed": row.removed}
                rows.append(found | {"accuracy": row.accuracy, "n": row.n_test})
        return pd.DataFrame(rows)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.levers(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        groups = self.rows_by_arm(members)
        if _arm(RECIPE) not in groups:
            return ["No run of the whole recipe, the reference, is finished."]
        named = {
            arm: f"{_quoted(arm)} ({rows.accuracy.mean():.1%})" for arm, rows in groups.items()
        }
        pairs = [(_arm(BESIDE.get(lever, RECIPE)), _arm(lever)) for lever in LEVERS]
        return [
            compared(named[first], groups[first], named[arm], groups[arm])
            for first, arm in pairs
            if first != arm and first in groups and arm in groups
        ]


def problem_of(preset: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the smaller problem; none where other data are asked for."""
    return {} if overrides.keys() & {"data.task", "data.path"} else PROBLEM.get(preset, {})


def _arm(lever: tuple[str, str]) -> str:
    return "whole recipe" if lever == RECIPE else f"{lever[0]}: {lever[1]}"


def _quoted(arm: str) -> str:
    """An arm in a sentence: a lever and its value are one name."""
    return f"“{arm}”" if ":" in arm else arm


def changes_of(lever: tuple[str, str], preset: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a lever, and the label that names its runs.

    Args:
        overrides: those of all runs, in which the pace may be another than the preset's.
    """
    changes = dict(LEVERS[lever])
    if lever[0] == "pace":
        recipe = {**REMOVAL[preset], **overrides}
        changes["removal.steps_per_epoch"] = 2 * recipe["removal.steps_per_epoch"]
    label = "-".join(lever).replace(" ", "-").lower()
    return changes if lever == RECIPE else changes | {"label": label}
