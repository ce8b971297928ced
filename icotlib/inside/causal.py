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

from icotlib.coupling import Coupled
from icotlib.emulation import Emulated
from icotlib.evaluation import logits_of, wilson_interval
from icotlib.hooks import cut_attention, key_of, recalled, streams
from icotlib.inside.activations import activations, residual_stream, rows_of
from icotlib.inside.probes import Probes, fifths, fit_linear
from icotlib.inside.subjects import Examples, Subject
from icotlib.launch import all_cores
from icotlib.removal import Inputs
from icotlib.tasks.base import NOTHING

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


# --- steering ----------------------------------------------------------------------------------

DIRECTIONS = ("means", "pattern", "weights", "random")


def steering(
    subject: Subject,
    examples: Examples,
    token: int,
    layer: int,
    place: int,
    directions: Sequence[str] = DIRECTIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """Does changing what a probe decodes change the answer as arithmetic says it must?

    At one layer and place, the state of an example with digit v in the chain is moved so that it
    looks like one with digit w, another at random:

    - `means` adds the difference of the two mean states;
    - `weights` goes along the difference of a linear probe's weights until its score of w stands
      as far above that of v as it stood below: the shortest way;
    - `pattern` does so along the covariance of states times those weights, the direction in which
      states really differ where the probe's scores do (Haufe et al., 2014);
    - `random` goes as far as `means` in a random direction, the control.

    Args:
        examples: three fifths fit means and probe, the last fifth is steered.
        token: its number in the chain, from 1 as in t1.

    Returns:
        per direction: `effect` with `low` and `high`, the share whose first symbol that must
        change becomes what it must; `whole`, the share whose whole answer does; `decoded`, the
        share in which the probe then decodes w; `length`, how far states were moved; n.

    Raises `ConfigError` where the task does not say what must follow (`Task.answer_if`).
    """
    split = fifths(len(examples))
    states = torch.from_numpy(np.array(activations(subject, examples)[layer, place]))
    values = examples.task.write(examples.questions).chain[:, token - 1]
    symbols = np.unique(values[split[0]])  # what has not been fitted to cannot be steered to
    known = np.isin(values, symbols)
    labels = np.searchsorted(symbols, values).clip(max=len(symbols) - 1)
    rng = np.random.default_rng(seed)
    held, old = examples[split[2]], labels[split[2]]
    new = (old + rng.integers(1, max(2, len(symbols)), len(old))) % len(symbols)
    answer = held.task.answer_if(held.questions, token - 1, symbols[new])
    true = held.task.write(held.questions).answer
    able = (answer != NOTHING).all(axis=1) & (answer != true).any(axis=1) & known[split[2]]
    if not able.any():
        nothing = _rate(torch.empty(0)) | dict.fromkeys(("whole", "decoded", "length"), np.nan)
        return pd.DataFrame([{"direction": one, **nothing} for one in directions])
    held, old, new = held[able], old[able], new[able]
    first = torch.from_numpy((answer[able] != true[able]).argmax(axis=1))
    inputs, at = subject.inputs(held, answer[able]), subject.answer_places(held)
    wanted = _truth(inputs, at)
    here = states[split[2]][torch.from_numpy(able)]
    fitted = states[split[0]], torch.from_numpy(labels[split[0]])
    probe = fit_linear(fitted[0][None], fitted[1][:, None])
    rows = []
    with once(subject):
        answers(subject, inputs, at)  # without a change
        for direction in directions:
            shift = _shift(direction, *fitted, probe, here, old, new, seed)
            right = answers(subject, inputs, at, {(layer, place): here + shift}) == wanted
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
    pieces = examples.task.write(examples.questions)
    values, found = pieces.chain[:, token - 1], len(pieces.answer[0])
    for symbol in np.unique(values):
        answer = examples.task.answer_if(
            examples.questions, token - 1, np.full_like(values, symbol)
        )
        differ = (answer != pieces.answer) & (answer != NOTHING)
        if differ.any():
            found = min(found, int(differ.any(axis=0).argmax()))
    return found


# --- taking away -------------------------------------------------------------------------------


@all_cores()
def ablation(
    subject: Subject,
    examples: Examples,
    where: Iterable[tuple[int, int]],
    how: str = "mean",
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy of every answer symbol without what a state says.

    Args:
        where: layers and places of the residual stream, one ablated at a time.
        how: `mean` puts the mean over the examples in the state's place; `noise` draws from a
            normal distribution with that mean and the spread of every coordinate.

    Returns:
        columns layer, place, symbol (-1: all of them), accuracy, low, high, and `intact`, the
        accuracy with nothing taken away.
    """
    inputs, at = subject.inputs(examples), subject.answer_places(examples)
    states, truth = residual_stream(subject, inputs), _truth(inputs, at)
    generator, rows = torch.Generator().manual_seed(seed), []
    with once(subject):
        intact = answers(subject, inputs, at) == truth
        for layer, place in where:
            own = states[layer, place]
            new = own.mean(dim=0).expand_as(own)
            if how == "noise":
                new = new + own.std(dim=0) * torch.randn(own.shape, generator=generator)
            right = answers(subject, inputs, at, {(layer, place): new}) == truth
            rows += [{"layer": layer, "place": place} | row for row in _by_symbol(right, intact)]
    return pd.DataFrame(rows)


@all_cores()
def knock_out(
    subject: Subject,
    examples: Examples,
    keys: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Accuracy of every answer symbol when later places may not attend to an earlier one.

    Args:
        keys: places to hide, one at a time and from one layer at a time; by default every place.
        layers: by default every one.

    Returns:
        columns layer, place (the hidden one), symbol (-1: all of them), accuracy, low, high,
        intact.
    """
    inputs, at = subject.inputs(examples), subject.answer_places(examples)
    width = inputs.ids.shape[1]
    truth, rows = _truth(inputs, at), []
    with once(subject):
        intact = answers(subject, inputs, at) == truth
        for layer in range(subject.layers) if layers is None else layers:
            for key in range(width) if keys is None else keys:
                cut = torch.ones(width, width, dtype=torch.bool).tril()
                cut[key + 1 :, key] = False
                with cut_attention(subject.decoder, {layer: cut}.get):
                    right = answers(subject, inputs, at) == truth
                rows += [{"layer": layer, "place": key} | row for row in _by_symbol(right, intact)]
    return pd.DataFrame(rows)


def _by_symbol(right: Tensor, intact: Tensor) -> Iterator[dict]:
    every = [(-1, right.all(dim=1), intact.all(dim=1))]
    every += [(i, right[:, i], intact[:, i]) for i in range(right.shape[1])]
    for symbol, hits, whole in every:
        low, high = wilson_interval(int(hits.sum()), len(hits))
        row = {"symbol": symbol, "accuracy": float(hits.float().mean()), "low": low, "high": high}
        yield row | {"intact": float(whole.float().mean())}
