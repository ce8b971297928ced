"""TODO."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import sdpa_flop_count
from transformers import PreTrainedModel

from icotlib.models.parameters import count_parameters, split_parameters

#: The attention kernel of CPUs, which torch's counter does not know.
ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda q, k, v, *_, out_shape=None, **__: sdpa_flop_count(q, k, v)
    )
}


# --- sizes of models ---------------------------------------------------------------------------


class Shape(NamedTuple):
    """The sizes of a language model that its cost depends on."""

    #: Entries of all weights; tied ones count once.
    parameters: int
    #: Entries of the matrices that every token passes, the output head aside.
    matrices: int
    #: Entries of the output head, and its rows.
    head: int
    vocabulary: int
    layers: int
    #: Heads times their width.
    attention: int
    #: Numbers kept per token for the backward pass: what each matrix reads and what it writes.
    kept: int


def shape_of(model: PreTrainedModel) -> Shape:
    """The sizes of a causal language model of transformers."""
    config, head = model.config, model.get_output_embeddings().weight
    hidden = split_parameters(model)[0]
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        parameters=count_parameters(model),
        matrices=sum(matrix.numel() for matrix in hidden),
        head=head.numel(),
        vocabulary=head.shape[0],
        layers=config.num_hidden_layers,
        attention=config.num_attention_heads * width,
        kept=sum(sum(matrix.shape) for matrix in hidden),
    )


class Work(NamedTuple):
    """What passes a language model, summed over sequences."""

    tokens: int
    #: Sum of squared lengths: the pairs that attention compares.
    pairs: int
    #: Places at which the output head is applied.
    read: int

    @classmethod
    def of(cls, lengths: Tensor, read: Tensor | None = None) -> "Work":
        """Sequences of these lengths `[n]`, with the head at so many places of each, or none."""
        places = 0 if read is None else int(read.sum())
        return cls(int(lengths.sum()), int(lengths.square().sum()), places)


def forward(shape: Shape, work: Work, stop: bool = False) -> float:
    """Operations of a forward pass; with `stop` the last layer is left out."""
    body = 2 * shape.matrices * work.tokens + 4 * shape.layers * shape.attention * work.pairs
    return body * (1 - stop / shape.layers) + 2 * shape.head * work.read


def generation(shape: Shape, question: Tensor, new: Tensor) -> float:
    """Operations of greedy decoding with a cache: `[n]` tokens read, and `[n]` written."""
    written = new - 1  # the last token is written and not read again
    pairs = question.square() + written * question + written * (written + 1) // 2
    work = Work(int((question + written).sum()), int(pairs.sum()), int(new.sum()))
    return forward(shape, work)
