"""The questions that runs were trained on, drawn once more: streams are functions of the step.

The runs that a run builds on count too. Of a stream only the steps that a run really took count:
`train.stop_accuracy` may have ended it before `train.steps`.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from icotlib.config import DataConfig, RunConfig
from icotlib.data.batches import drawing
from icotlib.data.corpus import Corpus, load_corpus, training_set
from icotlib.data.hold_out import drawn_keys
from icotlib.runs import Run, steps_of


@dataclass(frozen=True)
class TrainingSource:
    """Where the training questions of one or several runs come from: a fixed set, or a stream."""

    #: What its questions depend on: runs with equal keys share them.
    key: tuple[Hashable, ...]
    corpus: Corpus
    #: Steps that were taken of a stream; a fixed set counts as one.
    steps: int
    #: The questions of a step, `[n, entries]`.
    draw: Callable[[int], np.ndarray]

    def questions(self, start: int = 0) -> Iterator[np.ndarray]:
        """The questions of a generated task step by step, `[n, entries]` each.

        Args:
            start: the first step.
        """
        return map(self.draw, range(start, self.steps))


def sources_of(configs: Iterable[RunConfig]) -> list[TrainingSource]:
    """Every source that these runs, and the runs that they build on, were trained on, each once.

    A stream that several runs share reaches as far as the longest of them.
    """
    corpora: dict[DataConfig, Corpus] = {}
    found: dict[tuple[Hashable, ...], TrainingSource] = {}
    for config in configs:
        for one in config.family().values():
            if one.data not in corpora:
                corpora[one.data] = load_corpus(one.data)
            source = _source(one, corpora[one.data])
            if source.key not in found or found[source.key].steps < source.steps:
                found[source.key] = source
    return list(found.values())


def _source(config: RunConfig, corpus: Corpus) -> TrainingSource:
    """What a run itself, without those that it builds on, was trained on."""
    data, size, seed = config.data, config.train.batch_size, config.seed
    if corpus.train is not None:
        return TrainingSource((data,), corpus, 1, lambda _: training_set(data, corpus))
    draw = drawing(corpus, size, seed)
    key = (data, size, seed)
    return TrainingSource(key, corpus, steps_of(config), lambda step: draw(step)[0])


def trained_on(configs: Iterable[RunConfig]) -> np.ndarray:
    """Sorted keys of all questions that runs of a generated task learned from (`drawn_keys`)."""
    keys = []
    for source in sources_of(configs):
        task = source.corpus.task
        assert task is not None, "files are read, not generated"
        keys += [drawn_keys(task, rows) for rows in source.questions()]
    return np.unique(np.concatenate(keys)) if keys else np.empty(0, np.uint64)


def held_out_in_training(run: Run) -> str:
    """How often a finished run would have been shown a question of `data.hold_out` in training."""
    corpus = load_corpus(run.config.data)
    if corpus.train is None:  # `load_corpus` has drawn a fixed set, and counted
        for _ in _source(run.config, corpus).questions():
            pass
    met = corpus.file_questions.met if corpus.file_questions else 0
    return f"{corpus.file_questions}, met {met:,} times and left out"
