"""`icot stop`: end runs in training, which write a checkpoint first."""

import argparse

from icotlib.cli.options import add_import, load_imports
from icotlib.errors import RunError

EXAMPLES = """\
examples:
  icot stop icot_si
        the runs in training whose names begin so
  icot stop --all
        every run that is in training

A stopped run goes on when it is asked for again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", help="names of runs, or how they begin")
    parser.add_argument("--all", action="store_true", help="every run that is in training")
    add_import(parser)


def run(options: argparse.Namespace) -> None:
    load_imports(options)
    from icotlib.runs import begins, runs_in_training  # pandas: not for --help

    if not (options.names or options.all):
        raise RunError("name the runs to stop, or use --all")
    training = runs_in_training()
    if not training:
        raise RunError("no run is in training")
    listed = "".join(f"\n  {one.name}" for one in training)
    for name in options.names:
        if not any(begins(one.name, name) for one in training):
            raise RunError(f"no run in training begins with {name!r}; in training are:{listed}")
    for one in training:
        if options.all or any(begins(one.name, name) for name in options.names):
            one.request_stop()
            print(f"{one.name}  is asked to stop after its present step")
