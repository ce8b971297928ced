"""4x4 digits, the papers' smallest cell, from random weights and without any of 46 chain tokens."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.experiments.four_digits import OWN, on_four_digits
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import about_seeds, less, listed, percent
from icotlib.reporting.results import method_label
from icotlib.reporting.statistics import over_seeds, sample_of_rows
from icotlib.studies.base import Member, Study, register
from icotlib.system.wording import counted

#: The method whose chain goes, and the one that never saw a chain.
IMPLICIT, ANSWERS_ALONE = "icot_si", "no_cot"


@register
class FourDigits(Study):
    name = "four_digits"
    file = "four_digits"
    question = (
        "Does a small model with random weights learn to multiply four digits by four without "
        "writing any of the 46 chain tokens, and does it from answers alone?"
    )
    seeds = (10, 11, 12)
    takes_arms = True

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        return {method: on_four_digits(method, preset, seed, overrides) for method in OWN}

    def arms_of(self, table: pd.DataFrame) -> pd.Series:
        return table.method

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        """Every stage that was tested: with the weights at its end, and what they had cost."""
        rows = self.rows(members).sort_values(["arm", "seed", "removed"])
        table = pd.DataFrame(
            {
                "method": rows.arm,
                "removed": rows.removed,
                "chain_length": rows.chain_length,
                "seed": rows.seed,
                "examples": rows.train_examples,
                "seconds": rows.train_seconds.round(1),
                "accuracy": rows.accuracy,
                "ci_low": rows.ci_low,
                "ci_high": rows.ci_high,
                "n": rows.n_test,
            }
        )
        place = table.method.map(list(OWN).index)
        return table.loc[place.sort_values(kind="stable").index].reset_index(drop=True)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.long_removal(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        ends = {method: _last(rows) for method, rows in table.groupby("method", sort=False)}
        said = [_accuracy(str(method), rows) for method, rows in ends.items()]
        if IMPLICIT in ends:
            said += _on_the_way(table[table.method == IMPLICIT])
            if ANSWERS_ALONE in ends and _all_removed(ends[IMPLICIT]):
                first, second = (sample_of_rows(ends[x]) for x in (IMPLICIT, ANSWERS_ALONE))
                names = method_label(IMPLICIT), method_label(ANSWERS_ALONE)
                said.append(less(*names, first, second))
        return [*said, about_seeds(min(len(rows) for rows in ends.values()))]


def _last(rows: pd.DataFrame) -> pd.DataFrame:
    """The last stage of each seed of one method."""
    return rows.loc[rows.groupby("seed").removed.idxmax()]


def _all_removed(last: pd.DataFrame) -> bool:
    return bool((last.removed == last.chain_length).all())


def _accuracy(method: str, last: pd.DataFrame) -> str:
    removed = f"{last.removed.min()} of {last.chain_length.max()} tokens"
    return (
        f"{method_label(method)}: {percent(over_seeds(last))} of {last.n.min():,} unseen questions "
        f"right with {removed} removed ({counted(len(last), 'seeds')}, lowest "
        f"{last.accuracy.min():.1%}), after {last.examples.mean():,.0f} examples and "
        f"{last.seconds.mean():,.0f} seconds of one thread."
    )


def _on_the_way(rows: pd.DataFrame) -> list[str]:
    """When everything was removed, and at which stage a seed stayed longest until then."""
    if not _all_removed(_last(rows)):
        return []
    rows = rows.sort_values(["seed", "removed"])
    rows = rows.assign(spent=rows.groupby("seed").examples.diff())
    between = rows[(rows.removed > 0) & (rows.removed < rows.chain_length)]
    if between.empty:
        return []
    reached = between.groupby("seed").examples.max()
    longest = between.loc[between.spent.idxmax()]
    return [
        f"The last token was removed after {listed(f'{count:,}' for count in reached)} examples. "
        f"The longest stage before took {longest.spent:,.0f}, with {longest.removed:.0f} removed."
    ]
