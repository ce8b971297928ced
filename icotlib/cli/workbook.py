"""`icot workbook`: the runs and notebooks of the workbook."""

import argparse

from icotlib.cli.options import add_run_options, load_imports, overrides_of
from icotlib.cli.plans import add_plan, check_plan, print_outlook
from icotlib.running.notebooks import asked_for, run_all

EXAMPLES = """\
examples:
  icot workbook
        about half an hour on two cores
  icot workbook --preset smoke
        a minute, to see that everything runs
  icot workbook --studies --plan
        how many runs are missing, and how long they will take
  icot workbook --series --seed 1
        stepwise internalization and its baselines alone
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_options(parser)
    add_plan(parser)
    part = parser.add_mutually_exclusive_group()
    part.add_argument(
        "--studies",
        action="store_true",
        help="notebooks of studies and runs out of distribution too (hours)",
    )
    part.add_argument(
        "--series",
        action="store_true",
        help="stepwise internalization and its baselines alone",
    )


def run(options: argparse.Namespace) -> None:
    load_imports(options)
    parts = {"studies": options.studies, "series": options.series}
    check_plan(options)
    asked = (options.preset, options.seed, overrides_of(options.set))
    if options.plan:
        configs, executions = asked_for(*asked, **parts)
        print_outlook(options, configs, [(path.stem, own) for path, own in executions.items()])
    else:
        run_all(*asked, jobs=options.jobs, **parts)
