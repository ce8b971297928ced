"""Methods on graphs of ProsQA without their words (arXiv 2505.12514), from random weights.

Chains are random nodes at each distance from the root, as published. Training begins with the
smallest graphs (`data.growth_steps`): on graphs of 23 nodes alone, no model that was tried here
finds an edge in the question within minutes (LOG.md). The model has one layer of convolutions, by
which the end of an edge knows its start, and one of attention, which finds the edges that lead on.
Latent places have no marks around them, as published: with marks, nothing was learned of the step
behind a thought.

The settings of `fast` were found for SIM-CoT, at seed 100. Those of the other methods follow from
them, and are not tuned; their rate decays over a shorter part of training.

Where a run has the reference's seconds, its stages and the growth of its graphs are as long a part
of its steps as otherwise.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from icotlib.config import RunConfig, parse_overrides
from icotlib.experiments import budgets
from icotlib.experiments.base import PAPER_OPTIM, check, make
from icotlib.experiments.latent import PAUSE_AS_THOUGHT, SIM_COT

#: How studies call the arm of a method on graphs, and how the names of tasks and of runs on graphs
#: begin.
ON_GRAPHS, TASKS, RUNS = " on graphs", "graph-", "graph_"

#: The run whose seconds others may get.
REFERENCE = RUNS + "icot_si"

#: The data, the model and its rates.
SHARED: dict[str, dict[str, Any]] = {
    "smoke": {
        "data.task": "graph-12-frontier",
        "data.growth_steps": 20,
        "model.architecture": "lfm2",
        "model.options": {
            "layer_types": ["conv", "full_attention"],
            "num_key_value_heads": 2,
            "intermediate_size": 64,
        },
    },
    "fast": {
        "data.task": "graph-23-frontier",
        "data.growth_steps": 2500,
        "model.architecture": "lfm2",
        "model.layers": 2,
        "model.width": 128,
        "model.heads": 4,
        "model.options": {
            "layer_types": ["conv", "full_attention"],
            "num_key_value_heads": 4,
            "intermediate_size": 256,
        },
        "optim.decay_fraction": 0.3,
        "optim.lr": 3e-3,
        "optim.muon_lr": 2e-2,
        "train.batch_size": 128,
        "train.eval_every": 250,
        "train.length_groups": 4,
        "train.steps": 3500,
    },
    # As published: two layers of GPT-2 from random weights, 25 epochs of 14,785 examples a stage.
    # Here an example keeps the order of its edges and its chain in all epochs; there both are drawn
    # anew.
    "paper": {
        **PAPER_OPTIM,
        "data.task": "graph-23-frontier",
        "data.train_examples": 14_785,
        "model.heads": 8,
        "model.layers": 2,
        "model.pretrained": None,
        "model.spaced_separators": False,
        "model.width": 768,
        "optim.lr": 1e-4,
        "train.batch_size": 256,
        "train.eval_every": 1450,
        "train.steps": 300 * 58,
    },
}

#: Steps on the whole chain, and on each later stage but the last.
STAGES = {"smoke": (20, 4), "fast": (700, 350), "paper": (25 * 58, 25 * 58)}

#: The same where each thought is told the node that it stands for, and needs no stage of its own.
TOLD = STAGES | {"fast": (400, 30)}

#: Settings that count steps, beside `train.steps`.
SCALED = {"data.growth_steps", "latent.first_steps", "latent.steps_per_stage"}

#: Positions of what follows a removed chain, as published where it is removed step by step.
POSITIONS: dict[str, dict[str, Any]] = {
    "smoke": {},
    "fast": {},
    "paper": {"removal.keep_positions": False},
}


def _coconut(preset: str, stages: dict[str, tuple[int, int]] = STAGES) -> dict[str, Any]:
    first, each = stages[preset]
    own: dict[str, Any] = {
        "method": "coconut",
        "latent.first_steps": first,
        "latent.markers": False,
        "latent.steps_per_stage": each,
        "latent.units_per_stage": 1,
    }
    if preset == "paper":
        own |= {"latent.reset_optimizer": False, "latent.uniform_prob": 0.1}
    return own


def _sim_cot(preset: str) -> dict[str, Any]:
    longer = {"optim.decay_fraction": 0.5} if preset == "fast" else {}
    return _coconut(preset, TOLD) | SIM_COT | longer


def _icot_si(preset: str) -> dict[str, Any]:
    """A token at each of Coconut's stages, by the paper's linear schedule, with its smoothing and
    reset."""
    first, each = STAGES[preset]
    return POSITIONS[preset] | {
        "method": "icot_si",
        "removal.pace": 1.0,
        "removal.reset_optimizer": True,
        "removal.smoothing": 4.0,
        "removal.steps_per_epoch": each,
        "removal.warmup_steps": max(0, first - each),
    }


def _one_model(preset: str) -> dict[str, Any]:
    return {"method": "one_model", "removal.warmup_steps": STAGES[preset][0]}


#: What each method sets beside what all share.
OWN: dict[str, Callable[[str], dict[str, Any]]] = {
    "explicit_cot": lambda preset: {"method": "explicit_cot"},
    "no_cot": lambda preset: {"method": "no_cot"} | POSITIONS[preset],
    "icot_si": _icot_si,
    "one_model": _one_model,
    "pause": lambda preset: {"method": "pause", "latent.tokens": 4},
    "pause_as_thought": lambda preset: _coconut(preset) | PAUSE_AS_THOUGHT,
    "coconut": _coconut,
    "sim_cot": _sim_cot,
    "codi": lambda preset: {"method": "codi", "latent.places": 4},
}


def on_graphs(
    method: str, preset: str, seed: int = 0, overrides: Any = None, budget: str = "examples"
) -> RunConfig:
    """A method on graphs.

    Args:
        budget: as many `examples` as all have, or as many `seconds` as ICoT-SI; where
            `icot calibrate` has not measured these, as many examples.

    Raises `ConfigError` for an unknown preset, and for an override that the run does not read.
    """
    check(preset)
    settings = SHARED[preset] | OWN[method](preset)
    if budget == "seconds":
        settings = _within_seconds(method, preset, overrides, settings)
    steps, growth = parse_overrides(overrides).get("train.steps"), "data.growth_steps"
    if isinstance(steps, int) and settings.get(growth, 0) > steps:
        settings |= {growth: steps}  # graphs grow as long as there are steps
    return make(preset, seed, overrides, settings)


def _within_seconds(
    method: str, preset: str, overrides: Any, settings: dict[str, Any]
) -> dict[str, Any]:
    """Settings of as many seconds as the reference's, with all that counts steps in proportion."""
    steps = budgets.likely_equal_seconds(preset, REFERENCE, overrides, RUNS + method)
    if steps is None:
        return settings
    share = steps / settings["train.steps"]
    scaled = {name: max(1, round(share * settings[name])) for name in SCALED & settings.keys()}
    return settings | scaled | {"train.steps": steps}


def asks_for_graphs(overrides: Any) -> bool:
    """Whether overrides name graphs as the data of all runs."""
    return str(parse_overrides(overrides).get("data.task", "")).startswith(TASKS)


def asks_for_other_data(overrides: Any) -> bool:
    """Whether overrides name the data of all runs, and these are no graphs."""
    named = not {"data.task", "data.path"}.isdisjoint(parse_overrides(overrides))
    return named and not asks_for_graphs(overrides)


#: The runs here, by name.
GRAPHS: dict[str, Callable[..., RunConfig]] = {
    RUNS + method: partial(on_graphs, method) for method in OWN
}
