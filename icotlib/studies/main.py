"""The methods beside each other: five seeds, equal examples and equal seconds."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.experiments.distillation import icot_kd
from icotlib.experiments.stepwise import explicit_cot, icot_si, no_cot, one_model
from icotlib.reporting import figures
from icotlib.reporting.results import final_rows, learning_table, method_label, results_table
from icotlib.reporting.samples import sample_of
from icotlib.reporting.statistics import Interval, difference_interval, mean_interval
from icotlib.studies.base import Member, Study, register

#: Each arm: the method, and by what its budget is measured.
ARMS = {
    "icot_si": ("icot_si", "own"),
    "one_model": ("one_model", "own"),
    "icot_kd": ("icot_kd", "own"),
    "explicit_cot": ("explicit_cot", "own"),
    "no_cot_examples": ("no_cot", "examples of icot_si"),
    "no_cot_seconds": ("no_cot", "seconds of icot_si"),
}

#: Arms that answer without writing any step, though chains were there to learn from.
IMPLICIT = ("icot_si", "one_model", "icot_kd")

#: From this accuracy on, a seed counts as a success.
SUCCESS = 0.95

#: The rate of No CoT, tuned at seed 100 with as many examples as ICoT-SI.
NO_COT_RATE: dict[str, Any] = {}


@register
class Main(Study):
    name = "main"
    file = "budget"
    question = (
        "How many unseen questions does each method answer right, and how many does a model that "
        "was trained on answers alone with as many examples, or as many seconds?"
    )
    fewer: ClassVar = {"icot_kd": 3}

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        budgets = {
            f"no_cot_{budget}": no_cot(preset, seed, overrides, budget, reference="icot_si")
            for budget in ("examples", "seconds")
        }
        return {
            "icot_si": icot_si(preset, seed, overrides),
            "one_model": one_model(preset, seed, overrides),
            "explicit_cot": explicit_cot(preset, seed, overrides),
            **budgets,
            "icot_kd": icot_kd(preset, seed, overrides),
        }

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        rows = final_rows(results_table([member.run for member in members]))
        arms = {member.config.run_name: member.arm for member in members}
        kinds = [ARMS[arms[run]] for run in rows.run]
        table = pd.DataFrame(
            {
                "method": [method for method, _ in kinds],
                "budget": [budget for _, budget in kinds],
                "seed": rows.seed,
                "examples": rows.train_examples,
                "seconds": rows.train_seconds.round(1),
                "accuracy": rows.accuracy,
                "ci_low": rows.ci_low,
                "ci_high": rows.ci_high,
                "n": rows.n_test,
            }
        )
        return table.sort_values(["method", "budget", "seed"], ignore_index=True)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        runs = [member.run for member in members]
        return figures.headline(results_table(runs), learning_table(runs))

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        rows = final_rows(results_table([member.run for member in members]))
        of_arm = {
            arm: rows[rows.run.isin([x.config.run_name for x in members if x.arm == arm])]
            for arm in ARMS
        }
        said = [_accuracy(arm, of_arm[arm]) for arm in ARMS if len(of_arm[arm])]
        baseline = of_arm["no_cot_examples"]
        said += [
            _difference(arm, of_arm[arm], baseline)
            for arm in IMPLICIT
            if len(of_arm[arm]) and len(baseline)
        ]
        return said


def _named(arm: str) -> str:
    method, budget = ARMS[arm]
    unit = budget.partition(" ")[0]
    also = "" if budget == "own" else f" with as many {unit} as {method_label('icot_si')}"
    return method_label(method) + also


def _accuracy(arm: str, rows: pd.DataFrame) -> str:
    found, seeds = mean_interval(sample_of(rows)), len(rows)
    over = f"{seeds} seeds" if seeds > 1 else "one seed"
    reached = int((rows.accuracy >= SUCCESS).sum())
    return (
        f"{_named(arm)}: {_percent(found)} of {rows.n_test.min():,} unseen questions right with "
        f"{rows.removed.max()} tokens removed ({over}, lowest {rows.accuracy.min():.1%}; {reached} "
        f"of {seeds} at or above {SUCCESS:.0%})."
    )


def _difference(arm: str, rows: pd.DataFrame, baseline: pd.DataFrame) -> str:
    found = difference_interval(sample_of(rows), sample_of(baseline))
    points = Interval(*(100 * x for x in found))
    enough = min(len(rows), len(baseline)) >= 3
    undecided = found.low <= 0 <= found.high
    doubt = "; the data do not decide between them" if undecided else ""
    doubt += "" if enough else "; too few seeds for a claim"
    return (
        f"{method_label(ARMS[arm][0])} less {_named('no_cot_examples')}: {points.value:.1f} points "
        f"(95% interval {points.low:.1f} to {points.high:.1f}){doubt}."
    )


def _percent(found: Interval) -> str:
    return f"{found.value:.1%} (95% interval {found.low:.1%} to {found.high:.1%})"
