"""Probes with their controls, and the table that sets what is decodable beside what is used."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.activations import stored_activations
from icotlib.interp.patching import effect_of_token
from icotlib.interp.probing import probe_grid, probe_grid_and_shuffled, visible_input
from icotlib.interp.steering import DIRECTIONS, steer
from icotlib.interp.variables import Variable, first_affected, variables_of
from icotlib.system import memory
from icotlib.system.processes import all_cores
from icotlib.tasks.questions import QuestionSet

#: The controls of a probe, by the names of their columns.
CONTROLS = ("untrained", "No CoT", "shuffled labels", "input", "input, MLP")
#: An interval must exceed its control by this much to count as an effect.
MARGIN = 0.05
#: Scores that differ by less than this count as equal when a state is selected.
NEAR = 0.02
#: Questions that say which symbols of the answer a variable can change.
FEW = 1000


@all_cores()
def probe_with_controls(
    model: StageModel,
    questions: QuestionSet,
    variables: Sequence[Variable],
    no_cot_control: StageModel | None = None,
    probe: str = "linear",
    progress: bool = False,
) -> pd.DataFrame:
    """`probe_grid` of a model, with the controls that it must exceed.

    The controls: the same architecture with random weights; a No CoT model of the same
    architecture, given the same sequences; shuffled labels; and the input alone, the tokens up to
    the position, probed linearly and by an MLP.

    Args:
        no_cot_control: the No CoT model; None leaves this control out.
        progress: whether bars show how far states and probes are.

    Returns:
        the columns of `probe_grid`; `seen`, whether the position has seen all symbols of the
        question that the variable depends on; `control`, the name of the best control at the same
        layer and position, with `control_score`; `selectivity`, the score minus that, and
        `valid_selectivity`, the same on the rows to select by; a column for each control.
    """
    states = states_and_controls(model, questions, no_cot_control, progress)
    return compared(states, variables, model.position_names(questions), probe, progress)


def states_and_controls(
    model: StageModel,
    questions: QuestionSet,
    no_cot_control: StageModel | None = None,
    progress: bool = False,
) -> dict[str, Callable[[], np.ndarray]]:
    """What `probe_with_controls` probes: functions that give states `[layers, positions, n, d]`.

    Keys model, untrained, input (`visible_input`), and No CoT where there is such a model. States
    are computed at each call, so that those of one model at a time take up the disk.
    """
    stored = partial(stored_activations, questions=questions, progress=progress)
    states: dict[str, Callable[[], np.ndarray]] = {
        "model": lambda: stored(model),
        "untrained": lambda: stored(model.untrained()),
        "input": lambda: visible_input(model, questions),
    }
    if no_cot_control is not None:
        control = no_cot_control.with_inputs_of(model)
        states["No CoT"] = lambda: stored(control)
    return states


@memory.retaining_freed_memory()
def compared(
    states: Mapping[str, Callable[[], np.ndarray]],
    variables: Sequence[Variable],
    names: Sequence[str],
    probe: str = "linear",
    progress: bool = False,
) -> pd.DataFrame:
    """The table of `probe_with_controls`.

    Args:
        states: of the model and its controls, as `states_and_controls` gives them.
        names: names of the positions.
    """
    grid = partial(probe_grid, variables=variables, progress=progress)
    models = [name for name in ("untrained", "No CoT") if name in states]
    controls = {name: grid(states[name](), probe=probe) for name in models}
    table, controls["shuffled labels"] = probe_grid_and_shuffled(
        states["model"](), variables, probe, progress=progress
    )
    seen = states["input"]()
    controls["input"] = _best_so_far(grid(seen, probe="linear"))
    controls["input, MLP"] = _best_so_far(grid(seen, probe="mlp"))
    scores, valid = (
        pd.DataFrame({name: aligned(table, one, column) for name, one in controls.items()})
        for column in ("score", "valid")
    )
    return table.assign(
        seen=has_seen(table, variables, names),
        control=scores.fillna(-1).idxmax(axis=1),
        control_score=scores.max(axis=1),
        selectivity=table.score - scores.max(axis=1),
        valid_selectivity=table.valid - valid.max(axis=1),
        **scores,
    )


def has_seen(
    table: pd.DataFrame, variables: Sequence[Variable], names: Sequence[str]
) -> "pd.Series[bool]":
    """Whether the position of each row has seen all that the row's variable depends on.

    Args:
        table: rows of `probe_grid`; names: of the positions.
    """
    known_from = {one.name: one.known_from(names) for one in variables}
    return table.position >= table.variable.map(known_from)


def _best_so_far(table: pd.DataFrame) -> pd.DataFrame:
    """Scores of the input, never below those of earlier positions: their tokens stay visible."""
    if not len(table):
        return table
    table = table.sort_values("position")
    best = table.groupby("variable")[["valid", "score"]].cummax()
    return table.assign(valid=best.valid, score=best.score)


def aligned(table: pd.DataFrame, control: pd.DataFrame, column: str) -> np.ndarray:
    """A control's scores in the rows of a table; those of the input hold in every layer."""
    if not len(control):
        return np.full(len(table), np.nan)
    keys = ["variable", "layer", "position"]
    if control.layer.max() == 0:
        keys.remove("layer")
    return table[keys].join(control.set_index(keys)[column], on=keys)[column].to_numpy()


