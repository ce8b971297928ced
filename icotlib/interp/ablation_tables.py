"""Tables that compare several runs of distillation: ablations, depths, mixtures, few examples."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from icotlib.config import RunConfig
from icotlib.interp.distillation import SCORE, accuracy_by_phase, median_explained
from icotlib.methods.distillation.settings import StateSettings
from icotlib.runs import Run


def ablation_table(configs: Mapping[str, RunConfig]) -> pd.DataFrame:
    """Ablations of distillation: one row per finished coupled run, by name.

    Columns name, seed, accuracy, ci_low, ci_high; `student`, its accuracy on the teacher's true
    states; `explained`, the median over layers of the explained variance after emulation, and
    `explained_after_coupling`, the same after coupling. NaN for a phase that was skipped.
    """
    rows = []
    for name, config in configs.items():
        score = Run.of(config).stages.iloc[-1][SCORE]
        rows.append({"name": name, "seed": config.seed, **score, **phase_scores(config)})
    return pd.DataFrame(rows)


def phase_scores(config: RunConfig) -> dict[str, float]:
    """What the phases of a finished coupled run reach, as in `ablation_table`; NaN for a phase that
    was skipped, and for every run of another method."""
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


def depth_table(configs: Mapping[int, RunConfig]) -> pd.DataFrame:
    """`accuracy_by_phase` at every depth, with a column `layers`."""
    tables = [
        accuracy_by_phase(Run.of(config)).assign(layers=layers)
        for layers, config in configs.items()
    ]
    return pd.concat(tables, ignore_index=True)


def mixture_tables(
    configs: Sequence[Mapping[str, RunConfig]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every mixture at every seed: test accuracies, and components in use during emulation.

    Args:
        configs: coupled runs by the mixture's name, one mapping per seed.

    Returns:
        one table with columns name, seed, states (emulated or coupled), accuracy, ci_low, ci_high,
        and one with name, seed, examples, components, explained.
    """
    scores, learning = [], []
    for by_name in configs:
        for name, config in by_name.items():
            phases = accuracy_by_phase(Run.of(config)).iloc[1:].assign(name=name, seed=config.seed)
            scores.append(phases.assign(states=["emulated", "coupled"]))
            run = Run.of(config.phases["emulator"])
            metrics = run.metrics[["examples", "components"]]
            metrics = metrics.assign(explained=median_explained(run))
            learning.append(metrics.assign(name=name, seed=config.seed))
    return pd.concat(scores, ignore_index=True), pd.concat(learning, ignore_index=True)


def coupling_curves(configs: Mapping[str, RunConfig]) -> pd.DataFrame:
    """Metrics of several coupled runs during training, with a column `name`."""
    tables = [Run.of(config).metrics.assign(name=name) for name, config in configs.items()]
    return pd.concat(tables, ignore_index=True)
