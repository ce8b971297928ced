"""Arms and seeds that are added to a published table, whose other runs are no longer needed."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd

from icotlib.errors import ConfigError, DataError
from icotlib.runs import runs_with_ancestors
from icotlib.studies.base import Answer, Study


def check_takes_arms(study: Study) -> None:
    """Raises `ConfigError` for a study that must be published as a whole."""
    if not study.takes_arms:
        raise ConfigError(
            f"the study {study.name} says more than its table holds, and is published as a whole: "
            "leave out --arms and --seeds"
        )


def with_published(answer: Answer, folder: Path) -> Answer:
    """An answer whose table has the published rows of the study's other runs too.

    Rows are kept if their runs have the settings that the study has today; the rows of a seed of an
    arm that is published again are replaced.

    Args:
        folder: with the published table and its provenance.

    Raises `ConfigError` for a study that cannot be added to, and for published arms whose runs
    have other settings; `DataError` if a published file is damaged.
    """
    study = answer.study
    check_takes_arms(study)
    table, origin = folder / f"{study.file}.csv", folder / f"{study.file}.json"
    if not table.is_file():
        return answer
    try:
        published = pd.read_csv(table)
        known = {row["run"]: row for row in json.loads(origin.read_text(encoding="utf-8"))["runs"]}
        kept = published[~_runs_of(study, published).isin(_runs_of(study, answer.table))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{table}, or {origin.name} beside it, is damaged: {error}") from None
    members = study.members()
    order = list(dict.fromkeys(member.arm for member in members))
    names = set()
    for arm, rows in kept.groupby(study.arms_of(kept), sort=False):
        own = {x.seed: x.config for x in members if x.arm == arm and x.seed in set(rows.seed)}
        runs = [run.name for run in runs_with_ancestors(own.values())]
        if set(own) != set(rows.seed) or not set(runs) <= set(known):
            raise ConfigError(
                f"{table.name}: the published runs of {arm!r} have other settings than the study "
                "has now: publish it as a whole, without --arms and --seeds"
            )
        names |= set(runs)
    rows = study.joined(kept, answer.table)
    place = study.arms_of(rows).map(order.index)
    rows = rows.loc[rows.assign(arm=place).sort_values(["arm", "seed"], kind="stable").index]
    earlier = [known[name] for name in sorted(names - {run.name for run in answer.runs})]
    return replace(answer, table=rows.reset_index(drop=True), earlier=earlier)


def _runs_of(study: Study, table: pd.DataFrame) -> pd.Series:
    """Arm and seed of each row of a study's table."""
    return pd.Series(list(zip(study.arms_of(table), table.seed, strict=True)), table.index)
