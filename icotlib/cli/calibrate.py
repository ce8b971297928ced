"""`icot calibrate`: how many steps of a method take as many seconds as another."""

import argparse

from icotlib import paths
from icotlib.cli.options import add_run_options, load_imports, overrides_of, seeds_of
from icotlib.errors import ConfigError

EXAMPLES = """\
Leave the machine idle meanwhile: other work slows runs, and not all by as much.

examples:
  icot calibrate
        print the steps, from runs at seed 0, which it trains
  icot calibrate --seeds 10..14 --set train.precision=bf16 --set data.seed=1 \\
      --write
        and keep them, for every run of No CoT made from now on
  icot calibrate --methods coconut,codi
        the same for methods with latent places
"""


#: Settings that change no budget, or of which each has its own.
KEPT = ("train.precision", "data.seed", "data.test_examples")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", metavar="SEEDS", help="such as 10..14 or 10,12 (default: 0)")
    parser.add_argument(
        "--write", action="store_true", help="keep them in icotlib/experiments/budgets.csv"
    )
    parser.add_argument(
        "--methods", default="no_cot", metavar="METHODS", help="which ones (default: no_cot)"
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
            f"--write keeps budgets of the presets, and {', '.join(other)} makes them another's: "
            "leave it out, or leave --write out"
        )
    seeds = seeds_of(options) or [0]
    methods = [name.strip() for name in options.methods.split(",")]
    rows = calibration.calibrate(options.preset, seeds, overrides, options.jobs, methods)
    for row in rows:
        print(calibration.sentence(row))
    if options.write:
        budgets.write(rows)
        print("kept in icotlib/experiments/budgets.csv")
