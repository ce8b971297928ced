"""One function for each figure: table in, Figure out.

base          widths, type sizes, panels, axes and legends
style         how methods look: colours, markers, labels, line styles
methods       accuracy against tokens removed, and speed, for every method
learning      match in training against examples, seconds and tokens removed
distillation  what the teacher's states hold, what is lost, what matters
interp        what probes read and what states are used for
studies       figures of the studies
arms          those that have a row for each arm
inside        those of the studies of hidden states
thoughts      what latent thoughts hold, and what replacing them does
ideas         schematic pictures of what notebooks are about
predicted     measured seconds of steps beside predicted ones
maps          the same by layer and position, and attention
means         means over seeds with their intervals
styled        the decorator that makes a function a figure
drawings      how a figure was drawn, so that it can be drawn again at another size
export        figures as files, for a paper and for `figures/`
replacing     files of a figure in the place of others of the same name
resized       figures as they stand in another size, type and without colours
preview       a figure as it would be saved
from_runs     figures that need nothing but runs
alt_text      figures in words
labels        labels that cover nothing
grey          figures without colours
notebook      figures and tables below the cells of a notebook

A figure is one function with `@styled` in a file here; it is then `figures.NAME`. With
`@drawn_from(table="results")` above that, `icot.figure_desk` offers it for any runs. Every figure
takes `save="name"`, and with it `width` ("column", "page" or inches), `height`, `font_size`,
`grey`, `folder`, `replace`, `font` and `formats`: it is then also written as pdf, svg and png, with
its data and its origin, to a folder of the user's. `figures.save(figure, "name", width="column")`
does the same for a figure that is there, and prints the line of LaTeX that includes it.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from icotlib.reporting.figures.base import COLUMN, PAGE
from icotlib.reporting.figures.drawings import alt_text
from icotlib.reporting.figures.export import (
    FORMATS,
    Export,
    replace_published,
    save,
    save_published,
)
from icotlib.reporting.figures.from_runs import FROM_RUNS, of_runs
from icotlib.reporting.figures.preview import preview
from icotlib.reporting.figures.styled import FIGURES

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)


def __getattr__(name: str) -> Callable[..., Figure]:
    if name in FIGURES:
        return FIGURES[name]
    raise AttributeError(f"there is no figure {name!r}; there are {', '.join(sorted(FIGURES))}")


def __dir__() -> list[Any]:
    return [*__all__, *FIGURES]


__all__ = [
    "COLUMN",
    "FIGURES",
    "FORMATS",
    "FROM_RUNS",
    "PAGE",
    "Export",
    "alt_text",
    "of_runs",
    "preview",
    "replace_published",
    "save",
    "save_published",
]
