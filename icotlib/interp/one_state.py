"""One state of one question: what a probe reads from it, and the answer when it is moved."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from icotlib.errors import ConfigError
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.effects import answer_text, forced_tokens
from icotlib.interp.map_cells import Steered
from icotlib.interp.probes import Probes, fit_linear, ridge_predictions
from icotlib.interp.steering import shift
from icotlib.interp.variables import Variable, counterfactual_answers, values_in
from icotlib.tasks.base import PADDING
from icotlib.tasks.questions import QuestionSet

#: Random directions that a state is moved in, beside the direction of a symbol.
RANDOM = 20


@dataclass(frozen=True)
class OneState:
    """A state of one question, beside those of many others in the same layer and position."""

    model: StageModel
    #: One question.
    asked: QuestionSet
    #: Layer of the residual stream, and position.
    index: tuple[int, int]
    #: `[1, d]`.
    own: Tensor
    #: The other questions, as rows of those whose variables are known, and their states `[m, d]`.
    rows: np.ndarray
    states: Tensor
    #: What `_probe` has fitted, by variable.
    probes: dict[str, tuple[np.ndarray, Tensor, Probes]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        model: StageModel,
        asked: QuestionSet,
        index: tuple[int, int],
        questions: QuestionSet,
        states: np.ndarray,
    ) -> "OneState":
        """A state of a model; the question itself is left out of the others.

        Args:
            questions, states: many questions, and their states there, `[n, d]`.
        """
        own = model.residual_stream(model.inputs(asked))[index]
        rows = np.flatnonzero((questions.questions != asked.questions).any(axis=1))
        return cls(model, asked, index, own, rows, torch.from_numpy(np.array(states[rows])))

    def answer(self) -> str:
        """The model's answer, nothing changed."""
        inputs, at = self.model.inputs(self.asked), self.model.answer_positions(self.asked)
        return answer_text(self.model, self.model.teacher_forced_answer(inputs, at)[0])

    def truth(self, variable: Variable) -> str:
        """The value of a variable in this question."""
        value = int(values_in(self.asked, variable)[0])
        return str(value) if variable.kind == "number" else self._symbol(value)

    def decode(self, variable: Variable) -> tuple[str, float | None]:
        """A variable as a probe reads it from this state, and how likely the probe finds that;
        None for numbers."""
        if variable.kind == "number":
            values = torch.from_numpy(variable.values[self.rows]).float()[:, None]
            predicted = ridge_predictions(self.states[None], values, self.own[None])
            return f"{float(predicted):.1f}", None
        symbols, _, probe = self._probe(variable)
        chances = probe.logits(self.own[None])[0, 0, 0].softmax(dim=-1)
        return self._symbol(int(symbols[int(chances.argmax())])), float(chances.max())

    def steer(self, variable: Variable, other: QuestionSet | None = None) -> Steered | None:
        """The answer when this state moves by the difference of two symbols' means, and how often
        `RANDOM` random directions of that length do the same.

        Args:
            other: a question whose symbol the state is to encode; by default the next symbol.

        Returns None for numbers, and where no other symbol leads to another answer.
        """
        target = None if variable.kind == "number" else self._target(variable, other)
        if target is None:
            return None
        symbol, wanted = target
        symbols, labels, probe = self._probe(variable)
        n = 1 + RANDOM
        old = np.full(n, np.searchsorted(symbols, values_in(self.asked, variable)[0]))
        new = np.full(n, np.searchsorted(symbols, symbol))
        fitted, every = (self.states, labels, probe), self.own.expand(n, -1)
        moved = every + shift("random", *fitted, every, old, new, 0)
        moved[0] = (self.own + shift("means", *fitted, self.own, old[:1], new[:1], 0))[0]
        inputs = self.model.inputs(self.asked[np.zeros(n, int)], np.repeat(wanted, n, axis=0))
        at = self.model.answer_positions(self.asked)
        answers = self.model.teacher_forced_answer(inputs, at, {self.index: moved})
        needed = forced_tokens(self.model, inputs, at)[0]
        first = int((wanted != self.asked.rendered.answer)[0].argmax())
        followed = answers[:, first] == needed[first]
        return Steered(
            symbol=self._symbol(symbol),
            expected=answer_text(self.model, needed),
            answer=answer_text(self.model, answers[0]),
            followed=bool(followed[0]),
            random=float(followed[1:].float().mean()),
        )

    def _target(
        self, variable: Variable, other: QuestionSet | None
    ) -> tuple[int, np.ndarray] | None:
        """Another symbol of a variable, and the answer `[1, width]` that follows from it.

        The next symbols take the place of the other question's where that is the same, or where no
        other answer follows from it.
        """
        symbols = np.unique(variable.values[self.rows])
        own, true = values_in(self.asked, variable)[0], self.asked.rendered.answer
        if own not in symbols:
            return None  # a symbol that no other question has
        first = [] if other is None else [values_in(other, variable)[0]]
        for symbol in [*first, *np.roll(symbols, -1 - np.searchsorted(symbols, own))]:
            if symbol in symbols and symbol != own:
                try:
                    answer = counterfactual_answers(self.asked, variable, np.array([symbol]))
                except ConfigError:
                    return None  # the task defines no such answers
                if (answer != PADDING).all() and (answer != true).any():
                    return int(symbol), answer
        return None

    def _probe(self, variable: Variable) -> tuple[np.ndarray, Tensor, Probes]:
        """A probe of a variable's symbols: the symbols, the class of each state, the probe."""
        if variable.name not in self.probes:
            symbols, labels = np.unique(variable.values[self.rows], return_inverse=True)
            classes = torch.from_numpy(labels)
            probe = fit_linear(self.states[None], classes[:, None])
            self.probes[variable.name] = symbols, classes, probe
        return self.probes[variable.name]

    def _symbol(self, number: int) -> str:
        return "nothing" if number == PADDING else self.asked.task.symbols[number]
