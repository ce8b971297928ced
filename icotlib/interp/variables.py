"""Variables that a state may encode: chain tokens, intermediate numbers, answer symbols."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from icotlib.tasks import Task
from icotlib.tasks.base import PADDING
from icotlib.tasks.questions import QuestionSet

#: Questions in which each entry is changed, to find what a variable depends on.
CHANGED = 4000


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
    #: The symbols of the question that it depends on, by their names (`Task.question_names`);
    #: None stands for all of them.
    depends_on: tuple[str, ...] | None = None

    @property
    def constant(self) -> bool:
        """Whether all questions share one value, so that a probe has nothing to predict."""
        return bool((self.values == self.values[0]).all())

    def known_from(self, names: Sequence[str]) -> int:
        """The first position that has seen all that the variable depends on.

        Where that is not known, or the tokenizer splits the question in its own way, it is the
        separator after the question.

        Args:
            names: names of the positions (`StageModel.position_names`).
        """
        if self.depends_on is None or not set(self.depends_on) <= set(names):
            return names.index("=")
        return max((names.index(name) for name in self.depends_on), default=0)


def variables_of(questions: QuestionSet, *kinds: str) -> list[Variable]:
    """The variables of some kinds (by default of every kind) that differ between questions.

    Chain tokens are called t1, t2, ..., answer symbols s0, s1, ...; the task names its numbers
    (`Task.intermediate_values`).
    """
    task = questions.task
    dependencies = _dependencies(task) if task.independent_entries else {}
    return [
        replace(one, depends_on=dependencies.get(one.name))
        for one in _all_of(task, questions.questions)
        if not one.constant and (not kinds or one.kind in kinds)
    ]


def not_in_answer(questions: QuestionSet, *kinds: str) -> list[Variable]:
    """The variables of some kinds that differ between questions, without those that one symbol of
    the answer tells in all of them, and that tell this symbol: a model writes it, so that its
    states show them anyway."""
    symbols = questions.rendered.answer.T
    return [
        one
        for one in variables_of(questions, *kinds)
        if not any(_tell_each_other(one.values, symbol) for symbol in symbols)
    ]


def _tell_each_other(values: np.ndarray, others: np.ndarray) -> bool:
    """Whether two columns `[n]` are the same but for the names of their values."""
    pairs = len(np.unique(np.stack([values, others]), axis=1).T)
    return len(np.unique(values)) == len(np.unique(others)) == pairs


def _all_of(task: Task, questions: np.ndarray) -> list[Variable]:
    _, chain, answer = task.render(questions)
    numbers = task.intermediate_values(questions)
    variables = [Variable(f"t{i + 1}", "chain", i, values) for i, values in enumerate(chain.T)]
    variables += [Variable(f"s{i}", "answer", i, values) for i, values in enumerate(answer.T)]
    return variables + [
        Variable(name, "number", i, values) for i, (name, values) in enumerate(numbers.items())
    ]


def values_in(questions: QuestionSet, variable: Variable) -> np.ndarray:
    """The values `[n]` that a variable of other questions has in these."""
    same = (variable.kind, variable.name)
    return next(
        one.values
        for one in _all_of(questions.task, questions.questions)
        if (one.kind, one.name) == same
    )


@lru_cache(maxsize=8)
def _dependencies(task: Task) -> dict[str, tuple[str, ...]]:
    """For every variable of a task, the entries of a question that change it.

    Each entry is drawn anew, the others staying as they are, in `CHANGED` questions.
    """
    rng = np.random.default_rng(0)
    questions, drawn = task.sample(rng, CHANGED), task.sample(rng, CHANGED)
    found: dict[str, tuple[str, ...]] = {one.name: () for one in _all_of(task, questions[:1])}
    before = _all_of(task, questions)
    for entry, name in enumerate(task.entry_names):
        changed = questions.copy()
        changed[:, entry] = drawn[:, entry]
        for one, other in zip(before, _all_of(task, changed), strict=True):
            if (one.values != other.values).any():
                found[one.name] += (name,)
    return found


def counterfactual_answers(
    questions: QuestionSet, variable: Variable, values: np.ndarray
) -> np.ndarray:
    """The answers `[n, width]` that follow where a variable has other values `[n]`.

    Rows without a valid answer hold `PADDING`. Raises `ConfigError` where the task does not define
    such answers.
    """
    task, entries = questions.task, questions.questions
    if variable.kind == "chain":
        return task.counterfactual_answer(entries, variable.index, values)
    if variable.kind == "number":
        return task.counterfactual_value(entries, variable.name, values)
    answer = questions.rendered.answer.copy()
    answer[:, variable.index] = values
    return answer


def first_affected(questions: QuestionSet, variable: Variable) -> int:
    """The first answer symbol that a variable's values can change, in any of the questions.

    Args:
        variable: of these questions, or of more.

    Raises `ConfigError` where the task has no counterfactual answers.
    """
    own, first = questions.rendered.answer, len(questions.rendered.answer[0])
    for value in np.unique(variable.values):
        answer = counterfactual_answers(questions, variable, np.full(len(own), value))
        differs = (answer != own) & (answer != PADDING)
        if differs.any():
            first = min(first, int(differs.any(axis=0).argmax()))
    return first
