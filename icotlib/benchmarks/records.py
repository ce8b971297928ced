"""Records: seconds until a model answers with all chain tokens removed, on one's own machine."""

from datetime import date
from typing import Any

from icotlib.errors import ConfigError
from icotlib.experiments.records import TARGET
from icotlib.runs import Run
from icotlib.system.wording import counted


def record_line(run: Run) -> dict[str, Any]:
    """What a finished run says, as a row of `figures/records.csv`.

    Seconds are those of computing, on one thread of the run, without evaluation, until the
    teacher-forced match on the validation set (`Run.metrics`) reached the target at the last
    removal stage; empty if it never did. `accuracy` is exact match of greedy answers on the test
    set at the end of the run: one of `experiments.record` stops once the target is reached, others
    go on.

    Raises `ConfigError` for a method that answers nothing.
    """
    if not run.config.spec.tested:
        raise ConfigError(f"{run.name} answers nothing, so that it has no record")
    target, last = run.config.train.stop_accuracy, run.stages.iloc[-1]
    target = TARGET if target is None else target
    final = run.config.spec.make_schedule(run.config, run.totals["chain_length"]).final_stage
    metrics = run.metrics[run.metrics.removed == final]  # earlier stages may have reached it too
    reached = metrics[metrics.valid_match >= target]
    first = reached.iloc[0] if len(reached) else None
    origin, train = run.provenance, run.config.train
    return {
        "task": run.config.task,
        "target": target,
        "seconds": "" if first is None else round(float(first.seconds), 1),
        "examples": "" if first is None else int(first.examples),
        "removed": int(last.removed),
        "accuracy": last.accuracy,
        "ci_low": last.ci_low,
        "ci_high": last.ci_high,
        "n": int(last.n_test),
        "seed": run.config.seed,
        "precision": train.precision,
        "threads": train.threads,
        "device": origin["device"],
        "commit": origin["commit"],
        "date": _finished(run),
        "run": run.name,
    }


def _finished(run: Run) -> str:
    """The day on which a run was finished; empty for an imported one, which has no history."""
    history = run.history
    return date.fromtimestamp(history.time.iloc[-1]).isoformat() if len(history) else ""


def sentence(line: dict[str, Any]) -> str:
    """A line of records in words."""
    tested = f"{line['accuracy']:.1%} of {line['n']} test questions right at the end"
    target = f"{100 * line['target']:g}%"
    if line["seconds"] == "":
        return f"{line['task']}: {target} was not reached; {tested}"
    minutes, seconds = divmod(round(line["seconds"]), 60)
    return (
        f"{line['task']}: {target} validation match with all "
        f"{counted(line['removed'], 'tokens')} removed after {minutes} min {seconds} s "
        f"({counted(line['examples'], 'examples')}, {line['precision']}, "
        f"{counted(line['threads'], 'threads')} of {line['device']}); {tested}"
    )
