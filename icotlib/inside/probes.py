"""Probes: what a linear map, or a small network, reads from every layer and position at once.

The logistic probes of all places and variables are fitted together. States are whitened once per
place. There the Hessian of the cross-entropy is at most 1/2 in every direction (Böhning, 1992), so
that one step length serves all problems, and accelerated gradient descent on all of them is two
matrix products a step.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from icotlib import memory
from icotlib.evaluation import wilson_interval
from icotlib.inside.activations import activations
from icotlib.inside.subjects import Examples, Subject
from icotlib.inside.variables import Variable, variables
from icotlib.launch import all_cores
from icotlib.models import best_device

#: Bytes of logits while a block of places is fitted.
BLOCK = 64 * 2**20
PENALTY = 1e-3
STEPS = 40
#: Bias of a class that a variable does not have.
NEVER = -1e4

# --- fitting -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probes:
    """Linear maps from states to symbols, one for each of P places and T variables."""

    #: `[P, T, classes, d]` and `[P, T, classes]`, for states as they are.
    weight: Tensor
    bias: Tensor

    def logits(self, states: Tensor) -> Tensor:
        """`[P, n, d]` -> `[P, n, T, classes]`."""
        return torch.einsum("pnd,ptcd->pntc", states, self.weight) + self.bias[:, None]


def fit_linear(
    states: Tensor, labels: Tensor, penalty: float = PENALTY, steps: int = STEPS
) -> Probes:
    """Logistic probes of every variable from every place.

    Args:
        states: `[P, n, d]`.
        labels: `[n, T]`, classes numbered from 0 within each variable.
        penalty: of squared weights, on whitened states.
        steps: of accelerated gradient descent.
    """
    mean, whitener = whitening(states)
    x = torch.nn.functional.pad((states - mean) @ whitener, (0, 1), value=1.0)  # for the bias
    places, n, d = x.shape
    count, classes, absent = _classes(labels)
    shape = (places, count, classes, n)
    truth = torch.nn.functional.one_hot(labels, classes).to(x).flatten(1).T.contiguous()
    shrink = x.new_full((d,), penalty)
    shrink[-1] = 0.0
    rate = 1 / (0.5 + penalty)
    weight = x.new_zeros(places, count * classes, d)
    weight[:, absent.flatten(), -1] = NEVER  # where it stays: its gradient is zero
    ahead = weight
    before = 1.0
    for _ in range(steps):
        chances = ahead @ x.mT
        softmax_(chances.view(shape))
        slope = chances.sub_(truth) @ x / n + shrink * ahead
        moved = ahead - rate * slope
        momentum = (1 + (1 + 4 * before**2) ** 0.5) / 2
        ahead = moved + (before - 1) / momentum * (moved - weight)
        weight, before = moved, momentum
    weight, bias = weight[..., :-1] @ whitener.mT, weight[..., -1]
    bias = (bias - (weight @ mean.mT)[..., 0]).view(places, count, classes)
    bias = bias.masked_fill(absent, -torch.inf)
    return Probes(weight.view(places, count, classes, d - 1), bias)


def softmax_(logits: Tensor) -> Tensor:
    """Softmax over classes in place, `[P, T, classes, n]`.

    Examples come last, because a CPU takes many neighbours at a time; ten classes are not many.
    """
    logits.sub_(logits.amax(dim=2, keepdim=True)).exp_()
    return logits.div_(logits.sum(dim=2, keepdim=True))


def whitening(states: Tensor, floor: float = 1e-4) -> tuple[Tensor, Tensor]:
    """Mean `[P, 1, d]` and the map `[P, d, d]` that gives states unit covariance.

    Coordinates are brought to one scale first. Directions that then have less than `floor` of the
    mean variance are not blown up to the full one: they are rounding errors.
    """
    mean = states.mean(dim=1, keepdim=True)
    spread = states.std(dim=1, keepdim=True).clamp(min=1e-6)
    x = (states - mean) / spread
    values, vectors = torch.linalg.eigh(x.mT @ x / states.shape[1])
    least = floor * values.mean(dim=1, keepdim=True).clamp(min=1e-12)
    return mean, vectors * (values.clamp(min=0) + least).rsqrt()[:, None] / spread.mT


def _classes(labels: Tensor) -> tuple[int, int, Tensor]:
    """Number of variables, of classes, and which classes a variable has not, `[T, classes]`."""
    counts = labels.amax(dim=0) + 1
    classes = int(counts.max())
    each = torch.arange(classes, device=labels.device)
    return len(counts), classes, each[None] >= counts[:, None]


def ridge_predictions(
    states: Tensor, values: Tensor, new: Tensor, penalty: float = PENALTY
) -> Tensor:
    """Ridge regression of numbers `[n, T]` on states `[P, n, d]`, at new ones: `[P, m, T]`."""
    mean, whitener = whitening(states)
    x, centre = (states - mean) @ whitener, values.mean(dim=0)
    weight = x.mT @ (values - centre) / (len(values) * (1 + penalty))
    return (new - mean) @ whitener @ weight + centre


def fit_mlp(
    states: Tensor,
    labels: Tensor,
    split: tuple[slice, slice, slice],
    hidden: int = 64,
    epochs: int = 15,
    seed: int = 0,
) -> Tensor:
    """What one-hidden-layer networks say, one for each of P places and T variables.

    Each keeps the weights of the epoch that is best on the validation rows, and is asked about
    all rows that it was not fitted to.

    Args:
        states: `[P, n, d]`.
        labels: `[n, T]`; integers are classes, and learned by cross-entropy; floats are numbers,
            and learned by squared error.

    Returns:
        classes, or numbers, `[P, held out, T]`.
    """
    fit, valid, _ = split
    mean, whitener = whitening(states[:, fit])
    x = (states - mean) @ whitener
    places, _, d = x.shape
    numbers = labels.is_floating_point()
    if numbers:
        centre, spread = labels[fit].mean(dim=0), labels[fit].std(dim=0).clamp(min=1e-6)
        truth, count, classes = (labels - centre) / spread, labels.shape[1], 1
    else:
        truth, (count, classes, absent) = labels, _classes(labels)
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        made = torch.randn(shape, generator=generator).to(x.device) * shape[1] ** -0.5
        return made.mT.contiguous()

    # Examples come last in everything between, as in `softmax_`.
    weights = [random(places, d, count * hidden), x.new_zeros(places, count * hidden, 1)]
    weights += [random(places * count, hidden, classes), x.new_zeros(places * count, classes, 1)]
    weights = [one.requires_grad_() for one in weights]

    def outputs(x: Tensor) -> Tensor:
        inside = torch.baddbmm(weights[1], weights[0], x.mT).relu_()
        inside = inside.view(places * count, hidden, -1)
        out = torch.baddbmm(weights[3], weights[2], inside).view(places, count, classes, -1)
        return out[:, :, 0] if numbers else out.masked_fill(absent[..., None], -torch.inf)

    def loss_of(out: Tensor, rows: Tensor) -> Tensor:
        wanted = truth[rows].T
        if numbers:
            return (out - wanted).pow(2).mean(dim=-1).sum()
        wanted = wanted[None, :, None].expand(places, -1, -1, -1)
        return -out.log_softmax(2).gather(2, wanted).mean(dim=-1).sum()

    optimizer = torch.optim.AdamW(weights, lr=5e-3, weight_decay=0.03, fused=True)
    n, batch, checked = fit.stop, 250, valid.stop - valid.start
    best = x.new_full((places, count), -torch.inf)
    said = labels.new_zeros(places, len(labels) - n, count)
    for _ in range(epochs):
        for rows in torch.randperm(n, generator=generator).split(batch):
            optimizer.zero_grad()
            loss_of(outputs(x[:, rows]), rows).backward()
            optimizer.step()
        with torch.no_grad():
            now = outputs(x[:, n:])
        now = (now if numbers else now.argmax(2)).mT
        error = (now - truth[n:])[:, :checked]
        score = -error.pow(2).mean(dim=1) if numbers else (error == 0).float().mean(dim=1)
        better = score > best
        best = torch.where(better, score, best)
        said = torch.where(better[:, None], now, said)
    return said * spread + centre if numbers else said


# --- the grid ----------------------------------------------------------------------------------


def fifths(n: int) -> tuple[slice, slice, slice]:
    """Rows to fit to, to choose by, and to report on: three, one and one fifths."""
    return slice(0, n * 3 // 5), slice(n * 3 // 5, n * 4 // 5), slice(n * 4 // 5, n)


@memory.kept()  # one block is as large as the next
def grid(
    states: np.ndarray,
    wanted: Sequence[Variable],
    probe: str = "linear",
    shuffle: int | None = None,
    block: int = BLOCK,
) -> pd.DataFrame:
    """Held-out scores of every variable at every layer and place.

    Symbols are read by logistic regression and scored by accuracy, numbers by ridge regression
    and scored by R^2; with `probe="mlp"` both by MLPs of one hidden layer.

    Args:
        states: `[layers, places, n, d]`, such as `activations` gives.
        wanted: variables of the same n examples.
        shuffle: a seed; the values are then dealt out anew among the examples, a control. Among
            those reported on, too: a state that takes two values only would else be right always
            or never.
        block: bytes of logits at once.

    Returns:
        columns probe, variable, kind, layer, place, measure, valid, score, low, high: the score on
        the rows to choose by, and that on the rows to report on with its 95% interval.
    """
    layers, places, n, _ = states.shape
    split, tables = fifths(n), []
    if shuffle is not None:
        order = np.random.default_rng(shuffle).permutation(n)
        wanted = [replace(one, values=one.values[order]) for one in wanted]
    symbols = [one for one in wanted if one.kind != "number"]
    numbers = [one for one in wanted if one.kind == "number"]
    device = best_device()
    labels = _numbered(symbols).to(device) if symbols else None
    flat = states.reshape(layers * places, n, -1)
    width = 4 * n * max(1, sum(len(np.unique(one.values)) for one in symbols))
    for rows in _blocks(len(flat), max(1, block // width)):
        x = torch.from_numpy(np.array(flat[rows])).to(device)
        held = x[:, split[1].start :]
        at = [divmod(row, places) for row in range(rows.start, rows.stop)]
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
    for p, (layer, place) in enumerate(at):
        for t, one in enumerate(symbols):
            low, high = wilson_interval(int(hits[p, t]), n)
            yield {
                "probe": probe,
                "variable": one.name,
                "kind": one.kind,
                "layer": layer,
                "place": place,
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
        for p, (layer, place) in enumerate(at):
            yield {
                "probe": probe,
                "variable": one.name,
                "kind": one.kind,
                "layer": layer,
                "place": place,
                "measure": "R2",
                "valid": max(0.0, chosen[p]),
                "score": max(0.0, scores[p]),
                "low": max(0.0, low[p]),
                "high": max(0.0, high[p]),
            }


def visible_input(subject: Subject, examples: Examples) -> np.ndarray:
    """What can be known at each place without the model: the tokens so far, one-hot.

    Returns `[1, places, n, columns]`, a column for every token that varies at its place, zeros
    for those that come later; like states of a single layer, so that `grid` takes them.
    """
    ids = subject.inputs(examples).ids.cpu().numpy()
    n, places = ids.shape
    used, numbered = np.unique(ids, return_inverse=True)
    one_hot = np.eye(len(used), dtype=np.float32)[numbered.reshape(ids.shape)].reshape(n, -1)
    varied = one_hot.any(axis=0) & ~one_hot.all(axis=0)
    known = np.repeat(np.tril(np.ones((places, places), dtype=np.float32)), len(used), axis=1)
    return (one_hot[:, varied] * known[:, None, varied])[None]


# --- through training --------------------------------------------------------------------------


@all_cores()
def through_removal(
    subjects: Iterable[Subject], examples: Examples, probe: str = "linear"
) -> pd.DataFrame:
    """How well each token of the chain is read while tokens are removed: moving inside.

    At every stage: from the separator after the question (`where="separator"`), before anything
    is written; and from the best place that does not see the token (`where="unseen"`), which for
    a removed token is any. The place is chosen on other examples than those reported on.

    Args:
        subjects: one per stage, from a generator perhaps: they are looked at one after the other.

    Returns:
        columns removed, variable, where, written (whether the token still stands in the chain),
        layer, place, score, low, high, and `control`, what the input alone gives away: all tokens
        up to that place, read linearly, or the question, read by an MLP, whichever is more.
    """
    wanted, rows = variables(examples, "chain"), []
    known = None
    for subject in subjects:
        names = subject.places(examples)
        separator = names.index("=")
        if known is None:
            question = visible_input(subject, examples)[:, separator : separator + 1]
            known = grid(question, wanted, "mlp").set_index("variable").score
        states = activations(replace(subject, folder=None), examples)  # many stages: kept by none
        chosen = []
        for variable, found in grid(states, wanted, probe).groupby("variable", sort=False):
            written = names.index(variable) if variable in names else len(names)
            for where, seen in {
                "separator": found[found.place == separator],
                "unseen": found[found.place < written],
            }.items():
                row = {"removed": subject.removed, "variable": variable, "where": where}
                row["written"] = variable in names
                best = seen.loc[seen.valid.idxmax()]
                chosen.append(row | best[["layer", "place", "score", "low", "high"]].to_dict())
        places = sorted({row["place"] for row in chosen})
        control = grid(visible_input(subject, examples)[:, places], wanted, probe)
        control = control.set_index(["variable", "place"]).score
        for row in chosen:
            linear = control[row["variable"], places.index(row["place"])]
            rows.append(row | {"control": max(linear, known[row["variable"]])})
    return pd.DataFrame(rows)
