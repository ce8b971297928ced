"""Causal tests: change a state, or what may be attended to, and watch the answer.

The answer's earlier symbols are forced, so that each symbol's effect is its own, in one forward
pass: to be what they are without the change, or, for steering, what must follow from it. Layers
and positions are those of the residual stream (`icotlib.hooks`): patching stream l at a position changes
what enters layer l there.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from icotlib.data.inputs import LMBatch
from icotlib.evaluation.generation import logits_of
from icotlib.evaluation.scoring import wilson_interval
from icotlib.interp.activations import residual_stream, rows_of
from icotlib.interp.subjects import Examples, Subject
from icotlib.methods.distillation.coupling import Coupled
from icotlib.methods.distillation.emulator import Emulated
from icotlib.models.hooks import cached_layers, hook_residual_stream, key_of
from icotlib.system.processes import all_cores

# --- running a model with something changed ----------------------------------------------------


#: Rows that go through a model at once.
BATCH = 250


@torch.no_grad()
def answers(
    subject: Subject, inputs: LMBatch, at: Tensor, put: dict[tuple[int, int], Tensor] | None = None
) -> Tensor:
    """The token a model gives for every symbol of the answer, `[n, symbols]`, on the CPU.

    Args:
        at: `[symbols]`, the positions whose next token it is (`Subject.answer_positions`).
        put: states `[n, d]` to set, by layer and position of the residual stream.
    """
    found, back = [], at - inputs.ids.shape[1]
    inputs = replace(inputs, keep=int(-back.min()))
    for first in range(0, len(inputs.ids), BATCH):
        rows = slice(first, first + BATCH)

        def edit(layer: int, hidden: Tensor, rows: slice = rows) -> Tensor | None:
            here = {position: new for (at_layer, position), new in put.items() if at_layer == layer}
            if not here:
                return None
            hidden = hidden.clone()
            for position, new in here.items():
                hidden[:, position] = new[rows].to(hidden)
            return hidden

        with hook_residual_stream(subject.decoder, edit) if put else nullcontext():
            logits = logits_of(subject.model, rows_of(inputs, rows))
        found.append(logits[:, back].argmax(dim=-1).cpu())
    return torch.cat(found)


@contextmanager
def once(subject: Subject) -> Iterator[None]:
    """While open, what changes nowhere is computed once: layers below a change, and thoughts.

    The first pass over the same questions should be one without a change. Of a coupled system only
    the student's states are changed, so that the thoughts it reads stay what they are.
    """
    with cached_layers(subject.model, subject.decoder), _thinking_once(subject):
        yield


@contextmanager
def _thinking_once(subject: Subject) -> Iterator[None]:
    if not isinstance(subject.model, Coupled):
        yield
        return
    emulator, thoughts = subject.model.emulator, {}
    think = emulator.forward

    def recall(ids: Tensor, *args: Any, **kwargs: Any) -> Emulated:
        key = key_of(ids)
        if key not in thoughts:
            found = think(ids, *args, **kwargs)
            # The student reads no scores, and of a large vocabulary they are large.
            thoughts[key] = replace(found, scores=found.scores[..., :0])
        return thoughts[key]

    emulator.forward = recall
    try:
        yield
    finally:
        emulator.forward = think


def _truth(inputs: LMBatch, at: Tensor) -> Tensor:
    return inputs.labels[:, at.to(inputs.labels.device)].cpu()


def _rate(hits: Tensor) -> dict[str, float]:
    """The share of hits, with its interval; NaN where nothing was tried."""
    if not len(hits):
        return {"effect": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return {"effect": float(hits.float().mean()), "low": low, "high": high, "n": len(hits)}


# --- activation patching -----------------------------------------------------------------------


def minimal_pairs(examples: Examples, entry: int, seed: int = 0) -> tuple[Examples, Examples]:
    """Questions, and the same with one entry changed to another valid value.

    Rows whose fresh value happens to be the old one are left out.
    """
    fresh = examples.task.sample(np.random.default_rng([seed, entry]), len(examples))[:, entry]
    differs = fresh != examples.questions[:, entry]
    changed = examples.questions.copy()
    changed[:, entry] = fresh
    return examples[differs], Examples(examples.task, changed[differs])


class _Pairs:
    """Pairs of questions before a model: the inputs, the other question's states and answers."""

    def __init__(self, subject: Subject, clean: Examples, other: Examples):
        self.subject, self.at = subject, subject.answer_positions(clean)
        self.inputs, width = subject.inputs(clean), len(clean.task.question_names)
        ids = torch.cat([subject.inputs(other).ids[:, :width], self.inputs.ids[:, width:]], dim=1)
        self.donors = replace(self.inputs, ids=ids)
        self.states = residual_stream(subject, self.donors)
        #: What the model answers without a patch, and to the other question: `[n, symbols]`.
        self.before = answers(subject, self.inputs, self.at)
        self.wanted = answers(subject, self.donors, self.at)
        self.differ = self.before != self.wanted

    def patched(self, layer: int, position: int) -> Tensor:
        """The answers when one state comes from the other question's pass."""
        put = {(layer, position): self.states[layer, position]}
        return answers(self.subject, self.inputs, self.at, put)


