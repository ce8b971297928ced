"""`icot shifts`: accuracy out of distribution."""

import argparse

from icotlib import experiments
from icotlib.cli.options import add_run_options, load_imports, overrides_of, whole
from icotlib.cli.plans import add_plan, check_plan, print_outlook
from icotlib.errors import ConfigError

EXAMPLES = """\
examples:
  icot shifts --preset smoke
        its five methods, trained and tested in a minute
  icot shifts --set data.task=parity-16 --questions 500
        another task, on 500 questions of each shift
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_options(parser)
    add_plan(parser)
    parser.add_argument("--questions", type=whole(1), default=1000, help="questions of each shift")


def run(options: argparse.Namespace) -> None:
    load_imports(options)
    check_plan(options)
    from icotlib.evaluation.ood import shift_table  # torch: not for --help
    from icotlib.running.jobs import ensure

    configs = experiments.shifted(options.preset, options.seed, overrides_of(options.set))
    if not configs:
        raise ConfigError("nothing to test: choose a task that has shifts (--set data.task=...)")
    listed = list(configs.values())
    if options.plan:
        print_outlook(options, listed)
        return
    runs = ensure(listed, options.jobs)
    print(shift_table(runs, options.questions).drop(columns="run").to_string(index=False))
