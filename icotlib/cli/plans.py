"""`--plan` of the commands that train several runs: what all of them will take together."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from icotlib.config import RunConfig
from icotlib.errors import ConfigError
from icotlib.running.notebooks import OWN_DATA_NOTEBOOK


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


def print_outlook(
    options: argparse.Namespace,
    configs: Sequence[RunConfig],
    notebooks: Iterable[tuple[str, Mapping[str, Any]]] = (),
) -> None:
    """What the runs that are missing for some configs will take together.

    Args:
        notebooks: names of notebooks that are to be executed, each with its parameters; the runs
            of their studies count too.
    """
    from icotlib.planning.outlook import outlook  # torch: not for --help
    from icotlib.studies.of_notebooks import runs_of_studies

    executed = list(notebooks)
    runs = [*configs, *(run for name, own in executed for run in runs_of_studies(name, **own))]
    on_own_data = next((name for name, _ in executed if name.startswith(OWN_DATA_NOTEBOOK)), None)
    if runs or not on_own_data:
        print(outlook(runs, options.speed, options.jobs))
    if on_own_data:
        print(
            f"The run on your own data, which {on_own_data} makes, is not counted: plan it by "
            "`icot train own_si --set data.path=FOLDER --set model.pretrained=MODEL --plan`."
        )
