"""`icot publish`: figures and tables from finished runs."""

import argparse

from icotlib import paths
from icotlib.cli.options import add_import, load_imports, to_path
from icotlib.errors import ConfigError
from icotlib.system.terminal import table_width

EXAMPLES = """\
examples:
  icot publish
        figures/ and the tables of README and guide
  icot publish --out mine --task mult-3x3
        figures and tables of another task, in a folder of yours
  icot publish --redraw kd_explained
        a published figure again, from its table; without names, every one
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=to_path, default=paths.FIGURES, help="folder to write")
    parser.add_argument("--task", help="the task of the headline figures (mult-4x2)")
    parser.add_argument(
        "--redraw",
        nargs="*",
        metavar="FIGURE",
        help="draw figures again from the tables beside them, without runs",
    )
    add_import(parser)


def run(options: argparse.Namespace) -> None:
    from icotlib.publishing.guide import update_pages  # torch, matplotlib: not for --help
    from icotlib.publishing.publish import TASK, publish
    from icotlib.reporting.summary import summary
    from icotlib.reporting.tables import as_text

    load_imports(options)
    if options.redraw is not None:
        _redraw(options)
        return
    table = publish(options.out, options.task or TASK)
    if options.out.resolve() == paths.FIGURES.resolve():
        update_pages()
    print(as_text(summary(table), table_width()))
    print(f"\nwritten to {options.out}")


def _redraw(options: argparse.Namespace) -> None:
    """Draw figures of a folder again."""
    from icotlib.publishing.redrawn import redraw

    if options.task:
        raise ConfigError("--redraw takes figures as they are: leave out --task")
    names = redraw(options.redraw, options.out)
    print(f"drawn again in {options.out}: {', '.join(names)}")
