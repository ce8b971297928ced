"""The methods beside each other: five seeds, equal examples and equal seconds."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.experiments.distillation import icot_kd
from icotlib.experiments.stepwise import explicit_cot, icot_si, no_cot, one_model
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import less, percent
from icotlib.reporting.results import final_rows, learning_table, method_label, results_table
from icotlib.reporting.samples import sample_of
from icotlib.reporting.statistics import SUCCESS, mean_interval, spent
from icotlib.studies.base import Member, Study, all_removed, outcomes, register

#: Each arm: the method, and by what its budget is measured.
ARMS = {
    "icot_si": ("icot_si", "own"),
    "one_model": ("one_model", "own"),
    "icot_kd": ("icot_kd", "own"),
    "explicit_cot": ("explicit_cot", "own"),
    "no_cot_examples": ("no_cot", "examples of icot_si"),
    "no_cot_seconds": ("no_cot", "seconds of icot_si"),
}

#: Arms that learned from chains and answer without, on at most as many examples as No CoT. (ICoT-KD
#: has phases, and a baseline of its own: `kd_no_cot`.)
IMPLICIT = ("icot_si", "one_model")

#: The baselines that they are compared with.
BASELINES = ("no_cot_examples", "no_cot_seconds")


@register
class Main(Study):
    name = "main"
    file = "budget"
    notebook = "15"
    question = (
        "How many unseen questions does each method answer right, and how many does a model that "
        "was trained on answers alone with as many examples, or as many seconds?"
    )
    fewer: ClassVar = {"icot_kd": 3}
    drawn_from_table = False  # the curves of stages and of training are of its runs

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
        table = pd.DataFrame(kinds, columns=["method", "budget"]).join(outcomes(rows))
        return table.sort_values(["method", "budget", "seed"], ignore_index=True)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        runs = [member.run for member in members]
        alone = [run for run in runs if not run.config.phases]  # phases take seconds of their own
        return figures.headline(results_table(runs), learning_table(alone))

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        of_arm = self.rows_by_arm(members)
        baselines = [arm for arm in BASELINES if arm in of_arm]
        said = [_accuracy(arm, of_arm[arm]) for arm in ARMS if arm in of_arm]
        reference = of_arm.get("icot_si")
        if reference is not None:
            said += [_spent(arm, of_arm[arm], reference) for arm in baselines]
        said += [
            _difference(arm, of_arm[arm], baseline, of_arm[baseline])
            for arm in IMPLICIT
            for baseline in baselines
            if arm in of_arm and all_removed(of_arm[arm])
        ]
        return said


def _named(arm: str) -> str:
    method, budget = ARMS[arm]
    unit = budget.partition(" ")[0]
    also = "" if budget == "own" else f" with as many {unit} as {method_label('icot_si')}"
    return method_label(method) + also


def _spent(arm: str, rows: pd.DataFrame, reference: pd.DataFrame) -> str:
    """How equal a budget is."""
    unit = ARMS[arm][1].partition(" ")[0]
    share = spent(rows, reference, f"train_{unit}")
    return f"{_named(arm)} took {share:.1%} of its {unit}."


def _accuracy(arm: str, rows: pd.DataFrame) -> str:
    found, seeds = mean_interval(sample_of(rows)), len(rows)
    over = f"{seeds} seeds" if seeds > 1 else "one seed"
    reached = int((rows.accuracy >= SUCCESS).sum())
    removed = f"{rows.removed.max()} of {rows.chain_length.max()} {rows.unit.iloc[0]}"
    return (
        f"{_named(arm)}: {percent(found)} of {rows.n_test.min():,} unseen questions right with "
        f"{removed} removed ({over}, lowest {rows.accuracy.min():.1%}; {reached} of {seeds} at or "
        f"above {SUCCESS:.0%})."
    )


def _difference(arm: str, rows: pd.DataFrame, baseline: str, others: pd.DataFrame) -> str:
    return less(method_label(ARMS[arm][0]), _named(baseline), sample_of(rows), sample_of(others))
