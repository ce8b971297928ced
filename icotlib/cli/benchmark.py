"""`icot benchmark`: speed beside plain loops, and runs beside their plans."""

import argparse

from icotlib import paths
from icotlib.cli.options import (
    add_import,
    add_settings,
    check_file,
    check_folder,
    given,
    load_imports,
    overrides_of,
    refuse,
    to_path,
    whole,
)
from icotlib.errors import ConfigError
from icotlib.system.added_rows import add_rows, check_addable

EXAMPLES = """\
examples:
  icot benchmark --size gpt2
        examples per second, beside plain loops in the same run
  icot benchmark --costs
        measured steps beside what `--plan --speed` calculates
  icot benchmark --plan own_si --set train.steps=6 --set data.path=mine \\
      --set model.pretrained=M
        memory and seconds of a run beside its plan
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size", choices=("smoke", "fast", "gpt2"), help="which model and task (fast)"
    )
    parser.add_argument("--rounds", type=whole(1), help="rounds; the median counts (5)")
    parser.add_argument("--steps", type=whole(1), help="optimizer steps in a round (2)")
    parser.add_argument(
        "--precision",
        nargs="+",
        metavar="PRECISION",
        choices=("fp32", "bf16", "int8", "fastest"),
        help="one or several of fp32 (default), bf16, int8 (on a CPU) and fastest, which is found "
        "by a short measurement",
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
        "memory and seconds with its plan; --preset, --seed and --set are those of the run",
    )
    add_settings(parser, preset=None, seed=None)
    add_import(parser)
    parser.add_argument(
        "--out",
        type=to_path,
        help="a CSV file to add the rows to; with --costs a folder (default: figures/)",
    )


def run(options: argparse.Namespace) -> None:
    load_imports(options)
    check(options)
    measure = _plan if options.plan else _costs if options.costs else _speed
    measure(options)


def check(options: argparse.Namespace) -> None:
    """Raises `ConfigError` for options that this measurement does not read, and where its result
    could not be written."""
    run = {"--preset": options.preset, "--seed": options.seed, "--set": options.set}
    loops = {
        "--size": options.size,
        "--rounds": options.rounds,
        "--steps": options.steps,
        "--precision": options.precision,
    }
    if options.plan:
        more = {"--costs": options.costs} | loops
        refuse(more, "--plan trains a run, whose settings are those of --set")
    elif given(run):
        raise ConfigError(f"{', '.join(given(run))} say which run to train: add --plan NAME")
    if options.costs and len(options.precision or []) > 1:
        raise ConfigError("--costs measures at one precision: give one")
    if options.costs and not options.out:
        paths.check_checkout("icot benchmark --costs without --out")
    if options.costs:
        check_folder(options.out or paths.FIGURES)
    else:
        check_file(options.out)
        if options.out:
            check_addable(options.out, ("run", "seconds") if options.plan else ("what",))


def _plan(options: argparse.Namespace) -> None:
    from icotlib.benchmarks.plans import plan_accuracy
    from icotlib.experiments import run_config  # torch: not for --help

    overrides = overrides_of(options.set)
    config = run_config(options.plan, options.preset or "fast", options.seed or 0, overrides)
    table = plan_accuracy(config)
    print(table.round(2).T.to_string(header=False))
    if options.out:
        add_rows(options.out, table)


def _loops(options: argparse.Namespace) -> tuple[str, int, int]:
    """Size, rounds and steps."""
    return options.size or "fast", options.rounds or 5, options.steps or 2


def _costs(options: argparse.Namespace) -> None:
    from icotlib.benchmarks.costs import costs  # torch and matplotlib: not for --help
    from icotlib.reporting.figures.export import check_replaceable

    folder, (precision,) = options.out or paths.FIGURES, options.precision or ["fp32"]
    check_replaceable(folder, "costs")
    table = costs(*_loops(options), precision, folder)
    print(table.drop(columns=["device", "commit"]).to_string(index=False))
    print(f"\nwritten to {folder}")


def _speed(options: argparse.Namespace) -> None:
    from icotlib.benchmarks.speed import benchmark  # torch: not for --help

    table = benchmark(*_loops(options), tuple(options.precision or ["fp32"]))
    print(table.drop(columns=["device", "commit"]).round(3).to_string(index=False))
    if options.out:
        add_rows(options.out, table)
