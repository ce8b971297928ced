"""Figures: one function each, a table in and a matplotlib Figure out.

`save` writes a figure in every format beside its table and its provenance; the same table gives
the same bytes on every run.
"""

from icotlib.reporting.figures.base import COLUMN, FORMATS, PAGE, provenance_of, save
from icotlib.reporting.figures.distillation import (
    ablations,
    coupling,
    depth,
    explained,
    mixture,
    overfitting,
    probed_teacher_states,
    time_spent,
)
from icotlib.reporting.figures.interp import (
    ablation_maps,
    attention_map,
    attention_trees,
    cka_maps,
    digit_shapes,
    patching_map,
    probe_map,
    probe_scores,
    probes_through_removal,
    readable_vs_used,
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
    "COLUMN",
    "FORMATS",
    "PAGE",
    "ablation_maps",
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
    "overfitting",
    "patching_map",
    "probe_map",
    "probe_scores",
    "probed_teacher_states",
    "probes_through_removal",
    "provenance_of",
    "readable_vs_used",
    "save",
    "shifts",
    "time_spent",
]
