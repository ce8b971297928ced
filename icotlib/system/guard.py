"""Whether a script may start processes: each of them imports the script once more."""

import ast
import sys
from pathlib import Path
from types import FrameType

from icotlib.errors import ConfigError

#: The condition that keeps what stands below it from being done in every process.
GUARD = 'if __name__ == "__main__":'


def check_guard() -> None:
    """Raises `ConfigError` where this is called from the top level of a script, outside of
    `GUARD`: every process would call it again."""
    line = _line_of_script()
    if line is None:
        return
    script = Path(sys.modules["__main__"].__file__ or "")
    try:
        statements = ast.parse(script.read_text(encoding="utf-8")).body
    except (OSError, ValueError, SyntaxError):
        return  # changed since it began, or no Python: what follows fails by itself if it must
    before = [statement for statement in statements if statement.lineno <= line]
    if before and not _is_guard(before[-1]):
        raise ConfigError(
            f"{script.name}, line {line}: training starts processes, and each of them imports this "
            f"script. Indent what the script does below a line\n\n    {GUARD}\n\nso that it is "
            "done once. Functions and imports may stay above it"
        )


def _line_of_script() -> int | None:
    """The line of the script of this process that is being done; None if processes do not import
    it: a notebook's, `python -c`'s, that of a package."""
    main = sys.modules["__main__"]
    name = getattr(main.__spec__, "name", "") if main.__spec__ else ""
    if not getattr(main, "__file__", None) or name.endswith("__main__"):
        return None
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals is vars(main) and frame.f_code.co_name == "<module>":
            return frame.f_lineno
        frame = frame.f_back
    return None


def _is_guard(statement: ast.stmt) -> bool:
    """Whether what stands below a statement depends on the name of the module."""
    if not isinstance(statement, ast.If):
        return False
    names = (node.id for node in ast.walk(statement.test) if isinstance(node, ast.Name))
    return "__name__" in names
