"""How many layers distillation needs, and how much of the chain its states must cover.

The diagonal takes one state for each layer. In a model with fewer layers than the chain has
positions it skips some; with a fixed `distill.delta` it ends before the chain does. ICoT-SI, one
model for all k and No CoT are trained in distillation's model too: what they reach there is not due
to the shape. No CoT has as many examples as all phases of ICoT-KD, the others half of them.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.errors import ConfigError
from icotlib.experiments.distillation import (
    COMMON,
    at_depth,
    icot_kd,
    kd_no_cot,
    other_states,
    shape,
)
from icotlib.experiments.stepwise import icot_si, one_model
from icotlib.interp.distillation import accuracy_by_phase
from icotlib.methods.distillation.settings import StateSettings
from icotlib.methods.distillation.states import coverage
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import less
from icotlib.reporting.results import final_rows, method_label
from icotlib.runs import Run
from icotlib.studies.base import (
    Member,
    Study,
    all_removed,
    chain_tokens,
    of_arm,
    register,
    still_writes,
)

#: Layers, by preset.
LAYERS: dict[str, tuple[int, ...]] = {
    "smoke": (2, 3),
    "fast": (9, 10, 12, 14),
    "paper": (4, 6, 8, 12),
}

#: How far along the chain the deepest model's last layer looks.
REACH = {"a third": 1 / 3, "two thirds": 2 / 3}

#: Those of its table. Methods that read no states have no coverage.
COLUMNS = ["method", "layers", "coverage", "seed", "phase", "accuracy", "n"]

#: What each run answers in the end, of its rows: ICoT-KD when its phases are coupled.
LAST = ("coupled", "none read")

#: The methods that are trained in the deepest model's shape too.
OTHERS = {"icot_si": icot_si, "one_model": one_model}


@register
class Depth(Study):
    name = "depth"
    file = "depth"
    notebook = "09"
    question = (
        "How many layers does ICoT-KD need, and must its states cover the whole chain; what do "
        "ICoT-SI, one model for all k and No CoT reach in a model of its shape?"
    )
    seeds = (10, 11, 12)
    few = 1
    takes_arms = True
    apart = ("model.layers", "distill.delta")

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        chain, deepest = _chain(preset, overrides), max(LAYERS[preset])
        arms = {_arm(layers): _of(layers, preset, seed, overrides) for layers in LAYERS[preset]}
        for name, reach in REACH.items():
            delta = {"distill.delta": reach * (chain + 1) / (deepest - 1)}
            changes = of_arm(overrides, other_states(name.replace(" ", "-"), delta))
            arms[_arm(deepest, reach=name)] = _of(deepest, preset, seed, changes)
        own = of_arm(overrides, shape(preset, deepest) | {"label": f"{deepest}-layers"})
        arms |= {_arm(deepest, name): make(preset, seed, own) for name, make in OTHERS.items()}
        plain = _is_own(deepest, preset)  # a run that other studies share
        arms[_arm(deepest, "no_cot")] = kd_no_cot(preset, seed, overrides if plain else own)
        return arms

    def arms_of(self, table: pd.DataFrame) -> pd.Series:
        return table.apply(lambda row: _arm(row.layers, row.method, _reach(row.coverage)), axis=1)

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        last = final_rows(self.rows(members)).set_index("run")
        tables = [_phases(member.run, last.loc[member.config.run_name]) for member in members]
        table = pd.concat(tables, ignore_index=True)
        return table.sort_values(["method", "layers", "coverage", "seed"], ignore_index=True)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.depth_over_seeds(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        groups = self.rows_by_arm(members)
        samples = self.samples(groups, table[table.phase.isin(LAST)])
        first = _arm(max(table.layers))
        if first not in samples:
            return ["No run of ICoT-KD in its deepest model is finished."]
        writes = {arm: rows for arm, rows in groups.items() if not all_removed(rows)}
        if first in writes:
            return [still_writes(first, writes[first])]
        named = {arm: f"{arm} ({sample.mean:.1%})" for arm, sample in samples.items()}
        return [
            still_writes(arm, writes[arm])
            if arm in writes
            else less(named[first], named[arm], samples[first], sample)
            for arm, sample in samples.items()
            if arm != first
        ]


def _arm(layers: int, method: str = "icot_kd", reach: str = "") -> str:
    return f"{method_label(method)}, {layers} layers" + (f", {reach} of the chain" if reach else "")


def _reach(coverage: float) -> str:
    """The name in `REACH` that is nearest to the share of the chain that states cover; empty for
    the whole chain, and for methods that read no states."""
    names = {name: abs(share - coverage) for name, share in (REACH | {"": 1.0}).items()}
    return "" if pd.isna(coverage) else min(names, key=lambda name: names[name])


def _of(layers: int, preset: str, seed: int, overrides: Any) -> RunConfig:
    """ICoT-KD at a depth; at the preset's own, the preset's runs, which other studies share."""
    if _is_own(layers, preset):
        return icot_kd(preset, seed, overrides)
    return at_depth(preset, seed, layers, overrides)


def _is_own(layers: int, preset: str) -> bool:
    """Whether distillation's model has so many layers at a preset."""
    return layers == COMMON[preset].get("model.layers")


def _chain(preset: str, overrides: Any) -> int:
    """The chain's length in tokens.

    Raises `ConfigError` for data from files, whose chains differ in length.
    """
    if "data.path" in overrides:
        raise ConfigError(
            "the study depth needs chains of one length: leave out data.path, or set data.task"
        )
    return chain_tokens(icot_kd(preset, 0, overrides))


def _phases(run: Run, last: pd.Series) -> pd.DataFrame:
    """The rows of one run: ICoT-KD has one for each kind of states, other methods one.

    Args:
        last: the run's last row of `results_table`.
    """
    config, reach = run.config, float("nan")
    if isinstance(distil := config.own.get("distill"), StateSettings):
        rows = accuracy_by_phase(run).rename(columns={"states": "phase"})
        reach = coverage(last.chain_length, config.model.layers, distil.delta)
    else:
        rows = pd.DataFrame({"phase": ["none read"], "accuracy": [last.accuracy]})
    rows = rows.assign(method=config.method, layers=config.model.layers, coverage=reach)
    return rows.assign(seed=config.seed, n=last.n_test)[COLUMNS]
