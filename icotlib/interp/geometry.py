"""Attention patterns, the similarity of representations (CKA), and the geometry of digits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from icotlib.errors import ConfigError
from icotlib.evaluation import interventions
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.activations import stored_activations
from icotlib.interp.questions import separator_position
from icotlib.models.decoding import position_ids
from icotlib.tasks.questions import QuestionSet


@torch.no_grad()
def attention(model: StageModel, questions: QuestionSet) -> np.ndarray:
    """Attention averaged over questions, `[layers, heads, queries, keys]`.

    Raises `ConfigError` for a model with latent places.
    """
    if model.inserted:
        raise ConfigError(
            f"{model.name} reads a question in several passes, so that there is no one table of "
            "attention: take a run of a method without latent places"
        )
    inputs, total = model.inputs(questions), torch.zeros(())
    implementation = model.decoder.config._attn_implementation
    model.decoder.set_attn_implementation("eager")  # the others never form the matrix
    try:
        for _, batch in interventions.split(inputs):
            mask = None if batch.positions is None else torch.ones_like(batch.ids)
            by_layer = model.model(
                input_ids=batch.ids,
                position_ids=position_ids(model.model, batch.positions),
                attention_mask=mask,
                output_attentions=True,
                logits_to_keep=1,
                use_cache=False,
            ).attentions
            total = total + torch.stack([layer.float().sum(dim=0) for layer in by_layer]).cpu()
    finally:
        model.decoder.set_attn_implementation(implementation)
    return (total / len(questions)).numpy()


def attention_tree(
    weights: np.ndarray, position: int, names: Sequence[str], least: float = 0.25
) -> pd.DataFrame:
    """Where a position gets its information from, layer by layer downwards (arXiv 2510.00184).

    Starting at `position` in the last layer, every head whose attention is at least `least` leads
    to a position whose state comes from the layer below; the search goes on from there.

    Args:
        weights: `[layers, heads, queries, keys]`, of `attention`.
        names: names of the positions.

    Returns:
        columns layer, head, to, source (positions), to_name, source_name, weight.
    """
    rows, queries = [], {position}
    for layer in reversed(range(len(weights))):
        reached = set()
        for query in sorted(queries):
            heads, keys = np.nonzero(weights[layer][:, query] >= least)
            for head, key in zip(heads.tolist(), keys.tolist(), strict=True):
                row: dict[str, Any] = {"layer": layer, "head": head, "to": query, "source": key}
                row |= {"to_name": names[query], "source_name": names[key]}
                rows.append(row | {"weight": float(weights[layer, head, query, key])})
                reached.add(key)
        queries |= reached  # the residual stream carries what a position already has
    columns = ["layer", "head", "to", "source", "to_name", "source_name", "weight"]
    return pd.DataFrame(rows, columns=columns)


def cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment of two sets of states of the same questions.

    Args:
        x, y: `[n, d]` and `[n, e]`.

    Returns:
        1 for the same representation up to rotation and scale (Kornblith et al., 2019); NaN where
        either is constant.
    """
    x, y = (one.double() - one.double().mean(dim=0) for one in (x, y))
    scale = (x.T @ x).norm() * (y.T @ y).norm()
    return float((x.T @ y).pow(2).sum() / scale) if scale > 0 else float("nan")


def cka_table(
    first: StageModel, second: StageModel, questions: QuestionSet, position: str | None = None
) -> pd.DataFrame:
    """`cka` of every layer of one model with every layer of another, at one position.

    Args:
        position: its name, which may stand elsewhere in the two models' sequences; by default the
            separator after the question.

    Returns:
        columns first, second (layers) and cka.
    """
    columns = []
    for model in (first, second):
        states = stored_activations(model, questions)
        if position is None:
            at = separator_position(model, questions)
        else:
            at = model.position_names(questions).index(position)
        columns.append([torch.from_numpy(np.array(layer[at])) for layer in states])
    rows = [
        {"first": i, "second": j, "cka": cka(x, y)}
        for i, x in enumerate(columns[0])
        for j, y in enumerate(columns[1])
    ]
    return pd.DataFrame(rows)


