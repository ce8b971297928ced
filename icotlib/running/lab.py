"""JupyterLab on copies of the notebooks, so that what is run there changes no file of the project.

The copies are in `lab/`, beside what they lead to: README, guide, figures and executed copies.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from icotlib import paths
from icotlib.errors import IcotError
from icotlib.running.notebooks import notebooks
from icotlib.system.contents import file_hash
from icotlib.system.seals import write_json

#: The file with the hash of each notebook at the time it was copied.
ORIGINS = ".origins.json"


def working_copies(folder: Path, say: Callable[[str], None] = print) -> list[Path]:
    """Copies of all notebooks to run and change, in a folder that is made where it is missing.

    A copy that is there stays as it is. Where the notebook has changed since it was copied, that is
    said. Executed copies can be opened below `executed/` if the folder of runs is elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    origins_file = folder / ORIGINS
    origins = _read_origins(origins_file)
    copies = []
    for notebook in notebooks():
        copy, text_hash = folder / notebook.name, file_hash(notebook)
        if not copy.is_file():
            shutil.copyfile(notebook, copy)
        own_hash = file_hash(copy)
        if notebook.name not in origins or own_hash == text_hash:
            origins[notebook.name] = own_hash
        if origins[notebook.name] != text_hash:
            say(
                f"{copy}: the project has another version of this notebook; to get it, move your "
                "copy away and start again"
            )
        copies.append(copy)
    write_json(origins_file, origins)
    _link_executed(folder / "executed")
    return copies


def _read_origins(file: Path) -> dict[str, str]:
    """The hash of each notebook at the time it was copied, where it is known."""
    try:
        origins = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return origins if isinstance(origins, dict) else {}


def _link_executed(link: Path) -> None:
    """Lead to the executed copies, if JupyterLab would not see them: it opens nothing above its
    root, and they follow `ICOT_RUNS`."""
    if link.exists() and not link.is_symlink():
        return  # a folder of the user's
    link.unlink(missing_ok=True)
    if not paths.executed_root().is_relative_to(paths.WORK):
        paths.executed_root().mkdir(parents=True, exist_ok=True)
        link.symlink_to(paths.executed_root(), target_is_directory=True)


def command(options: Sequence[str]) -> list[str]:
    """The command that starts JupyterLab at the root of the project, in the tour.

    Args:
        options: of JupyterLab, passed on as they are.

    Raises `IcotError` for the superuser, whom JupyterLab refuses, unless `--allow-root` is given.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0 and "--allow-root" not in options:
        raise IcotError(
            "JupyterLab does not start as root: whoever reaches its page could do anything on this "
            "machine. Start it as another user, or, in a container that holds nothing else, with "
            "`icot lab --allow-root` (make lab ARGS=--allow-root)"
        )
    first = notebooks()[0].name
    return [
        *(sys.executable, "-m", "jupyter", "lab", f"--ServerApp.root_dir={paths.WORK}"),
        *(f"--LabApp.default_url=/lab/tree/{paths.LAB.name}/{first}", *options),
    ]


def open_lab(options: Sequence[str]) -> int:
    """Run JupyterLab until it is closed; its exit status. Raises as `command` does.

    Kernels start in the folder of the notebooks: a folder of runs is the same there if its path is
    absolute.
    """
    words = command(options)
    working_copies(paths.LAB)
    environment = os.environ | {"ICOT_RUNS": str(paths.runs_root())}
    return subprocess.run(words, check=False, env=environment).returncode
