"""Steering: a state is moved to encode another chain token, and the answer should follow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from icotlib.data.inputs import LMBatch
from icotlib.errors import ConfigError
from icotlib.evaluation.interventions import check_state
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.activations import stored_activations
from icotlib.interp.effects import cache_unchanged, effect_size, forced_tokens
from icotlib.interp.probes import Probes, fit_linear
from icotlib.interp.probing import split_60_20_20
from icotlib.tasks.base import PADDING
from icotlib.tasks.questions import QuestionSet

#: Questions whose layers are cached at once.
CACHED = 1000

DIRECTIONS = ("means", "pattern", "weights", "random")


def steer(
    model: StageModel,
    questions: QuestionSet,
    token: int,
    layer: int,
    position: int,
    directions: Sequence[str] = DIRECTIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether changing the chain token that a state encodes changes the answer as it must.

    The state of a question whose chain has symbol v is moved so that it looks like one with
    another symbol w, drawn at random. The directions:

    - `means` adds the difference of the two mean states;
    - `weights` follows the difference of a linear probe's weights until its logit of w exceeds
      that of v by as much as it fell short: the shortest way;
    - `pattern` follows the covariance of states times those weights, the direction in which
      states really differ where the probe's logits do (Haufe et al., 2014);
    - `random` goes as far as `means` in a random direction, the control.

    Args:
        questions: three fifths fit means and probe; those of the last fifth are steered.
        token: its number in the chain, from 0.

    Returns:
        per direction: `effect` with `low` and `high`, the share whose first symbol that must
        change becomes what it must; `whole`, the share whose whole answer does; `decoded`, the
        share in which the probe then predicts w; `length`, the mean distance moved; n.

    Raises `ConfigError` where the task has no counterfactual answers
    (`Task.counterfactual_answer`), for an unknown direction and for a state that is not there.
    """
    for name in directions:
        if name not in DIRECTIONS:
            raise ConfigError(f"{name!r} is no direction: choose from {', '.join(DIRECTIONS)}")
    fit, _, test = split_60_20_20(len(questions))
    stored = stored_activations(model, questions)
    check_state(model.name, model.layers, stored.shape[1], layer, position)
    states = torch.from_numpy(np.array(stored[layer, position]))
    values = questions.rendered.chain[:, token]
    symbols = np.unique(values[fit])
    targets = _Targets.draw(questions[test], token, symbols, seed)
    if not targets.eligible.any():
        empty = effect_size(torch.empty(0)) | dict.fromkeys(("whole", "decoded", "length"), np.nan)
        return pd.DataFrame([{"direction": one, **empty} for one in directions])
    labels = torch.from_numpy(np.searchsorted(symbols, values[fit]))
    probe = fit_linear(states[fit][None], labels[:, None])
    own = states[test][torch.from_numpy(targets.eligible)]
    inputs = model.inputs(targets.questions, targets.answer)
    wanted = forced_tokens(model, inputs, model.answer_positions(targets.questions))
    fitted = states[fit], labels, probe
    moved = {
        direction: own + shift(direction, *fitted, own, targets.old, targets.new, seed)
        for direction in directions
    }
    answers = _answers(model, targets.questions, inputs, (layer, position), moved)
    rows = []
    for direction, new in moved.items():
        right = answers[direction] == wanted
        row = {"direction": direction, **effect_size(right.gather(1, targets.first)[:, 0])}
        row["whole"] = float(right.all(dim=1).float().mean())
        decoded = probe.logits(new[None])[0, :, 0].argmax(dim=1)
        row["decoded"] = float((decoded == torch.from_numpy(targets.new)).float().mean())
        rows.append(row | {"length": float((new - own).norm(dim=1).mean())})
    return pd.DataFrame(rows)


def _answers(
    model: StageModel,
    questions: QuestionSet,
    inputs: LMBatch,
    where: tuple[int, int],
    moved: dict[str, Tensor],
) -> dict[str, Tensor]:
    """The answers `[n, symbols]` with a state moved, by direction.

    Args:
        where: layer and position of the state.
        moved: the states `[n, d]` that take its place.
    """
    positions = model.answer_positions(questions)
    answers: dict[str, list[Tensor]] = {direction: [] for direction in moved}
    for first in range(0, len(inputs.ids), CACHED):
        rows = slice(first, first + CACHED)
        part = inputs.rows(rows)
        with cache_unchanged(model):
            # The first pass is one without an intervention.
            model.teacher_forced_answer(part, positions)
            for direction, states in moved.items():
                new = {where: states[rows]}
                answers[direction].append(model.teacher_forced_answer(part, positions, new))
    return {direction: torch.cat(parts) for direction, parts in answers.items()}


@dataclass(frozen=True)
class _Targets:
    """The questions that can be steered: from which symbol to which, and what must follow."""

    #: Which of the held-out questions these are, `[held out]`.
    eligible: np.ndarray
    questions: QuestionSet
    #: Classes of the chain token as it is and as it should look, `[n]`.
    old: np.ndarray
    new: np.ndarray
    #: The answers that must follow, `[n, width]`, and the first symbol that changes, `[n, 1]`.
    answer: np.ndarray
    first: Tensor

    @classmethod
    def draw(cls, held: QuestionSet, token: int, symbols: np.ndarray, seed: int) -> "_Targets":
        """A target for every held-out question whose counterfactual answer exists and differs.

        Args:
            symbols: those that have a class, in the order of the classes.
        """
        values, true = held.rendered.chain[:, token], held.rendered.answer
        old = np.searchsorted(symbols, values).clip(max=len(symbols) - 1)
        rng = np.random.default_rng(seed)
        new = (old + rng.integers(1, max(2, len(symbols)), len(old))) % len(symbols)
        answer = held.task.counterfactual_answer(held.questions, token, symbols[new])
        eligible = (answer != PADDING).all(axis=1) & (answer != true).any(axis=1)
        eligible &= np.isin(values, symbols)  # a symbol that was not fitted has no class
        first = torch.from_numpy((answer[eligible] != true[eligible]).argmax(axis=1))[:, None]
        chosen = held[eligible], old[eligible], new[eligible], answer[eligible]
        return cls(eligible, *chosen, first)


def shift(
    direction: str,
    states: Tensor,
    labels: Tensor,
    probe: Probes,
    own: Tensor,
    old: np.ndarray,
    new: np.ndarray,
    seed: int,
) -> Tensor:
    """What to add to states so that they look like another class: `[n, d]`.

    Args:
        states, labels: `[m, d]` and `[m]`, the fitted states and their classes.
        own: `[n, d]`, the states to move, from classes `old` to classes `new`, `[n]` each.
    """
    if direction in ("weights", "pattern"):
        weight, logits = probe.weight[0, 0], probe.logits(own[None])[0, :, 0]
        difference, n = weight[new] - weight[old], torch.arange(len(own))
        along = difference @ states.T.cov() if direction == "pattern" else difference
        margin = (logits[n, old] - logits[n, new])[:, None].clamp(min=0)
        return 2 * margin * along / (along * difference).sum(dim=1, keepdim=True)
    means = torch.stack([states[labels == one].mean(dim=0) for one in range(labels.max() + 1)])
    shift = means[new] - means[old]
    if direction == "means":
        return shift
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(shift.shape, generator=generator)
    return random * (shift.norm(dim=1) / random.norm(dim=1))[:, None]
