"""Executed copies of notebooks: where they are, which are whole, and what runs they asked for."""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from icotlib import experiments, paths
from icotlib.config import families


def executed_folder(
    preset: str = "fast", seed: int = 0, overrides: dict[str, Any] | None = None, **values: Any
) -> Path:
    """The folder of executed copies, a different one for each choice of parameters."""
    parts = [preset, f"s{seed}"]
    if changed := {**(overrides or {}), **values}:
        text = json.dumps(changed, sort_keys=True)
        parts.append(hashlib.sha256(text.encode()).hexdigest()[:8])
    return paths.executed_root() / "-".join(parts)


def executed_copies(run: str) -> list[Path]:
    """The executed notebooks that ask for a run, or for one that builds on it.

    Notebooks that make runs of their own, such as that of your own data, name none.

    Args:
        run: its name.
    """
    found = sorted(paths.executed_root().glob("*/[0-9][0-9]_*.ipynb"))
    return [copy for copy in found if run in _asked_for(copy, copy.stat().st_mtime)]


@functools.lru_cache(maxsize=1024)
def _asked_for(copy: Path, changed: float) -> frozenset[str]:
    """The names of the runs that an executed notebook asked for, by the parameters that it got."""
    try:
        values = {"preset": "fast", "seed": 0, "overrides": {}} | _said(copy)["parameters"]
        configs = experiments.needed(
            copy.stem, values["preset"], values["seed"], values["overrides"]
        )
    except (OSError, ValueError, KeyError, TypeError):  # also a `ConfigError` of older settings
        return frozenset()
    return frozenset(families(configs))


def is_executed(copy: Path) -> bool:
    """Whether a file is the copy of a notebook that papermill executed to its end."""
    try:
        said = _said(copy)
        return bool(said["end_time"]) and not said["exception"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _said(copy: Path) -> dict[str, Any]:
    """What papermill wrote into an executed copy about its execution."""
    return json.loads(copy.read_text(encoding="utf-8"))["metadata"]["papermill"]
