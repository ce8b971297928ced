"""How much a model may write after a question: one limit for every question of a run and stage.

How much of it may be chain, `InputFormat.chain_limit` says for each question.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from icotlib.data.corpus import Corpus, examples_of
from icotlib.data.inputs import InputFormat
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.data.run_data import RunData
from icotlib.evaluation.generation import MORE, max_new_tokens_for
from icotlib.runs import Run


def max_new_tokens(
    form: InputFormat,
    removed: int,
    layout: Layout,
    corpus: Callable[[], Corpus],
    run: Run | None = None,
    run_data: RunData | None = None,
) -> int:
    """What the longest reference of a run's data needs at a removal stage, and some tokens more.

    A finished run has it in `stages.csv`. An older one that stored no limit gets the limit of
    its validation and test set.

    Args:
        corpus: loads the run's data, if they are needed.
        run_data: the encoded data of a run that is trained.
    """
    if run_data is not None:
        sets = [one for one in (run_data.valid, run_data.test, run_data.train) if one is not None]
        return form.longest_rest(sets, removed) + MORE
    stored = _stored(run, removed) if run and run.config.input_format == form else None
    if stored is not None:
        return stored
    held_out = corpus()
    sets = [layout.encode(examples_of(split)) for split in (held_out.valid, held_out.test)]
    return form.longest_rest(sets, removed) + MORE


def chain_limit(model: Any, batch: EncodedBatch, removed: Tensor | int) -> Tensor | None:
    """Units of chain that may stand before a right answer (`InputFormat.chain_limit`): `[n]`.

    Args:
        model: a `StageModel`.
    """
    longest = _longest_chain(batch, model.run, model.run_data)
    limit: Tensor | None = model.format.chain_limit(batch, removed, longest)
    return limit


def _longest_chain(batch: EncodedBatch, run: Run | None, run_data: RunData | None) -> int:
    """Removal units of the longest chain of a run, or of some examples where there is none."""
    if run_data is not None:
        return run_data.longest_chain
    return int(batch.removal_units.max()) if run is None else run.totals["chain_length"]


def _stored(run: Run, removed: int) -> int | None:
    stages = run.stages
    if "max_new_tokens" not in stages:
        return None
    found = stages.loc[stages.removed == removed, "max_new_tokens"].to_numpy(float)
    return int(found[0]) if len(found) and np.isfinite(found[0]) else None


def at_least(limit: int, batch: EncodedBatch, tokens: Tensor) -> int:
    """The limit for some arranged examples: more where their references are longer than the run's.

    Args:
        tokens: `[n]`, chain tokens removed.
    """
    return max(limit, max_new_tokens_for(batch, tokens))
