"""Ablation: the accuracy that is left without a state, or without attention to a position."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from icotlib.errors import ConfigError
from icotlib.evaluation.interventions import check_state
from icotlib.evaluation.scoring import wilson_interval
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.effects import cache_unchanged, forced_tokens
from icotlib.models.hooks import mask_attention
from icotlib.system.processes import all_cores
from icotlib.tasks.questions import QuestionSet


@all_cores()
def ablate(
    model: StageModel,
    questions: QuestionSet,
    where: Iterable[tuple[int, int]] | None = None,
    how: str = "mean",
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy of every answer symbol when one state no longer depends on the question.

    Args:
        where: layers and positions of the residual stream, ablated one at a time; by default every
            position of every layer but the last one, whose states no other position reads.
        how: `mean` puts the mean over the questions in the state's place; `noise` draws from a
            normal distribution with that mean and the standard deviation of every coordinate.

    Returns:
        columns layer, position, symbol (-1: all of them), accuracy, low, high, and `intact`, the
        accuracy without ablation.

    Raises `ConfigError` for another value of `how`, and for a state that is not there.
    """
    if how not in ("mean", "noise"):
        raise ConfigError(f"how must be 'mean' or 'noise', got {how!r}")
    inputs, positions = model.inputs(questions), model.answer_positions(questions)
    states, truth = model.residual_stream(inputs), forced_tokens(model, inputs, positions)
    if where is None:
        where = itertools.product(range(model.layers), range(states.shape[1]))
    generator = torch.Generator().manual_seed(seed)
    rows: list[dict[str, Any]] = []
    with cache_unchanged(model):
        intact = model.teacher_forced_answer(inputs, positions) == truth
        for layer, position in where:
            check_state(model.name, model.layers, states.shape[1], layer, position)
            own = states[layer, position]
            new = own.mean(dim=0).expand_as(own)
            if how == "noise":
                new = new + own.std(dim=0) * torch.randn(own.shape, generator=generator)
            right = (
                model.teacher_forced_answer(inputs, positions, {(layer, position): new}) == truth
            )
            rows += _rows(layer, position, right, intact)
    return pd.DataFrame(rows)


@all_cores()
def knock_out(
    model: StageModel,
    questions: QuestionSet,
    keys: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Accuracy of every answer symbol when no later position may attend to an earlier one.

    Args:
        keys: positions to hide, one at a time and in one layer at a time; by default all.
        layers: the layers to hide them in; by default all.

    Returns:
        columns layer, position (the hidden one), symbol (-1: all of them), accuracy, low, high,
        intact.
    """
    if model.inserted:
        raise ConfigError(
            f"{model.name} reads a question in several passes: attention to a position cannot be "
            "taken away from all of them"
        )
    inputs, positions = model.inputs(questions), model.answer_positions(questions)
    width = inputs.ids.shape[1]
    truth = forced_tokens(model, inputs, positions)
    rows: list[dict[str, Any]] = []
    with cache_unchanged(model):
        intact = model.teacher_forced_answer(inputs, positions) == truth
        for layer in range(model.layers) if layers is None else layers:
            for key in range(width) if keys is None else keys:
                check_state(model.name, model.layers - 1, width, layer, key)
                allowed = torch.ones(width, width, dtype=torch.bool).tril()
                allowed[key + 1 :, key] = False
                with mask_attention(model.decoder, {layer: allowed}.get):
                    right = model.teacher_forced_answer(inputs, positions) == truth
                rows += _rows(layer, key, right, intact)
    return pd.DataFrame(rows)


def _rows(layer: int, position: int, right: Tensor, intact: Tensor) -> Iterator[dict[str, Any]]:
    """Accuracy with and without an ablation, of the whole answer and of each symbol.

    Args:
        right, intact: `[n, symbols]`.
    """
    columns = [(-1, right.all(dim=1), intact.all(dim=1))]
    columns += [(i, right[:, i], intact[:, i]) for i in range(right.shape[1])]
    for symbol, hits, before in columns:
        low, high = wilson_interval(int(hits.sum()), len(hits))
        row: dict[str, Any] = {"layer": layer, "position": position, "symbol": symbol}
        row |= {"accuracy": float(hits.float().mean()), "low": low, "high": high}
        yield row | {"intact": float(before.float().mean())}
