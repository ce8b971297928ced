"""One state of one question: what a probe decodes from it, and the effect of patching it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.activations import stored_activations
from icotlib.interp.probes import Probes, fit_linear
from icotlib.interp.variables import variables_of
from icotlib.tasks.questions import QuestionSet


@dataclass(frozen=True)
class StateReport:
    """One state of one question."""

    #: The question as text.
    question: str
    #: One row per variable: variable, kind, decoded, truth (as symbols), probability, right.
    decoded: pd.DataFrame
    #: The model's symbol at every position of the answer, the earlier ones forced to be right.
    answer: str
    #: The same with this state from the other question's run; None without another question.
    patched: str | None


class ProbeReader:
    """Reports single states of one model, with probes that are fitted on demand.

    Args:
        model: a model at a removal stage; each stage needs a reader of its own.
        questions: the questions that the probes are fitted to.
    """

    def __init__(self, model: StageModel, questions: QuestionSet):
        self.model, self.questions = model, questions
        self.variables = variables_of(questions, "chain", "answer")
        self._fitted: dict[tuple[int, int], Probes] = {}

    @property
    def positions(self) -> list[str]:
        """The names of the positions."""
        return self.model.position_names(self.questions)

    def read(
        self,
        question: str | np.ndarray,
        layer: int,
        position: int,
        other: str | np.ndarray | None = None,
    ) -> StateReport:
        """Decode one state, and patch it from another question's run.

        Args:
            question: as a person types it, `3719 * 84`, or its entries.
            layer: of the residual stream, 0 to the number of layers.
            position: a position; `positions` has their names.
            other: the question whose state is put in.

        Raises `ValueError` if the task has no such question, `IndexError` if the model has no
        such state.
        """
        if not (0 <= layer <= self.model.layers and 0 <= position < len(self.positions)):
            raise IndexError(
                f"layer 0 to {self.model.layers} and position 0 to {len(self.positions) - 1}, "
                f"not {layer} and {position}"
            )
        model, asked = self.model, self._question_set(question)
        inputs, answers = model.inputs(asked), model.answer_positions(asked)
        state = model.residual_stream(inputs)[layer, position]
        patched = None
        if other is not None:
            donor = model.residual_stream(model.inputs(self._question_set(other)))
            states = {(layer, position): donor[layer, position]}
            patched = self._text(model.teacher_forced_answer(inputs, answers, states))
        answer = self._text(model.teacher_forced_answer(inputs, answers))
        decoded = self._decode(asked, layer, position, state)
        return StateReport(asked.examples()[0].question, decoded, answer, patched)

    def _question_set(self, question: str | np.ndarray) -> QuestionSet:
        task = self.questions.task
        if isinstance(question, str):
            return QuestionSet.parse(task, question)
        return QuestionSet(task, question[None])

    def _text(self, tokens: Tensor) -> str:
        return " ".join(str(self.model.layout.tokenizer.decode(tokens[0])).split())

    def _probes(self, layer: int, position: int) -> Probes:
        """Probes of all variables at one state, fitted at the first call."""
        if (layer, position) not in self._fitted:
            states = np.array(stored_activations(self.model, self.questions)[layer, position])
            columns = [np.unique(one.values, return_inverse=True)[1] for one in self.variables]
            labels = torch.from_numpy(np.stack(columns, axis=1))
            self._fitted[layer, position] = fit_linear(torch.from_numpy(states)[None], labels)
        return self._fitted[layer, position]

    def _decode(self, asked: QuestionSet, layer: int, position: int, state: Tensor) -> pd.DataFrame:
        """Every variable as the probes predict it from a state `[1, d]`, beside its true value."""
        probabilities = self._probes(layer, position).logits(state[None])[0, 0].softmax(dim=-1)
        symbols, rendered = asked.task.symbols, asked.rendered
        rows = []
        for variable, probability in zip(self.variables, probabilities, strict=True):
            decoded = int(np.unique(variable.values)[int(probability.argmax())])
            part = rendered.chain if variable.kind == "chain" else rendered.answer
            truth = int(part[0, variable.index])
            row: dict[str, Any] = {"variable": variable.name, "kind": variable.kind}
            row |= {"decoded": symbols[decoded], "truth": symbols[truth]}
            row |= {"probability": float(probability.max()), "right": decoded == truth}
            rows.append(row)
        return pd.DataFrame(rows)
