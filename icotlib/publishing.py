"""Publishing: from finished runs to `figures/`, on the user's word only."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from icotlib import figures, paths
from icotlib.errors import RunError
from icotlib.presets import LEVERS
from icotlib.results import NAMES, final_rows, learning_table, record_speed, results_table
from icotlib.runs import Run, all_runs


def publishable(runs: Sequence[Run]) -> list[Run]:
    """Runs whose numbers may be shown: finished, from `fast` or `paper`, of a known commit."""
    return [run for run in runs if run.done and run.config.preset in ("fast", "paper")]


def is_lever(run: Run) -> bool:
    """Whether a run belongs to the levers notebook."""
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
        for group in by_task(runs):
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


def by_task(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs in groups that share their task."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.config.task, []).append(run)
    return list(groups.values())


# --- the README --------------------------------------------------------------------------------

#: Blocks of the README that are drawn from figures/results.csv.
README_BLOCKS = ("headline", "results")


def readme_block(name: str, table: pd.DataFrame) -> str:
    """One block of the README, from the columns of `figures/results.csv`.

    Args:
        table: results as read by pandas with `keep_default_na=False`, or as made.
    """
    return {"headline": _headline_block, "results": _results_block}[name](table)


def _main(table: pd.DataFrame, task: str = "mult-4x2") -> pd.DataFrame:
    """The last stage of every main run on a task, numbers as numbers."""
    table = table[(table.task == task) & (table.preset == "fast") & (table.variant != "tour")]
    numbers = ["accuracy", "relative_speed", "train_examples", "train_seconds", "tokens_removed"]
    table = table.assign(**{column: pd.to_numeric(table[column]) for column in numbers})
    return final_rows(table)


def _headline_block(table: pd.DataFrame) -> str:
    rows = _main(table)
    stepwise = rows[(rows.method == "icot_si") & (rows.schedule == "random")]
    examples = rows[(rows.method == "no_cot") & (rows.variant == "equal-examples")]
    seconds = rows[(rows.method == "no_cot") & (rows.variant == "equal-seconds")]
    return (
        f"On {rows.task.iloc[0].removeprefix('mult-')}-digit multiplication, a 1.3-million-"
        f"parameter transformer that wrote its steps, and then had all of them taken away, answers "
        f"{_span(stepwise.accuracy)} of unseen questions right. Trained on answers alone it "
        f"reaches {_span(examples.accuracy)} after as many examples, and "
        f"{_span(seconds.accuracy)} after as many seconds."
    )


def _results_block(table: pd.DataFrame) -> str:
    lines = [
        "| method | chain tokens removed | exact match, each seed | speed, No CoT = 1 "
        "| training examples | training seconds |",
        "|---|---|---|---|---|---|",
    ]
    rows = _main(table)
    order = {"explicit_cot": 0, "icot_si": 1, "no_cot": 2}
    rows = rows.assign(order=rows.method.map(order)).sort_values(["order", "variant", "seed"])
    for (_, method, schedule, variant), group in rows.groupby(
        ["order", "method", "schedule", "variant"], sort=True
    ):
        name = NAMES.get(method, method)
        if method == "icot_si":
            name += ", linear at the paper's pace" if variant else f", {schedule} removal"
        elif variant:
            name += f", {variant.replace('-', ' ')}"
        accuracies = ", ".join(f"{100 * value:.1f}" for value in group.accuracy)
        lines.append(
            f"| {name} | {group.tokens_removed.iloc[0]:.0f} of {group.chain_tokens.iloc[0]} "
            f"| {accuracies} | {group.relative_speed.mean():.2f} "
            f"| {group.train_examples.mean():,.0f} | {group.train_seconds.mean():,.0f} |"
        )
    return "\n".join(lines)


def _span(values: pd.Series) -> str:
    low, high = (f"{100 * value:.1f}" for value in (values.min(), values.max()))
    return f"{low}%" if low == high else f"{low} to {high}%"


def update_readme() -> None:
    """Rewrite the blocks of the README from `figures/results.csv`, between their markers."""
    path = paths.PROJECT / "README.md"
    table = pd.read_csv(paths.FIGURES / "results.csv", keep_default_na=False)
    text = path.read_text()
    for name in README_BLOCKS:
        start, end = f"<!-- {name} -->\n", f"\n<!-- end {name} -->"
        before, rest = text.split(start)
        after = rest.split(end.strip("\n"))[1]
        text = before + start + readme_block(name, table) + end + after
    path.write_text(text)
