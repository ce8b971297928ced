"""Measured runs beside their plans: peak memory and seconds."""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pandas as pd
import torch

from icotlib.config import RunConfig, from_dict, to_dict
from icotlib.evaluation.scoring import Score
from icotlib.runs import Run, unfinished
from icotlib.system import memory
from icotlib.system.isolated import IsolatedProcess
from icotlib.system.processes import environment
from icotlib.training.trainer import Trainer


def plan_accuracy(
    config: RunConfig, report: Callable[[pd.DataFrame], None] = lambda table: None
) -> pd.DataFrame:
    """Plan a run and the phases that it builds on; then train them, and measure what they take.

    Everything happens in a temporary folder of runs, and every run in a process of its own. For
    CPUs on Linux, where a process can forget its peak.

    Args:
        report: called with the table after every run.

    Returns:
        one row per run: run, planned and measured MiB of training and of the test, their ratios
        (`training`, `test`), seconds planned (from `planned_least` to `planned_most`, between
        which the answers decide), measured_seconds, and their ratio to the nearer end (`seconds`).
        Seconds are of computing.
    """
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="icotlib-plans-") as folder,
        environment(ICOT_RUNS=folder),
    ):
        todo = unfinished([config])
        with IsolatedProcess() as process:
            process.enter(_planner, to_dict(config))
            planned = process.ask("plan")
        for one in todo:
            with IsolatedProcess() as process:
                process.enter(_measurer, to_dict(one))
                measured = process.ask("train")
            rows.append(_row(planned[one.run_name], measured))
            report(pd.DataFrame(rows))
    return pd.DataFrame(rows)


def _row(planned: dict[str, Any], measured: dict[str, float]) -> dict[str, Any]:
    row = planned | measured
    row["training"] = row["planned_training"] / row["measured_training"]
    if row["measured_test"]:
        row["test"] = row["planned_test"] / row["measured_test"]
    seconds = row["measured_seconds"]
    nearest = min(max(seconds, row["planned_least"]), row["planned_most"])
    row["seconds"] = nearest / seconds
    return row


def _planner(config: dict[str, Any]) -> dict[str, Callable]:
    return {"plan": partial(_plan, from_dict(config))}


def _plan(config: RunConfig) -> dict[str, dict[str, Any]]:
    """What is planned of each run, by name."""
    from icotlib.planning.plan import plan

    found = {}
    for one in plan(config):
        found[one.name] = {
            "run": one.name,
            "planned_training": one.peaks.training / 2**20,
            "planned_test": one.peaks.testing / 2**20,
            "planned_least": one.times.least,
            "planned_most": one.times.most,
        }
    return found


def _measurer(config: dict[str, Any]) -> dict[str, Callable]:
    return {"train": partial(_train, from_dict(config))}


def _train(config: RunConfig) -> dict[str, float]:
    """Train a run whose phases are finished: the MiB and seconds that this process took."""
    torch.set_num_threads(config.train.threads)
    trainer = _Measured(config, Run.of(config))
    trainer.train()
    return {
        "measured_training": trainer.training_peak,
        "measured_test": trainer.test_peak,
        "measured_seconds": time.process_time() / config.train.threads,
    }


class _Measured(Trainer):
    """A run that notes its peaks, in MiB."""

    training_peak = test_peak = 0.0

    def _finish(self, rows: list[dict[str, Any]]) -> None:
        cpu = torch.device("cpu")
        self.training_peak = memory.peak(cpu)
        test = self.method.test

        def measured(run: Run) -> Iterator[tuple[int, Score]]:
            memory.reset_peak(cpu)
            yield from test(run)
            self.test_peak = memory.peak(cpu) if self.config.spec.tested else 0.0

        self.method.test = measured  # type: ignore[method-assign]
        super()._finish(rows)
