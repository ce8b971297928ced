"""Published figures drawn again from the tables beside them: no run is needed for that."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib import paths
from icotlib.errors import ConfigError, DataError, did_you_mean, first_line
from icotlib.publishing import published
from icotlib.registry import STUDIES
from icotlib.reporting import figures

#: The figure function that takes each table alone, by the name of the files. Tables of studies
#: belong to their study; figures that need more than one table are not here.
DRAWN_BY = {
    "accuracy_vs_removed": "accuracy_vs_removed",
    "accuracy_vs_seconds": "accuracy_vs_seconds",
    "accuracy_vs_speed": "accuracy_vs_speed",
    "costs": "costs",
    "kd_explained": "explained",
    "kd_probed_thoughts": "probed_teacher_states",
    "kd_time_spent": "time_spent",
    "moving_inside": "probes_through_removal",
    "moving_inside_paper_pace": "probes_through_removal",
    "schedule_ablations": "schedule_ablations",
}


def redrawable(folder: Path | None = None) -> list[str]:
    """The figures of a folder that can be drawn from their tables, by the names of their files."""
    folder = folder or paths.FIGURES
    return [name for name in sorted(_drawings()) if (folder / f"{name}.csv").is_file()]


def drawn_again(name: str, folder: Path | None = None) -> Figure:
    """A published figure as today's code draws it from its table.

    Raises `ConfigError` for a figure that is not there, or that needs more than its table,
    `DataError` for a table of other columns.
    """
    known = redrawable(folder)
    if name not in known:
        raise ConfigError(
            f"{name!r} cannot be drawn again from a table of {folder or paths.FIGURES}; these can: "
            f"{', '.join(known) or 'none'}.{did_you_mean(name, known)}"
        )
    table, file = published.read_numbers(name, folder), f"{name}.csv of {folder or paths.FIGURES}"
    try:
        return _drawings()[name](table)
    except (KeyError, AttributeError) as error:
        raise DataError(f"{file} has no column {error}") from None
    except (TypeError, ValueError) as error:  # text among numbers, or no row
        raise DataError(f"{file} cannot be drawn: {first_line(error)}") from None


def redraw(names: Sequence[str] = (), folder: Path | None = None) -> list[str]:
    """Draw published figures again from the tables beside them, by default all that can be.

    Tables and provenance stay; the description (alt text) is written anew, and the sentences of
    studies whose tables alone give them. Returns their names.

    Raises `ConfigError` as `drawn_again` does, and where there is nothing to draw, before anything
    is written.
    """
    chosen = list(names) or redrawable(folder)
    if not chosen:
        raise ConfigError(
            f"{folder or paths.FIGURES} holds no table of a figure that its table alone gives"
        )
    drawn = {name: drawn_again(name, folder) for name in chosen}
    for name, figure in drawn.items():
        figures.replace_published(figure, name, folder, said_again(name, folder))
    return chosen


def said_again(name: str, folder: Path | None = None) -> list[str]:
    """What today's code says of a published table, where it says so from the table alone."""
    for study in _studies():
        if study.file == name and study.said_from_table:
            return study.words([], published.read_numbers(name, folder))
    return []


def _drawings() -> dict[str, Callable[[pd.DataFrame], Figure]]:
    """How each figure is drawn from its table."""
    return {name: figures.FIGURES[function] for name, function in DRAWN_BY.items()} | {
        study.file: partial(study.figure, []) for study in _studies() if study.drawn_from_table
    }


def _studies() -> list[Any]:
    return [STUDIES.get(name)() for name in STUDIES.names()]
