"""Causal tests: change a state, or what may be attended to, and watch the answer.

The answer's earlier symbols are forced, so that each symbol's effect is its own, in one forward
pass: to be what they are without the change, or, for steering, what must follow from it. Layers
and places are those of the residual stream (`icotlib.hooks`): patching stream l at a place changes
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

from icotlib.data.inputs import Inputs
from icotlib.evaluation.generation import logits_of
from icotlib.evaluation.scoring import wilson_interval
from icotlib.interp.activations import residual_stream, rows_of
from icotlib.interp.subjects import Examples, Subject
from icotlib.methods.distillation.coupling import Coupled
from icotlib.methods.distillation.emulator import Emulated
from icotlib.models.hooks import key_of, recalled, streams
from icotlib.system.processes import all_cores

# --- running a model with something changed ----------------------------------------------------


#: Rows that go through a model at once.
BATCH = 250


@torch.no_grad()
def answers(
    subject: Subject, inputs: Inputs, at: Tensor, put: dict[tuple[int, int], Tensor] | None = None
) -> Tensor:
    """The token a model gives for every symbol of the answer, `[n, symbols]`, on the CPU.

    Args:
        at: `[symbols]`, the places whose next token it is (`Subject.answer_places`).
        put: states `[n, d]` to set, by layer and place of the residual stream.
    """
    found, back = [], at - inputs.ids.shape[1]
    inputs = replace(inputs, keep=int(-back.min()))
    for first in range(0, len(inputs.ids), BATCH):
        rows = slice(first, first + BATCH)

        def edit(layer: int, hidden: Tensor, rows: slice = rows) -> Tensor | None:
            here = {place: new for (at_layer, place), new in put.items() if at_layer == layer}
            if not here:
                return None
            hidden = hidden.clone()
            for place, new in here.items():
                hidden[:, place] = new[rows].to(hidden)
            return hidden

        with streams(subject.decoder, edit) if put else nullcontext():
            logits = logits_of(subject.model, rows_of(inputs, rows))
        found.append(logits[:, back].argmax(dim=-1).cpu())
    return torch.cat(found)


@contextmanager
def once(subject: Subject) -> Iterator[None]:
    """While open, what changes nowhere is computed once: layers below a change, and thoughts.

    The first pass over the same questions should be one without a change. Of a coupled system only
    the student's states are changed, so that the thoughts it reads stay what they are.
    """
    with recalled(subject.model, subject.decoder), _thinking_once(subject):
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


def _truth(inputs: Inputs, at: Tensor) -> Tensor:
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
        self.subject, self.at = subject, subject.answer_places(clean)
        self.inputs, width = subject.inputs(clean), len(clean.task.question_names)
        ids = torch.cat([subject.inputs(other).ids[:, :width], self.inputs.ids[:, width:]], dim=1)
        self.donors = replace(self.inputs, ids=ids)
        self.states = residual_stream(subject, self.donors)
        #: What the model answers without a patch, and to the other question: `[n, symbols]`.
        self.before = answers(subject, self.inputs, self.at)
        self.wanted = answers(subject, self.donors, self.at)
        self.differ = self.before != self.wanted

    def patched(self, layer: int, place: int) -> Tensor:
        """The answers when one state comes from the other question's pass."""
        put = {(layer, place): self.states[layer, place]}
        return answers(self.subject, self.inputs, self.at, put)


@all_cores()
def patching(
    subject: Subject,
    examples: Examples,
    entries: Sequence[int] | None = None,
    layers: Iterable[int] | None = None,
    places: Iterable[int] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """What a state of another question does: effect on each answer symbol by layer and place.

    The other question differs in one entry. Among the pairs whose other question makes the model
    give another symbol, the effect is the share that gives this other symbol when one state,
    and nothing else, comes from the other question's pass.

    Returns:
        columns changed (the entry's name), symbol, layer, place, effect, low, high, n.
    """
    names = examples.task.entry_names
    rows = []
    for entry in range(len(names)) if entries is None else entries:
        clean, other = minimal_pairs(examples, entry, seed)
        with once(subject):
            for row in _patched(subject, clean, other, layers, places):
                rows.append({"changed": names[entry]} | row)
    return pd.DataFrame(rows)


def _patched(subject, clean: Examples, other: Examples, layers, places) -> Iterator[dict]:
    pairs = _Pairs(subject, clean, other)
    own, states = residual_stream(subject, pairs.inputs), pairs.states
    for layer in range(len(states)) if layers is None else layers:
        for place in range(states.shape[1]) if places is None else places:
            # What no change has reached has no effect.
            reached = not torch.equal(own[layer, place], states[layer, place])
            after = pairs.patched(layer, place) if reached else pairs.before
            for symbol in range(len(pairs.at)):
                hits = (after == pairs.wanted)[pairs.differ[:, symbol], symbol]
                yield {"symbol": symbol, "layer": layer, "place": place, **_rate(hits)}


def route(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The way of a digit to the answer: the mean effect of patching, by layer and kind of place.

    Kinds are the changed digit's own place, the separator after the question, the place that
    writes the symbol, and every other place (the largest effect of any).

    Args:
        table: rows of `patching`.
        names: names of the places.

    Returns:
        one row per layer; columns `own place`, `separator`, `writes`, `elsewhere`.
    """
    known = table.dropna(subset=["effect"])
    at = known.place.map(dict(enumerate(names)))
    mark = len(names) - 1 - names[::-1].index("####")
    kinds = {
        "own place": at == known.changed,
        "separator": known.place == names.index("="),
        "writes": known.place == mark + known.symbol,
    }
    columns = {kind: known[rows].groupby("layer").effect.mean() for kind, rows in kinds.items()}
    other = known[~np.logical_or.reduce(list(kinds.values()))]
    means = other.groupby(["layer", "place"]).effect.mean()
    return pd.DataFrame(columns | {"elsewhere": means.groupby("layer").max()})


def patching_for(
    subject: Subject, examples: Examples, token: int, layer: int, place: int, seed: int = 0
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
        chains = [one.task.write(one.questions).chain[:, token - 1] for one in (clean, other)]
        differs = chains[0] != chains[1]
        if differs.any():
            hits.append(_taken_over(subject, clean[differs], other[differs], layer, place))
    taken = torch.cat(hits) if hits else torch.empty(0)
    return _rate(taken)


def _taken_over(subject, clean: Examples, other: Examples, layer: int, place: int) -> Tensor:
    """Of every pair with different answers, whether the patch brings any of the other's symbols."""
    with once(subject):
        pairs = _Pairs(subject, clean, other)
        taken = (pairs.patched(layer, place) == pairs.wanted) & pairs.differ
    return taken.any(dim=1)[pairs.differ.any(dim=1)]
