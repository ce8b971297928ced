"""What plans ask of every method: forward passes of a step, shapes of its micro-batches."""

from typing import NamedTuple

import torch
from torch import Tensor

from icotlib.config import RunConfig
from icotlib.data.inputs import LMBatch
from icotlib.data.layout import EncodedBatch
from icotlib.models.flops import ModelSizes, RunSizes, SequenceWork, StepCost, forward_flops


class Shape(NamedTuple):
    """The shape of a micro-batch, padding included."""

    rows: int
    #: Tokens of every row, and positions of it at which logits are computed.
    width: int
    read: int
    #: Tokens of the longest question, with its separator.
    question: int

    def inputs(self, keep_positions: bool) -> LMBatch:
        """A micro-batch of zeros.

        Args:
            keep_positions: whether it has position ids.
        """
        ids = torch.zeros(self.rows, self.width, dtype=torch.long)
        positions = torch.zeros_like(ids) if keep_positions else None
        return LMBatch(ids, positions, torch.zeros_like(ids), ids > 0, self.read)


def passes(config: RunConfig) -> int:
    """Forward passes that a step takes as many operations as: one, its gradients and, where
    layers are recomputed, another."""
    backward = 1 if config.model.lora else 2  # frozen weights need no gradients
    return 1 + backward + config.train.gradient_checkpointing


def kept_per_token(config: RunConfig, language: ModelSizes) -> int:
    """Numbers kept per token for the backward pass."""
    if not config.train.gradient_checkpointing:
        return language.activations
    per_layer = language.activations // language.layers  # of one at a time, and all their inputs
    return language.layers * language.attention + per_layer


def language_step(
    config: RunConfig, sizes: RunSizes, arranged: EncodedBatch, tokens: Tensor
) -> StepCost:
    """What one optimizer step of a language model costs (`Method.step_cost`)."""
    language, total = sizes.language, arranged.total - tokens
    work = SequenceWork.of(total - 1, total - arranged.question)
    answer = forward_flops(language, work)
    kept = work.tokens * kept_per_token(config, language)
    logits = work.read * language.vocabulary
    return StepCost(int(total.sum()), passes(config) * answer, answer, kept, logits)


def with_decoder(config: RunConfig, sizes: RunSizes, step: StepCost, lengths: Tensor) -> StepCost:
    """A step with an auxiliary decoder of the language model's shape, which training alone uses.

    Args:
        lengths: of the sequences that it learns, `[n]`.
    """
    language, work = sizes.language, SequenceWork.of(lengths, lengths)
    return step._replace(
        flops=step.flops + passes(config) * forward_flops(language, work),
        activations=step.activations + work.tokens * kept_per_token(config, language),
        logits=step.logits + work.read * language.vocabulary,
    )
