"""Training examples by step: an endless stream, or epochs of a fixed set.

Both are functions of seed and step alone, so that a run can resume.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from icotlib.data.corpus import Corpus, draw_unseen, load_corpus
from icotlib.runs import Run
from icotlib.tasks import SymbolBatch


def stream(corpus: Corpus, batch_size: int, seed: int) -> Callable[[int], SymbolBatch]:
    """Fresh examples of a generated task by step.

    Excluded are questions of the held-out sets and, where the corpus says so, those of a file and
    the task's holdout.
    """

    task, held_out = corpus.task, corpus.held_out
    draw = partial(draw_unseen, holdout=corpus.holdout, hold_out=corpus.hold_out)
    assert task is not None, "examples from files are a fixed training set"

    def batch(step: int) -> SymbolBatch:
        rng = np.random.default_rng([seed, 2, step])
        return task.render(draw(task, rng, batch_size, held_out), rng)

    return batch


def held_out_in_training(run: Run) -> str:
    """How often a finished run would have been shown a question of `data.hold_out`.

    Its batches are functions of the step, so they are drawn once more.
    """
    config, corpus = run.config, load_corpus(run.config.data)
    if corpus.train is None:
        draw = stream(corpus, config.train.batch_size, config.seed)
        for step in range(run.totals["step"]):
            draw(step)
    met = corpus.hold_out.met if corpus.hold_out else 0
    return f"{corpus.hold_out}, met {met:,} times and left out"


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
