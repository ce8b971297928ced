"""Variables that a state may encode: chain tokens, intermediate numbers, answer symbols."""

from dataclasses import dataclass

import numpy as np

from icotlib.tasks.questions import QuestionSet


@dataclass(frozen=True)
class Variable:
    """One value per question."""

    #: What tables and figures call it: `t1`, `s0`, `c3`.
    name: str
    #: `chain`, `answer`, or `number` for an intermediate value that no token shows.
    kind: str
    #: Which one of its kind, from 0: the chain token, the answer symbol, or the number.
    index: int
    #: `[n]`, integers: symbol numbers of the task, or the numbers themselves.
    values: np.ndarray

    @property
    def constant(self) -> bool:
        """Whether all questions share one value, so that a probe has nothing to predict."""
        return bool((self.values == self.values[0]).all())


def variables_of(questions: QuestionSet, *kinds: str) -> list[Variable]:
    """The variables of some kinds (by default of every kind) that differ between questions.

    Chain tokens are called t1, t2, ..., answer symbols s0, s1, ...; the task names its numbers
    (`Task.intermediate_values`).
    """
    _, chain, answer = questions.rendered
    numbers = questions.task.intermediate_values(questions.questions)
    variables = [Variable(f"t{i + 1}", "chain", i, values) for i, values in enumerate(chain.T)]
    variables += [Variable(f"s{i}", "answer", i, values) for i, values in enumerate(answer.T)]
    variables += [
        Variable(name, "number", i, values) for i, (name, values) in enumerate(numbers.items())
    ]
    return [one for one in variables if not one.constant and (not kinds or one.kind in kinds)]
