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
from icotlib.experiments.stepwise import one_model
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import less
from icotlib.reporting.figures.style import SPENT
from icotlib.reporting.samples import sample_of
from icotlib.studies.base import Member, Study, chain_tokens, of_arm, register

#: Stages that have a specialist, as shares of the chain.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)

#: The budgets of specialists, as parts of the one model's steps.
BUDGETS = {"whole": 1, "fifth": 5}

GENERALIST = "one model for all k"


@register
class Anytime(Study):
    name = "anytime"
    file = "anytime"
    notebook = "16"
    question = (
        "Does a model that answers with any number of steps written know less than one trained for "
        "that number alone?"
    )
    seeds = (10, 11, 12)
    few = 1
    apart = ("removal.stage",)

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
                own = one_model(preset, seed, of_arm(overrides, changes))
                arms[f"specialist for {stage}, {budget} budget"] = own
        return arms

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        rows = self.rows(members)
        rows = rows[rows.removed.isin(stages_of(members[0].config))]
        parts = pd.DataFrame(rows.arm.map(_parts).tolist(), rows.index, ["kind", "budget"])
        budget = parts.budget
        table = pd.DataFrame(
            {
                "kind": parts.kind.where(budget == "", "specialist"),
                "removed": rows.removed,
                "budget": budget.replace("", "whole"),
                "seed": rows.seed,
                "examples": rows.train_examples,
                "accuracy": rows.accuracy,
                "n": rows.n_test,
            }
        )
        return table.sort_values(["kind", "budget", "removed", "seed"], ignore_index=True)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.anytime(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        rows = self.rows(members).sort_values("removed", kind="stable")
        groups = dict(list(rows.groupby(["arm", "removed"], sort=False)))
        said = []
        for (arm, removed), special in groups.items():
            general = groups.get((GENERALIST, removed))
            if arm == GENERALIST or general is None:
                continue
            kind, budget = _parts(arm)
            named = f"a {kind} with {SPENT[budget]} ({special.accuracy.mean():.1%})"
            first = f"One model for all k, {removed} removed ({general.accuracy.mean():.1%})"
            said.append(less(first, named, sample_of(general), sample_of(special)))
        return said or ["No specialist is finished beside the one model."]


def _parts(arm: str) -> tuple[str, str]:
    """What an arm is, such as `specialist for 3`, and its key in `BUDGETS` (one model: empty)."""
    kind, _, budget = arm.partition(", ")
    return kind, budget.removesuffix(" budget")


def stages_of(config: RunConfig) -> list[int]:
    """The stages that are compared on a run's task.

    Raises `ConfigError` where what is removed is not a symbol of a task: for data from files.
    """
    if config.data.path is not None:
        raise ConfigError(
            "the study anytime removes single symbols of a generated task: leave out data.path, or "
            "set data.task"
        )
    chain = chain_tokens(config)
    return sorted({round(share * chain) for share in SHARES})
