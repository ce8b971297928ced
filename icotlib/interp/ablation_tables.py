"""TODO."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from icotlib.config import RunConfig
from icotlib.interp.distillation import SCORE, accuracy_by_phase, explained
from icotlib.runs import Run

# --- many runs side by side --------------------------------------------------------------------


def ablation_table(configs: dict[str, RunConfig]) -> pd.DataFrame:
    """Ablations side by side: one row per name of finished coupled runs.

    Columns: name, seed, accuracy, ci_low, ci_high; `student`, its accuracy on the teacher's true
    states; `explained`, the median over layers of the explained variance after emulation, and
    `explained_after_coupling`, the same after coupling. NaN for a stage that was skipped.
    """
    rows = []
    for name, config in configs.items():
        run = Run.of(config)
        row = {"name": name, "seed": config.seed, **run.stages.iloc[-1][SCORE]}
        student, emulator = config.student, config.emulator
        row["student"] = np.nan if student is None else Run.of(student).stages.accuracy.iloc[-1]
        row["explained"] = np.nan if emulator is None else explained(Run.of(emulator)).iloc[-1]
        row["explained_after_coupling"] = explained(run).iloc[-1]
        rows.append(row)
    return pd.DataFrame(rows)


def depth_table(configs: dict[int, RunConfig]) -> pd.DataFrame:
    """`accuracy_by_phase` at every depth, with a column `layers`."""
    tables = [
        accuracy_by_phase(Run.of(one)).assign(layers=layers) for layers, one in configs.items()
    ]
    return pd.concat(tables, ignore_index=True)


def mixture_tables(
    configs: Sequence[dict[str, RunConfig]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every mixture at every seed: test accuracies, and components in use while emulators train.

    Returns:
        one table with columns name, seed, states (emulated or coupled), accuracy, ci_low, ci_high,
        and one with name, seed, examples, components, explained.
    """
    scores, learning = [], []
    for one in configs:
        for name, config in one.items():
            steps = accuracy_by_phase(Run.of(config)).iloc[1:].assign(name=name, seed=config.seed)
            scores.append(steps.assign(states=["emulated", "coupled"]))
            run = Run.of(config.emulator)
            metrics = run.metrics[["examples", "components"]].assign(explained=explained(run))
            learning.append(metrics.assign(name=name, seed=config.seed))
    return pd.concat(scores, ignore_index=True), pd.concat(learning, ignore_index=True)


def coupling_curves(configs: dict[str, RunConfig]) -> pd.DataFrame:
    """Training and validation accuracy of several coupled runs while they trained."""
    tables = [Run.of(config).metrics.assign(name=name) for name, config in configs.items()]
    return pd.concat(tables, ignore_index=True)
