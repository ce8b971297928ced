"""What the seeds of a configuration answered at a stage, question by question where it is known."""

import functools
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from icotlib import paths
from icotlib.errors import RunError
from icotlib.reporting.statistics import Sample
from icotlib.runs import Run

#: Whether each answer is right, `[questions]`, and a hash of the questions, by removal stage.
Answers = dict[int, tuple[np.ndarray, str]]


def sample_of(rows: pd.DataFrame) -> Sample:
    """The sample of some rows of `results_table`: one stage of one configuration, a row per seed.

    Single answers are read from the runs' folders; where those are elsewhere, are older than
    `answers.parquet` or hold different questions, accuracies and numbers of questions remain.
    """
    accuracy, n = rows.accuracy.to_numpy(float), rows.n_test.to_numpy(int)
    known = [
        answers_of(name).get(int(removed))
        for name, removed in zip(rows.run, rows.removed, strict=True)
    ]
    found = [one for one in known if one is not None]
    questions = {one[1] for one in found}
    if len(found) < len(rows) or len(questions) != 1:
        return Sample(accuracy, n)
    return Sample(accuracy, n, np.stack([one[0] for one in found]), questions.pop())


def answers_of(run_name: str) -> Answers:
    """The single answers of a run by stage; empty where it kept none, or is not here."""
    path = paths.runs_root() / run_name / "answers.parquet"
    return _read(path.parent, path.stat().st_mtime_ns) if path.is_file() else {}


@functools.lru_cache(maxsize=256)
def _read(folder: Path, changed: int) -> Answers:
    """The answers of a run, read once until its file changes."""
    return {
        int(removed): (rows.right.to_numpy(bool), question_hash(rows))
        for removed, rows in Run(folder).answers.groupby("removed")
    }


def question_hash(rows: pd.DataFrame) -> str:
    """A hash of questions and true answers in their order, which paired tests compare.

    Args:
        rows: of `Run.answers`, at one stage.
    """
    rows = rows.sort_values("number")
    lines = rows.question.astype(str) + "\0" + rows.answer.astype(str)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def paired_answers(
    first: Run, second: Run, removed: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each of two runs is right on each question, `[questions]` twice.

    Args:
        removed: the stage of each.

    Raises `RunError` if a run kept no single answers, has no such stage, or if the questions
    differ.
    """
    found = []
    for run, stage in zip((first, second), removed, strict=True):
        if not answers_of(run.name):
            _ = run.answers  # raises the error that says why there are none
        if stage not in answers_of(run.name):
            raise RunError(f"{run.name} was not tested with {stage} removed")
        found.append(answers_of(run.name)[stage])
    if found[0][1] != found[1][1]:
        raise RunError(
            f"{first.name} and {second.name} were tested on different questions "
            f"({len(found[0][0])} and {len(found[1][0])}), so that their answers cannot be paired: "
            "compare runs of equal data.task, data.seed, data.valid_examples and data.test_examples"
        )
    return found[0][0], found[1][0]
