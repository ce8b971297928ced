"""`icot benchmark`: speed beside plain loops."""

import argparse
from pathlib import Path

from icotlib import paths
from icotlib.cli.options import whole

EXAMPLES = """\
examples:
  icot benchmark --size gpt2            examples per second, beside plain loops in the same run
  icot benchmark --costs                measured steps beside what `--plan --speed` calculates
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size", choices=("smoke", "fast", "gpt2"), default="fast", help="which model and task"
    )
    parser.add_argument("--rounds", type=whole(1), default=5, help="rounds; the median counts")
    parser.add_argument("--steps", type=whole(1), default=2, help="optimizer steps in a round")
    parser.add_argument(
        "--precision",
        nargs="+",
        default=["fp32"],
        choices=("fp32", "bf16", "int8"),
        help="one or several; int8 on a CPU",
    )
    parser.add_argument(
        "--costs",
        action="store_true",
        help="time steps of several models and chain lengths instead, beside their calculated "
        "cost: costs.csv and a figure",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="a CSV file to add the rows to; with --costs a folder (default: figures/)",
    )


def run(options: argparse.Namespace) -> None:
    import pandas as pd  # with torch and matplotlib below: not for --help

    from icotlib.reporting.benchmark import benchmark
    from icotlib.reporting.cost_benchmark import costs

    if options.costs:
        folder = options.out or paths.FIGURES
        table = costs(options.size, options.rounds, options.steps, options.precision[0], folder)
        print(table.drop(columns=["device", "commit"]).to_string(index=False))
        print(f"\nwritten to {folder}")
        return
    table = benchmark(options.size, options.rounds, options.steps, tuple(options.precision))
    print(table.drop(columns=["device", "commit"]).round(3).to_string(index=False))
    if options.out:
        if options.out.is_file():
            table = pd.concat([pd.read_csv(options.out), table], ignore_index=True)
        table.to_csv(options.out, index=False)
