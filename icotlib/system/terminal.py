"""How wide the text is that commands print."""

import shutil
import sys

#: Characters of a line of help.
HELP = 80

#: Characters of a line where nothing is narrower.
WIDEST = 100


def table_width() -> int | None:
    """Characters that a line of a table may have; None where it goes to a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def text_width() -> int:
    """Characters of a line of text: as many as the terminal has columns, at most `WIDEST`, which
    files and notebooks get."""
    if not sys.stdout.isatty():
        return WIDEST
    return max(20, min(WIDEST, shutil.get_terminal_size().columns))
