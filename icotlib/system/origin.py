"""Where numbers come from: the commit of the project, and the command that was typed."""

import os
import re
import subprocess
import sys
from pathlib import Path

from icotlib import paths

#: The variable by which workers know the command of their client.
COMMAND = "ICOT_COMMAND"


def command_line() -> str:
    """The command of this process, or of the client of its worker; whole paths, also behind `=`,
    are cut to their names."""
    if os.environ.get(COMMAND):
        return os.environ[COMMAND]
    words = [re.sub(r"(^|=)/.*", lambda one: one[1] + Path(one[0]).name, x) for x in sys.argv]
    return "a notebook" if "ipykernel" in words[0] else " ".join(words)


def git_commit() -> str:
    """The commit of the project, with `+` if tracked files differ from it; `unknown` without, also
    where the package lies in a repository of something else."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(paths.PROJECT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        root, commit = git("rev-parse", "--show-toplevel", "--short=12", "HEAD").splitlines()
        if Path(root).resolve() != paths.PROJECT:
            return "unknown"
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "icotlib")
        return commit + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
