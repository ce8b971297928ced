"""`icot compare`: two configurations or two runs."""

import argparse
import textwrap
from collections.abc import Callable
from pathlib import Path

from icotlib.cli.options import add_import, load_imports, share, to_path, whole
from icotlib.system.terminal import table_width, text_width

EXAMPLES = """\
examples:
  icot compare icot_si no_cot
        every finished seed of each, at its last stage
  icot compare one_model-mult-4x2-s0 one_model-mult-4x2-s1
        two runs
  icot compare icot_si icot_kd --removed 12 --tex comparison.tex

A and B are names of runs or how they begin, or keys of configurations
(`icot runs`). A whole name is one run; otherwise all seeds of the configuration
are taken.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="A", help="name of a run, how names begin, or a key")
    parser.add_argument("second", metavar="B", help="what A is compared with, named likewise")
    parser.add_argument(
        "--removed", type=whole(0), help="the stage that is tested; by default the last of each"
    )
    parser.add_argument(
        "--threshold", type=share, default=0.95, help="accuracy at which a seed succeeds (0.95)"
    )
    for kind in ("csv", "md", "tex"):
        parser.add_argument(
            f"--{kind}",
            type=file_ending(f".{kind}"),
            metavar="FILE",
            help=f"write the table of stages to FILE.{kind}",
        )
    add_import(parser)


def run(options: argparse.Namespace) -> None:
    load_imports(options)
    from icotlib.reporting.comparison import SIDES, compare  # scipy takes a moment to load
    from icotlib.reporting.tables import as_text, write_table

    found = compare(options.first, options.second, options.removed, options.threshold)
    for side, group in zip(SIDES, (found.first, found.second), strict=True):
        print(f"{side}  {group.key}  {', '.join(run.name for run in group.runs)}")
    print("\nsettings that differ")
    settings = found.titled(found.settings)
    print(settings.to_string(index=False) if len(settings) else "  none but the seed")
    print("\nexact match in percent, with 95% intervals")
    for table in (found.stages, found.spent):
        print(f"{as_text(found.titled(table), table_width())}\n")
    for sentence in found.words:
        print(textwrap.fill(sentence, text_width(), subsequent_indent="  "))
    if files := [path for path in (options.csv, options.md, options.tex) if path]:
        # Columns of CSV have equal names in every comparison.
        written = write_table(found.stages, *files, shown=found.titled(found.stages))
        print("written to " + " and ".join(map(str, written)))


def file_ending(suffix: str) -> Callable[[str], Path]:
    """Argparse's type of a file whose name gets this ending unless it has it."""
    return lambda name: to_path(name if name.endswith(suffix) else name + suffix)
