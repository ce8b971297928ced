"""How many layers distillation needs, and how much of the chain its states must cover.

The diagonal takes one state for each layer. In a model with fewer layers than the chain has
positions it skips some; with a fixed `distill.delta` it ends before the chain does. ICoT-SI and the
one model for all k are trained in distillation's model too: what they reach there is not due to the
shape.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.errors import ConfigError
from icotlib.experiments.distillation import COMMON, at_depth, icot_kd, other_states, shape
from icotlib.experiments.stepwise import icot_si, one_model
from icotlib.interp.distillation import accuracy_by_phase
from icotlib.methods.distillation.settings import StateSettings
from icotlib.methods.distillation.states import coverage
from icotlib.reporting import figures
from icotlib.reporting.results import final_rows, method_label
from icotlib.runs import Run
from icotlib.studies.base import Member, Study, compared, of_arm, register
from icotlib.tasks import get_task

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

#: The methods that are trained in the deepest model's shape too.
OTHERS = {"icot_si": icot_si, "one_model": one_model}


@register
class Depth(Study):
    name = "depth"
    file = "depth"
    question = (
        "How many layers does ICoT-KD need, and must its states cover the whole chain; what do "
        "ICoT-SI and one model for all k reach in a model of its shape?"
    )
    seeds = (10, 11, 12)
    apart = ("model.layers", "distill.delta")

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        chain, deepest = _chain(preset, overrides), max(LAYERS[preset])
        arms = {_arm(layers): _of(layers, preset, seed, overrides) for layers in LAYERS[preset]}
        for name, reach in REACH.items():
            delta = {"distill.delta": reach * (chain + 1) / (deepest - 1)}
            changes = of_arm(overrides, other_states(name.replace(" ", "-"), delta))
            arms[f"{_arm(deepest)}, {name} of the chain"] = _of(deepest, preset, seed, changes)
        own = of_arm(overrides, shape(preset, deepest) | {"label": f"{deepest}-layers"})
        return arms | {
            _arm(deepest, name): make(preset, seed, own) for name, make in OTHERS.items()
        }

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        last = final_rows(self.rows(members)).set_index("run")
        tables = [_phases(member.run, last.loc[member.config.run_name]) for member in members]
        table = pd.concat(tables, ignore_index=True)
        return table.sort_values(["method", "layers", "coverage", "seed"], ignore_index=True)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.depth_over_seeds(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        groups = self.rows_by_arm(members)
        first = _arm(max(table.layers))
        if first not in groups:
            return ["No run of ICoT-KD in its deepest model is finished."]
        named = {arm: f"{arm} ({rows.accuracy.mean():.1%})" for arm, rows in groups.items()}
        return [
            compared(named[first], groups[first], named[arm], rows)
            for arm, rows in groups.items()
            if arm != first
        ]


def _arm(layers: int, method: str = "icot_kd") -> str:
    return f"{method_label(method)}, {layers} layers"


def _of(layers: int, preset: str, seed: int, overrides: Any) -> RunConfig:
    """ICoT-KD at a depth; at the preset's own, the preset's runs, which other studies share."""
    if layers == COMMON[preset].get("model.layers"):
        return icot_kd(preset, seed, overrides)
    return at_depth(preset, seed, layers, overrides)


def _chain(preset: str, overrides: Any) -> int:
    """The chain's length in tokens.

    Raises `ConfigError` for data from files, whose chains differ in length.
    """
    if "data.path" in overrides:
        raise ConfigError(
            "the study depth needs chains of one length: leave out data.path, or set data.task"
        )
    return get_task(icot_kd(preset, 0, overrides).data.task).widths[1]


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
