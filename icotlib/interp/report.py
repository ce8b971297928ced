"""Probes beside their controls, the table of all findings, and one look at one state."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from icotlib.interp.activations import activations
from icotlib.interp.patching import patching_for
from icotlib.interp.probe_grid import grid, visible_input
from icotlib.interp.steering import DIRECTIONS, first_affected, steering
from icotlib.interp.subjects import Examples, Subject
from icotlib.interp.variables import Variable, variables
from icotlib.system.processes import all_cores

#: A probe, or an effect, is believed where its interval lies above its control by this much.
MARGIN = 0.05


#: Differences between two positions that say nothing.
NEAR = 0.02


@all_cores()
def probe_with_controls(
    subject: Subject,
    examples: Examples,
    wanted: Sequence[Variable],
    no_cot_control: Subject | None = None,
    probe: str = "linear",
) -> pd.DataFrame:
    """`grid` of a model, with the controls that every reading must beat.

    They are: the same shape with random weights; a No CoT model of the same shape, before the
    same sequences; shuffled labels; and the input alone, the tokens up to the position or to an
    earlier one, read linearly and by an MLP.

    Returns:
        the columns of `grid`; `control`, the best control's name at the same layer and position,
        with `control_score`; `selectivity`, the score minus that, and `valid_selectivity`, the
        same on the rows to choose by; a column for each control.
    """
    states = activations(subject, examples)
    controls = {"untrained": grid(activations(subject.untrained(), examples), wanted, probe)}
    if no_cot_control is not None:
        controls["No CoT"] = grid(
            activations(no_cot_control.before(subject), examples), wanted, probe
        )
    controls["shuffled labels"] = grid(states, wanted, probe, shuffle=0)
    seen = visible_input(subject, examples)[:, : states.shape[1]]
    controls["input"] = _known_by(grid(seen, wanted, "linear"))
    controls["input, MLP"] = _known_by(grid(seen, wanted, "mlp"))
    table = grid(states, wanted, probe)
    scores = {name: _beside(table, found, "score") for name, found in controls.items()}
    valid = pd.DataFrame({name: _beside(table, found, "valid") for name, found in controls.items()})
    scores = pd.DataFrame(scores)
    return table.assign(
        control=scores.fillna(-1).idxmax(axis=1),
        control_score=scores.max(axis=1),
        selectivity=table.score - scores.max(axis=1),
        valid_selectivity=table.valid - valid.max(axis=1),
        **scores,
    )


def _known_by(table: pd.DataFrame) -> pd.DataFrame:
    """Scores of the input, never lower than at an earlier position: what was seen stays seen."""
    if not len(table):
        return table
    table = table.sort_values("position")
    best = table.groupby("variable")[["valid", "score"]].cummax()
    return table.assign(valid=best.valid, score=best.score)


def _beside(table: pd.DataFrame, control: pd.DataFrame, column: str) -> np.ndarray:
    """A control's scores in the rows of a table; those of the input are the same in every layer."""
    if not len(control):
        return np.full(len(table), np.nan)
    keys = (
        ["variable", "position"] if control.layer.max() == 0 else ["variable", "layer", "position"]
    )
    return table[keys].join(control.set_index(keys)[column], on=keys)[column].to_numpy()


def best_positions(table: pd.DataFrame) -> pd.DataFrame:
    """The layer and position where each variable is best decodable, one row per variable.

    Best is what exceeds the best control most: a token that stands in the input, or equals a
    symbol of the answer that does, is read everywhere and by everything. Chosen on other examples
    than those reported on. Of all within two points of the best, the one with the highest score
    wins, then the lowest layer. Column `row` says which row of the table it is.

    Args:
        table: rows of `probe_with_controls`.
    """
    best = table.groupby("variable").valid_selectivity.transform("max")
    near = table[table.valid_selectivity >= best - NEAR]
    near = near.assign(rank=-near.valid.round(2)).sort_values(["rank", "layer", "position"])
    order = pd.unique(table.variable)
    near = near.drop(columns="rank").assign(row=near.index)
    return near.groupby("variable").head(1).set_index("variable").loc[order].reset_index()


@all_cores()
def probing_table(
    subject: Subject, examples: Examples, probed: pd.DataFrame, pairs: int = 300
) -> pd.DataFrame:
    """One row per token of the chain: where it is read best, against what, and whether it is used.

    Only states that could matter are looked at: below the last layer, and no later than the
    position that writes the first symbol of the answer that the token can change.

    Columns: model, removed, variable, layer, position (its name), probe, low, high, control,
    control_score, selectivity; mlp and mlp_input, what an MLP reads from the same state and from
    the input; patching with patching_low and patching_high (`patching_for`); steering with
    steering_low and steering_high, along the difference of means, and steering_pattern,
    steering_weights, steering_random (`steering`); readable and used, yes or no. Readable means
    that the probe's interval lies above the best control by 5 points, used that the steering's
    lies above that of a random direction by as many.

    Args:
        probed: rows of `probe_with_controls` of this model.
        pairs: pairs of questions to patch, for each entry of a question.
    """
    names, rows, states = subject.positions(examples), [], activations(subject, examples)
    chain = {one.name: one for one in variables(examples, "chain")}
    few = examples[: pairs * len(examples.task.entry_names)]
    writes = subject.answer_positions(examples)
    last = writes[[first_affected(few, int(name[1:])) for name in chain]].tolist()
    last = dict(zip(chain, last, strict=True))
    able = probed[(probed.kind == "chain") & (probed.layer < subject.layers)]
    able = able[able.position <= able.variable.map(last)]
    for best in best_positions(able).itertuples():
        token = int(best.variable[1:])
        taken = patching_for(subject, few, token, best.layer, best.position)
        steered = steering(subject, examples, token, best.layer, best.position)
        means, pattern, weights, random = (
            steered.set_index("direction").loc[one] for one in DIRECTIONS
        )
        here = states[best.layer : best.layer + 1, best.position : best.position + 1]
        row = {"model": subject.name, "removed": subject.removed, "variable": best.variable}
        row |= {"layer": best.layer, "position": names[best.position], "probe": best.score}
        row |= {"low": best.low, "high": best.high, "control": best.control}
        row |= {"control_score": best.control_score, "selectivity": best.selectivity}
        row["mlp"] = grid(here, [chain[best.variable]], "mlp").score.iloc[0]
        row["mlp_input"] = probed.loc[best.row, "input, MLP"]
        row |= {"patching": taken["effect"], "patching_low": taken["low"]}
        row |= {"patching_high": taken["high"], "steering": means.effect}
        row |= {"steering_low": means.low, "steering_high": means.high}
        row |= {"steering_pattern": pattern.effect, "steering_weights": weights.effect}
        row["steering_random"] = random.effect
        row["readable"] = best.low > best.control_score + MARGIN
        row["used"] = means.low > random.high + MARGIN
        rows.append(row)
    return pd.DataFrame(rows)
