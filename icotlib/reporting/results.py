"""Results of many runs as tidy tables: what figures, pages and papers are drawn from."""

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from icotlib.config import RunConfig
from icotlib.errors import ConfigError, RunError, RunWarning
from icotlib.registry import METHODS
from icotlib.reporting.groups import configuration_key, settings_of_run
from icotlib.runs import Run
from icotlib.system import seals

COLUMNS = [
    "method",
    "schedule",
    "variant",
    "task",
    "preset",
    "model",
    "configuration",
    "seed",
    "removed",
    "unit",
    "chain_length",
    "accuracy",
    "ci_low",
    "ci_high",
    "n_test",
    "answer_accuracy",
    "tokens_mean",
    "tokens_max",
    "cut",
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
    "settings",
]

#: The columns that `record_speed` measures.
SPEEDS = ["examples_per_second", "examples_per_second_batched", "relative_speed"]


#: Settings of a method that studies call by a name of their own: the method and its label.
NAMED = {
    "pause_as_thought": ("pause", "Pause as thought"),
    "sim_cot": ("coconut", "SIM-CoT (Coconut)"),
}


def named(method: str, label: str) -> str:
    """What studies call a method with the settings of a label, if they have a name in `NAMED`."""
    name = label.replace("-", "_")
    return name if name in NAMED else method


def method_label(method: str) -> str:
    """A method, or one of `NAMED`, as figures and tables name it; an unknown one by its id.

    Args:
        method: its id, which may be followed by a comma and by what a study changes in it.
    """
    known, (own, comma, rest) = METHODS.items(), method.partition(",")
    label = known[own].label if own in known else NAMED.get(own, ("", own))[1]
    return label + comma + rest


def model_name(run: Run) -> str:
    """The model as tables name it: pretrained source, or architecture and sizes."""
    model = run.config.model
    if model.pretrained:
        return model.pretrained.rstrip("/").rpartition("/")[2]
    return f"{model.architecture}-{model.layers}x{model.width}"


def results_table(runs: Iterable[Run]) -> pd.DataFrame:
    """One row per finished run and removal stage, with the columns of `figures/results.csv`.

    `removed` and `chain_length` count what `unit` says, tokens or steps. `accuracy` counts true
    answers after no more chain than the stage leaves (`InputFormat.chain_limit`), `answer_accuracy`
    all true ones. It, `tokens_mean`, `tokens_max` and `cut` are empty for older runs. Speed is
    filled in where `record_speed` has measured it. Examples, tokens, steps and seconds include
    those of the runs that a run builds on. Rows of one `configuration` differ in their seed alone;
    `settings` holds those that are not at their default, as JSON. A run without test scores has no
    row, nor has one that builds on a run which is missing or damaged (`with_ancestors`).
    """
    rows = []
    for run in with_ancestors(runs):
        if run.stages.empty:
            continue
        config, origin, totals = run.config, run.provenance, run.totals
        stages = run.stages.merge(speed_table(run), on="removed", how="left")
        before, settings, model = spent_before(config), settings_of_run(run), model_name(run)
        for stage in stages.to_dict("records"):
            rows.append(
                {
                    **stage,
                    **{f"train_{name}": stage[f"train_{name}"] + before[name] for name in before},
                    "method": config.method,
                    "schedule": config.spec.schedule_name(config),
                    "variant": config.label,
                    "task": config.task,
                    "preset": config.preset,
                    "model": model,
                    "configuration": configuration_key(settings),
                    "settings": json.dumps(settings),
                    "seed": config.seed,
                    "chain_length": totals["chain_length"],
                    "device": origin["device"],
                    "commit": origin["commit"],
                    "data": origin["data"],
                    "run": run.name,
                }
            )
    table = pd.DataFrame(rows, columns=COLUMNS)
    order = ["task", "method", "schedule", "variant", "seed", "removed"]
    return table.sort_values(order, ignore_index=True)


def with_ancestors(runs: Iterable[Run]) -> list[Run]:
    """Those of some runs whose phases are there too, so that what they spent can be counted.

    A `RunWarning` names each of the others, and the run that it builds on. Raises `RunError` for
    one that is damaged itself.
    """
    kept = []
    for run in runs:
        lost = [text for one in run.config.ancestors().values() if (text := _lost(Run.of(one)))]
        if lost:
            message = f"left out: {run.name} builds on {lost[0]}"
            warnings.warn(message, RunWarning, stacklevel=2)
        else:
            kept.append(run)
    return kept


