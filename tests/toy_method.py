"""A method in one file: each example loses its whole chain with probability `toy.drop`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from icotlib.data.layout import EncodedBatch
from icotlib.evaluation.generation import logits_of, matches
from icotlib.methods.base import Method, register
from icotlib.methods.micro_batches import BatchAccuracy, MicroBatch, token_loss
from icotlib.models.loading import load_stage
from icotlib.runs import Run
from icotlib.settings import Section, setting


@dataclass(frozen=True)
class ToySettings(Section):
    """What the method can be told."""

    section: ClassVar[str] = "toy"
    drop: float = setting(0.5, "Chance that an example loses its whole chain.", low=0, high=1)


@register
class Toy(Method):
    """Starts from explicit CoT; every example keeps its chain or loses all of it."""

    name = "toy"
    label = "Toy method"
    color = "#117733"
    phases: ClassVar = {"teacher": "explicit_cot"}
    sections: ClassVar = {"toy": ToySettings}
    presets: ClassVar = {"smoke": {"train.steps": 30, "toy.drop": 0.7}}

    def build(self) -> torch.nn.Module:
        return load_stage(Run.of(self.config.phases["teacher"]))[0]

    def micro_batches(
        self, step: int, batch: EncodedBatch, generator: torch.Generator
    ) -> Iterator[MicroBatch]:
        dropped = torch.rand(len(batch), generator=generator) < self.config.toy.drop
        arranged = self.format.arrange(batch)
        tokens = torch.where(dropped, arranged.chain, torch.zeros_like(arranged.chain))
        learned = int((arranged.total - tokens - arranged.question).sum())
        for rows in self.row_groups(arranged.total - tokens):
            inputs = self.format.inputs(arranged[rows], tokens[rows]).to(self.device)
            logits = logits_of(self.model, inputs)
            right = matches(logits.detach(), inputs)
            self.seen.append(BatchAccuracy(step, *right, dropped[rows]))
            yield MicroBatch(token_loss(logits, inputs) / learned, int(arranged.total[rows].sum()))
