"""Attention and geometry: who looks where, which spaces agree, what digits look like."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from icotlib.interp.activations import activations, rows_of
from icotlib.interp.subjects import Examples, Subject

# --- attention ---------------------------------------------------------------------------------


@torch.no_grad()
def attention(subject: Subject, examples: Examples, batch_size: int = 250) -> np.ndarray:
    """Attention averaged over examples, `[layers, heads, queries, keys]`."""
    inputs, total = subject.inputs(examples), 0
    before = subject.decoder.config._attn_implementation
    subject.decoder.set_attn_implementation("eager")  # the others never form the matrix
    try:
        for start in range(0, len(examples), batch_size):
            part = rows_of(inputs, slice(start, start + batch_size))
            mask = None if part.positions is None else torch.ones_like(part.ids)
            found = subject.model(
                input_ids=part.ids,
                position_ids=part.positions,
                attention_mask=mask,
                output_attentions=True,
                logits_to_keep=1,
                use_cache=False,
            ).attentions
            total = total + torch.stack([layer.float().sum(dim=0) for layer in found]).cpu()
    finally:
        subject.decoder.set_attn_implementation(before)
    return (total / len(examples)).numpy()


def attention_tree(
    weights: np.ndarray, position: int, names: Sequence[str], least: float = 0.25
) -> pd.DataFrame:
    """Where a position gets what it knows, layer by layer downwards (arXiv 2510.00184).

    From the last layer's input at `position`, every head's attention above `least` leads to a position
    whose state was cached one layer below; from there on down.

    Args:
        weights: `[layers, heads, queries, keys]`, of `attention`.

    Returns:
        columns layer, head, to, source (positions), to_name, source_name, weight.
    """
    rows, fetching = [], {position}
    for layer in reversed(range(len(weights))):
        reached = set()
        for query in sorted(fetching):
            heads, keys = np.nonzero(weights[layer][:, query] >= least)
            for head, key in zip(heads.tolist(), keys.tolist(), strict=True):
                row = {"layer": layer, "head": head, "to": query, "source": key}
                row |= {"to_name": names[query], "source_name": names[key]}
                rows.append(row | {"weight": float(weights[layer, head, query, key])})
                reached.add(key)
        fetching |= reached  # the residual stream carries what a position already has
    columns = ["layer", "head", "to", "source", "to_name", "source_name", "weight"]
    return pd.DataFrame(rows, columns=columns)


# --- spaces ------------------------------------------------------------------------------------


def cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment of two sets of states of the same examples.

    Args:
        x, y: `[n, d]` and `[n, e]`.

    Returns:
        1 for the same space up to rotation and scale (Kornblith et al., 2019); NaN where either
        does not vary, so that there is nothing to compare.
    """
    x, y = (one.double() - one.double().mean(dim=0) for one in (x, y))
    scale = (x.T @ x).norm() * (y.T @ y).norm()
    return float((x.T @ y).pow(2).sum() / scale) if scale > 0 else float("nan")


def cka_table(
    first: Subject, second: Subject, examples: Examples, position: str = "="
) -> pd.DataFrame:
    """`cka` of every layer of one model with every layer of another, at the position of a name.

    Columns first, second (layers) and cka.
    """
    columns = []
    for subject in (first, second):
        states = activations(subject, examples)
        at = subject.positions(examples).index(position)
        columns.append([torch.from_numpy(np.array(layer[at])) for layer in states])
    rows = [
        {"first": i, "second": j, "cka": cka(x, y)}
        for i, x in enumerate(columns[0])
        for j, y in enumerate(columns[1])
    ]
    return pd.DataFrame(rows)


# --- digits ------------------------------------------------------------------------------------


def digit_geometry(states: Tensor, digits: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How the ten digits lie: principal components, and how much of each frequency.

    The mean states of the ten digits vary along 0, 1, ..., 9 like any sequence: a sum of ten
    Fourier terms, frequency k making k turns (arXiv 2510.00184 finds k = 1, 2 and 5, a pentagonal
    prism). Digits in no order have 2/9 of their variance at each k from 1 to 4, and 1/9 at 5.

    Args:
        states: `[n, d]`.
        digits: `[n]`, 0 to 9, each of them present.

    Returns:
        a table with columns digit, pc1, pc2, pc3; and one with columns frequency, share,
        unordered (the share of digits in no order).

    Raises `ValueError` if a digit does not occur.
    """
    missing = sorted(set(range(10)) - set(digits.tolist()))
    if missing:
        raise ValueError(f"no example has the digit {missing[0]}: draw more of them")
    means = np.stack([states.numpy()[digits == digit].mean(axis=0) for digit in range(10)])
    means = means.astype(np.float64) - means.mean(axis=0)
    u, s, _ = np.linalg.svd(means, full_matrices=False)
    points = pd.DataFrame((u * s)[:, :3], columns=["pc1", "pc2", "pc3"])
    points.insert(0, "digit", range(10))
    power = (np.abs(np.fft.fft(means, axis=0)) ** 2).sum(axis=1)[1:6]
    power[:4] *= 2  # frequencies k and 10 - k are one
    share = power / max(power.sum(), 1e-30)
    spectrum = {"frequency": range(1, 6), "share": share, "unordered": [2 / 9] * 4 + [1 / 9]}
    return points, pd.DataFrame(spectrum)
