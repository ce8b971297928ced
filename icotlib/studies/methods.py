"""The methods of the field beside each other, on the same data, model, budget and evaluation."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.evaluation.stage_model import StageModel
from icotlib.experiments.distillation import icot_kd
from icotlib.experiments.latent import LATENT, REFERENCE
from icotlib.experiments.stepwise import explicit_cot, icot_si, no_cot, one_model
from icotlib.methods.latent.method import LatentMethod
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import less, percent
from icotlib.reporting.figures.style import arm_style
from icotlib.reporting.results import final_rows, results_table
from icotlib.reporting.samples import sample_of
from icotlib.reporting.speed import measure_speed
from icotlib.reporting.statistics import mean_interval
from icotlib.studies.base import Member, Study, register
from icotlib.system.processes import torch_threads

#: Arms whose steps are as many as take the reference's seconds.
EQUAL = (*LATENT, "no_cot")

#: Milliseconds an answer are the median of so many rounds of so many questions, one at a time.
ROUNDS, QUESTIONS = 3, 20


@register
class Methods(Study):
    name = "methods"
    file = "methods"
    question = (
        "How many unseen questions does each method of the field answer right after as many "
        "seconds of training, and how long does an answer take?"
    )
    seeds = (10, 11, 12)

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        return {
            "no_cot": no_cot(preset, seed, overrides, "seconds", REFERENCE),
            "explicit_cot": explicit_cot(preset, seed, overrides),
            "icot_si": icot_si(preset, seed, overrides),
            "one_model": one_model(preset, seed, overrides),
            **{name: make(preset, seed, overrides, "seconds") for name, make in LATENT.items()},
            "icot_kd": icot_kd(preset, seed, overrides),
        }

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        arms = {member.config.run_name: member for member in members}
        rows = final_rows(results_table([member.run for member in members]))
        milliseconds = _milliseconds(members)
        found = [_row(arms[row.run], row, milliseconds) for row in rows.itertuples()]
        return pd.DataFrame(found).sort_values(["task", "method", "seed"], ignore_index=True)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.accuracy_vs_milliseconds(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        samples = {arm: sample_of(rows) for arm, rows in self.rows_by_arm(members).items()}
        said = [
            f"{label_of(arm)}: {percent(mean_interval(sample))} of unseen questions right "
            f"({sample.seeds} {'seeds' if sample.seeds > 1 else 'seed'})."
            for arm, sample in samples.items()
        ]
        if REFERENCE in samples:
            said += [
                less(label_of(arm), label_of(REFERENCE), samples[arm], samples[REFERENCE])
                for arm in LATENT
                if arm in samples
            ]
        return said


def _milliseconds(members: Sequence[Member]) -> dict[str, float]:
    """Milliseconds an answer by arm, measured side by side on one seed's models at their last
    stage: the time depends on the method, and hardly on the weights."""
    first = {member.arm: StageModel.of(member.run) for member in reversed(members)}
    with torch_threads(1):  # models this small lose by sharing their work
        speeds = measure_speed(first, examples=QUESTIONS, rounds=ROUNDS)
    return {arm: round(1000 / speed, 2) for arm, speed in speeds.items()}


def _row(member: Member, row: Any, milliseconds: dict[str, float]) -> dict[str, Any]:
    config, spec, places, passes = member.config, member.config.spec, 0, 1
    if issubclass(spec, LatentMethod):
        places = int(spec.places(config, row.chain_length, row.removed))
        passes = spec.passes(config, places)
    return {
        "task": config.task,
        "method": member.arm,
        "budget": f"seconds of {REFERENCE}" if member.arm in EQUAL else "own",
        "seed": member.seed,
        "rate": config.optim.matrix_rate,
        "examples": row.train_examples,
        "seconds": round(row.train_seconds, 1),
        "passes": passes,
        "latents": places,
        "tokens": row.tokens_mean,
        "milliseconds": milliseconds[member.arm],
        "accuracy": row.accuracy,
        "ci_low": row.ci_low,
        "ci_high": row.ci_high,
        "n": row.n_test,
    }


def label_of(arm: str) -> str:
    """What sentences call an arm."""
    return arm_style(arm)["label"]
