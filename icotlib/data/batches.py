"""Training examples by step: an endless stream, or epochs of a fixed set.

Both are functions of seed and step alone, so that a run can resume.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from icotlib.data.corpus import Corpus, draw_unseen
from icotlib.tasks import SymbolBatch, Task


def stream(corpus: Corpus, batch_size: int, seed: int) -> Callable[[int], SymbolBatch]:
    """Fresh examples of a generated task by step.

    Excluded are questions of the held-out sets and, where the corpus says so, those of a file and
    the task's holdout.
    """

    task, draw = _task_of(corpus), drawing(corpus, batch_size, seed)

    def batch(step: int) -> SymbolBatch:
        questions, rng = draw(step)
        return task.render(questions, rng)

    return batch


def drawing(
    corpus: Corpus, batch_size: int, seed: int
) -> Callable[[int], tuple[np.ndarray, np.random.Generator]]:
    """The questions of a stream by step, `[batch_size, entries]`, and what chooses their chains."""
    draw = partial(draw_unseen, in_holdout=corpus.in_holdout, file_questions=corpus.file_questions)
    task = _task_of(corpus)

    def drawn(step: int) -> tuple[np.ndarray, np.random.Generator]:
        rng = np.random.default_rng([seed, 2, step])
        smaller = None
        if corpus.growth_steps:
            smaller = partial(task.sample_up_to, share=min(step / corpus.growth_steps, 1.0))
        return draw(task, rng, batch_size, corpus.held_out, smaller=smaller), rng

    return drawn


def _task_of(corpus: Corpus) -> Task:
    assert corpus.task is not None, "examples from files are a fixed training set"
    return corpus.task


def epochs(n: int, batch_size: int, seed: int) -> Callable[[int], np.ndarray]:
    """Row numbers `[batch_size]` of a fixed set of n examples, shuffled anew in every epoch."""
    order: dict[int, np.ndarray] = {}

    def batch(step: int) -> np.ndarray:
        rows = np.arange(step * batch_size, (step + 1) * batch_size)
        epoch, within = np.divmod(rows, n)
        for number in np.unique(epoch):
            if number not in order:
                while len(order) > 1:  # keep two orders: more only if a batch spans more epochs
                    order.pop(min(order))
                order[number] = np.random.default_rng([seed, 3, number]).permutation(n)
            within[epoch == number] = order[number][within[epoch == number]]
        return within

    return batch
