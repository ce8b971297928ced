"""What a language model must be able to do, found out on the built model before training.

    tables      every token id has a row
    causality   what follows a token does not change what the model says before it
    positions   position ids reach the model, if they are to be kept
    decoding    answers written token by token have the logits of training

Fewer than ten forward passes over two examples, about as long as a step of training. They leave
random numbers and weights as they are.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from icotlib.data.inputs import LMBatch, remove
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.errors import ConfigError, RunWarning, first_line
from icotlib.models.decoding import (
    CachedDecoding,
    Decoding,
    WholeDecoding,
    logits_of,
    uses_cache,
)
from icotlib.models.parameters import max_positions

#: Tokens that are written to compare decoding with training.
WRITTEN = 4


@dataclass(frozen=True)
class Requirements:
    """What a run asks of its model."""

    #: What names the model in errors, such as `model.architecture=gpt2`.
    source: str
    #: Encoded examples in the run's format, nothing removed.
    batch: EncodedBatch
    layout: Layout
    #: Tokens of the longest sequence of the run.
    longest: int
    keep_positions: bool = False
    #: Whether any of the chain is ever removed; without, kept positions are those of any model.
    removes: bool = True
    side: str = "left"
    #: Whether the weights are pretrained: what is wrong then shows more than rounding does.
    pretrained: bool = False

    @property
    def rounding(self) -> float:
        """How much logits may differ where they should be equal, relative to the largest.

        At random weights a wrong position moves them by 3e-5, and rounding by 5e-7.
        """
        return 1e-3 if self.pretrained else 1e-5


def check_model(model: Any, needs: Requirements) -> None:
    """Check a causal language model, or what is called like one.

    Where decoding with a cache differs from training, `use_cache` in the model's config becomes
    False: it is then decoded without.

    Raises `ConfigError` that says what the model cannot do, and which setting to change.
    """
    needs = replace(needs, batch=two_examples(needs))
    with as_it_was(model):
        try:
            _check_causality(model, needs)
            if needs.keep_positions and needs.removes:
                _check_positions(model, needs)
        except ConfigError:
            raise
        except Exception as error:  # architectures raise types of their own
            raise ConfigError(
                f"{needs.source} cannot read {needs.longest} tokens: {first_line(error)}\n"
                "Change model.width, model.heads (heads of even width, for example) or "
                "model.options, or take another model"
            ) from None
        _check_decoding(model, needs)


@contextmanager
def as_it_was(model: Any) -> Iterator[None]:
    """While open, a model is evaluated; its mode and all random numbers are then as before."""
    devices = [model.device] if model.device.type == "cuda" else []
    was_training = model.training
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            yield model.eval()
    finally:
        model.train(was_training)


def two_examples(needs: Requirements) -> EncodedBatch:
    """The longest example, and the shortest with one token less, so that both are padded."""
    batch = needs.batch
    order = batch.total.argsort(stable=True)
    two = batch[order[[-1, 0]]]
    first = len(needs.layout.bos_ids)
    if len(set(two.question.tolist())) > 1 or two.question[1] < first + 3:
        return two
    ids = two.ids.clone()
    ids[1, first:-1] = two.ids[1, first + 1 :]
    ids[1, -1] = needs.layout.pad
    less = torch.tensor([0, 1])
    ends = two.step_ends
    return EncodedBatch(ids, two.question - less, two.chain, two.total - less, ends)


def check_tables(model: Any, layout: Layout, sets: Sequence[EncodedBatch], source: str) -> None:
    """Raises `ConfigError` for a token of the layout or of encoded sets that has no row."""
    ids = torch.tensor([layout.pad, layout.sep, layout.eos, *layout.answer_delimiter])
    largest = max(int(ids.max()), *(int(encoded.ids.max()) for encoded in sets))
    for name, table in (
        ("embeddings", model.get_input_embeddings()),
        ("output head", model.get_output_embeddings()),
    ):
        rows = largest + 1 if table is None else table.weight.shape[0]
        if largest >= rows:
            token = layout.tokenizer.convert_ids_to_tokens(largest)
            raise ConfigError(
                f"{source}: token {token!r} has the id {largest}, and the model's {name} only "
                f"{rows} rows: add rows with "
                "model.resize_token_embeddings(len(tokenizer)) and save the model again"
            )


def _check_causality(model: Any, needs: Requirements) -> None:
    """Raises `ConfigError` if what follows changes the logits before it."""
    width, question = needs.longest - 1, int(needs.batch.question[0])
    row = needs.batch.ids[0, : int(needs.batch.total[0])]
    ids = row.repeat(-(-width // len(row)))[:width]
    cut = question + (width - question) // 2
    other = ids.clone()
    other[cut:] = ids[cut:].roll(1)
    other[cut] = next(x for x in [*row.tolist(), needs.layout.sep] if x != ids[cut])
    keep = width - question + 1
    first, second = _read(model, torch.stack([ids, other]), None, keep)[:, : cut - question + 1]
    if not first.isfinite().all():
        raise ConfigError(f"{needs.source} gives logits that are no finite numbers")
    if not _close(first, second, needs.rounding):
        raise ConfigError(
            f"{needs.source} sees what follows: later tokens change what it says before them, so "
            "that it would read the answer instead of finding it. Take a model that reads from "
            "left to right, such as gpt2 or llama"
        )


def _check_positions(model: Any, needs: Requirements) -> None:
    """Raises `ConfigError` if position ids change nothing."""
    ids = needs.batch.ids[:1, : int(needs.batch.total[0])]
    positions = torch.arange(ids.shape[1])[None]
    found = [_read(model, ids, x, 1) for x in (positions, positions.flip(1))]
    if torch.equal(*found):
        raise ConfigError(
            f"{needs.source} does not use position ids, so that removal cannot keep positions: set "
            "removal.keep_positions=false"
        )


def _check_decoding(model: Any, needs: Requirements) -> None:
    """Decode without a cache where the cache gives other logits than training.

    Raises `ConfigError` if neither way gives them.
    """
    again = _Decoded.of(model, needs)
    batch, shift, pad = needs.batch, again.shift, needs.layout.pad
    text = model.config.get_text_config()
    if needs.pretrained and getattr(text, "use_cache", None) is False:
        text.use_cache = True  # it is often published with the cache off
    if uses_cache(model):
        width = _tight_width(model, needs)
        if again.error(lambda: CachedDecoding(model, batch, shift, pad, width)) is None:
            return
        text.use_cache = False
        warnings.warn(
            f"{needs.source} gives other logits with a key-value cache than without: its answers "
            "are generated without one, which takes longer",
            RunWarning,
            stacklevel=2,
        )
    error = again.error(lambda: WholeDecoding(model, batch, shift, pad))
    if error is not None:
        raise ConfigError(f"{needs.source} cannot be decoded: {error}. Take another model")


def _tight_width(model: Any, needs: Requirements) -> int:
    """The width at which decoding leaves the position table; 0 if no answer is that long.

    A question padded on the left and a long answer are together longer than any example.
    """
    limit = max_positions(model)
    return 0 if limit is None or limit > 2 * needs.longest else limit - WRITTEN // 2


@dataclass(frozen=True)
class _Decoded:
    """Tokens of two examples, to be decoded one by one."""

    inputs: LMBatch
    #: By how much the separators' positions are shifted, `[n]`; None without kept positions.
    shift: Tensor | None
    #: Positions of the separator and of the tokens after it, `[n, steps]`.
    at: Tensor
    #: The logits there when the whole sequence is read, `[n, steps, vocabulary]`.
    logits: Tensor
    rounding: float

    @classmethod
    def of(cls, model: Any, needs: Requirements) -> "_Decoded":
        batch, keep = needs.batch, needs.keep_positions
        removed = batch.chain // 2 * needs.removes
        inputs = remove(batch, removed, needs.side, keep).to(model.device)
        steps = min(WRITTEN, int((batch.total - removed - batch.question).min()))
        first = (batch.question - 1).to(model.device)
        at = first[:, None] + torch.arange(steps, device=model.device)
        logits = logits_of(model, inputs)
        kept = at - (inputs.ids.shape[1] - inputs.logits_to_keep)
        logits = logits.gather(1, kept[:, :, None].expand(-1, -1, logits.shape[-1]))
        return cls(inputs, removed if keep else None, at, logits, needs.rounding)

    def error(self, start: Callable[[], Decoding]) -> str | None:
        """Why decoding these tokens does not give the same logits; None if it does."""
        try:
            rows = start()
            for step in range(self.at.shape[1]):
                if step:
                    rows.append(self.inputs.ids.gather(1, self.at[:, step, None]))
                if not _close(rows.logits(), self.logits[:, step], self.rounding):
                    return "tokens that it reads one by one change what it says"
        except Exception as error:  # architectures raise types of their own
            return first_line(error)
        return None


def _read(model: Any, ids: Tensor, positions: Tensor | None, keep: int) -> Tensor:
    """Logits at the last positions, `[n, keep, vocabulary]`."""
    positions = None if positions is None else positions.to(model.device)
    ids = ids.to(model.device)
    return logits_of(model, LMBatch(ids, positions, ids, ids, keep)).float()


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Whether logits are equal up to rounding, relative to the largest."""
    if one.dtype != torch.float32:
        tolerance = 3e-2
    one, other = one.float(), other.float()
    return bool((one - other).abs().max() <= tolerance * other.abs().max())
