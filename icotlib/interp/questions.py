"""The questions of an analysis: drawn from a run's task, in minimal pairs, and where they end."""

import numpy as np

from icotlib.config import RunConfig
from icotlib.errors import ConfigError
from icotlib.evaluation.stage_model import StageModel
from icotlib.tasks import get_task
from icotlib.tasks.questions import QuestionSet, draw_questions


def draw_questions_of(config: RunConfig, n: int, seed: int = 0) -> QuestionSet:
    """Up to n different questions of a run's task, fewer where the task has no more.

    Raises `ConfigError` for data from files: variables are computed from a task's questions.
    """
    if config.data.path is not None:
        raise ConfigError(
            f"interpretability needs a generated task, and this run learns from {config.data.path}"
        )
    return draw_questions(get_task(config.data.task), n, seed)


def minimal_pairs(
    questions: QuestionSet, entry: int, seed: int = 0
) -> tuple[QuestionSet, QuestionSet]:
    """Clean questions, and corrupted ones that differ from them in one entry.

    Questions for which the drawn value equals the old one are left out.

    Args:
        entry: number of the entry, in the order of `Task.entry_names`.
    """
    drawn = questions.task.sample(np.random.default_rng([seed, entry]), len(questions))[:, entry]
    differs = drawn != questions.questions[:, entry]
    corrupted = questions.questions.copy()
    corrupted[:, entry] = drawn
    return questions[differs], QuestionSet(questions.task, corrupted[differs])


def separator_position(model: StageModel, questions: QuestionSet) -> int:
    """The position of the separator after the question, the last one before anything is written."""
    return int(model.encode(questions[:1]).question[0]) - 1
