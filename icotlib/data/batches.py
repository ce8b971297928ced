"""Training examples by step: an endless stream, or epochs of a fixed set.

Both are functions of seed and step alone, so that a run can resume.
"""

from collections.abc import Callable

import numpy as np

from icotlib.data.corpus import Corpus, draw_unseen
from icotlib.tasks import SymbolBatch


def stream(corpus: Corpus, batch_size: int, seed: int) -> Callable[[int], SymbolBatch]:
    """Fresh examples of a generated task by step.

    Excluded are questions of the held-out sets, and the task's holdout where the corpus says so.
    """

    task, held_out, holdout = corpus.task, corpus.held_out, corpus.holdout
    assert task is not None, "examples from files are a fixed training set"

    def batch(step: int) -> SymbolBatch:
        rng = np.random.default_rng([seed, 2, step])
        return task.render(draw_unseen(task, rng, batch_size, held_out, holdout=holdout), rng)

    return batch


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
