"""`icot calibrate`: how many steps of a method take as many seconds as another."""

import argparse

from icotlib import paths
from icotlib.cli.options import add_run_options, load_imports, overrides_of, seeds_of
from icotlib.errors import ConfigError

EXAMPLES = """\
Run nothing else meanwhile: other processes slow the runs unequally.

examples:
  icot calibrate
        train runs at seed 0, and print the numbers of steps
  icot calibrate --seeds 10..14 --set train.precision=bf16 --set data.seed=1 \\
      --write
        and store them: every later run of No CoT has them
  icot calibrate --methods coconut,codi
        the same for Coconut and CODI
"""


#: Settings that change no budget, or of which each has its own.
KEPT = ("train.precision", "data.seed", "data.test_examples")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", metavar="SEEDS", help="such as 10..14 or 10,12 (default: 0)")
    parser.add_argument(
        "--write",
        action="store_true",
        help="store the numbers of steps in icotlib/experiments/budgets.csv",
    )
    parser.add_argument(
        "--methods",
        default="no_cot",
        metavar="METHODS",
        help="methods to measure, separated by commas (default: no_cot)",
    )
    add_run_options(parser, seed=None)


def run(options: argparse.Namespace) -> None:
    if options.write:
        paths.check_checkout("icot calibrate --write")
    from icotlib.experiments import budgets  # torch: not for --help
    from icotlib.experiments.workbook import shared
    from icotlib.planning import calibration

    load_imports(options)
    overrides = shared(overrides_of(options.set))
    other = sorted(set(overrides) - set(KEPT)) if options.write else []
    if other:
        raise ConfigError(
            "--write stores numbers of steps for the presets' own settings, and "
            f"{', '.join(other)} changes these: leave it out, or leave --write out"
        )
    seeds = seeds_of(options) or [0]
    methods = [name.strip() for name in options.methods.split(",")]
    rows = calibration.calibrate(options.preset, seeds, overrides, options.jobs, methods)
    for row in rows:
        print(calibration.sentence(row))
    if options.write:
        budgets.write(rows)
        print("stored in icotlib/experiments/budgets.csv")
