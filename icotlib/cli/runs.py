"""`icot runs`: the runs that are there."""

import argparse
import sys

from icotlib import paths
from icotlib.reporting.results import results_table
from icotlib.runs import Run, all_runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--csv", action="store_true", help="print the results table as CSV instead")


def run(options: argparse.Namespace) -> None:
    runs = all_runs(finished=False)
    if options.csv:
        results_table(one for one in runs if one.done).to_csv(sys.stdout, index=False)
        return
    if not runs:
        print(f"no runs under {paths.runs_root()}; `icot workbook` makes some")
    for one in runs:
        print(f"{one.name:64} {state(one)}")


def state(run: Run) -> str:
    """How far a run is, and how good."""
    if not run.done:
        step = run.progress.get("step", 0)
        return f"unfinished at step {step} of {run.config.train.steps}"
    stages = run.stages
    accuracy = f"{stages.accuracy.iloc[-1]:6.1%}" if len(stages) else f"{'-':>6}"
    return f"{accuracy}  {run.totals['seconds']:6.0f} s"
