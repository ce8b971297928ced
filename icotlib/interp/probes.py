"""Probes: linear maps and small networks that predict variables from states, fitted in parallel.

The logistic probes of all positions and variables are fitted together. States are whitened once
per position. The Hessian of the cross-entropy is then at most 1/2 in every direction (Böhning,
1992), so that one step length serves all problems, and accelerated gradient descent on all of them
is two matrix products a step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

#: Weight of the squared weights, on whitened states, and steps of gradient descent.
PENALTY, STEPS = 1e-3, 40
#: Width of the hidden layer of an MLP, rows of a step, and how often it sees the rows that it is
#: fitted to. On a few thousand rows more epochs would bring it further (LOG.md), and cost minutes.
HIDDEN, BATCH, EPOCHS = 64, 250, 15
#: All of these: what is measured with other ones is measured anew.
SETTINGS = (PENALTY, STEPS, HIDDEN, BATCH, EPOCHS)
#: Rows for which MLPs predict at once: hidden layers take far more memory than states.
PREDICTED = 2000
#: Bias of a class that a variable does not have.
NEVER = -1e4

#: Rows to fit to, to select by, and to report on.
Split = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Whitening:
    """The map that gives the states of each position mean zero and unit covariance."""

    #: `[P, 1, d]`, and `[P, d, d]`.
    mean: Tensor
    map: Tensor

    @classmethod
    def of(cls, states: Tensor, floor: float = 1e-4) -> "Whitening":
        """That of states `[P, n, d]`.

        Coordinates are standardised first, so that each has variance 1, or 0 where it never varies.
        `floor` is added to the variance of every direction: those that have less are not scaled
        up to 1, because they are rounding errors.
        """
        mean = states.mean(dim=1, keepdim=True)
        x = states - mean
        covariance = x.mT @ x / states.shape[1]
        spread = covariance.diagonal(dim1=1, dim2=2).sqrt().clamp(min=1e-6)[..., None]
        covariance = covariance / spread / spread.mT
        covariance.diagonal(dim1=1, dim2=2).add_(floor)
        lower, failed = torch.linalg.cholesky_ex(covariance)
        if not failed.any():
            one = torch.eye(x.shape[2]).to(x).expand_as(lower)
            return cls(mean, torch.linalg.solve_triangular(lower, one, upper=False).mT / spread)
        values, vectors = torch.linalg.eigh(covariance)  # slower, and never fails
        return cls(mean, vectors * values.clamp(min=floor).rsqrt()[:, None] / spread)

    def __call__(self, states: Tensor) -> Tensor:
        """States `[P, m, d]`, whitened."""
        return (states - self.mean) @ self.map


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
    states: Tensor,
    labels: Tensor,
    penalty: float = PENALTY,
    steps: int = STEPS,
    whitening: Whitening | None = None,
) -> Probes:
    """Logistic probes of every variable from every position.

    Args:
        states: `[P, n, d]`.
        labels: `[n, T]`, classes numbered from 0 within each variable.
        penalty: weight of the squared weights, on whitened states.
        steps: of accelerated gradient descent.
        whitening: that of the states, where it is known.
    """
    whitening = whitening or Whitening.of(states)
    x = torch.nn.functional.pad(whitening(states), (0, 1), value=1.0)  # for the bias
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
    weight, bias = weight[..., :-1] @ whitening.map.mT, weight[..., -1]
    bias = (bias - (weight @ whitening.mean.mT)[..., 0]).view(positions, count, classes)
    bias = bias.masked_fill(absent, -torch.inf)
    return Probes(weight.view(positions, count, classes, d - 1), bias)


def softmax_(logits: Tensor) -> Tensor:
    """Softmax over the classes of `[P, T, classes, n]`, in place.

    The examples are the last dimension because a CPU vectorises over neighbours, and there are
    far more examples than classes.
    """
    logits.sub_(logits.amax(dim=2, keepdim=True)).exp_()
    return logits.div_(logits.sum(dim=2, keepdim=True))


def _classes(labels: Tensor) -> tuple[int, int, Tensor]:
    """Number of variables, of classes, and which classes a variable lacks, `[T, classes]`."""
    counts = labels.amax(dim=0) + 1
    classes = int(counts.max())
    each = torch.arange(classes, device=labels.device)
    return len(counts), classes, each[None] >= counts[:, None]


def ridge_predictions(
    states: Tensor,
    values: Tensor,
    new: Tensor,
    whitening: Whitening | None = None,
) -> Tensor:
    """Ridge regression of numbers `[n, T]` on states `[P, n, d]`, at new ones: `[P, m, T]`.

    Args:
        whitening: that of the states, where it is known.
    """
    whitening = whitening or Whitening.of(states)
    x, centre = whitening(states), values.mean(dim=0)
    weight = x.mT @ (values - centre) / (len(values) * (1 + PENALTY))
    return whitening(new) @ weight + centre


def fit_mlp(states: Tensor, labels: Tensor, split: Split) -> Tensor:
    """Predictions of one-hidden-layer networks, one for each of P positions and T variables.

    Each network keeps its predictions from the epoch that is best on the validation rows.

    Args:
        states: `[P, n, d]`.
        labels: `[n, T]`; integers are classes, learned by cross-entropy; floats are numbers,
            learned by squared error.

    Returns:
        classes, or numbers, `[P, held out, T]`, for all rows that were not fitted to.
    """
    fit, valid, _ = split
    x = Whitening.of(states[:, fit])(states)
    generator = torch.Generator().manual_seed(0)
    networks = _MLPs(x, labels, fit, generator)
    optimizer = torch.optim.AdamW(networks.weights, lr=5e-3, weight_decay=0.03, fused=True)
    n, checked = fit.stop, valid.stop - valid.start
    best = x.new_full((len(x), labels.shape[1]), -torch.inf)
    chosen = labels.new_zeros(len(x), len(labels) - n, labels.shape[1])
    for _ in range(EPOCHS):
        for rows in torch.randperm(n, generator=generator).split(BATCH):
            optimizer.zero_grad()
            networks.loss(x[:, rows], rows).backward()
            optimizer.step()
        predicted = networks.predict(x[:, n:])
        error = (predicted - networks.truth[n:])[:, :checked]
        score = -error.pow(2).mean(dim=1) if networks.numbers else (error == 0).float().mean(dim=1)
        better = score > best
        best = torch.where(better, score, best)
        chosen = torch.where(better[:, None], predicted, chosen)
    return networks.unscaled(chosen)


class _MLPs:
    """The networks of `fit_mlp`. Examples are the last dimension within, as in `softmax_`."""

    def __init__(self, x: Tensor, labels: Tensor, fit: slice, generator: torch.Generator):
        self.positions, self.numbers = len(x), labels.is_floating_point()
        self.truth, self.count, self.classes = labels, labels.shape[1], 1
        self.centre, self.spread = torch.zeros(()), torch.ones(())
        self.absent: Tensor | None = None
        if self.numbers:  # standardised
            self.centre = labels[fit].mean(dim=0)
            self.spread = labels[fit].std(dim=0).clamp(min=1e-6)
            self.truth = (labels - self.centre) / self.spread
        else:
            self.count, self.classes, self.absent = _classes(labels)
        d, count, each = x.shape[2], self.count, self.positions * self.count

        def random(*shape: int) -> Tensor:
            drawn = torch.randn(shape, generator=generator).to(x.device) * shape[1] ** -0.5
            return drawn.mT.contiguous()

        weights = [random(self.positions, d, count * HIDDEN)]
        weights += [x.new_zeros(self.positions, count * HIDDEN, 1)]
        weights += [random(each, HIDDEN, self.classes), x.new_zeros(each, self.classes, 1)]
        #: Weights and biases of the first layer, then of the second.
        self.weights = [weight.requires_grad_() for weight in weights]

    def outputs(self, x: Tensor) -> Tensor:
        """`[P, n, d]` -> logits `[P, T, classes, n]`, or standardised numbers `[P, T, n]`."""
        first, first_bias, second, second_bias = self.weights
        hidden = torch.baddbmm(first_bias, first, x.mT).relu_()
        hidden = hidden.view(self.positions * self.count, HIDDEN, -1)
        out = torch.baddbmm(second_bias, second, hidden)
        out = out.view(self.positions, self.count, self.classes, -1)
        if self.absent is None:
            return out[:, :, 0]
        return out.masked_fill(self.absent[..., None], -torch.inf)

    def loss(self, x: Tensor, rows: Tensor) -> Tensor:
        """The mean loss over some rows, summed over networks: a scalar."""
        out, truth = self.outputs(x), self.truth[rows].T
        if self.numbers:
            return (out - truth).pow(2).mean(dim=-1).sum()
        truth = truth[None, :, None].expand(self.positions, -1, -1, -1)
        return -out.log_softmax(2).gather(2, truth).mean(dim=-1).sum()

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Classes, or standardised numbers, `[P, n, T]`."""
        outputs = (self.outputs(rows) for rows in x.split(PREDICTED, dim=1))
        return torch.cat([(out if self.numbers else out.argmax(2)).mT for out in outputs], dim=1)

    def unscaled(self, predicted: Tensor) -> Tensor:
        """Predictions on the scale of the labels."""
        return predicted * self.spread + self.centre if self.numbers else predicted
