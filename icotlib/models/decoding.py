"""How a language model is asked for the next token: with its cache, or without one.

CachedDecoding   questions padded on the left, then one token at a time
WholeDecoding    every sequence read again for each token, padded on the right as in training

A model is decoded without a cache if it takes none, as state-space models do, or if its config says
`use_cache: false`: that of a model whose cache gives other logits than training
(`icotlib.models.checks`). The field is saved with its weights.
"""

import inspect
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from icotlib.data.inputs import LMBatch
from icotlib.data.layout import EncodedBatch
from icotlib.errors import ConfigError
from icotlib.models.cache import with_room
from icotlib.models.parameters import max_positions, position_offset


def logits_of(model: torch.nn.Module, inputs: LMBatch) -> Tensor:
    """Next-token logits `[n, kept, vocabulary]` at the last `logits_to_keep` positions of a batch.

    Explicit positions come with a mask of ones: without a mask, transformers takes a jump in the
    position ids for the border between two packed sequences, and masks one from the other.
    """
    return _logits(model, inputs.ids, inputs.positions, inputs.logits_to_keep)


def _logits(model: Any, ids: Tensor, positions: Tensor | None, keep: int) -> Tensor:
    output = model(
        input_ids=ids,
        position_ids=position_ids(model, positions),
        attention_mask=None if positions is None else torch.ones_like(ids),
        logits_to_keep=keep,
        use_cache=False,
    )
    return kept_logits(output.logits, keep)


def kept_logits(logits: Tensor, keep: int) -> Tensor:
    """The logits at the last positions; some architectures return all, whatever is to be kept."""
    return logits if logits.shape[1] == keep else logits[:, -keep:]


def position_ids(model: Any, positions: Tensor | None) -> Tensor | None:
    """Positions from 0 as the ids that a model has for them."""
    offset = 0 if positions is None else position_offset(model)
    return positions + offset if positions is not None and offset else positions


class Decoding(Protocol):
    """A batch of sequences that grow by one token at a time."""

    def logits(self) -> Tensor:
        """Logits `[n, vocabulary]` of the next token of every row."""

    def append(self, ids: Tensor) -> None:
        """Add the next token of every row, `[n, 1]`."""


def decoding(
    model: Any, batch: EncodedBatch, shift: Tensor | None, pad: int, new: int = 0
) -> Decoding:
    """The questions of a batch, ready to be continued.

    Args:
        shift: by how much the separator's position is shifted, `[n]`; None without kept positions.
        pad: the token that fills shorter rows.
        new: tokens to be written, as far as known.
    """
    if uses_cache(model):
        return CachedDecoding(model, batch, shift, pad, new=new)
    return WholeDecoding(model, batch, shift, pad)


def uses_cache(model: Any) -> bool:
    """Whether a model is decoded with its cache."""
    decoder = getattr(model, "analysed_decoder", model)  # of a model with parts of its own
    takes = "past_key_values" in inspect.signature(type(decoder).forward).parameters
    return takes and getattr(model.config.get_text_config(), "use_cache", None) is not False


class CachedDecoding:
    """Decoding with the model's own cache; questions of unequal length are padded on the left.

    Args:
        width: tokens to pad to; by default as many as the longest question has.
        new: tokens to be written, as far as known.
    """

    def __init__(
        self,
        model: Any,
        batch: EncodedBatch,
        shift: Tensor | None,
        pad: int,
        width: int = 0,
        new: int = 0,
    ):
        ids, mask, positions = left_padded_questions(batch, pad, width)
        if shift is not None:
            positions[:, -1] += shift
        self.model, self.limit = model, max_positions(model)
        device = model.device
        self.ids, self.mask, self.positions = ids.to(device), mask.to(device), positions.to(device)
        self.cache: Any = None
        #: Tokens that the cache has room for, those of the questions included.
        self.room = ids.shape[1] + new

    def logits(self) -> Tensor:
        output = self.model(
            input_ids=self.ids,
            attention_mask=self.mask,
            position_ids=position_ids(self.model, self.positions),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        first, self.cache = self.cache is None, output.past_key_values
        if first and self.room > self.mask.shape[1]:
            self.cache = with_room(self.cache, self.room)
        if self.cache is None:  # the next token would be read alone
            raise ConfigError(
                f"{type(self.model).__name__} returns no cache: set its config.use_cache=False"
            )
        return output.logits[:, -1]

    def append(self, ids: Tensor) -> None:
        self.ids = ids
        self.mask = torch.nn.functional.pad(self.mask, (0, 1), value=1)
        self.positions = self.positions[:, -1:] + 1
        if self.limit is not None:  # a model that never stops must not leave its position table
            self.positions = self.positions.clamp(max=self.limit - 1)


class WholeDecoding:
    """Decoding that reads every sequence again for each token, as the model does in training.

    It needs nothing but a model whose logits depend on what came before alone.
    """

    def __init__(self, model: PreTrainedModel, batch: EncodedBatch, shift: Tensor | None, pad: int):
        width, device = int(batch.question.max()), model.device
        column = torch.arange(width)[None]
        inside = column < batch.question[:, None]
        self.ids = batch.ids[:, :width].masked_fill(~inside, pad).to(device)
        self.model, self.pad, self.limit = model, pad, max_positions(model)
        #: The position of the last token of every row.
        self.last = (batch.question - 1).to(device)
        #: By how much positions are shifted from this separator on.
        self.separator = self.last
        self.shift = None if shift is None else shift.to(device)

    def logits(self) -> Tensor:
        keep = self.ids.shape[1] - int(self.last.min())
        logits = _logits(self.model, self.ids, self._positions(), keep)
        at = self.last - (self.ids.shape[1] - keep)
        return logits[torch.arange(len(at), device=at.device), at]

    def append(self, ids: Tensor) -> None:
        self.last = self.last + 1
        if self.limit is not None:  # a row at the end of the position table replaces its last token
            self.last = self.last.clamp(max=self.limit - 1)
        missing = int(self.last.max()) + 1 - self.ids.shape[1]
        self.ids = torch.nn.functional.pad(self.ids, (0, missing), value=self.pad)
        self.ids = self.ids.scatter(1, self.last[:, None], ids)

    def _positions(self) -> Tensor | None:
        if self.shift is None:
            return None
        column = torch.arange(self.ids.shape[1], device=self.ids.device)[None]
        positions = column + self.shift[:, None] * (column >= self.separator[:, None])
        return positions if self.limit is None else positions.clamp(max=self.limit - 1)


def left_padded_questions(
    batch: EncodedBatch, pad: int, width: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Questions with their separator, padded on the left: tokens, mask, positions `[n, width]`."""
    width = max(width, int(batch.question.max()))
    positions = torch.arange(width)[None] - (width - batch.question)[:, None]
    mask = positions >= 0
    ids = batch.ids.gather(1, positions.clamp(min=0))
    return ids.masked_fill(~mask, pad), mask.long(), positions.clamp(min=0)
