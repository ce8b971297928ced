"""`--plan` of the commands that train several runs: what all of them will take together."""

import argparse
from collections.abc import Sequence

from icotlib.config import RunConfig
from icotlib.errors import ConfigError


def add_plan(parser: argparse.ArgumentParser) -> None:
    """`--plan`, and `--speed` beside it."""
    parser.add_argument(
        "--plan", action="store_true", help="say what it will take (steps, memory, time), and stop"
    )
    parser.add_argument(
        "--speed",
        metavar="DEVICE",
        help="with --plan: calculate the time on a device: h100 (assumed speed), a number of "
        "TFLOP/s, or a costs.csv of `icot benchmark --costs`; without it, a few real steps are "
        "timed here",
    )


def check_plan(options: argparse.Namespace) -> None:
    """Raises `ConfigError` for `--speed` without `--plan`."""
    if options.speed and not options.plan:
        raise ConfigError("--speed says how long a run would take: add --plan")


def print_outlook(options: argparse.Namespace, configs: Sequence[RunConfig]) -> None:
    """What the runs that are missing for some configs will take together."""
    from icotlib.running.outlook import outlook  # torch: not for --help

    print(outlook(configs, options.speed, options.jobs))
