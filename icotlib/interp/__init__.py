"""What hidden states encode, and what answers depend on.

Each analysis takes a `StageModel` (a trained model at a removal stage) and a `QuestionSet`.

questions        questions of a run's task, minimal pairs, and where questions end
variables        what a state may encode: chain tokens, numbers, answer symbols
activations      the residual stream over many questions, on disk
probes           linear and MLP probes of all positions at once
probing          probe scores at every layer and position, also through removal
report           probes with their controls; decodable beside used
explorer         cells of a model's maps: read at a layer and position, for one question
map_cells        what such a cell says, as data and in sentences
one_state        one state of one question, decoded and steered
effects          what interventions share: cached layers and effect sizes
patching         activation patching between clean and corrupted runs
steering         states moved to encode another chain token
thoughts         thoughts of latent places, read and replaced
subspaces        interchange interventions with learned subspaces (DAS)
ablation         states replaced by their mean, attention knocked out
geometry         attention patterns, CKA, the geometry of digits
distillation     the teacher's states, explained variance, accuracy by phase
time_spent       where a coupled model's time goes
"""

from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.ablation import ablate, knock_out
from icotlib.interp.activations import discard_activations, stored_activations
from icotlib.interp.explorer import CellReader, cell
from icotlib.interp.geometry import (
    attention,
    attention_tree,
    cka,
    cka_table,
    digit_geometry,
    digits_before,
    digits_by_layer,
)
from icotlib.interp.map_cells import Cell
from icotlib.interp.patching import (
    effect_of_token,
    patch_entries,
    patch_pairs,
    patched_answers,
)
from icotlib.interp.probes import Probes, fit_linear
from icotlib.interp.probing import probe_grid, through_removal, visible_input
from icotlib.interp.questions import draw_questions_of, minimal_pairs, separator_position
from icotlib.interp.report import (
    able_to_matter,
    best_positions,
    has_seen,
    probe_with_controls,
    probing_table,
)
from icotlib.interp.steering import steer
from icotlib.interp.subspaces import interchange, interchanges, learn_subspace, random_subspace
from icotlib.interp.thoughts import (
    best_thoughts,
    head_table,
    replacement_table,
    thought_probes,
    thoughts_of,
)
from icotlib.interp.variables import Variable, not_in_answer, variables_of
from icotlib.tasks.questions import QuestionSet

__all__ = [
    "Cell",
    "CellReader",
    "Probes",
    "QuestionSet",
    "StageModel",
    "Variable",
    "ablate",
    "able_to_matter",
    "attention",
    "attention_tree",
    "best_positions",
    "best_thoughts",
    "cell",
    "cka",
    "cka_table",
    "digit_geometry",
    "digits_before",
    "digits_by_layer",
    "discard_activations",
    "draw_questions_of",
    "effect_of_token",
    "fit_linear",
    "has_seen",
    "head_table",
    "interchange",
    "interchanges",
    "knock_out",
    "learn_subspace",
    "minimal_pairs",
    "not_in_answer",
    "patch_entries",
    "patch_pairs",
    "patched_answers",
    "probe_grid",
    "probe_with_controls",
    "probing_table",
    "random_subspace",
    "replacement_table",
    "separator_position",
    "steer",
    "stored_activations",
    "thought_probes",
    "thoughts_of",
    "through_removal",
    "variables_of",
    "visible_input",
]
