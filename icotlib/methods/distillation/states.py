"""What the teacher thinks: its states along the diagonal (ICoT-KD, arXiv 2311.01460, Section 3).

The teacher reads `question <sep> chain <sep>`. From the input of each of its L layers one vector
is taken, at a position that moves from the first separator to the second as the layers go up:
the lowest layer looks at the beginning of the reasoning, the highest at its end.
"""

import math
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import layer_norm
from transformers import PreTrainedModel

from icotlib.data.layout import EncodedBatch
from icotlib.errors import ConfigError
from icotlib.models.hooks import gather_positions, hook_layer_inputs


def diagonal(batch: EncodedBatch, layers: int, delta: float | None = None) -> Tensor:
    """t_l of every example and layer, `[n, layers]`: how far along the chain layer l looks.

    t_l = round(first + l (second - first) / (layers - 1)), halves to even: from the first
    separator to the second, by the length of each example's own chain. With a fixed `delta` it is
    first + l delta, and no further than the second separator.

    Raises `ConfigError` for a single layer: a diagonal has two ends.
    """
    if layers < 2:
        raise ConfigError("distillation needs a model of at least two layers, this one has 1")
    return _along(*_separators(batch), layers, delta)


def coverage(chain: int, layers: int, delta: float | None = None) -> float:
    """How far the last layer looks, as a share of the way from the first to the second separator.

    Args:
        chain: its length in tokens.
    """
    first, second = torch.zeros(1, 1).double(), torch.full((1, 1), chain + 1.0).double()
    return int(_along(first, second, layers, delta)[0, -1]) / (chain + 1)


def _along(first: Tensor, second: Tensor, layers: int, delta: float | None) -> Tensor:
    """The diagonal `[n, layers]` between positions `[n, 1]`, in float64, of two separators."""
    layer = torch.arange(layers, dtype=torch.float64)[None]
    # Multiplied before it is divided: a half then comes out as exactly a half.
    moved = layer * (second - first) / (layers - 1) if delta is None else layer * delta
    return (first + moved).round().minimum(second).long()


def state_positions(
    batch: EncodedBatch, layers: int, subset: str = "diagonal", delta: float | None = None
) -> tuple[Tensor, Tensor]:
    """Which layer's input, and which position, the teacher's vector l comes from.

    Returns:
        layer numbers `[layers]` and positions `[n, layers]`. The subsets of the paper's ablation:
        `diagonal`; `first_column` and `last_column`, every layer at the first or second
        separator; `bottom_row` and `top_row`, the diagonal's positions at the input of the first
        or the last layer.
    """
    first, second = (column.long().expand(-1, layers) for column in _separators(batch))
    moving, every = diagonal(batch, layers, delta), torch.arange(layers)
    return {
        "diagonal": (every, moving),
        "first_column": (every, first),
        "last_column": (every, second),
        "bottom_row": (torch.zeros_like(every), moving),
        "top_row": (torch.full_like(every, layers - 1), moving),
    }[subset]


def _separators(batch: EncodedBatch) -> tuple[Tensor, Tensor]:
    """Positions of the first and the second separator, `[n, 1]` each, in float64."""
    first, second = batch.question - 1, batch.question + batch.chain
    return first[:, None].double(), second[:, None].double()


@torch.no_grad()
def teacher_states(
    teacher: PreTrainedModel,
    batch: EncodedBatch,
    subset: str = "diagonal",
    delta: float | None = None,
) -> Tensor:
    """The teacher's normalised vectors z, `[n, layers, d]`, on the teacher's device.

    z_l is the LayerNorm (no affine part) of the state that `state_positions` points at.
    """
    layers = teacher.config.num_hidden_layers
    sources, at = state_positions(batch, layers, subset, delta)
    at = at.to(teacher.device)
    read = int((batch.question + batch.chain).max()) + 1
    vectors: dict[int, Tensor] = {}

    def collect(layer: int, hidden: Tensor) -> None:
        for row in torch.nonzero(sources == layer).flatten().tolist():
            vectors[row] = gather_positions(hidden, at[:, row])

    with hook_layer_inputs(teacher, collect, stop=True):
        teacher.base_model(input_ids=batch.ids[:, :read].to(teacher.device), use_cache=False)
    states = torch.stack([vectors[row] for row in range(layers)], dim=1)
    return layer_norm(states, states.shape[-1:])


def gold_tokens(
    batch: EncodedBatch,
    layers: int,
    subset: str = "diagonal",
    delta: float | None = None,
    offset: int = 0,
) -> Tensor:
    """The token where state l is read, or `offset` positions further on: `[n, layers]`.

    It is what the supervised mixture names; an offset goes no further than the second separator.
    """
    second = (batch.question + batch.chain)[:, None]
    at = state_positions(batch, layers, subset, delta)[1]
    return batch.ids.gather(1, (at + offset).minimum(second))


def explained_variance(true: Tensor, predicted: Tensor) -> list[float]:
    """Of `[n, layers, d]` states, by layer: 1 - squared error / variance; 1 is perfect.

    NaN for a layer whose true state is the same for every example: the embedding of the
    separator, which the diagonal begins with.
    """
    true, predicted = true.cpu().double(), predicted.cpu().double()  # not every device has doubles
    error = (true - predicted).square().sum(dim=(0, 2))
    spread = (true - true.mean(dim=0)).square().sum(dim=(0, 2))
    constant = spread < 1e-6 * true.square().sum(dim=(0, 2))
    return torch.where(constant, math.nan, 1 - error / spread).tolist()


def nanmedian(by_layer: list[float]) -> float:
    """The median over layers that have any variance: one hopeless layer does not decide it."""
    known = [value for value in by_layer if not math.isnan(value)]
    return median(known) if known else math.nan


def components_in_use(usage: Tensor) -> list[float]:
    """The effective number of components by layer, from their mean weights `[layers, components]`.

    exp of the entropy of the weights: 1 if all examples use the same component, the number of
    components if all are used alike.
    """
    usage = usage.cpu().double()
    return (-(usage * usage.clamp(min=1e-30).log()).sum(dim=-1)).exp().tolist()
