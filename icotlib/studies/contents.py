"""What must stand in a latent place: the model's own states, or anything?

Coconut recycles the model's own states. Here its curriculum stays, and only what the places hold
changes: on digits, and on graphs.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.evaluation.ood import WITHIN, shift_table
from icotlib.experiments.graphs import (
    ON_GRAPHS,
    TASKS,
    asks_for_graphs,
    asks_for_other_data,
    on_graphs,
)
from icotlib.experiments.latent import coconut
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import doubt, points
from icotlib.reporting.statistics import by_seed, paired_interval
from icotlib.studies.base import Member, Study, all_removed, of_arm, register, still_writes

#: What the places hold, by arm.
CONTENTS: dict[str, dict[str, Any]] = {
    "recycled": {},
    "fixed": {"latent.content": "fixed"},
    "noise": {"latent.content": "noise"},
    "others": {"latent.content": "others"},
    "refined once": {"latent.rounds": 1},
    "refined twice": {"latent.rounds": 2},
}

#: Those that the study of methods has on graphs; its runs are these.
METHODS = {"recycled": "coconut", "fixed": "pause_as_thought"}

#: Questions of each test out of distribution.
SHIFTED = 1000


@register
class Contents(Study):
    name = "contents"
    file = "quarrel"
    notebook = "18"
    takes_arms = True
    question = (
        "Under one curriculum, does it matter whether latent places hold the model's own states, a "
        "fixed embedding, noise, or the states of another question?"
    )

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        own = {arm: {"label": arm.replace(" ", "-")} | changes for arm, changes in CONTENTS.items()}
        on_digits, graphs = {}, {}
        if not asks_for_graphs(overrides):
            on_digits = {
                arm: coconut(preset, seed, of_arm(overrides, changes))
                for arm, changes in own.items()
            }
        if not asks_for_other_data(overrides):
            graphs = {
                arm + ON_GRAPHS: on_graphs(METHODS[arm], preset, seed, overrides)
                if arm in METHODS
                else on_graphs("coconut", preset, seed, of_arm(overrides, changes))
                for arm, changes in own.items()
            }
        return on_digits | graphs

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        arms = {member.config.run_name: member for member in members}
        shifted = shift_table([member.run for member in members], SHIFTED)
        found = []
        for row in shifted[shifted.n > 0].itertuples():
            member = arms[row.run]
            config, longest = member.config, member.run.totals["chain_length"]
            last = int(member.run.stages.removed.max())
            places = int(config.spec.places(config, longest, last))
            found.append(
                {
                    "task": config.task,
                    "content": member.arm.removesuffix(ON_GRAPHS),
                    "passes": config.spec.passes(config, places),
                    "seed": member.seed,
                    "split": row.shift,
                    "accuracy": row.accuracy,
                    "ci_low": row.ci_low,
                    "ci_high": row.ci_high,
                    "n": row.n,
                }
            )
        return pd.DataFrame(found)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.contents(table)

    def arms_of(self, table: pd.DataFrame) -> pd.Series:
        graphs = table.task.str.startswith(TASKS)
        return table.content.where(~graphs, table.content + ON_GRAPHS)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        last = self.rows_by_arm(members)
        writes = {arm: rows for arm, rows in last.items() if not all_removed(rows)}
        said = [still_writes(arm, rows) for arm, rows in writes.items()]
        table = table[~self.arms_of(table).isin(writes)]
        for (task, split), rows in table.groupby(["task", "split"], sort=False):
            if split == WITHIN or rows.accuracy.any():
                where = str(task) if split == WITHIN else f"{task}, {split}"
                said += _beside_recycled(where, dict(list(rows.groupby("content", sort=False))))
        return said


def _beside_recycled(where: str, contents: dict[str, pd.DataFrame]) -> list[str]:
    """How recycled states compare with each other content, on one task or shift of it: seed by
    seed, since the runs of a seed have the same first weights, examples and questions."""
    recycled = contents.pop("recycled", None)
    if recycled is None:
        return [f"On {where}, no run with recycled states, the reference, is finished."]
    first, said = f"On {where}, recycled states ({recycled.accuracy.mean():.1%})", []
    for content, rows in contents.items():
        second = f"{content} ({rows.accuracy.mean():.1%})"
        found, seeds = paired_interval(recycled, rows), len(by_seed(recycled, rows))
        if found is None:
            said.append(f"{first} and {second}: too few seeds for a claim.")
        else:
            said.append(
                f"{first} minus {second}, {seeds} seeds in pairs: {points(found)}{doubt(found)}."
            )
    return said
