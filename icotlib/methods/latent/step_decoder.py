"""SIM-CoT's auxiliary decoder (arXiv 2509.20317): each thought must tell the step it stands for.

A second language model reads one thought and writes the step. Its cross-entropy is added to the
loss, so that thoughts stay apart from one another; the decoder is dropped after training.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from icotlib.data.inputs import IGNORE
from icotlib.data.layout import EncodedBatch

#: Its name among the parts of a model in training.
AUXILIARY = "step_decoder"


class StepDecoder(nn.Module):
    """A language model that begins as a copy of the one that thinks."""

    def __init__(self, language_model: PreTrainedModel):
        super().__init__()
        self.language_model = copy.deepcopy(language_model)

    def loss(
        self, thoughts: Tensor, part: EncodedBatch, units: Tensor, per_place: float, end: int
    ) -> Tensor:
        """Cross-entropy of the steps behind the thoughts, summed over their tokens (`step_tokens`).

        Args:
            thoughts: `[n, places, d]`.
            part: the examples, arranged.
            units: `[n]`, units of each chain that have become thoughts, from its start.
            per_place: units that a place stands for.
            end: token that ends a step.
        """
        ids, labels = steps_of(part, units, thoughts.shape[1], per_place, end)
        with_step = (labels != IGNORE).any(dim=1).nonzero()[:, 0]
        if not len(with_step):
            return thoughts.sum() * 0
        ids, labels = (x[with_step].to(thoughts.device) for x in (ids, labels))
        first = thoughts.flatten(0, 1)[with_step.to(thoughts.device, non_blocking=True)]
        table: Any = self.language_model.get_input_embeddings()
        embeddings = torch.cat([first[:, None], table(ids[:, :-1])], dim=1)
        logits = self.language_model(inputs_embeds=embeddings, use_cache=False).logits
        return cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE, reduction="sum"
        )


def steps_of(
    part: EncodedBatch, units: Tensor, places: int, per_place: float, end: int
) -> tuple[Tensor, Tensor]:
    """The tokens that each place stands for and an end token: two tensors `[n * places, width]`.

    Place j stands for the units from `j * per_place` to `(j + 1) * per_place`, rounded down, as far
    as they have become thoughts. With several places to a unit, the last of them stands for it.

    Returns:
        token ids, and the same as labels, `IGNORE` beyond the end; all `IGNORE` without a unit.
    """
    start, length = _spans(part, units, places, per_place)
    column = torch.arange(int(length.max()) + 1)[None]
    rows = torch.arange(len(part)).repeat_interleave(places)
    source = (part.question[rows] + start)[:, None] + column
    ids = part.ids[rows].gather(1, source.clamp(max=part.ids.shape[1] - 1))
    ids = torch.where(column < length[:, None], ids, end)
    inside = (column <= length[:, None]) & (length > 0)[:, None]
    return ids, torch.where(inside, ids, IGNORE)


def step_tokens(part: EncodedBatch, units: Tensor, places: int, per_place: float) -> int:
    """The number of labels that `steps_of` gives, which is that of the tokens learned."""
    return int(step_lengths(part, units, places, per_place).sum())


def step_lengths(part: EncodedBatch, units: Tensor, places: int, per_place: float) -> Tensor:
    """Tokens of each step that a thought of a batch stands for, with its end: `[steps]`."""
    length = _spans(part, units, places, per_place)[1]
    return length[length > 0] + 1


def _spans(
    part: EncodedBatch, units: Tensor, places: int, per_place: float
) -> tuple[Tensor, Tensor]:
    """Where in its chain the tokens begin that each place stands for, and how many they are:
    `[n * places]` each."""
    borders = (torch.arange(places + 1) * per_place + 1e-6).long()
    borders = borders[None].minimum(units[:, None])
    tokens = torch.stack([part.tokens(column) for column in borders.unbind(dim=1)], dim=1)
    return tokens[:, :-1].flatten(), tokens.diff(dim=1).flatten()
