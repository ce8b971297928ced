"""Reading the residual stream, and forward passes with some of its states replaced."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from icotlib.data.inputs import LMBatch
from icotlib.errors import ConfigError
from icotlib.evaluation.generation import logits_of
from icotlib.models.hooks import decoder_layers, hook_residual_stream

#: States `[n, d]` each, by layer of the residual stream and position.
States = Mapping[tuple[int, int], Tensor]

#: Examples in one forward pass.
BATCH = 250


def split(inputs: LMBatch) -> Iterator[tuple[slice, LMBatch]]:
    """A batch in parts that one forward pass takes, with their rows."""
    for first in range(0, len(inputs.ids), BATCH):
        rows = slice(first, first + BATCH)
        yield rows, inputs.rows(rows)


@torch.no_grad()
def residual_stream(model: nn.Module, decoder: PreTrainedModel, inputs: LMBatch) -> Tensor:
    """The residual stream over some inputs, `[layers + 1, positions, n, d]`, on the CPU: in fp32,
    in whatever precision a run was trained.

    Args:
        model: what is called with the inputs.
        decoder: the model in it whose stream is read.
    """
    return torch.cat([_stream_of_pass(model, decoder, part) for _, part in split(inputs)], dim=2)


def _stream_of_pass(model: nn.Module, decoder: PreTrainedModel, inputs: LMBatch) -> Tensor:
    """The residual stream of one forward pass, `[layers + 1, positions, n, d]`."""
    streams: dict[int, Tensor] = {}

    def keep(layer: int, hidden: Tensor) -> None:
        start, here = first_position(decoder), hidden.transpose(0, 1).float().cpu()
        streams[layer] = torch.cat([streams[layer][:start], here]) if start else here

    with hook_residual_stream(decoder, keep):
        logits_of(model, replace(inputs, logits_to_keep=1))
    return torch.stack([streams[layer] for layer in sorted(streams)])


def first_position(decoder: nn.Module) -> int:
    """The position of the first state in the pass that a decoder is in: 0, unless its model reads
    a sequence in several passes, and says so in `pass_start`."""
    return getattr(decoder, "pass_start", 0)


def columns(model: nn.Module, positions: Tensor) -> Tensor:
    """The columns of the inputs at which positions behind the question stand: a model may put
    positions without a token in between (`inserted`)."""
    return positions - len(getattr(model, "inserted", []))


@contextmanager
def replaced(decoder: PreTrainedModel, states: States, rows: slice) -> Iterator[None]:
    """While open, forward passes have these states put into the residual stream.

    Args:
        rows: the rows of the states that belong to the examples of the pass.
    """

    def edit(layer: int, hidden: Tensor) -> Tensor | None:
        start = first_position(decoder)
        here = range(start, start + hidden.shape[1])
        own = {at - start: x for (level, at), x in states.items() if level == layer and at in here}
        if not own:
            return None
        hidden = hidden.clone()
        for position, state in own.items():
            hidden[:, position] = state[rows].to(hidden)
        return hidden

    with hook_residual_stream(decoder, edit):
        yield


def check_state(name: str, layers: int, positions: int, layer: int, position: int) -> None:
    """Raises `ConfigError` for a state that a model does not have.

    Args:
        name: what the model is called; layers, positions: how many it has.
    """
    if not (0 <= layer <= layers and 0 <= position < positions):
        raise ConfigError(
            f"{name} has layers 0 to {layers} and positions 0 to {positions - 1}, not layer "
            f"{layer} and position {position}"
        )


@torch.no_grad()
def teacher_forced_answer(
    model: nn.Module,
    decoder: PreTrainedModel,
    inputs: LMBatch,
    positions: Tensor,
    states: States | None,
) -> Tensor:
    """The most likely token after each of some positions, `[n, symbols]`, on the CPU.

    Args:
        positions: `[symbols]`, behind the question.
        states: states to put in first.

    Raises `ConfigError` for a state at a layer or a position that is not there.
    """
    end = inputs.ids.shape[1] + len(getattr(model, "inserted", []))
    for state in states or {}:
        check_state(type(decoder).__name__, len(decoder_layers(decoder)), end, *state)
    tokens, back = [], columns(model, positions) - inputs.ids.shape[1]
    inputs = replace(inputs, logits_to_keep=int(-back.min()))
    for rows, part in split(inputs):
        with replaced(decoder, states, rows) if states else nullcontext():
            logits = logits_of(model, part)
        tokens.append(logits[:, back].argmax(dim=-1).cpu())
    return torch.cat(tokens)
