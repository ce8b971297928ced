"""Distinct questions of a generated task, as analysis needs them."""

from dataclasses import dataclass, field, replace

import numpy as np

from icotlib.tasks.base import Example, SymbolBatch, Task


@dataclass(frozen=True)
class QuestionSet:
    """Different questions of one task, in random order."""

    task: Task
    #: Entries `[n, entries]`, as the task draws them.
    questions: np.ndarray
    #: Sorted keys (`icotlib.data.hold_out.drawn_keys`) of questions that must not be made from
    #: these by changing an entry: those that the analysed models were trained on.
    trained_on: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64), repr=False)

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, rows: slice | np.ndarray) -> "QuestionSet":
        return replace(self, questions=self.questions[rows])

    @classmethod
    def parse(cls, task: Task, *typed: str) -> "QuestionSet":
        """Questions as a person types them. Raises `ValueError` for one that is none."""
        if not all(text.strip() for text in typed):
            raise ValueError(f"the question is empty; one of {task.name}: {task.example_question}")
        return cls(task, np.concatenate([task.parse_question(text) for text in typed]))

    @property
    def rendered(self) -> SymbolBatch:
        """Question, chain and answer as symbol numbers."""
        return self.task.render(self.questions)

    def examples(self) -> list[Example]:
        """Question, chain and answer as text."""
        return self.task.text(self.rendered)


def draw_questions(task: Task, n: int, seed: int = 0) -> QuestionSet:
    """Up to n different questions of a task, fewer where it has no more."""
    rng = np.random.default_rng([seed, 17])
    n = min(n, task.n_questions)
    distinct = np.unique(task.sample(rng, 2 * n), axis=0)
    while len(distinct) < n:
        distinct = np.unique(np.vstack([distinct, task.sample(rng, n)]), axis=0)
    return QuestionSet(task, distinct[rng.permutation(len(distinct))[:n]])
