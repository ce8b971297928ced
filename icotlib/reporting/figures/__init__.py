"""Figures: one function each, a table in and a matplotlib Figure out.

base          sizes, axes, and saving with table and provenance
style         how methods look: colours, labels, line styles
methods       accuracy against tokens removed, training time and speed, for every method
distillation  what the teacher's states hold, what is lost, what matters
interp        what probes read, what states are used for, attention

A figure is one function with `@styled` in a file here; it is then `figures.NAME`. `save` writes it
in every format beside its table and its provenance; the same table gives the same bytes every time.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from icotlib.reporting.figures.base import (
    COLUMN,
    FIGURES,
    FORMATS,
    PAGE,
    provenance_of,
    save,
)

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)


def __getattr__(name: str) -> Callable[..., Figure]:
    if name in FIGURES:
        return FIGURES[name]
    raise AttributeError(f"there is no figure {name!r}; there are {', '.join(sorted(FIGURES))}")


def __dir__() -> list[Any]:
    return [*__all__, *FIGURES]


__all__ = ["COLUMN", "FIGURES", "FORMATS", "PAGE", "provenance_of", "save"]
