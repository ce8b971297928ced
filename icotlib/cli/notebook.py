"""`icot notebook`: some notebooks."""

import argparse

from icotlib.cli.options import add_run_options, load_imports, overrides_of
from icotlib.running.notebooks import manual, run_all

EXAMPLES = "notebooks:\n" + manual()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="number or name of a notebook")
    add_run_options(parser)


def run(options: argparse.Namespace) -> None:
    load_imports(options)
    overrides = overrides_of(options.set)
    run_all(options.preset, options.seed, overrides, options.names, options.jobs)
