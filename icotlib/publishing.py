"""Publishing: from finished runs to `figures/`, on the user's word only."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from icotlib import figures, paths
from icotlib.errors import RunError
from icotlib.results import learning_table, record_speed, results_table
from icotlib.runs import Run, all_runs

MAIN_METHODS = ("explicit_cot", "icot_si", "no_cot")


def publishable(runs: Sequence[Run]) -> list[Run]:
    """Runs whose numbers may be shown: finished, from `fast` or `paper`, of a known commit."""
    return [run for run in runs if run.done and run.config.preset in ("fast", "paper")]


def is_lever(run: Run) -> bool:
    """Whether a run belongs to the levers notebook."""
    from icotlib.presets import LEVERS

    return run.config.label in {name.replace(" ", "-") for name in LEVERS}


def main_runs(runs: Sequence[Run], task: str) -> list[Run]:
    """The runs that the headline compares: one task, no lever and no tour."""
    return [
        run
        for run in runs
        if run.config.task == task and not is_lever(run) and run.config.label != "tour"
    ]


def publish(folder: Path | None = None, task: str = "mult-4x2", speed: bool = True) -> pd.DataFrame:
    """Write results.csv and every figure from the finished `fast` and `paper` runs.

    Measures the speed of runs that have none yet, so the machine should be idle. Returns the
    table of results. Raises `RunError` if there is nothing to publish.
    """
    folder = folder or paths.FIGURES
    runs = publishable(all_runs())
    if not runs:
        raise RunError(
            f"no finished fast or paper run under {paths.runs_root()}; "
            "run `icot workbook` first (smoke runs are never published)"
        )
    main = main_runs(runs, task)
    if speed:
        for group in by_data(runs):
            references = [run for run in group if run.config.method == "no_cot"]
            if references:
                record_speed(group, references[0], rounds=3, examples=10)
    folder.mkdir(parents=True, exist_ok=True)
    table = results_table(runs)
    table.to_csv(folder / "results.csv", index=False)
    shown = table[table.run.isin([run.name for run in main])]
    learning = learning_table(main)
    figures.save(figures.headline(shown, learning), "headline", shown, main, folder)
    figures.save(figures.accuracy_vs_removed(shown), "accuracy_vs_removed", shown, main, folder)
    figures.save(
        figures.accuracy_vs_seconds(learning), "accuracy_vs_seconds", learning, main, folder
    )
    if shown.relative_speed.notna().any():
        figures.save(figures.accuracy_vs_speed(shown), "accuracy_vs_speed", shown, main, folder)
    lever_runs = [run for run in runs if is_lever(run) and run.config.seed == 0]
    if lever_runs:
        learning = learning_table(lever_runs)
        figures.save(figures.levers(learning), "levers", learning, lever_runs, folder)
    return table


def by_data(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs in groups that share their data."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr(run.config.data), []).append(run)
    return list(groups.values())