def _lost(phase: Run) -> str:
    """The name of a run that cannot be read, and why; empty for one that can be."""
    try:
        _ = phase.totals, phase.provenance
    except RunError as error:
        return f"{phase.name}, which cannot be read: {error}"
    return ""


def spent_before(config: RunConfig) -> dict[str, float]:
    """Examples, tokens, steps and seconds of all the runs that a run builds on, each once."""
    totals = [Run.of(ancestor).totals for ancestor in config.ancestors().values()]
    names = {"examples": "examples", "tokens": "tokens", "steps": "step", "seconds": "seconds"}
    return {name: sum(total[key] for total in totals) for name, key in names.items()}


#: Columns that `learning_table` has for every method, also where there is no row.
LEARNING = [
    *("step", "examples", "tokens", "rate", "loss", "removed", "train_match", "valid_match"),
    *("seconds", "method", "schedule", "variant", "task", "configuration", "settings", "seed"),
    *("chain_length", "final_stage", "run"),
]


def learning_table(runs: Iterable[Run]) -> pd.DataFrame:
    """One row per run and evaluation during training: accuracy against examples and seconds.

    `final_stage` is the removal stage at which the run's schedule ends. Unfinished runs are
    included; those without an evaluation yet are not.
    """
    tables = []
    for run in runs:
        config, metrics = run.config, run.metrics
        if metrics.empty:
            continue
        settings = settings_of_run(run)
        chain = run.totals["chain_length"] if run.done else run.progress.get("chain", 1)
        columns = {
            "method": config.method,
            "schedule": config.spec.schedule_name(config),
            "variant": config.label,
            "task": config.task,
            "configuration": configuration_key(settings),
            "settings": json.dumps(settings),
            "seed": config.seed,
            "chain_length": chain,
            "final_stage": config.spec.make_schedule(config, chain).final_stage,
            "run": run.name,
        }
        tables.append(metrics.assign(**columns))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=LEARNING)


def final_rows(table: pd.DataFrame, of: str | list[str] = "run") -> pd.DataFrame:
    """The last removal stage of each run.

    Args:
        of: the columns that tell runs apart.
    """
    return table.loc[table.groupby(of)["removed"].idxmax()].reset_index(drop=True)


#: What a user does with a damaged `speed.json`.
_MEASURE_AGAIN = "delete the file and measure again (icot.record_speed)"


def _speed(run: Run) -> dict[str, Any]:
    """What `speed.json` of a run holds, `rows` and `reference`; nothing before it is measured."""
    path = run.measured / "speed.json"
    if not path.is_file():
        return {}
    values = seals.read_json(path, _MEASURE_AGAIN)
    if isinstance(values, list):  # of before the file held its hash
        return {"rows": values}
    return dict(seals.opened(path, _MEASURE_AGAIN))


def speed_reference(run: Run) -> str | None:
    """The run that a run's measured speed is relative to; None where that is not known."""
    return _speed(run).get("reference")


def speed_table(run: Run) -> pd.DataFrame:
    """What `record_speed` has measured for a run; empty before."""
    found = _speed(run)
    if not found:
        return pd.DataFrame(columns=["removed", *SPEEDS])
    try:
        return pd.DataFrame(found.get("rows")).astype(dict.fromkeys(SPEEDS, float))
    except (KeyError, TypeError, ValueError) as error:
        path = run.measured / "speed.json"
        raise RunError(f"{path} is damaged ({error}): {_MEASURE_AGAIN}") from None


def provenance_of(runs: Iterable[Run]) -> dict[str, Any]:
    """The origin of a figure or table: name, seed, preset, precision, commit, device, data and
    versions of each run."""
    rows = []
    for run in sorted(runs, key=lambda run: run.name):
        config, origin = run.config, run.provenance
        row = {"run": run.name, "seed": config.seed, "preset": config.preset}
        trained_with = origin.get("trained_with", {})  # `auto` stands for one of several
        row["precision"] = trained_with.get("precision", config.train.precision)
        row |= {key: origin[key] for key in ("commit", "device", "data", "versions")}
        rows.append(row)
    return {"runs": rows}


def check_origin(path: Path) -> None:
    """Raises `ConfigError` for a file at the path where the origin of a table or a figure is to be
    written, if it holds anything else: it would be overwritten."""
    if not path.exists():
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        ours = all(isinstance(row["run"], str) for row in found["runs"]) and len(found) > 1
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise ConfigError(
            f"{path} exists and is no provenance file of a table or figure: choose another name or "
            "folder"
        )
