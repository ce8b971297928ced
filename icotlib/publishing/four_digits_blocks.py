"""Blocks on 4x4 digits, drawn from the table of their study."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from icotlib.publishing import published
from icotlib.publishing.blocks import block
from icotlib.publishing.study_tables import (
    EXACT_MATCH,
    by_group,
    each,
    examples,
    share_of,
    with_interval,
)
from icotlib.reporting.conclusions.sentences import listed
from icotlib.reporting.results import final_rows, method_label
from icotlib.reporting.statistics import over_seeds
from icotlib.system.wording import counted

#: Where the guide has more on 4x4 digits, from the first page.
FOUR_DIGITS = "notebooks/guide/studies.md#four-digits-by-four"


def _four_digits() -> pd.DataFrame:
    """The last stage of each run on 4x4 digits."""
    columns = ("removed", "chain_length", "seed", "examples", "seconds", "accuracy", "n")
    return final_rows(published.read("four_digits", *columns), ["method", "seed"])


@block
def four_digits_headline() -> str:
    """What ICoT-SI reaches on 4x4 digits, beside No CoT."""
    groups = dict(list(_four_digits().groupby("method")))
    rows, alone = groups["icot_si"].sort_values("seed"), groups.get("no_cot")
    minutes = listed(f"{seconds / 60:.0f}" for seconds in rows.seconds)
    whole = (rows.removed == rows.chain_length).all()
    removed = f"{'all' if whole else f'{_removed(rows)} of'} {rows.chain_length.max():.0f} tokens"
    said = (
        f"[On 4x4 digits]({FOUR_DIGITS}), with {removed} removed, {method_label('icot_si')} "
        f"answers {with_interval(over_seeds(rows))} of unseen questions right: mean of "
        f"{counted(len(rows), 'seeds')}, trained in {minutes} minutes of one core."
    )
    if alone is not None:
        same = share_of(alone, rows, "examples")
        reached = with_interval(over_seeds(alone))
        said += f" {method_label('no_cot')}, not tuned, reaches {reached} after {same}."
    return said


def _removed(rows: pd.DataFrame) -> str:
    """How many tokens the seeds of a method lost, each number once."""
    return listed(dict.fromkeys(f"{removed:.0f}" for removed in rows.removed))


@block
def four_digits() -> str:
    """What each method answers of 4x4 digits at its last stage."""
    columns: dict[str, Callable[..., Any]] = {
        "method": lambda rows: method_label(rows.method.iloc[0]),
        "tokens removed": _removed,
        EXACT_MATCH: lambda rows: with_interval(over_seeds(rows)),
        "each seed": each,
        "training examples": examples,
        "training seconds": lambda rows: f"{rows.seconds.mean():,.0f}",
    }
    return by_group(_four_digits(), "method", columns)
