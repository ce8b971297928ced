"""The questions of an analysis: drawn from a run's task, in minimal pairs, and where they end."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from icotlib.config import RunConfig
from icotlib.data.hold_out import drawn_keys, is_in_sorted
from icotlib.data.training_questions import trained_on
from icotlib.errors import ConfigError
from icotlib.evaluation.stage_model import StageModel
from icotlib.tasks import Task, get_task
from icotlib.tasks.questions import QuestionSet

#: Values that are drawn for an entry until one gives a question that was not trained on.
TRIES = 30


def draw_questions_of(
    configs: RunConfig | Iterable[RunConfig], n: int, seed: int = 0
) -> QuestionSet:
    """Up to n different questions of a run's task that the run did not learn from.

    There are fewer where the task has no more.

    Args:
        configs: one run or several; none of them, nor a run that they build on, learned from any
            of the questions.

    Raises `ConfigError` for data from files, because variables are computed from a task's
    questions, and for runs of different tasks.
    """
    configs = [configs] if isinstance(configs, RunConfig) else list(configs)
    for config in configs:
        if config.data.path is not None:
            raise ConfigError(
                f"interpretability needs a generated task, and this run learns from "
                f"{config.data.path}"
            )
    tasks = sorted({config.data.task for config in configs})
    if len(tasks) != 1:
        raise ConfigError(f"questions are drawn for runs of one task, not of {tasks}")
    task, known = get_task(tasks[0]), trained_on(configs)
    questions = _unseen(task, n, known, np.random.default_rng([seed, 17]))
    return QuestionSet(task, questions, known)


def _unseen(task: Task, n: int, known: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Up to n different questions `[m, entries]` whose keys are not among the known ones, sorted.

    Fewer are found where drawing ends because nearly every question has come up.
    """
    # After N (ln N + 5) draws all of N equally likely questions have come up, but for one case in
    # 100. Nobody waits for a larger number of draws than that of a trillion questions.
    size = min(task.n_questions, 10**12)
    left = size * (math.log(size) + 5)
    found = np.empty((0, len(task.entry_names)), dtype=np.int64)
    while len(found) < n and left > 0:
        drawn = task.sample(rng, 2 * n)
        left -= len(drawn)
        fresh = drawn[~is_in_sorted(drawn_keys(task, drawn), known)]
        found = np.unique(np.vstack([found, fresh]), axis=0)
    return found[rng.permutation(len(found))[:n]]


def minimal_pairs(
    questions: QuestionSet, entry: int, seed: int = 0
) -> tuple[QuestionSet, QuestionSet]:
    """Clean questions, and corrupted ones that differ from them in one entry.

    A question is left out if no drawn value gives another one that was not trained on
    (`QuestionSet.trained_on`).

    Args:
        entry: number of the entry, in the order of `Task.entry_names`.

    Raises `ConfigError` for a task whose entries depend on each other: with one of them changed,
    most questions are none of the task.
    """
    if not questions.task.independent_entries:
        raise ConfigError(
            f"the entries of {questions.task.name} depend on each other, so that one alone cannot "
            "be changed: give two sets of questions to patch_pairs"
        )
    rng, clean = np.random.default_rng([seed, entry]), questions.questions
    corrupted, found = clean.copy(), np.zeros(len(clean), dtype=bool)
    for _ in range(TRIES):
        if found.all():
            break
        drawn = clean.copy()
        drawn[:, entry] = questions.task.sample(rng, len(clean))[:, entry]
        fits = ~found & (drawn[:, entry] != clean[:, entry])
        fits &= ~is_in_sorted(drawn_keys(questions.task, drawn), questions.trained_on)
        corrupted[fits] = drawn[fits]
        found |= fits
    return questions[found], replace(questions, questions=corrupted[found])


def corrupted_pairs(questions: QuestionSet) -> tuple[QuestionSet, QuestionSet]:
    """Clean questions, and corrupted ones as their task has them (`Task.corrupted`).

    A question is left out whose task has no corrupted one, or one that was trained on.

    Raises `ConfigError` if none is left.
    """
    task = questions.task
    corrupted, found = task.corrupted(questions.questions)
    found &= ~is_in_sorted(drawn_keys(task, corrupted), questions.trained_on)
    if not found.any():
        raise ConfigError(f"none of these questions of {task.name} has a corrupted one: draw more")
    return questions[found], replace(questions, questions=corrupted[found])


def separator_position(model: StageModel, questions: QuestionSet) -> int:
    """The position of the separator after the question, the last one before anything is written."""
    return int(model.encode(questions[:2]).question[0]) - 1
