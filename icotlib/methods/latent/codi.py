"""CODI (arXiv 2502.21074): one model is teacher and student in every step.

    teacher   question <sep> chain <sep> #### answer                 cross-entropy of all of it
    student   question <sep> <bot> thoughts <eot> <sep> #### answer  cross-entropy of the answer

At the token just before the answer, the student's hidden states are drawn to the teacher's, which
take no gradient: smooth L1 distance, divided by the standard deviation of the teacher's states at
that layer over the whole batch, mean over the layers. Thoughts go through a projection. Padding is
never attended to, which the published code leaves as an option. The last step of the chain stays in
the teacher's.
"""

from collections.abc import Iterator
from typing import ClassVar, cast

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from icotlib.config import RunConfig
from icotlib.data.inputs import LMBatch
from icotlib.data.layout import EncodedBatch
from icotlib.methods.base import register
from icotlib.methods.costs import language_step
from icotlib.methods.latent.method import LatentMethod
from icotlib.methods.latent.settings import CodiSettings
from icotlib.methods.micro_batches import MicroBatch, token_loss
from icotlib.models.decoding import kept_logits
from icotlib.models.flops import RunSizes, StepCost


@register
class Codi(LatentMethod):
    """The chain is distilled into thoughts."""

    name = "codi"
    label = "CODI"
    color = "#AF25F4"
    marker = "p"
    paper = "2502.21074"
    projection = True
    sections: ClassVar = {"latent": CodiSettings}

    @classmethod
    def places(cls, config: RunConfig, longest: int, removed: Tensor | int) -> Tensor:
        return torch.full_like(torch.as_tensor(removed), config.latent.places)

    @classmethod
    def units_per_place(cls, config: RunConfig, places: int, longest: int) -> float:
        return longest / places

    def micro_batches(
        self, step: int, batch: EncodedBatch, generator: torch.Generator
    ) -> Iterator[MicroBatch]:
        """The teacher's passes over all groups of rows, then the student's."""
        form, settings = self.format, self.config.latent
        batch = form.arrange(batch)
        whole, gone = torch.zeros_like(batch.chain), batch.chain
        learned = [int((batch.total - k - batch.question).sum()) for k in (whole, gone)]
        steps = self.tokens_of_steps(batch, batch.removal_units, settings.places)
        targets = []
        for rows in self.row_groups(batch.total):
            taught = form.inputs(batch[rows], whole[rows]).to(self.device)
            loss, target = self._teacher(taught)
            targets.append(target)
            yield MicroBatch(loss / learned[0], int(batch.total[rows].sum()))
        spread = deviation(torch.cat(targets, dim=1), self.accelerator)
        for rows, target in zip(self.row_groups(batch.total), targets, strict=True):
            part, share = batch[rows], len(rows) / len(batch)
            inputs = form.inputs(part, gone[rows]).to(self.device)
            places = torch.full_like(part.question, settings.places)
            output = self.thinking(inputs, part, places, output_hidden_states=True)
            shown = torch.ones(len(part), dtype=torch.bool)
            loss = self.answer_loss(step, output, inputs, shown) / learned[1]
            near = distance(self._before_answer(output.hidden_states, inputs), target, spread)
            loss = loss + settings.distill_weight * share * near
            loss = loss + self.further_loss(output, part, part.removal_units, steps)
            tokens = part.total - part.chain + places + self.markers(self.config)
            yield MicroBatch(loss, int(tokens.sum()))

    def _teacher(self, inputs: LMBatch) -> tuple[Tensor, Tensor]:
        """The teacher's summed cross-entropy, and its states before the answer, `[levels, n, d]`,
        without gradient."""
        output = self.model(
            inputs.ids,
            plain=True,
            output_hidden_states=True,
            logits_to_keep=inputs.logits_to_keep,
        )
        logits = kept_logits(output.logits, inputs.logits_to_keep)
        states = self._before_answer(output.hidden_states, inputs)
        return token_loss(logits, inputs), states.detach()

    def _before_answer(self, states: tuple[Tensor, ...], inputs: LMBatch) -> Tensor:
        """States at the last token of the answer's delimiter, `[levels, n, d]`, of all levels above
        the embeddings.

        Args:
            states: `[n, kept, d]` by level, of the last tokens.
        """
        delimiter = len(self.run_data.layout.answer_delimiter)
        # The first token after the chain is the second separator.
        first = inputs.answer_mask.int().argmax(dim=1)
        kept = states[0].shape[1]
        at = first + delimiter + 1 - (inputs.ids.shape[1] - kept)
        rows = torch.arange(len(at), device=at.device)
        return torch.stack([level[rows, at] for level in states[1:]])

    @classmethod
    def step_cost(
        cls,
        config: RunConfig,
        sizes: RunSizes,
        batch: EncodedBatch,
        arranged: EncodedBatch,
        tokens: Tensor,
    ) -> StepCost:
        """Both passes; the student's is kept for the backward pass after the teacher's is gone."""
        student = super().step_cost(config, sizes, batch, arranged, arranged.chain)
        teacher = language_step(config, sizes, arranged, torch.zeros_like(arranged.chain))
        return both(student, teacher)


def distance(student: Tensor, teacher: Tensor, spread: Tensor) -> Tensor:
    """CODI's distance of states `[levels, n, d]`: smooth L1 over the teacher's deviation at each
    level, mean over levels (arXiv 2502.21074, equation of L_KD).

    Args:
        spread: `deviation` of the teacher's states in the whole batch, `[levels]`.
    """
    each = smooth_l1_loss(student.float(), teacher.float(), reduction="none")
    return (each.flatten(1).mean(dim=1) / spread).mean()


def deviation(states: Tensor, accelerator: Accelerator) -> Tensor:
    """The standard deviation of states `[levels, n, d]` at each level, at least 1e-6: `[levels]`.

    Of several processes, it is that of the states of all of them.
    """
    states = states.float().flatten(1)
    if accelerator.num_processes == 1:
        return states.std(dim=1).clamp(min=1e-6)

    def total(numbers: Tensor) -> Tensor:
        return cast(Tensor, accelerator.reduce(numbers, "sum"))

    count = total(torch.full_like(states[:, 0], states.shape[1]))
    mean = total(states.sum(dim=1)) / count
    squares = total((states - mean[:, None]).square().sum(dim=1))
    return (squares / (count - 1)).sqrt().clamp(min=1e-6)


def both(student: StepCost, teacher: StepCost) -> StepCost:
    """The cost of both passes of a step."""
    return StepCost(
        student.tokens + teacher.tokens,
        student.flops + teacher.flops,
        student.forward,
        max(student.activations, teacher.activations),
        max(student.logits, teacher.logits),
    )
