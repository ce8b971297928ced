"""What is inside a trained model: what its states show, and what they are used for.

In the order of the work: a `Subject` is a model at a removal stage with examples before it;
`activations` are its residual stream; `probes` read variables from them, beside controls;
`causal` changes states and watches the answer; `geometry` looks at attention and at shapes;
`report` draws the lines together.
"""

from icotlib.interp.ablation import ablation, knock_out
from icotlib.interp.activations import activations
from icotlib.interp.explorer import ProbeReader
from icotlib.interp.geometry import attention, attention_tree, cka, cka_table, digit_geometry
from icotlib.interp.patching import answers, minimal_pairs, patching, route
from icotlib.interp.probe_grid import grid, through_removal
from icotlib.interp.probes import fit_linear
from icotlib.interp.report import best_positions, probe_with_controls, probing_table
from icotlib.interp.steering import steering
from icotlib.interp.subjects import Examples, Subject, draw_examples
from icotlib.interp.variables import Variable, variables

__all__ = [
    "Examples",
    "ProbeReader",
    "Subject",
    "Variable",
    "ablation",
    "activations",
    "answers",
    "attention",
    "attention_tree",
    "best_positions",
    "cka",
    "cka_table",
    "digit_geometry",
    "draw_examples",
    "fit_linear",
    "grid",
    "knock_out",
    "minimal_pairs",
    "patching",
    "probe_with_controls",
    "probing_table",
    "route",
    "steering",
    "through_removal",
    "variables",
]
