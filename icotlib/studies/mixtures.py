"""Does ICoT-KD need a mixture where a question has several valid chains (arXiv 2311.01460)?

The task shows every question with one of two chains at random, so that the teacher's states differ
from one showing of a question to the next. Every arm of a seed has the same teacher and student.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.experiments.distillation import mixtures
from icotlib.interp.distillation import SCORE, accuracy_by_phase
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import about_arms, against_first, listed
from icotlib.runs import Run
from icotlib.studies.base import Member, Study, outcomes, register

#: What the emulator alone gives, and the coupled model, as tables name them.
STATES = {"emulated": "before coupling", "coupled": "after coupling"}


@register
class Mixtures(Study):
    name = "mixtures"
    file = "mixtures"
    notebook = "10"
    question = (
        "Where a question has several valid chains, does ICoT-KD answer more questions with a "
        "mixture of emulated states than with one state?"
    )
    seeds = (10, 11, 12)
    few = 1
    takes_arms = True
    apart = (
        "distill.mixture",
        "distill.mixture_temperature",
        "distill.mixture_supervision",
        "distill.mixture_offset",
    )

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        return mixtures(preset, seed, overrides)

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        """A row for each run and each kind of states; `components` are those in use at the end of
        emulation, the mean over layers."""
        run_of = {member.config.run_name: member.run for member in members}
        every = pd.concat(self.rows_by_arm(members).values(), ignore_index=True)
        costs, found = outcomes(every).to_dict("records"), []
        for arm, name, cost in zip(every.arm, every.run, costs, strict=True):
            run = run_of[name]
            emulator = Run.of(run.config.phases["emulator"])
            used = {"components": emulator.metrics.components.iloc[-1]}
            scores = accuracy_by_phase(run)[SCORE].iloc[1:].to_dict("records")
            for states, score in zip(STATES, scores, strict=True):
                found.append({"arm": arm, "states": states} | cost | score | used)
        return pd.DataFrame(found)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.mixtures(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        said = []
        for states, when in STATES.items():
            said += against_first(when, self.samples({}, table[table.states == states]))
        used = table.drop_duplicates(["arm", "seed"]).groupby("arm", sort=False).components.mean()
        components = listed(f"{number:.1f} by “{arm}”" for arm, number in used.items())
        return [
            *said,
            f"Components in use at the end of emulation, mean over layers and seeds: {components}.",
            about_arms(table.groupby("arm").seed.nunique()),
        ]
