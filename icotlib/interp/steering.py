"""TODO."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from icotlib.interp.activations import activations
from icotlib.interp.patching import _rate, _truth, answers, once
from icotlib.interp.probe_grid import split_60_20_20
from icotlib.interp.probes import Probes, fit_linear
from icotlib.interp.subjects import Examples, Subject
from icotlib.tasks.base import PADDING

# --- steering ----------------------------------------------------------------------------------

DIRECTIONS = ("means", "pattern", "weights", "random")


def steering(
    subject: Subject,
    examples: Examples,
    token: int,
    layer: int,
    position: int,
    directions: Sequence[str] = DIRECTIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """Does changing what a probe decodes change the answer as arithmetic says it must?

    At one layer and position, the state of an example with digit v in the chain is moved so that it
    looks like one with digit w, another at random:

    - `means` adds the difference of the two mean states;
    - `weights` goes along the difference of a linear probe's weights until its score of w stands
      as far above that of v as it stood below: the shortest way;
    - `pattern` does so along the covariance of states times those weights, the direction in which
      states really differ where the probe's scores do (Haufe et al., 2014);
    - `random` goes as far as `means` in a random direction, the control.

    Args:
        examples: three split_60_20_20 fit means and probe, the last fifth is steered.
        token: its number in the chain, from 1 as in t1.

    Returns:
        per direction: `effect` with `low` and `high`, the share whose first symbol that must
        change becomes what it must; `whole`, the share whose whole answer does; `decoded`, the
        share in which the probe then decodes w; `length`, how far states were moved; n.

    Raises `ConfigError` where the task does not say what must follow (`Task.counterfactual_answer`).
    """
    split = split_60_20_20(len(examples))
    states = torch.from_numpy(np.array(activations(subject, examples)[layer, position]))
    values = examples.task.render(examples.questions).chain[:, token - 1]
    symbols = np.unique(values[split[0]])  # what has not been fitted to cannot be steered to
    known = np.isin(values, symbols)
    labels = np.searchsorted(symbols, values).clip(max=len(symbols) - 1)
    rng = np.random.default_rng(seed)
    held, old = examples[split[2]], labels[split[2]]
    new = (old + rng.integers(1, max(2, len(symbols)), len(old))) % len(symbols)
    answer = held.task.counterfactual_answer(held.questions, token - 1, symbols[new])
    true = held.task.render(held.questions).answer
    able = (answer != PADDING).all(axis=1) & (answer != true).any(axis=1) & known[split[2]]
    if not able.any():
        nothing = _rate(torch.empty(0)) | dict.fromkeys(("whole", "decoded", "length"), np.nan)
        return pd.DataFrame([{"direction": one, **nothing} for one in directions])
    held, old, new = held[able], old[able], new[able]
    first = torch.from_numpy((answer[able] != true[able]).argmax(axis=1))
    inputs, at = subject.inputs(held, answer[able]), subject.answer_positions(held)
    wanted = _truth(inputs, at)
    here = states[split[2]][torch.from_numpy(able)]
    fitted = states[split[0]], torch.from_numpy(labels[split[0]])
    probe = fit_linear(fitted[0][None], fitted[1][:, None])
    rows = []
    with once(subject):
        answers(subject, inputs, at)  # without a change
        for direction in directions:
            shift = _shift(direction, *fitted, probe, here, old, new, seed)
            right = answers(subject, inputs, at, {(layer, position): here + shift}) == wanted
            row = {"direction": direction, **_rate(right.gather(1, first[:, None])[:, 0])}
            row["whole"] = float(right.all(dim=1).float().mean())
            decoded = probe.logits((here + shift)[None])[0, :, 0].argmax(dim=1)
            row["decoded"] = float((decoded == torch.from_numpy(new)).float().mean())
            rows.append(row | {"length": float(shift.norm(dim=1).mean())})
    return pd.DataFrame(rows)


def _shift(direction, states, labels, probe: Probes, here, old, new, seed) -> Tensor:
    """How to move states `[n, d]` so that they look like another class."""
    if direction in ("weights", "pattern"):
        weight, logits = probe.weight[0, 0], probe.logits(here[None])[0, :, 0]
        apart, n = weight[new] - weight[old], torch.arange(len(here))
        along = apart @ states.T.cov() if direction == "pattern" else apart
        margin = (logits[n, old] - logits[n, new])[:, None].clamp(min=0)
        return 2 * margin * along / (along * apart).sum(dim=1, keepdim=True)
    means = torch.stack([states[labels == one].mean(dim=0) for one in range(labels.max() + 1)])
    shift = means[new] - means[old]
    if direction == "means":
        return shift
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(shift.shape, generator=generator)
    return random * (shift.norm(dim=1) / random.norm(dim=1))[:, None]


def first_affected(examples: Examples, token: int) -> int:
    """The first symbol of the answer that a token of the chain can change.

    Raises `ConfigError` where the task does not say what must follow.
    """
    pieces = examples.task.render(examples.questions)
    values, found = pieces.chain[:, token - 1], len(pieces.answer[0])
    for symbol in np.unique(values):
        answer = examples.task.counterfactual_answer(
            examples.questions, token - 1, np.full_like(values, symbol)
        )
        differ = (answer != pieces.answer) & (answer != PADDING)
        if differ.any():
            found = min(found, int(differ.any(axis=0).argmax()))
    return found
