"""What patching, steering and ablation share: computation that stays the same, and effect sizes.

Each of them changes a hidden state, or what may be attended to, and compares the answers. The
answer's earlier symbols are forced, so that each symbol's effect is its own, in one forward pass.
Layers and positions are those of the residual stream (`icotlib.models.hooks`): an intervention at
layer l changes what enters layer l at that position.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor

from icotlib.data.inputs import LMBatch
from icotlib.evaluation import interventions
from icotlib.evaluation.scoring import wilson_interval
from icotlib.evaluation.stage_model import StageModel
from icotlib.models.hooks import cached_layers


@contextmanager
def cache_unchanged(model: StageModel) -> Iterator[None]:
    """While open, what an intervention cannot change is computed once for the same tokens.

    The first pass over some tokens must be one without an intervention: the layers below one
    reuse its outputs. A model with an emulator (`cached_emulation`) runs that once, too: only
    the states of the analysed decoder change.
    """
    emulation = getattr(model.model, "cached_emulation", nullcontext)
    with cached_layers(model.model, model.decoder), emulation():
        yield


def forced_tokens(model: StageModel, inputs: LMBatch, positions: Tensor) -> Tensor:
    """The tokens that the input has after some positions of the answer, `[n, positions]`, on the
    CPU."""
    columns = interventions.columns(model.model, positions)
    return inputs.labels[:, columns.to(inputs.labels.device)].cpu()


def answer_text(model: StageModel, tokens: Tensor) -> str:
    """The tokens `[symbols]` of an answer as text."""
    return " ".join(str(model.layout.tokenizer.decode(tokens)).split())


#: Draws of the bootstrap over questions.
DRAWS = 2000


def effect_over_questions(hits: Tensor, counted: Tensor, seed: int = 0) -> dict[str, float]:
    """The share of hits among the symbols that count, with its 95% interval.

    Symbols of one question are not independent: the interval is that of a bootstrap over questions,
    and Wilson's for so many questions where all of them say the same.

    Args:
        hits, counted: `[n, symbols]`, bool.

    Returns:
        keys effect, low, high, n: questions in which a symbol counts; NaN where there is none.
    """
    rows = counted.any(dim=1)
    sums = torch.stack([hits & counted, counted], dim=2)[rows].sum(dim=1).numpy()
    n = len(sums)
    if not n:
        return {"effect": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    right, every = sums.sum(axis=0).tolist()
    if right in (0, every):
        low, high = wilson_interval(n * right / every, n)
        return {"effect": right / every, "low": low, "high": high, "n": n}
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), DRAWS) @ sums
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return {"effect": right / every, "low": float(low), "high": float(high), "n": n}


def effect_size(hits: Tensor) -> dict[str, float]:
    """The share of hits `[n]` with its 95% interval; NaN where n is 0.

    Keys effect, low, high, n.
    """
    if not len(hits):
        return {"effect": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return {"effect": float(hits.float().mean()), "low": low, "high": high, "n": len(hits)}
