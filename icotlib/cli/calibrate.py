"""`icot calibrate`: how many steps of No CoT take as many seconds as the other methods."""

import argparse

from tqdm import tqdm

from icotlib.cli.options import overrides_of, whole
from icotlib.experiments.base import PRESETS

EXAMPLES = """\
examples:
  icot calibrate                        print the steps, measured on this machine
  icot calibrate --set train.precision=bf16 --write
                                        and keep them, for every run of No CoT made from now on
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="fast", choices=PRESETS, help="by default fast")
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE")
    parser.add_argument("--rounds", type=whole(1, 1000), default=5, help="turns of each (5)")
    parser.add_argument(
        "--write", action="store_true", help="keep them in icotlib/experiments/budgets.csv"
    )


def run(options: argparse.Namespace) -> None:
    from icotlib.experiments.workbook import shared  # torch: not for --help
    from icotlib.running import calibration

    overrides = shared(overrides_of(options.set))
    with tqdm(total=options.rounds, desc="rounds") as bar:
        rows = calibration.calibrate(
            options.preset, overrides, options.rounds, lambda done: bar.update(done - bar.n)
        )
    for row in rows:
        print(calibration.sentence(row))
    if options.write:
        calibration.keep(rows)
        print("kept in icotlib/experiments/budgets.csv")
