"""Probing at every layer and position: scores on held-out questions, also through removal."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from icotlib.errors import ConfigError
from icotlib.evaluation.scoring import wilson_interval
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.activations import stored_activations, unnamed_array
from icotlib.interp.probes import Split, Whitening, fit_linear, fit_mlp, ridge_predictions
from icotlib.interp.questions import separator_position
from icotlib.interp.variables import Variable, variables_of
from icotlib.system import memory
from icotlib.system.devices import best_device
from icotlib.system.processes import all_cores
from icotlib.tasks.questions import QuestionSet

#: The probes by name.
PROBES = ("linear", "mlp")

#: Bytes of logits while a block of positions is fitted.
BLOCK = 64 * 2**20


def split_60_20_20(n: int) -> Split:
    """Rows to fit to, to select by, and to report on: 60, 20 and 20 percent, in order."""
    return slice(0, n * 3 // 5), slice(n * 3 // 5, n * 4 // 5), slice(n * 4 // 5, n)


@memory.retaining_freed_memory()  # one block is as large as the next
def probe_grid(
    states: np.ndarray,
    variables: Sequence[Variable],
    probe: str = "linear",
    block: int = BLOCK,
    progress: bool = False,
) -> pd.DataFrame:
    """Held-out scores of every variable at every layer and position.

    Symbols are predicted by logistic regression and scored by accuracy, numbers by ridge
    regression and scored by R^2; with `probe="mlp"` both by MLPs of one hidden layer. Memory holds
    a few states of every question at a time, so that 20,000 questions and more can be probed.

    Args:
        states: `[layers, positions, n, d]`, such as `stored_activations` gives.
        variables: of the same n questions.
        block: bytes of logits at once; of states four times as many.
        progress: whether a bar shows how many states are done.

    Returns:
        columns probe, variable, kind, index (`Variable.index`), layer, position, measure, valid,
        score, low, high: the score on the rows to select by, and the score on the rows to report
        on with its 95% interval.

    Raises `ConfigError` for an unknown probe.
    """
    if probe not in PROBES:
        raise ConfigError(f"probe is one of {', '.join(PROBES)}, not {probe!r}")
    layers, positions, n, d = states.shape
    split = split_60_20_20(n)
    symbols = [one for one in variables if one.kind != "number"]
    numbers = [one for one in variables if one.kind == "number"]
    device = best_device()
    rows: list[dict[str, Any]] = []
    flat = states.reshape(layers * positions, n, -1)
    width = 4 * n * max(1, sum(len(np.unique(one.values)) for one in symbols))
    bar = tqdm(total=len(flat), desc=f"{probe} probes", unit="state", disable=not progress)
    for chunk in _chunks(len(flat), max(1, min(block // width, block // (n * d)))):
        x = torch.from_numpy(np.array(flat[chunk], dtype=np.float32)).to(device)
        where = [divmod(row, positions) for row in range(chunk.start, chunk.stop)]
        white = Whitening.of(x[:, split[0]]) if probe == "linear" else None
        if symbols:
            right = _right(x, symbols, split, white)
            rows += _accuracies(right, symbols, where, split, probe)
        if numbers:
            errors = _errors(x, numbers, split, white)
            rows += _determination(errors, numbers, where, split, probe)
        bar.update(len(where))
    bar.close()
    return pd.DataFrame(rows)


def probe_grid_and_shuffled(
    states: np.ndarray,
    variables: Sequence[Variable],
    probe: str = "linear",
    progress: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`probe_grid`, and the same of values that are permuted among the questions, a control.

    The reported rows are permuted as well: a state with only two values would otherwise be always
    right or always wrong. Both are fitted at once, so that each state is whitened once.
    """
    order = np.random.default_rng(0).permutation(states.shape[2])
    own = {f"{one.name}, shuffled": one.name for one in variables}
    shuffled = [
        replace(one, name=name, values=one.values[order])
        for name, one in zip(own, variables, strict=True)
    ]
    both = probe_grid(states, [*variables, *shuffled], probe, progress=progress)
    permuted = both.variable.isin(own)
    table, control = both[~permuted], both[permuted]
    control = control.assign(variable=control.variable.map(own))
    return table.reset_index(drop=True), control.reset_index(drop=True)


