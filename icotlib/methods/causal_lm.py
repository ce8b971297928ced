"""Methods that train one language model to continue the question: what they share.

Explicit CoT, No CoT and stepwise internalization differ only in how much of the chain is removed
at each step.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from icotlib.data.inputs import LMBatch
from icotlib.data.layout import EncodedBatch
from icotlib.errors import ConfigError
from icotlib.evaluation.generation import logits_of, matches
from icotlib.methods.base import Method
from icotlib.methods.micro_batches import BatchAccuracy, MicroBatch, token_loss
from icotlib.methods.schedule import draw_removal
from icotlib.models.build import build_model


class Part(NamedTuple):
    """A micro-batch before its forward pass."""

    inputs: LMBatch
    #: The rows of the batch that it holds, `[n]`.
    rows: Tensor
    #: Which examples are at the stage that is evaluated: `[n]`.
    at_eval_stage: Tensor
    #: Tokens that go through the model, padding aside.
    tokens: int
    #: Tokens that the whole batch learns.
    learned: int


class CausalLMMethod(Method):
    """Cross-entropy of everything after the question, some of its chain removed."""

    def build(self) -> PreTrainedModel:
        config, run_data = self.config, self.run_data
        model = build_model(config.model, run_data.layout, run_data.longest_total)
        if config.train.gradient_checkpointing:
            if not model.supports_gradient_checkpointing:
                raise ConfigError(
                    f"{type(model).__name__} has no gradient checkpointing: set "
                    "train.gradient_checkpointing=false"
                )
            model.gradient_checkpointing_enable({"use_reentrant": False})
        return model

    def micro_batches(
        self, step: int, batch: EncodedBatch, generator: torch.Generator
    ) -> Iterator[MicroBatch]:
        for part in self.parts(step, batch, generator):
            yield self.micro_batch(step, part)

    def micro_batch(self, step: int, part: Part) -> MicroBatch:
        """The forward pass of a part, and its share of the batch's cross-entropy."""
        logits = logits_of(self.model, part.inputs)
        found = matches(logits.detach(), part.inputs)
        self.seen.append(BatchAccuracy(step, *found, part.at_eval_stage))
        return MicroBatch(token_loss(logits, part.inputs) / part.learned, part.tokens)

    def parts(self, step: int, batch: EncodedBatch, generator: torch.Generator) -> Iterator[Part]:
        """A batch with chain tokens removed, in groups of similar length, on the device."""
        units, arranged, k = draw_removal(self.schedule, self.format, step, batch, generator)
        shift = self.format.shift(units.clamp(max=self.schedule.longest))
        self.saw_removal(arranged, k)
        kept = arranged.total - k
        learned = int((kept - arranged.question).sum())
        for rows in self.row_groups(kept):
            part, cut = arranged[rows], k[rows]
            stage = self.schedule.eval_stage
            shown = cut == self.format.tokens_removed(part, stage)
            shown &= shift[rows] == self.format.shift(stage)
            inputs = self.format.inputs(part, cut, shift[rows]).to(self.device)
            yield Part(inputs, rows, shown, int(kept[rows].sum()), learned)

    def saw_removal(self, batch: EncodedBatch, k: torch.Tensor) -> None:
        """Called with every arranged batch and the tokens removed from it, `[n]`."""
