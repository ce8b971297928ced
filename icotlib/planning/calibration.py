"""Measuring budgets: how many steps of a method take as many seconds as a run of another."""

from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Any

from icotlib.config import RunConfig, parse_overrides
from icotlib.errors import ConfigError, did_you_mean
from icotlib.experiments import graphs, stepwise
from icotlib.experiments.latent import LATENT, REFERENCE
from icotlib.running.jobs import ensure
from icotlib.runs import Run

#: The runs whose seconds others get.
REFERENCES: dict[str, Callable[..., RunConfig]] = {
    "icot_si": stepwise.icot_si,
    "one_model": stepwise.one_model,
    graphs.REFERENCE: graphs.GRAPHS[graphs.REFERENCE],
}

#: The runs that get them, with the steps that are known so far: what makes each, by the reference.
#: They take about as long as the reference, so that the ratio of the two is near one.
METHODS: dict[str, dict[str, Callable[..., RunConfig]]] = {
    "no_cot": {
        name: partial(stepwise.no_cot, budget="seconds", reference=name)
        for name in ("icot_si", "one_model")
    },
    **{name: {REFERENCE: partial(make, budget="seconds")} for name, make in LATENT.items()},
    **{
        graphs.RUNS + name: {
            graphs.REFERENCE: partial(graphs.GRAPHS[graphs.RUNS + name], budget="seconds")
        }
        for name in ("no_cot", *LATENT)
    },
}


def calibrate(
    preset: str,
    seeds: Sequence[int],
    overrides: Any = None,
    jobs: int | None = None,
    methods: Sequence[str] = ("no_cot",),
) -> list[dict[str, str]]:
    """Rows of `budgets.csv`: steps of each method that take as long as its references.

    Seconds of training are those of whole runs, the mean over seeds: a method is trained for the
    steps that were measured before, and gets more or fewer in the ratio of the two. Runs that are
    missing are trained.

    Raises `ConfigError` for a method that has no budget, and for runs that would end early.
    """
    if parse_overrides(overrides).get("train.stop_accuracy") is not None:
        raise ConfigError(
            "budgets are measured on whole runs, which train.stop_accuracy ends early: leave it out"
        )
    for method in methods:
        if method not in METHODS:
            raise ConfigError(
                f"{method!r} has no budget in seconds: {', '.join(METHODS)}."
                f"{did_you_mean(method, METHODS)}"
            )
    pairs = [(method, *pair) for method in methods for pair in METHODS[method].items()]
    makers = [maker for _, reference, own in pairs for maker in (REFERENCES[reference], own)]

    def trained(*makers: Callable[..., RunConfig]) -> list[Run]:
        return ensure([make(preset, seed, overrides) for make in makers for seed in seeds], jobs)

    trained(*makers)  # all at once, so that no core waits between two methods
    rows = []
    for method, reference, make in pairs:
        whole, own = trained(REFERENCES[reference]), trained(make)
        origin = own[0].provenance
        steps = own[0].config.train.steps * _seconds(whole) / _seconds(own)
        rows.append(
            {
                "method": method,
                "preset": preset,
                "reference": reference,
                "precision": own[0].config.train.precision,
                "steps": str(round(steps)),
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
        f"{row['method']} takes as many seconds as {row['reference']} ({row['preset']}, "
        f"{row['precision']}) with {int(row['steps']):,} steps"
    )