def _chunks(total: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, total)) for first in range(0, total, size))


def _right(
    x: Tensor, symbols: Sequence[Variable], split: Split, white: Whitening | None
) -> np.ndarray:
    """Which held-out symbols probes of states `[P, n, d]` predict: `[P, held out, T]`.

    Linear probes where the states' whitening is given, MLPs otherwise.
    """
    columns = [np.unique(one.values, return_inverse=True)[1] for one in symbols]
    labels = torch.from_numpy(np.stack(columns, axis=1)).to(x.device)
    fit, held = split[0], slice(split[1].start, None)
    if white is None:
        predicted = fit_mlp(x, labels, split)
    else:
        probes = fit_linear(x[:, fit], labels[fit], whitening=white)
        predicted = probes.logits(x[:, held]).argmax(-1)
    return (predicted == labels[held]).cpu().numpy()


def _errors(
    x: Tensor, numbers: Sequence[Variable], split: Split, white: Whitening | None
) -> np.ndarray:
    """Errors of probes of states `[P, n, d]` on held-out numbers, as in `_right`."""
    columns = np.stack([one.values for one in numbers], axis=1)
    values = torch.tensor(columns).float().to(x.device)
    fit, held = split[0], slice(split[1].start, None)
    if white is None:
        predicted = fit_mlp(x, values, split)
    else:
        predicted = ridge_predictions(x[:, fit], values[fit], x[:, held], whitening=white)
    return (predicted - values[held]).cpu().numpy()


def _row(
    probe: str, variable: Variable, state: tuple[int, int], measure: str, **scores: float
) -> dict[str, Any]:
    row: dict[str, Any] = {"probe": probe, "variable": variable.name, "kind": variable.kind}
    row |= {"index": variable.index, "layer": state[0], "position": state[1]}
    return row | {"measure": measure} | scores


def _accuracies(
    right: np.ndarray,
    symbols: Sequence[Variable],
    where: Sequence[tuple[int, int]],
    split: Split,
    probe: str,
) -> Iterator[dict[str, Any]]:
    """Accuracy with its Wilson interval, by layer and position (`where`) and symbol."""
    valid = split[1].stop - split[1].start
    selected, reported = right[:, :valid].mean(axis=1), right[:, valid:]
    hits, n = reported.sum(axis=1), reported.shape[1]
    for p, state in enumerate(where):
        for t, variable in enumerate(symbols):
            low, high = wilson_interval(int(hits[p, t]), n)
            scores = {"valid": selected[p, t], "score": hits[p, t] / n, "low": low, "high": high}
            yield _row(probe, variable, state, "accuracy", **scores)


def _determination(
    errors: np.ndarray,
    numbers: Sequence[Variable],
    where: Sequence[tuple[int, int]],
    split: Split,
    probe: str,
) -> Iterator[dict[str, Any]]:
    """R^2, at least 0, with its bootstrap interval, by number and layer and position (`where`)."""
    valid = split[1].stop - split[1].start
    rng = np.random.default_rng(0)
    n = errors.shape[1] - valid
    weights = rng.multinomial(n, np.full(n, 1 / n), 200) / n  # of the bootstrap
    for t, variable in enumerate(numbers):
        spread = [variable.values[rows].var() for rows in split[1:]]
        true = variable.values[split[2]].astype(float)
        # A draw has its own variance too: with that of the rows, intervals would be too narrow.
        drawn = np.maximum(weights @ true**2 - (weights @ true) ** 2, 1e-12)
        selected = 1 - (errors[:, :valid, t] ** 2).mean(axis=1) / spread[0]
        squared = errors[:, valid:, t] ** 2
        reported = 1 - squared.mean(axis=1) / spread[1]
        low, high = np.quantile(1 - squared @ weights.T / drawn, (0.025, 0.975), axis=1)
        for p, state in enumerate(where):
            scores = {"valid": selected[p], "score": reported[p], "low": low[p], "high": high[p]}
            scores = {name: max(0.0, value) for name, value in scores.items()}
            yield _row(probe, variable, state, "R2", **scores)


