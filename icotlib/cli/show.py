"""`icot show`: one run."""

import argparse
from typing import TYPE_CHECKING

from icotlib.cli.options import add_import, load_imports
from icotlib.system.terminal import table_width

if TYPE_CHECKING:
    from icotlib.runs import Run

EXAMPLES = """\
examples:
  icot show icot_si
        the run whose name begins so (`icot runs` lists names)
"""

COLUMNS = [
    *("removed", "unit", "accuracy", "ci_low", "ci_high", "answer_accuracy", "n_test"),
    *("tokens_mean", "tokens_max", "cut", "train_examples"),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of a run, or how it begins")
    add_import(parser)


def run(options: argparse.Namespace) -> None:
    import yaml

    from icotlib.config import to_dict
    from icotlib.runs import find_run  # pandas: not for --help

    load_imports(options)
    one = find_run(options.name)
    print(yaml.safe_dump({"config": to_dict(one.config), "from": one.provenance}, sort_keys=False))
    print_run(one)


def print_run(run: "Run") -> None:
    """Accuracy by removal stage; of an unfinished run, its last evaluations."""
    from icotlib.reporting.tables import as_text  # pandas: not for --help

    if run.done and len(run.stages):
        stages = run.stages
        shown = stages[[name for name in COLUMNS if name in stages]]
        print(as_text(shown, table_width()))
        asked, tested = run.stages_with_weights, len(stages)
        if len(asked) < tested:
            listed = ", ".join(map(str, asked)) or "no stage"
            print(
                f"weights are there at {listed} removed: those of other stages were not kept "
                "(train.stage_weights=last) or were deleted (icot runs clean --stage-weights)"
            )
    else:
        print(f"unfinished: {run.progress.get('step', 0):,} of {run.config.train.steps:,} steps")
        if len(run.metrics):
            print(as_text(run.metrics.tail(), table_width()))
