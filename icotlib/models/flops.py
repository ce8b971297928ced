"""Floating-point operations of a language model, from its sizes and the lengths of sequences.

A forward pass takes

    2 (entries of matrices) (tokens) + 4 layers (width of attention) (sum of squared lengths)

operations. The output head counts only at the positions that carry loss; attention counts the whole
square, causal or not, as torch's own counter does. Experts of a mixture-of-experts layer are stored
as three-dimensional tensors and are left out.
"""

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


class ModelSizes(NamedTuple):
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
    activations: int


def model_sizes(model: PreTrainedModel) -> ModelSizes:
    """The sizes of a causal language model of transformers."""
    config, head = model.config, model.get_output_embeddings().weight
    hidden = split_parameters(model)[0]
    heads = getattr(config, "num_attention_heads", 0)  # a state-space model has none
    width = getattr(config, "head_dim", None) or config.hidden_size // max(1, heads)
    return ModelSizes(
        parameters=count_parameters(model),
        matrices=sum(matrix.numel() for matrix in hidden),
        head=head.numel(),
        vocabulary=head.shape[0],
        layers=config.num_hidden_layers,
        attention=heads * width,
        activations=sum(sum(matrix.shape) for matrix in hidden),
    )


class SequenceWork(NamedTuple):
    """Tokens that pass through a language model, summed over the sequences of a batch."""

    tokens: int
    #: Sum of squared lengths: the pairs of positions that attention compares.
    pairs: int
    #: Positions at which the output head is applied.
    read: int

    @classmethod
    def of(cls, lengths: Tensor, read: Tensor | None = None) -> "SequenceWork":
        """The work of sequences of these lengths.

        Args:
            lengths: `[n]`.
            read: `[n]`, positions of each at which the output head is applied; by default none.
        """
        positions = 0 if read is None else int(read.sum())
        return cls(int(lengths.sum()), int(lengths.square().sum()), positions)


def forward_flops(sizes: ModelSizes, work: SequenceWork, stop: bool = False) -> float:
    """Operations of a forward pass.

    Args:
        stop: the pass ends before the last layer, as it does where only its input is read.
    """
    body = 2 * sizes.matrices * work.tokens + 4 * sizes.layers * sizes.attention * work.pairs
    return body * (1 - stop / sizes.layers) + 2 * sizes.head * work.read


def generation_flops(sizes: ModelSizes, question: Tensor, new: Tensor) -> float:
    """Operations of greedy decoding with a cache.

    Args:
        question: `[n]`, tokens of each question.
        new: `[n]`, tokens written after it.
    """
    read_back = new - 1  # the last token is written and not read again
    pairs = question.square() + read_back * question + read_back * (read_back + 1) // 2
    work = SequenceWork(int((question + read_back).sum()), int(pairs.sum()), int(new.sum()))
    return forward_flops(sizes, work)


class RunSizes(NamedTuple):
    """The sizes of all models that a run trains or holds."""

    language: ModelSizes
    #: Those of the finished model.
    parameters: int
    #: Those that are trained, parts that are dropped afterwards included.
    trained: int
    #: Entries of the weights written to disk: with adapters, those of the adapters alone.
    saved: int
    #: Bytes of weights, gradients and the optimizer's moments, and of a frozen model, in fp32.
    state: int
    #: What the method's own parts add (`Method.own_sizes`); `dropped`, the parameters of parts that
    #: are dropped after training.
    own: dict[str, int]


class StepCost(NamedTuple):
    """The calculated cost of one optimizer step."""

    #: Tokens through the model, as the run itself counts them.
    tokens: int
    flops: float
    #: Operations of the forward pass, without a frozen model's.
    forward: float
    #: Numbers kept for the backward pass, and logits, if the batch is one micro-batch.
    activations: int
    logits: int
