"""Measuring budgets: how many steps of No CoT take as many seconds as a run of another method."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from icotlib.config import RunConfig
from icotlib.experiments import stepwise
from icotlib.running.jobs import ensure
from icotlib.runs import Run

#: The runs whose seconds No CoT gets.
REFERENCES: dict[str, Callable[..., RunConfig]] = {
    "icot_si": stepwise.icot_si,
    "one_model": stepwise.one_model,
}


def calibrate(
    preset: str, seeds: Sequence[int], overrides: Any = None, jobs: int | None = None
) -> list[dict[str, str]]:
    """Rows of `budgets.csv`: steps of No CoT that take as long as each reference.

    Seconds of training are those of whole runs, the mean over seeds: No CoT has as many steps as
    the reference for that, and gets more in the ratio of the two. Runs that are missing are
    trained.
    """
    rows = []
    for name, make in REFERENCES.items():
        whole = ensure([make(preset, seed, overrides) for seed in seeds], jobs)
        bare = ensure(
            [stepwise.no_cot(preset, seed, overrides, "examples", name) for seed in seeds], jobs
        )
        ratio = _seconds(whole) / _seconds(bare)
        origin = bare[0].provenance
        rows.append(
            {
                "preset": preset,
                "reference": name,
                "precision": bare[0].config.train.precision,
                "steps": str(round(bare[0].config.train.steps * ratio)),
                "device": str(origin["device"]),
                "commit": str(origin["commit"]),
                "date": date.today().isoformat(),
            }
        )
    return rows


def _seconds(runs: Sequence[Run]) -> float:
    """Seconds of training, the mean over runs."""
    return sum(float(run.totals["seconds"]) for run in runs) / len(runs)


def sentence(row: dict[str, str]) -> str:
    """A row in words."""
    return (
        f"No CoT takes as many seconds as {row['reference']} ({row['preset']}, "
        f"{row['precision']}) with {int(row['steps']):,} steps"
    )
