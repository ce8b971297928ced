"""`icot stop`: end runs in training, which write a checkpoint first."""

import argparse

from icotlib.errors import RunError
from icotlib.runs import all_runs, find_run

EXAMPLES = """\
examples:
  icot stop icot_si                     the run whose name begins so
  icot stop --all                       every run that is in training

A stopped run goes on when it is asked for again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", help="names of runs, or how they begin")
    parser.add_argument("--all", action="store_true", help="every run that is in training")


def run(options: argparse.Namespace) -> None:
    if options.all:
        chosen = [one for one in all_runs(finished=False) if not one.done and one.in_training]
    else:
        chosen = [find_run(name) for name in options.names]
    if not chosen:
        raise RunError("no run is in training" if options.all else "name a run, or use --all")
    for one in chosen:
        if one.done or not one.in_training:
            print(f"{one.name}  is not in training")
        else:
            one.request_stop()
            print(f"{one.name}  stops after its present step")
