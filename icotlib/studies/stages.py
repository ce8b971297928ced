"""Does accuracy recover from each removed token before the next one goes?

The weights at the end of every stage answer the test questions with as many tokens removed as they
were trained with last. The paper shows this on the way to its result, for one run; here it is
compared over seeds, at the workbook's pace and at the paper's own.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.experiments.stepwise import icot_si
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import about_arms, listed
from icotlib.reporting.figures.style import schedule_label
from icotlib.reporting.results import final_rows
from icotlib.studies.base import Member, Study, all_removed, outcomes, register
from icotlib.studies.stability import OWN_PACE, own_pace
from icotlib.system.wording import counted

#: ICoT-SI with the settings of the preset.
USUAL = "ICoT-SI"


@register
class Stages(Study):
    name = "stages"
    file = "stages"
    notebook = "22"
    takes_arms = True
    question = (
        "Does the accuracy of stepwise internalization fall while tokens are removed, and has it "
        "recovered each time the next token goes?"
    )
    seeds = (10, 11, 12)
    few = 1

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        usual = {USUAL: icot_si(preset, seed, overrides)}
        # At other presets the pace is the paper's already, or its run would take as long as here.
        return usual | ({OWN_PACE: own_pace(seed, overrides)} if preset == "fast" else {})

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        """Every stage that was tested: with the weights at its end, and what they had cost."""
        rows = self.rows(members).sort_values(["arm", "seed", "removed"], ignore_index=True)
        return rows[["arm", "removed", "chain_length", "unit"]].join(outcomes(rows))

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.stage_ends(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        said = []
        for arm, rows in table.groupby("arm", sort=False):
            said += _of_arm(schedule_label(str(arm)), rows)
        return [*said, about_arms(table.groupby("arm").seed.nunique())]


def _of_arm(name: str, rows: pd.DataFrame) -> list[str]:
    """In how many seeds accuracy fell and rose between stages, where it was lowest, and its end."""
    last = final_rows(rows, ["seed"]).sort_values("seed")
    if not all_removed(last):
        stages = listed(dict.fromkeys(f"{removed:.0f}" for removed in last.removed))
        return [f"{name} ended with {stages} of {last.chain_length.max():.0f} removed."]
    between = [own for _, own in rows.groupby("seed") if len(own) > 2]
    if not between:
        return [f"{name}: no stage between the whole chain and none was tested."]
    lowest = [_lowest(own) for own in between]
    fell, rose = (sum(one) for one in zip(*map(_fell_and_rose, between, lowest), strict=True))
    seeds, unit = counted(len(between), "seeds"), str(rows.unit.iloc[0])
    where = (
        f"{low.accuracy:.1%} with {counted(int(low.removed), unit)} removed (seed {low.seed:.0f})"
        for low in lowest
    )
    ends = listed(f"{value:.1%}" for value in last.accuracy)
    return [
        f"{name}: in {fell} of {seeds} some stage ends with fewer right answers than an earlier "
        f"one, in {rose} the accuracy then rises at a later stage; both by more than 95% intervals "
        "over questions allow.",
        f"{name}: the lowest stage ends with {listed(where)}; with everything removed: {ends}.",
    ]


def _lowest(own: pd.DataFrame) -> Any:
    """The stage of one seed, between the first and the last, that ended with the least accuracy."""
    own = own.sort_values("removed").iloc[1:-1]
    return own.loc[own.accuracy.idxmin()]


def _fell_and_rose(own: pd.DataFrame, low: Any) -> tuple[bool, bool]:
    """Whether an earlier stage of one seed has more right than its lowest, and a later one."""
    above = own[own.ci_low > low.ci_high]
    return bool((above.removed < low.removed).any()), bool((above.removed > low.removed).any())
