"""Cells of a model's maps: what a probe reads at one layer and position, against which controls,
and what patching or steering there does to the answer of one question."""

import functools
from dataclasses import replace

import numpy as np
import pandas as pd

from icotlib.errors import ConfigError, did_you_mean
from icotlib.evaluation.interventions import check_state
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.effects import answer_text
from icotlib.interp.map_cells import Cell, Patched
from icotlib.interp.one_state import OneState
from icotlib.interp.patching import PairedRuns, patch_pairs
from icotlib.interp.questions import draw_questions_of, minimal_pairs
from icotlib.interp.report import CONTROLS, compared, stands_out, states_and_controls
from icotlib.interp.variables import Variable, variables_of
from icotlib.system.processes import all_cores
from icotlib.tasks.questions import QuestionSet

#: Questions that probes are fitted to and tested on, where none are given.
QUESTIONS = 1000

#: Other questions that are offered to be patched in, where entries cannot be changed one by one.
OTHERS = 5

#: A question as a person types it, `3719 * 84`, or its entries.
OneQuestion = str | np.ndarray


class CellReader:
    """Reads cells of one model's maps; what several cells share is computed once.

    Args:
        model: a model at a removal stage; each stage needs a reader of its own.
        questions: what probes are fitted to and tested on; by default `QUESTIONS` questions that
            the run did not learn from.
        no_cot_control: as in `probe_with_controls`.
        probed: rows of `probe_with_controls` for these questions, where they are there already.

    Raises `ConfigError` for a run on data from files.
    """

    def __init__(
        self,
        model: StageModel,
        questions: QuestionSet | None = None,
        no_cot_control: StageModel | None = None,
        probed: pd.DataFrame | None = None,
    ):
        if questions is None:
            questions = draw_questions_of(model.config, QUESTIONS)
        self.model, self.questions, self.task = model, questions, questions.task
        #: The variables by name, chain tokens first.
        self.variables = {one.name: one for one in variables_of(questions)}
        #: The names of the positions.
        self.positions = model.position_names(questions)
        states = states_and_controls(model, questions, no_cot_control)
        self._states = {name: functools.cache(make) for name, make in states.items()}
        rows = [] if probed is None else probed.groupby("variable")
        self._probed = {str(name): table for name, table in rows}
        self._pair = functools.lru_cache(maxsize=4)(self._new_pair)
        self._patched = functools.lru_cache(maxsize=4)(self._new_map)

    # --- maps ---

    def is_probed(self, variable: str) -> bool:
        """Whether `probed` answers at once."""
        return variable in self._probed

    @all_cores()
    def probed(self, variable: str) -> pd.DataFrame:
        """The probes of a variable at every layer and position, with their controls.

        Returns the columns of `probe_with_controls`, and `decodable` as in `Cell`. Raises
        `ConfigError` for a variable that these questions do not have.
        """
        one = self._variable(variable)
        if variable not in self._probed:
            self._probed[variable] = compared(self._states, [one], self.positions)
        table = self._probed[variable]
        return table.assign(decodable=table.seen & stands_out(table.low, table.control_score))

    def patched(self, question: OneQuestion, other: OneQuestion) -> pd.DataFrame:
        """What every state of another question's run does to the answer.

        Returns columns layer, position, effect: of the symbols in which the two answers differ,
        the share that becomes the other's; NaN where they do not differ.
        """
        return self._patched(_key(self.asked(question)), _key(self.asked(other)))

    def _new_map(self, question: tuple[int, ...], other: tuple[int, ...]) -> pd.DataFrame:
        table = patch_pairs(self.model, self._of_key(question), self._of_key(other))
        return table.groupby(["layer", "position"], as_index=False).effect.mean()

    # --- questions ---

    def asked(self, question: OneQuestion) -> QuestionSet:
        """One question. Raises `ValueError` for text that is no question of the task."""
        if isinstance(question, str):
            question = QuestionSet.parse(self.task, question).questions[0]
        return replace(self.questions, questions=np.asarray(question)[None])

    def others(self, question: OneQuestion) -> dict[str, np.ndarray]:
        """Questions to patch in, their entries by a description such as `a0: 9 → 4`.

        Each differs from the question in one entry; where the task's entries depend on each other,
        they are other questions of the set.
        """
        asked, names = self.asked(question), self.task.entry_names
        found = {}
        for entry, name in enumerate(names if self.task.independent_entries else ()):
            clean, other = minimal_pairs(asked, entry)
            if len(other):
                at = self.task.question_names.index(name)
                values = [one.rendered.question[0, at] for one in (clean, other)]
                old, new = (self.task.symbols[value] for value in values)
                found[f"{name}: {old} → {new}"] = other.questions[0]
        if found:
            return found
        differ = (self.questions.questions != asked.questions).any(axis=1)
        others = self.questions[np.flatnonzero(differ)[:OTHERS]]
        texts = [example.question for example in others.examples()]
        return dict(zip(texts, others.questions, strict=True))

    def _of_key(self, key: tuple[int, ...]) -> QuestionSet:
        return self.asked(np.array(key))

    # --- cells ---

    @all_cores()
    def read(
        self,
        question: OneQuestion,
        variable: str,
        layer: int,
        position: int | str,
        other: OneQuestion | None = None,
    ) -> Cell:
        """One cell of the maps, for one question.

        Args:
            question: as a person types it, or its entries.
            variable: a name in `variables`.
            layer: of the residual stream, 0 to the number of layers.
            position: its number, or its name in `positions` (the first of that name).
            other: the question whose state is patched in; steering aims at its symbol.

        Raises `ValueError` if the task has no such question, `ConfigError` if the model has no
        such state, the questions no such variable, or the two questions differ in length.
        """
        one, asked = self._variable(variable), self.asked(question)
        index = self._index(layer, position)
        row = self.probed(variable).set_index(["layer", "position"]).loc[index]
        controls = {name: float(row[name]) for name in CONTROLS if not pd.isna(row.get(name))}
        state = self._state(asked, index)
        decoded, probability = state.decode(one)
        corrupted = None if other is None else self.asked(other)
        return Cell(
            model=self.model.name,
            removed=self.model.removed,
            unit=self.model.format.unit,
            question=asked.examples()[0].question,
            variable=variable,
            kind=one.kind,
            layer=index[0],
            position=index[1],
            position_name=self.positions[index[1]],
            decoded=decoded,
            truth=state.truth(one),
            probability=probability,
            measure=str(row.measure),
            score=float(row.score),
            low=float(row.low),
            high=float(row.high),
            controls=controls,
            seen=bool(row.seen),
            answer=state.answer(),
            patched=None if corrupted is None else self._patch(asked, corrupted, index),
            steered=state.steer(one, corrupted),
        )

    def decoded(self, question: OneQuestion, layer: int, position: int | str) -> pd.DataFrame:
        """Every symbol that probes read from one state of one question.

        Returns one row per chain token and answer symbol: variable, kind, decoded, truth,
        probability, right. Raises as `read` does.
        """
        state = self._state(self.asked(question), self._index(layer, position))
        rows = []
        for one in self.variables.values():
            if one.kind != "number":
                (decoded, probability), truth = state.decode(one), state.truth(one)
                row = {"variable": one.name, "kind": one.kind, "decoded": decoded, "truth": truth}
                rows.append(row | {"probability": probability, "right": decoded == truth})
        return pd.DataFrame(rows)

    def _variable(self, name: str) -> Variable:
        if name not in self.variables:
            known = ", ".join(self.variables)
            hint = did_you_mean(name, self.variables)
            raise ConfigError(f"there is no variable {name!r}; there are {known}.{hint}")
        return self.variables[name]

    def _index(self, layer: int, position: int | str) -> tuple[int, int]:
        """Layer and position as numbers."""
        if isinstance(position, str):
            if position not in self.positions:
                raise ConfigError(
                    f"there is no position {position!r}; there are {', '.join(self.positions)}"
                )
            position = self.positions.index(position)
        check_state(self.model.name, self.model.layers, len(self.positions), layer, position)
        return int(layer), int(position)

    def _state(self, asked: QuestionSet, index: tuple[int, int]) -> OneState:
        if (count := len(self.model.position_names(asked))) != len(self.positions):
            raise ConfigError(
                f"this question has {count} positions with its answer, and those that were probed "
                f"have {len(self.positions)}: ask one of their length"
            )
        return OneState.of(self.model, asked, index, self.questions, self._states["model"]()[index])

    def _new_pair(self, question: tuple[int, ...], other: tuple[int, ...]) -> PairedRuns:
        return PairedRuns(self.model, self._of_key(question), self._of_key(other))

    def _patch(self, asked: QuestionSet, other: QuestionSet, index: tuple[int, int]) -> Patched:
        runs = self._pair(_key(asked), _key(other))
        answer, differ = runs.patched(*index), runs.differ
        return Patched(
            question=other.examples()[0].question,
            other_answer=answer_text(self.model, runs.corrupted_answers[0]),
            answer=answer_text(self.model, answer[0]),
            differing=int(differ.sum()),
            followed=int((differ & (answer == runs.corrupted_answers)).sum()),
        )


def cell(
    model: StageModel,
    question: OneQuestion,
    variable: str,
    layer: int,
    position: int | str,
    other: OneQuestion | None = None,
) -> Cell:
    """What a model's state at one layer and position says, and does to the answer of one question.

    What cells share, probes of a variable above all, is computed at the first call. `CellReader`
    does the same with questions and a No CoT control of one's own; see its `read`.
    """
    return reader_of(model).read(question, variable, layer, position, other)


@functools.lru_cache(maxsize=2)
def reader_of(model: StageModel) -> CellReader:
    """The reader that `cell` uses for a model."""
    return CellReader(model)


def _key(asked: QuestionSet) -> tuple[int, ...]:
    return tuple(asked.questions[0].tolist())