def visible_input(model: StageModel, questions: QuestionSet) -> np.ndarray:
    """What each position can know without the model: the tokens up to it, one-hot.

    Returns `[1, positions, n, columns]`, like states of a single layer, 0 and 1 in bytes on disk: a
    column for every token that varies at its position, zero for the positions before it; none
    for a position without a token.
    """
    ids = _ids_at_positions(model, questions)
    n, positions = ids.shape
    used, numbered = np.unique(ids, return_inverse=True)
    one_hot = np.eye(len(used), dtype=np.uint8)[numbered.reshape(ids.shape)].reshape(n, -1)
    varied = np.flatnonzero(one_hot.any(axis=0) & ~one_hot.all(axis=0))
    at = varied // len(used)  # the position of each column's token
    visible = unnamed_array((1, positions, n, len(varied)), np.uint8)
    for position in range(positions):
        visible[0, position, :, at <= position] = one_hot[:, varied[at <= position]].T
    return visible


def _ids_at_positions(model: StageModel, questions: QuestionSet) -> np.ndarray:
    """The token at each position, `[n, positions]`; the separator's where a position has none."""
    ids = model.inputs(questions).ids.cpu().numpy()
    end, empty = separator_position(model, questions) + 1, len(model.inserted)
    return np.insert(ids, [end] * empty, ids[:, end - 1 : end], axis=1) if empty else ids


@all_cores()
def through_removal(
    stages: Iterable[StageModel],
    questions: QuestionSet,
    probe: str = "linear",
    variables: Sequence[Variable] | None = None,
) -> pd.DataFrame:
    """How well each chain token can be decoded from the states while tokens are removed.

    At every stage, from two states: at the separator after the question, before anything is
    written (`where="separator"`); and at the best layer and position before the token is visible
    (`where="unseen"`), which for a removed token may be any that has seen what it depends on in
    the question. That state is selected on other questions than those reported.

    Args:
        stages: one model per removal stage; an iterator is consumed one model at a time.
        variables: chain tokens, by default all; `not_in_answer` leaves out those that are a symbol
            of the answer, which the model writes anyway.

    Returns:
        columns removed, variable, where, written (whether the token still stands in the chain),
        layer, position, score, low, high, and `control`, the better of two probes of the input:
        a linear one of all tokens up to the position, and an MLP of the question.
    """
    rows: list[dict[str, Any]] = []
    variables = variables_of(questions, "chain") if variables is None else variables
    question_control = None
    for model in stages:
        separator = separator_position(model, questions)
        seen = visible_input(model, questions)
        if question_control is None:
            question = seen[:, separator : separator + 1]
            question_control = probe_grid(question, variables, "mlp").set_index("variable").score
        model = replace(model, folder=None)  # the states of many stages would fill the disk
        table = probe_grid(stored_activations(model, questions), variables, probe)
        best = _best_states(table, variables, model.position_names(questions), separator)
        positions = sorted({row["position"] for row in best})
        control = probe_grid(seen[:, positions], variables, probe)
        control = control.set_index(["variable", "position"]).score
        for row in best:
            linear = control[row["variable"], positions.index(row["position"])]
            row["control"] = max(linear, question_control[row["variable"]])
            rows.append({"removed": model.removed} | row)
    return pd.DataFrame(rows)


def _best_states(
    table: pd.DataFrame, variables: Sequence[Variable], names: Sequence[str], separator: int
) -> list[dict[str, Any]]:
    """For each variable, its best layer at the separator and its best state before it is visible.

    Args:
        table: rows of `probe_grid`.
        names: names of the positions; a token that still stands in the chain has one.
    """
    best = []
    for variable in variables:
        rows, written = table[table.variable == variable.name], variable.name in names
        visible_at = names.index(variable.name) if written else len(names)
        seen = rows[rows.position >= variable.known_from(names)]
        candidates = {
            "separator": rows[rows.position == separator],
            "unseen": seen[seen.position < visible_at],
        }
        for where, states in candidates.items():
            row = {"variable": variable.name, "where": where, "written": written}
            chosen = states.loc[states.valid.idxmax()]
            best.append(row | chosen[["layer", "position", "score", "low", "high"]].to_dict())
    return best
