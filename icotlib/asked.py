"""What callers hand in: configs and runs, alone or several, runs also by their names."""

from collections.abc import Iterable
from typing import Any

from icotlib.config import RunConfig
from icotlib.errors import ConfigError
from icotlib.runs import Run, find_run


def as_configs(configs: RunConfig | Iterable[RunConfig]) -> list[RunConfig]:
    """One config or several as a list. Raises `ConfigError` for anything else, such as a name."""
    listed: list[Any] = [configs] if isinstance(configs, (RunConfig, str)) else list(configs)
    for one in listed:
        if not isinstance(one, RunConfig):
            raise ConfigError(
                f"{one!r} is no config: make one, as icot.experiments.icot_si('fast') does, or "
                "take that of a run, icot.find_run(NAME).config"
            )
    return listed


def as_run(run: Run | str) -> Run:
    """A run, or the one that a name stands for. Raises as `find_run`."""
    return find_run(run) if isinstance(run, str) else run
