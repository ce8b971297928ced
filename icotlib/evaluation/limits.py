"""How much a model may write after a question: one limit for every question of a run and stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from icotlib.data.corpus import examples_of
from icotlib.data.layout import EncodedBatch
from icotlib.evaluation.generation import MORE, max_new_tokens_for

if TYPE_CHECKING:
    from icotlib.evaluation.stage_model import StageModel


def max_new_tokens(model: StageModel) -> int:
    """The limit that a run has stored for its stage (`stages.csv`), or that its data need.

    A run that stored none, as older ones, has that of its validation and test set.
    """
    form, data = model.format, model.run_data
    if data is not None:
        sets = [one for one in (data.valid, data.test, data.train) if one is not None]
        return form.longest_rest(sets, model.removed) + MORE
    stored = _stored(model)
    if stored is not None:
        return stored
    corpus = model.corpus
    sets = [model.layout.encode(examples_of(split)) for split in (corpus.valid, corpus.test)]
    return form.longest_rest(sets, model.removed) + MORE


def limit_of(model: StageModel, batch: EncodedBatch, tokens: Tensor) -> int:
    """The limit for some arranged examples: the model's, or more where their references are longer.

    Args:
        tokens: `[n]`, chain tokens removed.
    """
    return max(model.max_new_tokens, max_new_tokens_for(batch, tokens))


def _stored(model: StageModel) -> int | None:
    run = model.run
    if run is None or run.config.input_format != model.format or not run.done:
        return None
    stages = run.stages
    if "max_new_tokens" not in stages:
        return None
    found = stages.loc[stages.removed == model.removed, "max_new_tokens"].to_numpy(float)
    return int(found[0]) if len(found) and np.isfinite(found[0]) else None
