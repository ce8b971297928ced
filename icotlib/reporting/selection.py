"""Choosing and ordering runs by what their configs say."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from icotlib.config import RunConfig, field_names, unknown_setting
from icotlib.errors import ConfigError, did_you_mean
from icotlib.registry import METHODS
from icotlib.reporting.orders import ORDERS
from icotlib.runs import Run


def check_names(where: Mapping[str, Any], runs: Sequence[Run], presets: Sequence[str]) -> None:
    """Raises `ConfigError` for a method or a preset that neither the library nor a run has: it is
    misspelt, and would leave no run.

    Args:
        where: settings by name, as for `matching`; presets: those that the library has.
    """
    known = {
        "method": {*METHODS.names(), *(run.config.method for run in runs)},
        "preset": {*presets, *(run.config.preset for run in runs)} - {""},
    }
    for name, names in known.items():
        value = where.get(name)
        if value is not None and value not in names:
            hint = did_you_mean(str(value), names)
            raise ConfigError(
                f"no {name} is called {value!r}; there are {', '.join(sorted(names))}.{hint}"
            )


def matching(
    runs: Iterable[Run], where: Mapping[str, Any], finished: bool | None = None
) -> list[Run]:
    """Those of some runs whose settings have these values.

    Args:
        where: by dotted name, such as `removal.pace`, or `student.train.steps` of a phase; `task`
            is the task as tables name it. A run that does not read a setting does not match.
        finished: whether they are; None takes both.

    Raises `ConfigError` for a setting that no method reads.
    """
    for name in where:
        _check_known(name)
    return [
        run
        for run in runs
        if finished in (None, run.done)
        and all(_matches(run.config, name, value) for name, value in where.items())
    ]


#: What tables call a config beyond its settings.
ALSO = ("task",)


def _check_known(name: str) -> None:
    known = [*ALSO, *field_names()]
    roles = {role for method in METHODS.items().values() for role in method.phases}
    rest = name
    while rest.partition(".")[0] in roles:
        rest = rest.partition(".")[2]
    if rest not in known:
        raise ConfigError(unknown_setting(name, known=known))


def _matches(config: RunConfig, name: str, value: Any) -> bool:
    role, _, rest = name.partition(".")
    if role in config.phases:
        return _matches(config.phases[role], rest, value)
    try:
        own = functools.reduce(getattr, name.split("."), config)
        if isinstance(own, float) and isinstance(value, str):  # YAML reads 1e-3 as text
            value = float(value)
        if name == "data.hold_out" and own is not None and value is not None:
            return value in (own, own.rpartition("#")[0])  # with the hash of the file, or without
        return bool(own == value)
    except (
        AttributeError,
        ValueError,
    ):  # its method, or the chosen variant, does not read the setting
        return False


def last_accuracy(run: Run) -> float | None:
    """The accuracy at the last removal stage; None for a run that has none (yet)."""
    stages = run.stages
    return float(stages.accuracy.iloc[-1]) if run.done and len(stages) else None


def date_of(run: Run) -> float:
    """When it ended, or was heard of last, in seconds."""
    files = [run.folder / name for name in ("done.json", "progress.json", "config.json")]
    return next(file.stat().st_mtime for file in files if file.is_file())


def seconds_of(run: Run) -> float:
    """Seconds of training so far."""
    return run.totals["seconds"] if run.done else run.progress.get("seconds", 0.0)


#: What runs are ordered by, by the column of `icotlib.reporting.overview.runs_table`.
VALUES: dict[str, Callable[[Run], Any]] = {
    "run": lambda run: run.name,
    "accuracy": last_accuracy,
    "train_seconds": seconds_of,
    "date": date_of,
}


def ordered(runs: Iterable[Run], order: str = "name") -> list[Run]:
    """Runs in an order of `icotlib.reporting.orders`, by its name."""
    column, ascending = ORDERS[order]
    values = [(VALUES[column](run), run) for run in runs]
    known = [pair for pair in values if pair[0] is not None]
    known.sort(key=lambda pair: pair[0], reverse=not ascending)
    return [run for _, run in known] + [run for value, run in values if value is None]
