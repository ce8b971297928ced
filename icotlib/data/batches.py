"""Training examples by step: an endless stream, or epochs of a fixed set.

Both are functions of seed and step alone, so that a run can resume.
"""

from collections.abc import Callable, Hashable, Iterable
from functools import partial

import numpy as np

from icotlib.config import RunConfig
from icotlib.data.corpus import Corpus, draw_unseen, load_corpus, training_set_keys
from icotlib.data.hold_out import question_keys
from icotlib.runs import Run
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
    draw = partial(draw_unseen, holdout=corpus.holdout, hold_out=corpus.hold_out)
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


def stream_source(config: RunConfig) -> tuple[Hashable, ...]:
    """What the questions of a run's stream depend on: runs that share it share their batches."""
    return config.data, config.train.batch_size, config.seed


def trained_on(configs: Iterable[RunConfig]) -> np.ndarray:
    """Sorted keys of all questions that runs of a generated task learn from (`question_keys`).

    Those of the runs that they build on are included. Streams are functions of the step, so they
    are drawn once more, as far as `train.steps`.
    """
    steps: dict[tuple, int] = {}
    for config in configs:
        for one in (config, *config.ancestors().values()):
            source = stream_source(one)
            steps[source] = max(steps.get(source, 0), one.train.steps)
    corpora = {data: load_corpus(data) for data, _, _ in steps}
    keys = [training_set_keys(data, one) for data, one in corpora.items() if one.train is not None]
    for (data, batch_size, seed), count in steps.items():
        if corpora[data].train is None:
            draw = drawing(corpora[data], batch_size, seed)
            keys += [question_keys(draw(step)[0]) for step in range(count)]
    return np.unique(np.concatenate(keys)) if keys else np.empty(0, np.uint64)


def held_out_in_training(run: Run) -> str:
    """How often a finished run would have been shown a question of `data.hold_out` in training.

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
