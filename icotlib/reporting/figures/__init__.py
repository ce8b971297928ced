"""Figures: one function each, a table in and a matplotlib Figure out.

`save` writes a figure in every format beside its table and its provenance; the same table gives
the same bytes on every run.
"""

from icotlib.reporting.figures.base import COLORS, COLUMN, FORMATS, PAGE, provenance_of, save
from icotlib.reporting.figures.distillation import (
    ablations,
    coupling,
    depth,
    explained,
    mixture,
    overfitting,
    probed_thoughts,
    time_spent,
)
from icotlib.reporting.figures.interp import (
    attention_map,
    attention_trees,
    cka_maps,
    digit_shapes,
    moving_inside,
    patching_map,
    probe_map,
    readings,
    taken_away,
    used,
)
from icotlib.reporting.figures.methods import (
    accuracy_vs_removed,
    accuracy_vs_seconds,
    accuracy_vs_speed,
    costs,
    digits,
    headline,
    learning_curves,
    levers,
    shifts,
)

__all__ = [
    "COLORS",
    "COLUMN",
    "FORMATS",
    "PAGE",
    "ablations",
    "accuracy_vs_removed",
    "accuracy_vs_seconds",
    "accuracy_vs_speed",
    "attention_map",
    "attention_trees",
    "cka_maps",
    "costs",
    "coupling",
    "depth",
    "digit_shapes",
    "digits",
    "explained",
    "headline",
    "learning_curves",
    "levers",
    "mixture",
    "moving_inside",
    "overfitting",
    "patching_map",
    "probe_map",
    "probed_thoughts",
    "provenance_of",
    "readings",
    "save",
    "shifts",
    "taken_away",
    "time_spent",
    "used",
]
