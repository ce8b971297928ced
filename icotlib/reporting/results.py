"""Results of many runs as tidy tables: what figures, README and papers are drawn from."""

from collections.abc import Iterable

import pandas as pd

from icotlib.config import RunConfig
from icotlib.runs import Run, ancestors

COLUMNS = [
    "method",
    "schedule",
    "variant",
    "task",
    "preset",
    "model",
    "seed",
    "removed",
    "chain_tokens",
    "accuracy",
    "ci_low",
    "ci_high",
    "n_test",
    "examples_per_second",
    "examples_per_second_batched",
    "relative_speed",
    "train_examples",
    "train_tokens",
    "train_steps",
    "train_seconds",
    "device",
    "commit",
    "data",
    "run",
]


#: How figures and tables name the methods.
NAMES = {
    "explicit_cot": "Explicit CoT",
    "mind_reading": "Mind-reading student",
    "icot_kd": "ICoT-KD",
    "icot_si": "ICoT-SI",
    "no_cot": "No CoT",
}


def model_name(run: Run) -> str:
    """The model as tables name it: pretrained source, or architecture and sizes."""
    model = run.config.model
    if model.pretrained:
        return model.pretrained.rstrip("/").rpartition("/")[2]
    return f"{model.architecture}-{model.layers}x{model.width}"


def results_table(runs: Iterable[Run]) -> pd.DataFrame:
    """One row per finished run and removal stage, with the columns of `figures/results.csv`.

    Speed stands where `record_speed` has measured it. Examples, tokens, steps and seconds of a
    distilled run include those of the runs it builds on. An emulator answers nothing: no row.
    """
    rows = []
    for run in runs:
        if run.stages.empty:
            continue
        config, origin, totals = run.config, run.provenance, run.totals
        stages = run.stages.merge(speed_table(run), on="removed", how="left")
        before = spent_before(config)
        for stage in stages.to_dict("records"):
            rows.append(
                {
                    **stage,
                    **{f"train_{name}": stage[f"train_{name}"] + before[name] for name in before},
                    "method": config.method,
                    "schedule": schedule_name(config),
                    "variant": config.label,
                    "task": config.task,
                    "preset": config.preset,
                    "model": model_name(run),
                    "seed": config.seed,
                    "chain_tokens": totals["chain_tokens"],
                    "device": origin["device"],
                    "commit": origin["commit"],
                    "data": origin["data"],
                    "run": run.name,
                }
            )
    table = pd.DataFrame(rows, columns=COLUMNS)
    order = ["task", "method", "schedule", "variant", "seed", "removed"]
    return table.sort_values(order, ignore_index=True)


def spent_before(config: RunConfig) -> dict[str, float]:
    """Examples, tokens, steps and seconds of all the runs that a run builds on, each once."""
    totals = [Run.of(one).totals for one in ancestors(config).values()]
    names = {"examples": "examples", "tokens": "tokens", "steps": "step", "seconds": "seconds"}
    return {name: sum(total[key] for total in totals) for name, key in names.items()}


def schedule_name(config: RunConfig) -> str:
    """The schedule as tables name it; where it counts steps, so do the columns of tokens."""
    by_step = " by step" if config.removal.unit == "steps" else ""
    return config.removal.schedule + by_step


def learning_table(runs: Iterable[Run]) -> pd.DataFrame:
    """One row per run and evaluation during training: accuracy against examples and seconds.

    Runs in training are welcome; those without an evaluation yet are left out.
    """
    tables = []
    for run in runs:
        config, metrics = run.config, run.metrics
        if metrics.empty:
            continue
        chain = run.totals["chain_tokens"] if run.done else run.progress.get("chain", 1)
        columns = {
            "method": config.method,
            "schedule": schedule_name(config),
            "variant": config.label,
            "task": config.task,
            "seed": config.seed,
            "chain_tokens": chain,
            "run": run.name,
        }
        tables.append(metrics.assign(**columns))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def final_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The last stage of each run: what its method is for."""
    return table.loc[table.groupby("run")["removed"].idxmax()].reset_index(drop=True)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of each method's last stage, in percent, lowest seed beside them."""
    last = final_rows(table)
    last = last.assign(method=last["method"].map(NAMES).fillna(last["method"]))
    keys = ["task", "method", "schedule", "variant", "removed"]
    groups = last.groupby(keys, sort=False)
    made = groups.agg(
        seeds=("seed", "nunique"),
        accuracy=("accuracy", "mean"),
        lowest=("accuracy", "min"),
        relative_speed=("relative_speed", "mean"),
        train_examples=("train_examples", "mean"),
        train_seconds=("train_seconds", "mean"),
    ).reset_index()
    made[["accuracy", "lowest"]] = (100 * made[["accuracy", "lowest"]]).round(1)
    made["relative_speed"] = made["relative_speed"].round(2)
    made[["train_examples", "train_seconds"]] = (
        made[["train_examples", "train_seconds"]].round().astype(int)
    )
    return made.sort_values("accuracy", ascending=False, ignore_index=True)


def speed_table(run: Run) -> pd.DataFrame:
    """What `record_speed` has measured for a run; empty before."""
    path = run.folder / "speed.json"
    columns = [
        "removed",
        "examples_per_second",
        "examples_per_second_batched",
        "relative_speed",
    ]
    return pd.read_json(path) if path.is_file() else pd.DataFrame(columns=columns)
