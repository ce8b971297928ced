"""Does a loss on running sums teach multiplication without any chain (arXiv 2510.00184)?

Three arms have the same model, examples and answers: No CoT, No CoT with the loss, and the control,
whose running sums are those of another question.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.experiments.stepwise import no_cot, running_sums
from icotlib.registry import METHODS
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import about_arms, capital, less, percent
from icotlib.reporting.statistics import mean_interval
from icotlib.studies.base import Member, Study, of_arm, register

#: The arms with the loss, and their settings.
TARGETS: dict[str, dict[str, Any]] = {
    "running sums": {},
    "shuffled sums": {"label": "shuffled-sums", "auxiliary.target": "shuffled"},
}

#: The arm without it.
NONE = "none"


@register
class Auxiliary(Study):
    name = "auxiliary"
    file = "auxiliary"
    notebook = "19"
    question = (
        "Does a loss on running sums, without any chain, raise the accuracy of a model that is "
        "otherwise trained on answers alone?"
    )

    takes_arms = True
    apart = ("auxiliary.target",)

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        model = METHODS.get("running_sums").presets.get(preset, {})  # the paper's own, at `paper`
        model = {name: value for name, value in model.items() if name.startswith("model.")}
        return {
            NONE: no_cot(preset, seed, of_arm(overrides, model), "examples", reference="icot_si"),
            **{
                arm: running_sums(preset, seed, of_arm(overrides, changes))
                for arm, changes in TARGETS.items()
            },
        }

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        weights = {x.arm: x.config.auxiliary.weight for x in members if x.arm != NONE}
        return pd.DataFrame(
            {
                "loss": arm,
                "weight": weights.get(arm, 0.0),
                "seed": row.seed,
                "examples": row.train_examples,
                "accuracy": row.accuracy,
                "n": row.n_test,
            }
            for arm, rows in self.rows_by_arm(members).items()
            for row in rows.itertuples()
        )

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.auxiliary(table)

    def arms_of(self, table: pd.DataFrame) -> pd.Series:
        return table.loss

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        samples = self.samples(self.rows_by_arm(members), table)
        said = [
            f"{capital(_named(arm))}: {percent(mean_interval(one))} of unseen questions right."
            for arm, one in samples.items()
        ]
        first = next(iter(TARGETS))
        said += [
            less(capital(_named(first)), _named(arm), samples[first], sample)
            for arm, sample in samples.items()
            if arm != first and first in samples
        ]
        return [*said, about_arms(table.groupby("loss").seed.nunique())]


def _named(arm: str) -> str:
    return "no auxiliary loss" if arm == NONE else f"a loss on {arm}"
