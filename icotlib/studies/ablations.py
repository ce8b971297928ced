"""Which states and which phases ICoT-KD needs, and what coupling does for a weak emulator.

The paper's ablations (arXiv 2311.01460, Section 5), with one teacher for all arms of a seed: other
subsets of the teacher's states, a fixed emulator, and phases that are skipped, whose steps coupling
gets. No CoT has as many examples as all phases together, in the same model and in the one of the
workbook's other methods. Two questions are asked beside them: whether coupling repairs what a
weaker model's emulator gets wrong, and whether it learns few examples by heart.
"""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.experiments.distillation import (
    ablations,
    few_examples,
    kd_no_cot,
    kd_no_cot_wide,
    weak_model,
)
from icotlib.interp.distillation import median_explained
from icotlib.methods.distillation.settings import StateSettings
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import about_arms, against_first
from icotlib.runs import Run
from icotlib.studies.base import Member, Study, outcomes, register

#: The arms that others are compared with.
FULL, WEAKER, NO_COT = "the whole method", "weaker model", "No CoT"

#: No CoT in a model that suits it better than distillation's deep and narrow one.
NO_COT_WIDE = "No CoT in the workbook's model"

#: What arms on few examples are called.
FEW = "few examples"

#: What arms are called that `experiments.ablations` calls otherwise.
NAMES = {
    "full": FULL,
    "first column": "states of the first column",
    "last column": "states of the last column",
    "bottom row": "states of the bottom row",
    "top row": "states of the top row",
    "no mind-reading": "no mind-reading phase",
    "no emulation": "no emulation phase",
    "both skipped": "neither phase",
}

#: What is compared with which arm.
COMPARED = {"distillation": FULL, "in a weaker model": WEAKER}


@register
class Ablations(Study):
    name = "ablations"
    file = "ablations"
    notebook = "09"
    question = (
        "Which of the teacher's states and which of its phases does ICoT-KD need, and does "
        "coupling repair a weak emulator?"
    )
    seeds = (10, 11, 12)
    few = 1
    takes_arms = True
    apart = ("distill.subset", "distill.train_emulator")

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        asked = preset, seed, overrides
        arms = {NAMES.get(name, name): one for name, one in ablations(*asked).items()}
        arms |= {NO_COT: kd_no_cot(*asked), NO_COT_WIDE: kd_no_cot_wide(*asked)}
        weaker = weak_model(*asked)
        arms |= {WEAKER if name == "full" else f"{WEAKER}, {name}": weaker[name] for name in weaker}
        return arms | {f"{FEW}, {name}": one for name, one in few_examples(*asked).items()}

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        """A row for each run: what it answers at the end, and before its last phase."""
        of_run = {member.config.run_name: member for member in members}
        every = pd.concat(self.rows_by_arm(members).values(), ignore_index=True)
        before = pd.DataFrame([_phase_scores(of_run[name].config) for name in every.run])
        return pd.concat([every.arm, outcomes(every), before], axis=1)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.distillation_arms(table, [FULL, WEAKER, NO_COT, NO_COT_WIDE])

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        samples, said = self.samples(self.rows_by_arm(members), table), []
        for what, first in COMPARED.items():
            own = {arm: one for arm, one in samples.items() if (WEAKER in arm) == (first == WEAKER)}
            if first in own:
                said += against_first(what, {first: own[first]} | own)
        return [*said, about_arms(table.groupby(self.arms_of(table)).seed.nunique())]


def _phase_scores(config: RunConfig) -> dict[str, float]:
    """What the phases of a finished coupled run reach: `student`, its accuracy on the teacher's
    true states; `explained`, the median over layers of the explained variance after emulation, and
    `explained_after_coupling`. NaN for a phase that was skipped, and for every run of another
    method."""
    scores = dict.fromkeys(["student", "explained", "explained_after_coupling"], math.nan)
    if "student" in config.phases:
        scores["student"] = float(Run.of(config.phases["student"]).stages.accuracy.iloc[-1])
    if "emulator" in config.phases:
        scores["explained"] = _explained(config.phases["emulator"])
    if isinstance(config.own.get("distill"), StateSettings):
        scores["explained_after_coupling"] = _explained(config)
    return scores


def _explained(config: RunConfig) -> float:
    """The median explained variance at the end of a run."""
    return float(median_explained(Run.of(config)).iloc[-1])