def digit_geometry(
    states: Tensor | np.ndarray, digits: np.ndarray
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Principal components of the ten digits' mean states, and their Fourier spectrum.

    Along 0, 1, ..., 9 the mean states are a sum of ten Fourier terms; frequency k makes k turns
    (arXiv 2510.00184 finds k = 1, 2 and 5, a pentagonal prism). Mean states in no order have 2/9
    of their variance at each k from 1 to 4, and 1/9 at 5.

    Args:
        states: `[n, d]`.
        digits: `[n]`, 0 to 9, each of them present.

    Returns:
        a table with columns digit, pc1, pc2, pc3, and turns, x, y, parity: coordinates on the plane
        of the strongest frequency from 1 to 4, which makes so many turns, and on frequency 5, on
        which even and odd digits differ; and one with columns frequency, share, unordered (the
        share of mean states in no order).

    Raises `ValueError` if a digit does not occur.
    """
    missing = sorted(set(range(10)) - set(digits.tolist()))
    if missing:
        raise ValueError(f"no question has the digit {missing[0]}: draw more questions")
    states = np.asarray(states)
    means = np.stack([states[digits == digit].mean(axis=0) for digit in range(10)])
    means = means.astype(np.float64) - means.mean(axis=0)
    u, s, _ = np.linalg.svd(means, full_matrices=False)
    points = pd.DataFrame((u * s)[:, :3], columns=["pc1", "pc2", "pc3"])
    points.insert(0, "digit", range(10))
    power = (np.abs(np.fft.fft(means, axis=0)) ** 2).sum(axis=1)[1:6]
    power[:4] *= 2  # frequencies k and 10 - k are one
    share = power / max(power.sum(), 1e-30)
    turns = int(share[:4].argmax()) + 1
    plane = _prism(means, turns)
    points = points.assign(turns=turns, x=plane[:, 0], y=plane[:, 1], parity=plane[:, 2])
    spectrum = {"frequency": range(1, 6), "share": share, "unordered": [2 / 9] * 4 + [1 / 9]}
    return points, pd.DataFrame(spectrum)


def _prism(means: np.ndarray, turns: int) -> np.ndarray:
    """The digits' mean states `[10, d]` on a frequency's plane and on frequency 5, `[10, 3]`."""
    angles = 2 * np.pi * turns * np.arange(10) / 10
    waves = np.stack([np.cos(angles), np.sin(angles), np.cos(np.pi * np.arange(10))])
    basis, _ = np.linalg.qr((waves @ means).T)
    found = means @ basis
    return found * [1, 1, -1 if found[::2, 2].sum() > 0 else 1]  # odd digits at the upper end


def digits_by_layer(
    model: StageModel, questions: QuestionSet, entry: str = "b0", symbol: int = 1
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """`digit_geometry` of one digit of the question and of one symbol of the answer.

    Args:
        entry: a digit of the question, such as `b0`, the lowest one of the second factor: its
            embedding.
        symbol: a symbol of the answer, counted from 0: in each layer, the state at the position
            that is about to write it.

    Returns:
        by what is looked at, the two tables of `digit_geometry`.

    Raises `ConfigError` for a digit that the task's questions do not have.
    """
    known = list(questions.task.entry_names)
    if entry not in known:
        raise ConfigError(f"a question has no digit {entry!r}: it has {', '.join(known)}")
    position = model.position_names(questions).index(entry)
    embedded = stored_activations(model, questions)[0, position]
    asked = questions.questions[:, known.index(entry)]
    found = {f"embedding of {entry}": digit_geometry(embedded, asked)}
    for layer in range(1, model.layers + 1):
        found[f"s{symbol}, layer {layer}"] = digits_before(model, questions, symbol, layer)
    return found


def digits_before(
    model: StageModel, questions: QuestionSet, symbol: int = 1, layer: int = -1
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`digit_geometry` of a symbol of the answer, in the state of the position before it."""
    position = int(model.answer_positions(questions)[symbol])
    states = stored_activations(model, questions)[layer, position]
    return digit_geometry(states, questions.rendered.answer[:, symbol])
