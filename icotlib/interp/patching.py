"""Activation patching: which state of a corrupted run brings the corrupted answer into a clean one.

A clean and a corrupted question differ in their entries. One state of the clean run is replaced by
the corrupted run's, and nothing else. The effect on an answer symbol is the share of pairs in
which the model then gives the corrupted symbol, among those whose answers differ there.

Interventions of this kind are those of causal mediation analysis (Vig et al., 2020, arXiv
2004.12265) and of causal tracing (Meng et al., 2022, arXiv 2202.05262). The latter puts clean
states into a run whose input is corrupted by noise; here both inputs are questions of the task.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from icotlib.data.inputs import LMBatch
from icotlib.errors import ConfigError
from icotlib.evaluation.interventions import check_state
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.effects import answer_text, cache_unchanged, effect_size
from icotlib.interp.questions import minimal_pairs, separator_position
from icotlib.system.processes import all_cores
from icotlib.tasks.questions import QuestionSet


@all_cores()
def patch_pairs(
    model: StageModel,
    clean: QuestionSet,
    corrupted: QuestionSet,
    layers: Iterable[int] | None = None,
    positions: Iterable[int] | None = None,
) -> pd.DataFrame:
    """The effect of every state of the corrupted runs on every answer symbol.

    Args:
        clean: n questions.
        corrupted: n questions of the same task; pair i is `clean[i]` and `corrupted[i]`. Both
            have sequences of one length, and the corrupted run continues with the clean chain
            and answer.
        layers, positions: of the residual stream; by default all.

    Returns:
        columns symbol, layer, position, effect, low, high, n (pairs whose answers differ in the
        symbol; effect is NaN if there are none).

    Raises `ConfigError` if the sets do not form pairs, and for a state that is not there.
    """
    layers = range(model.layers + 1) if layers is None else list(layers)
    with cache_unchanged(model):
        runs = PairedRuns(model, clean, corrupted)
        every = range(runs.clean_states.shape[1])
        positions = every if positions is None else list(positions)
        for state in itertools.product(layers, positions):
            check_state(model.name, model.layers, len(every), *state)
        rows = [
            row
            for layer in layers
            for position in positions
            for row in runs.effects(layer, position)
        ]
    return pd.DataFrame(rows)


@all_cores()
def patch_entries(
    model: StageModel,
    questions: QuestionSet,
    entries: Sequence[int] | None = None,
    layers: Iterable[int] | None = None,
    positions: Iterable[int] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """`patch_pairs` on minimal pairs: for each entry, corrupted questions that differ in it alone.

    Args:
        entries: numbers of the question's entries; by default all.

    Returns:
        columns changed (the entry's name), and those of `patch_pairs`.
    """
    names, tables = questions.task.entry_names, []
    layers = None if layers is None else list(layers)
    positions = None if positions is None else list(positions)
    for entry in range(len(names)) if entries is None else entries:
        table = patch_pairs(model, *minimal_pairs(questions, entry, seed), layers, positions)
        table.insert(0, "changed", names[entry])
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


@all_cores()
def patched_answers(
    model: StageModel, clean: QuestionSet, corrupted: QuestionSet, layer: int, position: int
) -> pd.DataFrame:
    """What a model answers to some questions with one state of other questions, one row per pair.

    Columns question, answer, patched (with the state), other (the corrupted question) and
    other_answer. Each symbol of an answer is the most likely one after the true ones before it.

    Args:
        clean, corrupted: as in `patch_pairs`.

    Raises `ConfigError` if the sets do not form pairs, or if there is no such state.
    """
    runs = PairedRuns(model, clean, corrupted)
    layers, positions = runs.clean_states.shape[:2]
    check_state(model.name, layers - 1, positions, layer, position)
    tokens = {
        "answer": runs.clean_answers,
        "patched": runs.patched(layer, position),
        "other_answer": runs.corrupted_answers,
    }
    texts = {name: [answer_text(model, row) for row in ids] for name, ids in tokens.items()}
    asked = [[example.question for example in one.examples()] for one in (clean, corrupted)]
    columns = ["question", "answer", "patched", "other", "other_answer"]
    return pd.DataFrame({"question": asked[0], "other": asked[1]} | texts)[columns]


class PairedRuns:
    """Clean and corrupted runs of a model: inputs, states, and the answers without a patch."""

    def __init__(self, model: StageModel, clean: QuestionSet, corrupted: QuestionSet):
        self.model, self.answer_positions = model, model.answer_positions(clean)
        self.inputs = model.inputs(clean)
        corrupted_inputs = self._corrupt(clean, corrupted)
        self.clean_states = model.residual_stream(self.inputs)
        self.corrupted_states = model.residual_stream(corrupted_inputs)
        #: Answers without a patch, `[n, symbols]`.
        self.clean_answers = model.teacher_forced_answer(self.inputs, self.answer_positions)
        self.corrupted_answers = model.teacher_forced_answer(
            corrupted_inputs, self.answer_positions
        )
        self.differ = self.clean_answers != self.corrupted_answers

    def _corrupt(self, clean: QuestionSet, corrupted: QuestionSet) -> LMBatch:
        """The corrupted questions, followed by the clean chains and answers."""
        if clean.task.name != corrupted.task.name or len(clean) != len(corrupted):
            raise ConfigError(
                f"patching needs pairs: {len(clean)} clean questions of {clean.task.name} and "
                f"{len(corrupted)} corrupted ones of {corrupted.task.name}"
            )
        if not len(clean):
            raise ConfigError(
                f"{clean.task.name}: there is no pair to patch; ask more questions, or analyse a "
                "run that left more questions out of its training"
            )
        end = separator_position(self.model, clean)
        ids, clean_ids = self.model.inputs(corrupted).ids, self.inputs.ids
        if ids.shape != clean_ids.shape or end != separator_position(self.model, corrupted):
            raise ConfigError(
                f"{clean.task.name}: clean and corrupted sequences differ in length, so their "
                "positions do not compare"
            )
        return replace(self.inputs, ids=torch.cat([ids[:, :end], clean_ids[:, end:]], dim=1))

    def patched(self, layer: int, position: int) -> Tensor:
        """The clean run's answers with one state of the corrupted run, `[n, symbols]`."""
        new = self.corrupted_states[layer, position]
        if torch.equal(self.clean_states[layer, position], new):
            return self.clean_answers  # the corruption has not reached this state
        states = {(layer, position): new}
        return self.model.teacher_forced_answer(self.inputs, self.answer_positions, states)

    def effects(self, layer: int, position: int) -> Iterator[dict[str, float]]:
        """The effect of one state, by answer symbol."""
        flipped = self.patched(layer, position) == self.corrupted_answers
        for symbol in range(flipped.shape[1]):
            hits = flipped[self.differ[:, symbol], symbol]
            yield {"symbol": symbol, "layer": layer, "position": position, **effect_size(hits)}


def effect_of_token(
    model: StageModel,
    questions: QuestionSet,
    token: int,
    layer: int,
    position: int,
    seed: int = 0,
) -> dict[str, float]:
    """The effect of one state in those minimal pairs in which one chain token differs.

    It is the share of pairs in which at least one symbol of the answer becomes the corrupted
    one; with nothing patched that is 0. Each question is in at most one pair: the entries share
    the questions between them. Keys effect, low, high, n (pairs).

    Args:
        token: its number in the chain, from 0.
    """
    flipped, entries = [], len(questions.task.entry_names)
    for entry in range(entries):
        clean, corrupted = minimal_pairs(questions[entry::entries], entry, seed)
        differs = clean.rendered.chain[:, token] != corrupted.rendered.chain[:, token]
        if differs.any():
            pairs = clean[differs], corrupted[differs]
            flipped.append(_any_symbol_flipped(model, *pairs, layer, position))
    return effect_size(torch.cat(flipped) if flipped else torch.empty(0))


def _any_symbol_flipped(
    model: StageModel, clean: QuestionSet, corrupted: QuestionSet, layer: int, position: int
) -> Tensor:
    """Whether the patch brings any corrupted symbol, for each pair whose answers differ: `[m]`."""
    with cache_unchanged(model):
        runs = PairedRuns(model, clean, corrupted)
        flipped = (runs.patched(layer, position) == runs.corrupted_answers) & runs.differ
    return flipped.any(dim=1)[runs.differ.any(dim=1)]
