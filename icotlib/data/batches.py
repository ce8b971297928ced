"""TODO."""

from typing import Protocol

import numpy as np

from icotlib.data.corpus import Corpus, draw_unseen
from icotlib.tasks import SymbolBatch

# --- training batches --------------------------------------------------------------------------


class Batches(Protocol):
    """Training examples by step: a pure function of (seed, step), so that a run can resume."""

    def __call__(self, step: int) -> "SymbolBatch | np.ndarray": ...


def stream(corpus: Corpus, batch_size: int, seed: int) -> Batches:
    """Fresh examples at every step, as `SymbolBatch`; none is in a held-out set, or holdout."""

    def batch(step: int) -> SymbolBatch:
        rng = np.random.default_rng([seed, 2, step])
        task, held_out, holdout = corpus.task, corpus.held_out, corpus.holdout
        return task.render(draw_unseen(task, rng, batch_size, held_out, holdout=holdout), rng)

    return batch


def epochs(n: int, batch_size: int, seed: int) -> Batches:
    """Row numbers of a fixed set of n examples: a new order in every epoch, none left out."""
    order: dict[int, np.ndarray] = {}

    def batch(step: int) -> np.ndarray:
        rows = np.arange(step * batch_size, (step + 1) * batch_size)
        epoch, within = np.divmod(rows, n)
        for number in np.unique(epoch):
            if number not in order:
                while len(order) > 1:  # a batch spans two epochs at most, unless n is tiny
                    order.pop(min(order))
                order[number] = np.random.default_rng([seed, 3, number]).permutation(n)
            within[epoch == number] = order[number][within[epoch == number]]
        return within

    return batch
