"""Options that say which columns of a file hold question, steps and answer."""

import argparse
import textwrap

from icotlib.data.formats import FORMATS, NAMES, Columns

#: The formats of `--as` with what they are, for the help of a command.
FORMATS_LISTED = "\n".join(
    textwrap.fill(form.about, 80, initial_indent=f"  {form.name:14}", subsequent_indent=" " * 16)
    for form in FORMATS
    if form.about
)


def add_columns(parser: argparse.ArgumentParser) -> None:
    for part in ("question", "steps", "answer"):
        text = f"the column with the {part}"
        more = ", or several joined by +" if part == "question" else ""
        parser.add_argument(f"--{part}", metavar="COLUMN", help=text + more)
    parser.add_argument(
        "--as",
        dest="form",
        choices=NAMES,
        metavar="NAME",
        help="the format of the rows (`icot prepare --help` lists them)",
    )
    parser.add_argument(
        "--between",
        default=" ",
        metavar="TEXT",
        help="text between steps, of a list or on lines of one cell; with ' ; ' for example "
        "removal.step_end=';' can tell them apart (default: a space)",
    )


def columns_of(options: argparse.Namespace) -> Columns:
    """The columns that the options of `add_columns` name."""
    return Columns(options.question, options.steps, options.answer, options.between, options.form)
