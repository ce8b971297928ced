"""`icot benchmark`: speed beside plain loops, and runs beside their plans."""

import argparse
from pathlib import Path
from typing import Any

from icotlib import paths
from icotlib.cli.options import add_run_options, load_imports, overrides_of, whole

EXAMPLES = """\
examples:
  icot benchmark --size gpt2            examples per second, beside plain loops in the same run
  icot benchmark --costs                measured steps beside what `--plan --speed` calculates
  icot benchmark --plan own_si --set train.steps=6 --set data.path=mine --set model.pretrained=M
                                        memory and seconds of a run beside its plan
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
        choices=("fp32", "bf16", "int8", "fastest"),
        help="one or several; int8 on a CPU; fastest: whichever is, by a short measurement",
    )
    parser.add_argument(
        "--costs",
        action="store_true",
        help="time steps of several models and chain lengths instead, beside their calculated "
        "cost: costs.csv and a figure",
    )
    parser.add_argument(
        "--plan",
        metavar="NAME",
        help="train a run, and the phases that it builds on, in a temporary folder, and compare "
        "memory and seconds with its plan",
    )
    add_run_options(parser)
    parser.add_argument(
        "--out",
        type=Path,
        help="a CSV file to add the rows to; with --costs a folder (default: figures/)",
    )


def run(options: argparse.Namespace) -> None:
    # torch and matplotlib are not for --help
    from icotlib.experiments import run_config
    from icotlib.reporting.benchmark import benchmark
    from icotlib.reporting.cost_benchmark import costs
    from icotlib.reporting.plan_benchmark import plan_accuracy

    load_imports(options)
    if options.plan:
        overrides = overrides_of(options.set)
        config = run_config(options.plan, options.preset, options.seed, overrides)
        table = plan_accuracy(config)
        print(table.round(2).T.to_string(header=False))
        if options.out:
            add_to(options.out, table)
        return
    if options.costs:
        folder = options.out or paths.FIGURES
        table = costs(options.size, options.rounds, options.steps, options.precision[0], folder)
        print(table.drop(columns=["device", "commit"]).to_string(index=False))
        print(f"\nwritten to {folder}")
        return
    table = benchmark(options.size, options.rounds, options.steps, tuple(options.precision))
    print(table.drop(columns=["device", "commit"]).round(3).to_string(index=False))
    if options.out:
        add_to(options.out, table)


def add_to(path: Path, table: Any) -> None:
    """Add rows to a CSV file."""
    import pandas as pd

    if path.is_file():
        table = pd.concat([pd.read_csv(path), table], ignore_index=True)
    table.to_csv(path, index=False)
