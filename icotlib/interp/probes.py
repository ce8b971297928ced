"""Probes: what a linear map, or a small network, reads from every layer and position at once.

The logistic probes of all positions and variables are fitted together. States are whitened once per
position. There the Hessian of the cross-entropy is at most 1/2 in every direction (Böhning, 1992), so
that one step length serves all problems, and accelerated gradient descent on all of them is two
matrix products a step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

PENALTY = 1e-3


STEPS = 40


#: Bias of a class that a variable does not have.
NEVER = -1e4


# --- fitting -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probes:
    """Linear maps from states to symbols, one for each of P positions and T variables."""

    #: `[P, T, classes, d]` and `[P, T, classes]`, for states as they are.
    weight: Tensor
    bias: Tensor

    def logits(self, states: Tensor) -> Tensor:
        """`[P, n, d]` -> `[P, n, T, classes]`."""
        return torch.einsum("pnd,ptcd->pntc", states, self.weight) + self.bias[:, None]


def fit_linear(
    states: Tensor, labels: Tensor, penalty: float = PENALTY, steps: int = STEPS
) -> Probes:
    """Logistic probes of every variable from every position.

    Args:
        states: `[P, n, d]`.
        labels: `[n, T]`, classes numbered from 0 within each variable.
        penalty: of squared weights, on whitened states.
        steps: of accelerated gradient descent.
    """
    mean, whitener = whitening(states)
    x = torch.nn.functional.pad((states - mean) @ whitener, (0, 1), value=1.0)  # for the bias
    positions, n, d = x.shape
    count, classes, absent = _classes(labels)
    shape = (positions, count, classes, n)
    truth = torch.nn.functional.one_hot(labels, classes).to(x).flatten(1).T.contiguous()
    shrink = x.new_full((d,), penalty)
    shrink[-1] = 0.0
    rate = 1 / (0.5 + penalty)
    weight = x.new_zeros(positions, count * classes, d)
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
    bias = (bias - (weight @ mean.mT)[..., 0]).view(positions, count, classes)
    bias = bias.masked_fill(absent, -torch.inf)
    return Probes(weight.view(positions, count, classes, d - 1), bias)


def softmax_(logits: Tensor) -> Tensor:
    """Softmax over classes in position, `[P, T, classes, n]`.

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
    """What one-hidden-layer networks say, one for each of P positions and T variables.

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
    positions, _, d = x.shape
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
    weights = [random(positions, d, count * hidden), x.new_zeros(positions, count * hidden, 1)]
    weights += [
        random(positions * count, hidden, classes),
        x.new_zeros(positions * count, classes, 1),
    ]
    weights = [one.requires_grad_() for one in weights]

    def outputs(x: Tensor) -> Tensor:
        inside = torch.baddbmm(weights[1], weights[0], x.mT).relu_()
        inside = inside.view(positions * count, hidden, -1)
        out = torch.baddbmm(weights[3], weights[2], inside).view(positions, count, classes, -1)
        return out[:, :, 0] if numbers else out.masked_fill(absent[..., None], -torch.inf)

    def loss_of(out: Tensor, rows: Tensor) -> Tensor:
        wanted = truth[rows].T
        if numbers:
            return (out - wanted).pow(2).mean(dim=-1).sum()
        wanted = wanted[None, :, None].expand(positions, -1, -1, -1)
        return -out.log_softmax(2).gather(2, wanted).mean(dim=-1).sum()

    optimizer = torch.optim.AdamW(weights, lr=5e-3, weight_decay=0.03, fused=True)
    n, batch, checked = fit.stop, 250, valid.stop - valid.start
    best = x.new_full((positions, count), -torch.inf)
    said = labels.new_zeros(positions, len(labels) - n, count)
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
