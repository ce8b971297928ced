"""What a model can be asked, and what it answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from icotlib.data.corpus import Corpus, examples_of
from icotlib.data.layout import Layout
from icotlib.data.symbols import ANSWER_DELIMITER
from icotlib.data.text import clean
from icotlib.evaluation.truths import graded
from icotlib.tasks import Example, Task
from icotlib.tasks.questions import QuestionSet

#: One question or several as text, examples, or a question set.
Asked = str | Sequence[str] | Sequence[Example] | QuestionSet


@dataclass(frozen=True)
class Answer:
    """What a model wrote after one question."""

    question: str
    #: The chain that it wrote, and its answer; empty where it wrote no answer delimiter.
    chain: str
    answer: str
    #: The true answer; None where it is unknown.
    truth: str | None
    #: Whether the model's answer is right (`icotlib.evaluation.scoring`): true, after no more chain
    #: than the removal stage leaves; None where the truth is unknown.
    right: bool | None
    #: Tokens written, and seconds of generation (of its batch, divided by the batch's size).
    tokens: int
    seconds: float
    #: Whether the limit of what it may write cut it before its answer ended.
    cut: bool = False
    #: Whether the answer is the true one, whatever stands before it; None where that is unknown.
    answer_right: bool | None = None

    @classmethod
    def all_of(
        cls,
        layout: Layout,
        examples: Sequence[Example],
        written: Tensor,
        seconds: float,
        chain_limit: Tensor | None = None,
    ) -> "list[Answer]":
        """The answers that a model wrote after these questions.

        Args:
            written: tokens `[n, width]`.
            seconds: for each of them.
            chain_limit: `[n]`, units of chain that may stand before a right answer; None for no
                limit.
        """
        found, texts = layout.measured(written), layout.texts(written)
        short = np.ones(len(examples), dtype=bool)
        if chain_limit is not None:
            short = found.chain <= chain_limit.numpy()
        rows = zip(examples, texts, found.tokens, found.cut, short, strict=True)
        return [
            cls._of(layout, example, text, int(tokens), seconds, bool(cut), bool(fits))
            for example, text, tokens, cut, fits in rows
        ]

    @classmethod
    def _of(
        cls,
        layout: Layout,
        example: Example,
        text: str,
        tokens: int,
        seconds: float,
        cut: bool,
        fits: bool,
    ) -> "Answer":
        given, truth = layout.answer(text), example.answer or None
        true = None if truth is None else graded(layout, [given], [truth])[0]
        before, delimiter, _ = text.rpartition(ANSWER_DELIMITER)  # the last one: see `answer`
        chain, right = (before if delimiter else text).strip(), true and fits
        return cls(example.question, chain, given or "", truth, right, tokens, seconds, cut, true)

    @property
    def is_late(self) -> bool:
        """Whether it is true, but after more chain than the removal stage leaves."""
        return bool(self.answer_right and not self.right)

    def verdict(self) -> str:
        """Whether it is right, in words."""
        if self.right is None:
            return "truth unknown"
        if self.is_late:
            return "wrong: true, but after more chain than this stage leaves"
        return "right" if self.right else f"wrong: {self.truth}"


def as_examples(
    asked: Asked, task: Task | None, known: Callable[[], Mapping[str, Example]]
) -> list[Example]:
    """Questions with chain and answer where they are known; else both are empty.

    Args:
        task: the generated task, which works out the chain and answer of a typed question.
        known: examples by question, for data from files; called if they are needed.

    Raises `ValueError` for text that is no question of the task.
    """
    if isinstance(asked, QuestionSet):
        return asked.examples()
    questions = [asked] if isinstance(asked, str) else asked
    return [one if isinstance(one, Example) else _example(one, task, known) for one in questions]


def _example(typed: str, task: Task | None, known: Callable[[], Mapping[str, Example]]) -> Example:
    if task is not None:
        return QuestionSet.parse(task, typed).examples()[0]
    typed = clean(typed)  # as the data were
    return known().get(typed, Example(typed, "", ""))


def example_of(corpus: Corpus) -> tuple[str, Example]:
    """A question to begin with, as a person types it, and its example: that of the generated task,
    or the first test question of data from files."""
    if corpus.task is None:
        example = examples_of(corpus.test, slice(0, 1))[0]
        return example.question, example
    typed = corpus.task.example_question
    return typed, QuestionSet.parse(corpus.task, typed).examples()[0]