def stands_out(low: Any, control: Any) -> Any:
    """Whether an interval lies above a control by the margin that makes it a finding.

    Args:
        low: its lower end; control: what it must lie above. Numbers, or columns of them.
    """
    return low > control + MARGIN


def best_positions(table: pd.DataFrame) -> pd.DataFrame:
    """For each variable, the layer and position where a probe reads it best, one row each.

    States are left out step by step, by scores on the questions for selection; what is reported
    was measured on other questions:

    1. positions that have not seen all that the variable depends on, where a probe that reads
       nothing can be the most selective;
    2. states whose score is more than two points below the best;
    3. where controls were probed, states whose selectivity is more than two points below the best
       of those left, so that a token is not read where it stands in the input;
    4. all but the lowest layer, and there all but the first position.

    Column `row` is the row's label in the table.

    Args:
        table: rows of `probe_with_controls`, or of `probe_grid` with the column `seen`
            (`has_seen`).
    """
    order = pd.unique(table.variable)
    near = table[table.seen]
    for column in (one for one in ("valid", "valid_selectivity") if one in near):
        best = near.groupby("variable")[column].transform("max")
        near = near[near[column] >= best - NEAR]
    near = near.assign(row=near.index).sort_values(["layer", "position"])
    return near.groupby("variable").head(1).set_index("variable").loc[order].reset_index()


def able_to_matter(
    model: StageModel,
    questions: QuestionSet,
    variables: Sequence[Variable],
    probed: pd.DataFrame,
) -> pd.DataFrame:
    """The rows of a table of probes whose state can still influence the answer: below the last
    layer, and no later than the position that writes the first symbol that the variable can change.

    Args:
        variables: of these questions; probed: rows of `probe_grid` for them.

    Raises `ConfigError` where the task has no counterfactual answers.
    """
    writes, few = model.answer_positions(questions), questions[:FEW]
    last = {one.name: int(writes[first_affected(few, one)]) for one in variables}
    below = probed[probed.layer < model.layers]
    return below[below.position <= below.variable.map(last)]


@all_cores()
def probing_table(
    model: StageModel, questions: QuestionSet, probed: pd.DataFrame, pairs: int = 300
) -> pd.DataFrame:
    """One row per chain token: where it is decoded best, against what, and whether it is used.

    Only states that can still influence the answer are considered: below the last layer, and no
    later than the position that writes the first answer symbol that the token can change.

    Columns: model, removed, variable, layer, position (its name), probe, low, high, control,
    control_score, selectivity; decodable, whether the probe's interval lies above the best control
    by 5 points; patching with patching_low and patching_high (`effect_of_token`); steering with
    steering_low and steering_high, along the difference of means, and steering_pattern,
    steering_weights, steering_random (`steer`); steering_chance, the share that a symbol of the
    answer hits which is drawn at random; used, whether the steering's interval lies above that of a
    random direction, and above chance, by 5 points: a random direction seldom leaves the states
    that the model knows, and changes no answer, while a shift that only scrambles the symbol hits
    the right one by chance; mlp and mlp_input, the scores of an MLP on the same
    state and on the input.

    Args:
        probed: rows of `probe_with_controls` for this model and these questions.
        pairs: pairs of questions to patch, for each entry of a question.
    """
    names, states = model.position_names(questions), stored_activations(model, questions)
    few = questions[: pairs * len(questions.task.entry_names)]
    tokens = variables_of(questions, "chain")
    able = able_to_matter(model, questions, tokens, probed[probed.kind == "chain"])
    variables, rows = {one.name: one for one in tokens}, []
    chance = 1 / len(np.unique(questions.rendered.answer))
    for best in best_positions(able).to_dict("records"):
        token, layer, position = best["index"], best["layer"], best["position"]
        row = {"model": model.name, "removed": model.removed, "variable": best["variable"]}
        row |= {"layer": layer, "position": names[position], "probe": best["score"]}
        row |= {name: best[name] for name in ("low", "high", "control", "control_score")}
        row["selectivity"] = best["selectivity"]
        row["decodable"] = stands_out(best["low"], best["control_score"])
        patched = effect_of_token(model, few, token, layer, position)
        row |= {"patching": patched["effect"], "patching_low": patched["low"]}
        row["patching_high"] = patched["high"]
        steered = steer(model, questions, token, layer, position).set_index("direction")
        row |= _steering_columns(steered)
        row["steering_chance"] = chance
        row["used"] = stands_out(steered.low["means"], max(steered.high["random"], chance))
        state = states[layer : layer + 1, position : position + 1]
        row["mlp"] = probe_grid(state, [variables[best["variable"]]], "mlp").score.iloc[0]
        row["mlp_input"] = probed.loc[best["row"], "input, MLP"]
        rows.append(row)
    return pd.DataFrame(rows)


def _steering_columns(steered: pd.DataFrame) -> dict[str, Any]:
    """Columns of `probing_table` from rows of `steer` by direction."""
    means = steered.loc["means"]
    columns = {"steering": means.effect, "steering_low": means.low, "steering_high": means.high}
    others = [name for name in DIRECTIONS if name != "means"]
    return columns | {f"steering_{name}": steered.effect[name] for name in others}
