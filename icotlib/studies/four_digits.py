"""4x4 digits, the papers' smallest problem, from random weights: all 46 chain tokens removed."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.experiments.four_digits import OWN, on_four_digits
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import about_arms, less, listed, percent
from icotlib.reporting.results import final_rows, method_label
from icotlib.reporting.statistics import over_seeds
from icotlib.studies.base import Member, Study, all_removed, outcomes, register, still_writes
from icotlib.system.wording import counted

#: The method whose chain goes, and the one that never saw a chain.
IMPLICIT, ANSWERS_ALONE = "icot_si", "no_cot"


@register
class FourDigits(Study):
    name = "four_digits"
    file = "four_digits"
    notebook = "21"
    question = (
        "Does a small model with random weights learn to multiply four digits by four without "
        "writing any of the 46 chain tokens, and does it from answers alone?"
    )
    seeds = (20, 21, 22)  # settings were tuned on 10 and 11 among others
    takes_arms = True

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        return {method: on_four_digits(method, preset, seed, overrides) for method in OWN}

    def arms_of(self, table: pd.DataFrame) -> pd.Series:
        return table.method

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        """Every stage that was tested: with the weights at its end, and what they had cost."""
        rows = self.rows(members).sort_values(["arm", "seed", "removed"], ignore_index=True)
        return rows[["method", "removed", "chain_length", "unit"]].join(outcomes(rows))

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.long_removal(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        last = final_rows(table, ["method", "seed"])
        ends = {str(method): rows for method, rows in last.groupby("method")}
        said = [_accuracy(method, rows) for method, rows in ends.items()]
        if IMPLICIT in ends and not all_removed(ends[IMPLICIT]):
            said.append(still_writes(method_label(IMPLICIT), ends[IMPLICIT]))
        elif IMPLICIT in ends:
            said += _on_the_way(table[table.method == IMPLICIT])
            if ANSWERS_ALONE in ends:
                samples = self.samples(self.rows_by_arm(members), last)
                names = method_label(IMPLICIT), method_label(ANSWERS_ALONE)
                said.append(less(*names, samples[IMPLICIT], samples[ANSWERS_ALONE]))
        return [*said, about_arms(table.groupby("method").seed.nunique())]


def _accuracy(method: str, last: pd.DataFrame) -> str:
    """What a method answers at its last stage."""
    removed = listed(dict.fromkeys(f"{stage}" for stage in last.removed))
    lowest = f"{counted(len(last), 'seeds')}, lowest {last.accuracy.min():.1%}"
    return (
        f"{method_label(method)}: {percent(over_seeds(last))} of {last.n.min():,} unseen questions "
        f"right with {removed} of {last.chain_length.max()} {last.unit.iloc[0]} removed "
        f"({lowest if len(last) > 1 else 'one seed'}), after {last.examples.mean():,.0f} examples "
        f"and {last.seconds.mean():,.0f} training seconds."
    )


def _on_the_way(rows: pd.DataFrame) -> list[str]:
    """When everything was removed, and at which stage a seed stayed longest until then."""
    rows = rows.sort_values(["seed", "removed"])
    rows = rows.assign(spent=rows.groupby("seed").examples.diff())
    between = rows[(rows.removed > 0) & (rows.removed < rows.chain_length)]
    if between.empty:
        return []
    reached = between.groupby("seed").examples.max()
    longest = between.loc[between.spent.idxmax()]
    return [
        f"The last token was removed after {listed(f'{count:,}' for count in reached)} examples. "
        f"The longest stage until then lasted {longest.spent:,.0f} examples (seed "
        f"{longest.seed:.0f}, with {longest.removed:.0f} {longest.unit} removed)."
    ]