@all_cores()
def patching(
    subject: Subject,
    examples: Examples,
    entries: Sequence[int] | None = None,
    layers: Iterable[int] | None = None,
    positions: Iterable[int] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """What a state of another question does: effect on each answer symbol by layer and position.

    The other question differs in one entry. Among the pairs whose other question makes the model
    give another symbol, the effect is the share that gives this other symbol when one state,
    and nothing else, comes from the other question's pass.

    Returns:
        columns changed (the entry's name), symbol, layer, position, effect, low, high, n.
    """
    names = examples.task.entry_names
    rows = []
    for entry in range(len(names)) if entries is None else entries:
        clean, other = minimal_pairs(examples, entry, seed)
        with once(subject):
            for row in _patched(subject, clean, other, layers, positions):
                rows.append({"changed": names[entry]} | row)
    return pd.DataFrame(rows)


def _patched(subject, clean: Examples, other: Examples, layers, positions) -> Iterator[dict]:
    pairs = _Pairs(subject, clean, other)
    own, states = residual_stream(subject, pairs.inputs), pairs.states
    for layer in range(len(states)) if layers is None else layers:
        for position in range(states.shape[1]) if positions is None else positions:
            # What no change has reached has no effect.
            reached = not torch.equal(own[layer, position], states[layer, position])
            after = pairs.patched(layer, position) if reached else pairs.before
            for symbol in range(len(pairs.at)):
                hits = (after == pairs.wanted)[pairs.differ[:, symbol], symbol]
                yield {"symbol": symbol, "layer": layer, "position": position, **_rate(hits)}


def route(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The way of a digit to the answer: the mean effect of patching, by layer and kind of position.

    Kinds are the changed digit's own position, the separator after the question, the position that
    writes the symbol, and every other position (the largest effect of any).

    Args:
        table: rows of `patching`.
        names: names of the positions.

    Returns:
        one row per layer; columns `own position`, `separator`, `writes`, `elsewhere`.
    """
    known = table.dropna(subset=["effect"])
    at = known.position.map(dict(enumerate(names)))
    mark = len(names) - 1 - names[::-1].index("####")
    kinds = {
        "own position": at == known.changed,
        "separator": known.position == names.index("="),
        "writes": known.position == mark + known.symbol,
    }
    columns = {kind: known[rows].groupby("layer").effect.mean() for kind, rows in kinds.items()}
    other = known[~np.logical_or.reduce(list(kinds.values()))]
    means = other.groupby(["layer", "position"]).effect.mean()
    return pd.DataFrame(columns | {"elsewhere": means.groupby("layer").max()})


def patching_for(
    subject: Subject, examples: Examples, token: int, layer: int, position: int, seed: int = 0
) -> dict[str, float]:
    """The effect of one state in those pairs of `patching` in which a token of the chain differs.

    It is the share of pairs in which at least one symbol of the answer becomes the other's; with
    nothing patched that is 0. Every question is in one pair at most: the entries share them out.
    Keys effect, low, high, n (pairs).

    Args:
        token: its number in the chain, from 1 as in t1.
    """
    hits, entries = [], len(examples.task.entry_names)
    for entry in range(entries):
        clean, other = minimal_pairs(examples[entry::entries], entry, seed)
        chains = [one.task.render(one.questions).chain[:, token - 1] for one in (clean, other)]
        differs = chains[0] != chains[1]
        if differs.any():
            hits.append(_taken_over(subject, clean[differs], other[differs], layer, position))
    taken = torch.cat(hits) if hits else torch.empty(0)
    return _rate(taken)


def _taken_over(subject, clean: Examples, other: Examples, layer: int, position: int) -> Tensor:
    """Of every pair with different answers, whether the patch brings any of the other's symbols."""
    with once(subject):
        pairs = _Pairs(subject, clean, other)
        taken = (pairs.patched(layer, position) == pairs.wanted) & pairs.differ
    return taken.any(dim=1)[pairs.differ.any(dim=1)]
