"""What a state may hold: tokens of the chain, numbers on the way, symbols of the answer."""

from dataclasses import dataclass

import numpy as np

from icotlib.interp.subjects import Examples


@dataclass(frozen=True)
class Variable:
    """A value of every example."""

    name: str
    #: `chain`, `answer`, or `number` for what no token shows.
    kind: str
    #: `[n]`, integers: symbols of the task, or numbers.
    values: np.ndarray

    @property
    def constant(self) -> bool:
        """Whether all examples have the same value, so that there is nothing to read."""
        return bool((self.values == self.values[0]).all())


def variables(examples: Examples, *kinds: str) -> list[Variable]:
    """All variables of some kinds (by default of every kind) that are not constant.

    The chain's tokens are t1, t2, ..., the answer's symbols s0, s1, ...; what the numbers are
    called is the task's affair (`Task.intermediate_values`).
    """
    pieces = examples.task.render(examples.questions)
    found = [Variable(f"t{i + 1}", "chain", column) for i, column in enumerate(pieces.chain.T)]
    found += [Variable(f"s{i}", "answer", column) for i, column in enumerate(pieces.answer.T)]
    numbers = examples.task.intermediate_values(examples.questions)
    found += [Variable(name, "number", values) for name, values in numbers.items()]
    return [one for one in found if not one.constant and (not kinds or one.kind in kinds)]
