"""Out of distribution: accuracy of finished runs on questions unlike those they were trained on.

There are two kinds of shift. Other lengths are the neighbouring tasks of `Task.shifts`. Unseen
combinations are the questions that a run with `data.holdout` kept out of training (`Task.holdout`).
Every model answers as on its own test set: by greedy generation, at its last removal stage.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from icotlib.config import DataConfig, RunConfig
from icotlib.data.corpus import NO_KEYS, draw_unseen
from icotlib.data.hold_out import is_in_sorted, question_keys
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.data.training_questions import sources_of
from icotlib.errors import DataError
from icotlib.evaluation.askable import positions_needed
from icotlib.evaluation.stage_model import StageModel
from icotlib.models.parameters import max_positions
from icotlib.runs import Run
from icotlib.tasks import Task, get_task
from icotlib.tasks.base import PADDING

COLUMNS = ["run", "method", "seed", "shift", "accuracy", "ci_low", "ci_high", "n", "reason"]

#: The keys of the questions in every batch of a source, by the source and the layout.
Drawn = dict[tuple, list[np.ndarray]]

#: The run's own test set, and the combinations that its training held out.
WITHIN, COMBINATIONS = "in distribution", "unseen combinations"


def shift_table(runs: Iterable[Run], n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Accuracy of finished runs in and out of distribution: one row per run and shift.

    Columns: run, method, seed, shift, accuracy with its 95% interval, n. Where a shift cannot be
    tested, accuracy is NaN, n is 0 and `reason` says why. Runs that answer no questions by
    themselves are left out. Of a run on data from files only the first row is known.

    Args:
        n: questions for each shift, fewer where the shifted task has no more.
        seed: seed of the questions. Runs that are compared share it, whatever their own seed.

    Raises `DataError` if a question of a shift was trained on.
    """
    rows = []
    drawn: Drawn = {}
    for run in runs:
        config = run.config
        if not config.spec.answers:
            continue
        named = {"run": run.name, "method": config.method, "seed": config.seed}
        rows += [named | row for row in _rows(run, n, seed, drawn)]
    return pd.DataFrame(rows, columns=COLUMNS)


def shifted_questions(
    config: DataConfig, n: int, seed: int = 0
) -> dict[str, tuple[Task, np.ndarray]]:
    """For every shift its task, and up to n different questions `[n, entries]` of it.

    One shift at a time: where combinations are held out, other lengths are tested without them.
    Data from files has no shifts.
    """
    if config.path is not None:
        return {}
    task = get_task(config.task)
    shifted = {}
    for name, other in task.shifts().items():
        available, holdout = other.n_questions, None
        if config.holdout:
            available, holdout = available - other.n_holdout, False
        rng, count = np.random.default_rng([seed, 5]), min(n, available)
        shifted[name] = (
            other,
            draw_unseen(other, rng, count, NO_KEYS, distinct=True, in_holdout=holdout),
        )
    if config.holdout:
        rng, count = np.random.default_rng([seed, 5]), min(n, task.n_holdout)
        rows = draw_unseen(task, rng, count, NO_KEYS, distinct=True, in_holdout=True)
        shifted[COMBINATIONS] = task, rows
    return shifted


def _rows(run: Run, n: int, seed: int, drawn: Drawn) -> Iterator[dict[str, Any]]:
    """The rows of one run, without what names it.

    Args:
        drawn: as for `training_keys`.
    """
    config, stages = run.config, run.scores
    last = stages.loc[stages.removed.idxmax()]
    yield {
        "shift": WITHIN,
        **last[["accuracy", "ci_low", "ci_high"]],
        "n": int(last.n_test),
        "reason": "",
    }
    shifted = shifted_questions(config.data, n, seed)
    if shifted:
        yield from _shifted_rows(run, shifted, int(last.removed), drawn)
    if config.data.path is None and not config.data.holdout and get_task(config.task).n_holdout:
        yield _untested(COMBINATIONS, "training held them: it needs data.holdout=true")


def _shifted_rows(
    run: Run, shifted: dict[str, tuple[Task, np.ndarray]], removed: int, drawn: Drawn
) -> Iterator[dict[str, Any]]:
    config, model = run.config, StageModel.of(run, removed)
    everything = removed >= run.totals["chain_length"]
    trained_on = training_keys(config, model.layout, drawn)
    for name, (task, questions) in shifted.items():
        rendered = task.render(questions)
        encoded = model.layout.encode_symbols(rendered, task)
        if is_in_sorted(encoded_keys(encoded), trained_on).any():
            raise DataError(
                f"shift {name!r} of {config.task}: some of its questions were trained on; "
                "`Task.shifts` must name tasks that share no question with their own"
            )
        batch = model.format.arrange(encoded)
        # All of a longer chain where all was removed; else as many units as of the run's own.
        units = batch.removal_units if everything else torch.full_like(batch.chain, removed)
        tokens = model.format.tokens_removed(batch, units)
        available = max_positions(model.model)
        reason = missing_positions(batch, tokens, model.shift, available)
        if reason:
            yield _untested(name, reason)
            continue
        answers = [example.answer for example in task.text(rendered)]
        score = model.score(batch, answers, units)
        yield {
            "shift": name,
            "accuracy": score.accuracy,
            "ci_low": score.ci_low,
            "ci_high": score.ci_high,
            "n": score.n,
            "reason": "",
        }


def _untested(shift: str, reason: str) -> dict[str, Any]:
    unknown = dict.fromkeys(["accuracy", "ci_low", "ci_high"], np.nan)
    return {"shift": shift, **unknown, "n": 0, "reason": reason}


def missing_positions(
    batch: EncodedBatch, removed: Tensor, shift: int, available: int | None
) -> str:
    """Why a model has too few positions for these examples; empty if it has enough.

    Args:
        batch: encoded examples in the format of the model.
        removed: `[n]`, tokens removed from each chain.
        shift: by how much positions are shifted: the run's own removal stage. A question's true
            chain, longer or shorter than in training, does not change it.
        available: positions that the model has; None for no limit.
    """
    needed = int(positions_needed(batch, removed, shift).max())
    if available is None or needed <= available:
        return ""
    more = f"train it with model.extra_positions larger by {needed - available}"
    return f"needs {needed} positions, the model has {available}: {more}"


def training_keys(config: RunConfig, layout: Layout, drawn: Drawn | None = None) -> np.ndarray:
    """Sorted keys of every question that a finished run, or one it builds on, was trained on.

    Args:
        config: of a run of a generated task.
        layout: of this run; the keys are those of the tokens in it (`encoded_keys`).
        drawn: what was drawn so far, for the next run: many share a stream, or its beginning.
    """
    drawn, keys = {} if drawn is None else drawn, []
    tokens = str(layout.fingerprint or config.model)
    for source in sources_of([config]):
        task, known = source.corpus.task, drawn.setdefault((*source.key, tokens), [])
        assert task is not None, "files are read, not generated"
        for rows in source.questions(len(known)):
            known.append(encoded_keys(layout.encode_symbols(task.render(rows), task)))
        keys += known[: source.steps]
    return np.unique(np.concatenate(keys))


def encoded_keys(batch: EncodedBatch) -> np.ndarray:
    """A key for the question of each example, `[n]`: the same in every batch."""
    ids = batch.ids[:, : int(batch.question.max())]
    inside = torch.arange(ids.shape[1])[None] < batch.question[:, None]
    # `question_keys` adds nothing for PADDING, so that the width of the padding does not count.
    return question_keys(ids.masked_fill(~inside, PADDING).numpy())
