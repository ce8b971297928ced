"""Does one model for every number of removed tokens cost accuracy beside a model for one number?

A specialist is trained at one stage alone, with the whole budget of the one model or with a fifth
of it: with the one model's budget, five specialists together take five times as long.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.errors import ConfigError
from icotlib.experiments.base import SharedOverrides
from icotlib.experiments.stepwise import one_model
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import less
from icotlib.reporting.results import results_table
from icotlib.reporting.samples import sample_of
from icotlib.studies.base import Member, Study, register
from icotlib.tasks import get_task

#: Stages that have a specialist, as shares of the chain.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)

#: The budgets of specialists, as parts of the one model's steps.
BUDGETS = {"whole": 1, "fifth": 5}

GENERALIST = "one model for all k"


@register
class Anytime(Study):
    name = "anytime"
    file = "anytime"
    question = (
        "Does a model that answers with any number of steps written know less than one trained for "
        "that number alone?"
    )
    seeds = (10, 11, 12)

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        generalist = one_model(preset, seed, overrides)
        arms = {GENERALIST: generalist}
        for stage in stages_of(generalist):
            for budget, parts in BUDGETS.items():
                changes = {
                    "removal.stage": stage,
                    "removal.warmup_steps": 0,
                    "train.steps": max(1, generalist.train.steps // parts),
                    "label": f"stage-{stage}-{budget}",
                }
                own = SharedOverrides(dict(overrides) | changes)
                arms[f"specialist for {stage}, {budget} budget"] = one_model(preset, seed, own)
        return arms

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        rows = []
        for member in members:
            kind, _, budget = member.arm.partition(", ")
            wanted = stages_of(member.config)
            for row in results_table([member.run]).itertuples():
                if row.removed not in wanted:
                    continue
                rows.append(
                    {
                        "kind": "specialist" if budget else kind,
                        "removed": row.removed,
                        "budget": budget.removesuffix(" budget") or "whole",
                        "seed": row.seed,
                        "examples": row.train_examples,
                        "accuracy": row.accuracy,
                        "n": row.n_test,
                    }
                )
        order = ["kind", "budget", "removed", "seed"]
        return pd.DataFrame(rows).sort_values(order, ignore_index=True)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.anytime(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        rows = results_table([member.run for member in members])
        arm_of = {member.config.run_name: member.arm for member in members}
        groups = dict(list(rows.groupby([rows.run.map(arm_of), "removed"], sort=False)))
        said = []
        for (arm, removed), special in groups.items():
            general = groups.get((GENERALIST, removed))
            if arm == GENERALIST or general is None:
                continue
            named = f"{arm.capitalize()} ({special.accuracy.mean():.1%})"
            first = f"One model for all k, {removed} removed ({general.accuracy.mean():.1%})"
            said.append(less(first, named, sample_of(general), sample_of(special)))
        return said or ["No specialist is finished beside the one model."]


def stages_of(config: RunConfig) -> list[int]:
    """The stages that are compared on a run's task.

    Raises `ConfigError` for data from files, whose chains differ in length.
    """
    if config.data.path is not None:
        raise ConfigError(
            "the study anytime needs a generated task, whose chains have one length: leave out "
            "data.path, or set data.task"
        )
    chain = get_task(config.data.task).widths[1]
    return sorted({round(share * chain) for share in SHARES})
