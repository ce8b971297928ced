"""What a model can be asked, and what it answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
    #: The true answer and whether the model's is right; None where the truth is unknown.
    truth: str | None
    right: bool | None
    #: Tokens written, and seconds of generation (of its batch, divided by the batch's size).
    tokens: int
    seconds: float
    #: Whether the limit of what it may write cut it before its answer ended.
    cut: bool = False

    @classmethod
    def all_of(
        cls, layout: Layout, examples: Sequence[Example], written: Tensor, seconds: float
    ) -> "list[Answer]":
        """The answers that a model wrote after these questions.

        Args:
            written: tokens `[n, width]`.
            seconds: for each of them.
        """
        texts, tokens = layout.texts(written), layout.lengths(written)
        rows = zip(examples, texts, tokens, layout.cut(written), strict=True)
        return [cls._of(layout, *row, seconds) for row in rows]

    @classmethod
    def _of(
        cls, layout: Layout, example: Example, text: str, tokens: int, cut: bool, seconds: float
    ) -> "Answer":
        given, truth = layout.answer(text), example.answer or None
        right = None if truth is None else graded(layout, [given], [truth])[0]
        before, delimiter, _ = text.rpartition(ANSWER_DELIMITER)  # the last one: see `answer`
        chain = (before if delimiter else text).strip()
        return cls(example.question, chain, given or "", truth, right, tokens, seconds, cut)


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
