"""`icot show`: one run."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from icotlib.runs import Run

EXAMPLES = """\
examples:
  icot show icot_si                     the run whose name begins so (`icot runs` lists names)
"""

COLUMNS = [
    *("removed", "unit", "accuracy", "ci_low", "ci_high", "answer_accuracy", "n_test"),
    *("tokens_mean", "tokens_max", "cut", "train_examples"),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of a run, or how it begins")


def run(options: argparse.Namespace) -> None:
    import yaml

    from icotlib.config import to_dict
    from icotlib.runs import find_run  # pandas: not for --help

    one = find_run(options.name)
    print(yaml.safe_dump({"config": to_dict(one.config), "from": one.provenance}, sort_keys=False))
    print_run(one)


def print_run(run: "Run") -> None:
    """Accuracy by removal stage; of an unfinished run, its last evaluations."""
    if run.done and len(run.stages):
        stages = run.stages
        print(stages[[name for name in COLUMNS if name in stages]].to_string(index=False))
        if len(run.stages_with_weights) < len(run.stages):
            print("weights are kept of the last stage only (train.stage_weights=last)")
    else:
        print(run.metrics.tail().to_string(index=False))
