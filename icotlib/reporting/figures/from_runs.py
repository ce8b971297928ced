"""Figures that need nothing but runs: each says what it is drawn from."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import pandas as pd
from matplotlib.figure import Figure

from icotlib.errors import ConfigError, RunError, did_you_mean
from icotlib.reporting.figures.styled import FIGURES
from icotlib.reporting.results import learning_table, results_table
from icotlib.runs import Run

F = TypeVar("F", bound=Callable[..., Figure])


def _speeds(runs: Iterable[Run]) -> pd.DataFrame:
    return results_table(runs).dropna(subset=["relative_speed"])


#: The tables that runs tell, each with what it takes to have one.
TABLES: dict[str, tuple[Callable[[Iterable[Run]], pd.DataFrame], str]] = {
    "results": (results_table, "test results, and none of these runs has any (yet)"),
    "learning": (learning_table, "evaluations in training, and none of these runs has any yet"),
    "speeds": (_speeds, "measured speeds, and none of these runs has any: icot.record_speed"),
}

#: The tables of `TABLES` that a figure is drawn from, by its name and by its arguments.
FROM_RUNS: dict[str, dict[str, str]] = {}


def drawn_from(**tables: str) -> Callable[[F], F]:
    """Decorator, above `styled`: what the arguments of a figure are made of, by `TABLES`."""

    def declare(draw: F) -> F:
        FROM_RUNS[draw.__name__] = tables
        return draw

    return declare


def of_runs(name: str, runs: Sequence[Run], **look: Any) -> Figure:
    """A figure of some runs, by its name.

    Args:
        name: one of `FROM_RUNS`.
        look: how it looks and is saved, as every figure takes it.

    Raises `ConfigError` for a figure that runs alone do not suffice for, `RunError` if none of
    these runs has what it shows.
    """
    if name not in FROM_RUNS:
        known = ", ".join(sorted(FROM_RUNS))
        hint = did_you_mean(name, FROM_RUNS)
        raise ConfigError(f"no figure {name!r} is drawn from runs alone; there are {known}.{hint}")
    tables = {}
    for argument, kind in FROM_RUNS[name].items():
        make, needed = TABLES[kind]
        tables[argument] = make(runs)
        if tables[argument].empty:
            raise RunError(f"{name} shows {needed}")
    return FIGURES[name](**tables, **look)
