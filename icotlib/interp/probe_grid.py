"""TODO."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from icotlib.evaluation.scoring import wilson_interval
from icotlib.interp.activations import activations
from icotlib.interp.probes import fit_linear, fit_mlp, ridge_predictions
from icotlib.interp.subjects import Examples, Subject
from icotlib.interp.variables import Variable, variables
from icotlib.system import memory
from icotlib.system.devices import best_device
from icotlib.system.processes import all_cores

#: Bytes of logits while a block of positions is fitted.
BLOCK = 64 * 2**20


# --- the grid ----------------------------------------------------------------------------------


def split_60_20_20(n: int) -> tuple[slice, slice, slice]:
    """Rows to fit to, to choose by, and to report on: three, one and one split_60_20_20."""
    return slice(0, n * 3 // 5), slice(n * 3 // 5, n * 4 // 5), slice(n * 4 // 5, n)


@memory.retaining_freed_memory()  # one block is as large as the next
def grid(
    states: np.ndarray,
    wanted: Sequence[Variable],
    probe: str = "linear",
    shuffle: int | None = None,
    block: int = BLOCK,
) -> pd.DataFrame:
    """Held-out scores of every variable at every layer and position.

    Symbols are read by logistic regression and scored by accuracy, numbers by ridge regression
    and scored by R^2; with `probe="mlp"` both by MLPs of one hidden layer.

    Args:
        states: `[layers, positions, n, d]`, such as `activations` gives.
        wanted: variables of the same n examples.
        shuffle: a seed; the values are then dealt out anew among the examples, a control. Among
            those reported on, too: a state that takes two values only would else be right always
            or never.
        block: bytes of logits at once.

    Returns:
        columns probe, variable, kind, layer, position, measure, valid, score, low, high: the score on
        the rows to choose by, and that on the rows to report on with its 95% interval.
    """
    layers, positions, n, _ = states.shape
    split, tables = split_60_20_20(n), []
    if shuffle is not None:
        order = np.random.default_rng(shuffle).permutation(n)
        wanted = [replace(one, values=one.values[order]) for one in wanted]
    symbols = [one for one in wanted if one.kind != "number"]
    numbers = [one for one in wanted if one.kind == "number"]
    device = best_device()
    labels = _numbered(symbols).to(device) if symbols else None
    flat = states.reshape(layers * positions, n, -1)
    width = 4 * n * max(1, sum(len(np.unique(one.values)) for one in symbols))
    for rows in _blocks(len(flat), max(1, block // width)):
        x = torch.from_numpy(np.array(flat[rows])).to(device)
        held = x[:, split[1].start :]
        at = [divmod(row, positions) for row in range(rows.start, rows.stop)]
        if symbols:
            if probe == "mlp":
                said = fit_mlp(x, labels, split)
            else:
                said = fit_linear(x[:, split[0]], labels[split[0]]).logits(held).argmax(-1)
            right = said == labels[split[1].start :]
            tables += _accuracies(right.cpu().numpy(), symbols, at, split, probe)
        if numbers:
            values = np.stack([one.values for one in numbers], axis=1)
            values = torch.tensor(values).float().to(device)
            if probe == "mlp":
                guess = fit_mlp(x, values, split)
            else:
                guess = ridge_predictions(x[:, split[0]], values[split[0]], held)
            error = (guess - values[split[1].start :]).cpu().numpy()
            tables += _explained(error, numbers, at, split, probe)
    return pd.DataFrame(tables)


def _blocks(total: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, total)) for first in range(0, total, size))


def _numbered(symbols: Sequence[Variable]) -> Tensor:
    """Labels `[n, T]`, the values of each variable numbered from 0."""
    columns = [np.unique(one.values, return_inverse=True)[1] for one in symbols]
    return torch.from_numpy(np.stack(columns, axis=1))


def _accuracies(right: np.ndarray, symbols, at, split, probe: str) -> Iterator[dict]:
    valid = split[1].stop - split[1].start
    chosen, reported = right[:, :valid].mean(axis=1), right[:, valid:]
    hits, n = reported.sum(axis=1), reported.shape[1]
    for p, (layer, position) in enumerate(at):
        for t, one in enumerate(symbols):
            low, high = wilson_interval(int(hits[p, t]), n)
            yield {
                "probe": probe,
                "variable": one.name,
                "kind": one.kind,
                "layer": layer,
                "position": position,
                "measure": "accuracy",
                "valid": chosen[p, t],
                "score": hits[p, t] / n,
                "low": low,
                "high": high,
            }


def _explained(error: np.ndarray, numbers, at, split, probe: str) -> Iterator[dict]:
    valid = split[1].stop - split[1].start
    rng = np.random.default_rng(0)
    n = error.shape[1] - valid
    again = rng.multinomial(n, np.full(n, 1 / n), 200) / n  # bootstrap weights
    for t, one in enumerate(numbers):
        spread = [one.values[rows].var() for rows in split[1:]]
        chosen = 1 - (error[:, :valid, t] ** 2).mean(axis=1) / spread[0]
        squared = error[:, valid:, t] ** 2
        scores = 1 - squared.mean(axis=1) / spread[1]
        low, high = np.quantile(1 - squared @ again.T / spread[1], (0.025, 0.975), axis=1)
        for p, (layer, position) in enumerate(at):
            yield {
                "probe": probe,
                "variable": one.name,
                "kind": one.kind,
                "layer": layer,
                "position": position,
                "measure": "R2",
                "valid": max(0.0, chosen[p]),
                "score": max(0.0, scores[p]),
                "low": max(0.0, low[p]),
                "high": max(0.0, high[p]),
            }


def visible_input(subject: Subject, examples: Examples) -> np.ndarray:
    """What can be known at each position without the model: the tokens so far, one-hot.

    Returns `[1, positions, n, columns]`, a column for every token that varies at its position, zeros
    for those that come later; like states of a single layer, so that `grid` takes them.
    """
    ids = subject.inputs(examples).ids.cpu().numpy()
    n, positions = ids.shape
    used, numbered = np.unique(ids, return_inverse=True)
    one_hot = np.eye(len(used), dtype=np.float32)[numbered.reshape(ids.shape)].reshape(n, -1)
    varied = one_hot.any(axis=0) & ~one_hot.all(axis=0)
    known = np.repeat(np.tril(np.ones((positions, positions), dtype=np.float32)), len(used), axis=1)
    return (one_hot[:, varied] * known[:, None, varied])[None]


# --- through training --------------------------------------------------------------------------


@all_cores()
def through_removal(
    subjects: Iterable[Subject], examples: Examples, probe: str = "linear"
) -> pd.DataFrame:
    """How well each token of the chain is read while tokens are removed: moving inside.

    At every stage: from the separator after the question (`where="separator"`), before anything
    is written; and from the best position that does not see the token (`where="unseen"`), which for
    a removed token is any. The position is chosen on other examples than those reported on.

    Args:
        subjects: one per stage, from a generator perhaps: they are looked at one after the other.

    Returns:
        columns removed, variable, where, written (whether the token still stands in the chain),
        layer, position, score, low, high, and `control`, what the input alone gives away: all tokens
        up to that position, read linearly, or the question, read by an MLP, whichever is more.
    """
    wanted, rows = variables(examples, "chain"), []
    known = None
    for subject in subjects:
        names = subject.positions(examples)
        separator = names.index("=")
        if known is None:
            question = visible_input(subject, examples)[:, separator : separator + 1]
            known = grid(question, wanted, "mlp").set_index("variable").score
        states = activations(replace(subject, folder=None), examples)  # many stages: kept by none
        chosen = []
        for variable, found in grid(states, wanted, probe).groupby("variable", sort=False):
            written = names.index(variable) if variable in names else len(names)
            for where, seen in {
                "separator": found[found.position == separator],
                "unseen": found[found.position < written],
            }.items():
                row = {"removed": subject.removed, "variable": variable, "where": where}
                row["written"] = variable in names
                best = seen.loc[seen.valid.idxmax()]
                chosen.append(row | best[["layer", "position", "score", "low", "high"]].to_dict())
        positions = sorted({row["position"] for row in chosen})
        control = grid(visible_input(subject, examples)[:, positions], wanted, probe)
        control = control.set_index(["variable", "position"]).score
        for row in chosen:
            linear = control[row["variable"], positions.index(row["position"])]
            rows.append(row | {"control": max(linear, known[row["variable"]])})
    return pd.DataFrame(rows)
