"""`icot publish`: figures and tables from finished runs."""

import argparse
from pathlib import Path

from icotlib import paths
from icotlib.cli.options import add_import, load_imports

EXAMPLES = """\
examples:
  icot publish
        figures/ and the tables of README and guide
  icot publish --out mine --task mult-3x3
        figures and tables of another task, in a folder of yours
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=paths.FIGURES, help="folder to write")
    parser.add_argument("--task", help="the task of the headline figures (mult-4x2)")
    add_import(parser)


def run(options: argparse.Namespace) -> None:
    from icotlib.reporting.guide import update_pages  # torch, matplotlib: not for --help
    from icotlib.reporting.publish import TASK, publish
    from icotlib.reporting.summary import summary
    from icotlib.reporting.tables import presented

    load_imports(options)
    table = publish(options.out, options.task or TASK)
    if options.out.resolve() == paths.FIGURES.resolve():
        update_pages()
    print(presented(summary(table)).to_string(index=False))
    print(f"\nwritten to {options.out}")
