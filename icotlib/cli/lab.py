"""`icot lab`: JupyterLab on copies of the notebooks."""

import argparse

EXAMPLES = """\
examples:
  icot lab
        in the browser, at the tour
  icot lab --no-browser --port 9000
        options of JupyterLab are passed on
  make lab ARGS="--no-browser"
        the same from make

Notebooks are copied to lab/ at the first time, and run there: the originals
stay without outputs.
"""

#: Words that this command does not know are options of JupyterLab.
PASSES_ON = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(passed_on=[])


def run(options: argparse.Namespace) -> None:
    from icotlib.running.lab import open_lab

    status = open_lab(options.passed_on)
    if status:
        raise SystemExit(status)
