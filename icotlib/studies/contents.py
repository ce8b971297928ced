"""What must stand in a latent place: the model's own states, or anything?

Coconut recycles the model's own states. Here its curriculum stays, and only what the places hold
changes.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.evaluation.ood import shift_table
from icotlib.experiments.latent import coconut
from icotlib.reporting import figures
from icotlib.studies.base import Member, Study, compared, of_arm, register

#: What the places hold, by arm.
CONTENTS: dict[str, dict[str, Any]] = {
    "recycled": {},
    "fixed": {"latent.content": "fixed"},
    "noise": {"latent.content": "noise"},
    "others": {"latent.content": "others"},
    "refined once": {"latent.rounds": 1},
    "refined twice": {"latent.rounds": 2},
}

#: Questions of each test out of distribution.
SHIFTED = 1000


@register
class Contents(Study):
    name = "contents"
    file = "quarrel"
    question = (
        "Under one curriculum, does it matter whether latent places hold the model's own states, a "
        "fixed embedding, noise, or the states of another question?"
    )

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        own = {arm: {"label": arm.replace(" ", "-")} | changes for arm, changes in CONTENTS.items()}
        return {
            arm: coconut(preset, seed, of_arm(overrides, changes)) for arm, changes in own.items()
        }

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
                    "content": member.arm,
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

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        groups = self.rows_by_arm(members)
        recycled = groups.pop("recycled", None)
        if recycled is None:
            return ["No run with recycled states is finished, with which others are compared."]
        first = f"recycled states ({recycled.accuracy.mean():.1%})"
        named = {
            arm: f"{arm} ({rows.accuracy.mean():.1%}, {len(rows)} seeds)"
            for arm, rows in groups.items()
        }
        return [compared(first, recycled, named[arm], rows) for arm, rows in groups.items()]
