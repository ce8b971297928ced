"""What stands in the place of chains: controls that keep the curriculum and take the content away.

own        the question's own chain
shuffled   the chain of another question of the batch
filler     the separator token, as many times as the chain has tokens
"""

from dataclasses import replace
from typing import Literal

import torch

from icotlib.data.layout import EncodedBatch
from icotlib.errors import ConfigError


def with_chains(
    batch: EncodedBatch, chains: Literal["own", "shuffled", "filler"], filler: int
) -> EncodedBatch:
    """Encoded examples with other chains between the separators; questions and answers stay.

    Args:
        chains: `removal.chains`.
        filler: the token that fills chains.

    Raises `ConfigError` where chains are shuffled and there is no other question.
    """
    if chains == "shuffled":
        return _of_the_row_before(batch)
    return _filled(batch, filler) if chains == "filler" else batch


def _filled(batch: EncodedBatch, token: int) -> EncodedBatch:
    column, start = torch.arange(batch.ids.shape[1])[None], batch.question[:, None]
    inside = (column >= start) & (column < start + batch.chain[:, None])
    return replace(batch, ids=batch.ids.masked_fill(inside, token))


def _of_the_row_before(batch: EncodedBatch) -> EncodedBatch:
    """Each example with the chain, and the steps, of the example before it; the first has those of
    the last."""
    if len(batch) < 2:
        raise ConfigError(
            "removal.chains=shuffled exchanges chains between questions: ask two or more, and set "
            "train.batch_size, data.valid_examples and data.test_examples to 2 or more"
        )
    other = torch.arange(len(batch)).roll(1)
    start, own, chain = batch.question[:, None], batch.chain[:, None], batch.chain[other][:, None]
    total = batch.total - batch.chain + batch.chain[other]
    column = torch.arange(int(total.max()))[None]
    inside = (column >= start) & (column < start + chain)
    behind = column >= start + chain
    last = batch.ids.shape[1] - 1
    mine = batch.ids.gather(1, (column + (own - chain) * behind).clamp(max=last))
    theirs = batch.ids[other].gather(
        1, (column - start + batch.question[other][:, None]).clamp(0, last)
    )
    ends = None if batch.step_ends is None else batch.step_ends[other]
    ids = torch.where(inside, theirs, mine)
    return EncodedBatch(ids, batch.question, batch.chain[other], total, ends)
