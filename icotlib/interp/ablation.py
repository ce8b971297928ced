"""TODO."""

from collections.abc import Iterable, Iterator, Sequence

import pandas as pd
import torch
from torch import Tensor

from icotlib.evaluation.scoring import wilson_interval
from icotlib.interp.activations import residual_stream
from icotlib.interp.patching import _truth, answers, once
from icotlib.interp.subjects import Examples, Subject
from icotlib.models.hooks import mask_attention
from icotlib.system.processes import all_cores

# --- taking away -------------------------------------------------------------------------------


@all_cores()
def ablation(
    subject: Subject,
    examples: Examples,
    where: Iterable[tuple[int, int]],
    how: str = "mean",
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy of every answer symbol without what a state says.

    Args:
        where: layers and positions of the residual stream, one ablated at a time.
        how: `mean` puts the mean over the examples in the state's position; `noise` draws from a
            normal distribution with that mean and the spread of every coordinate.

    Returns:
        columns layer, position, symbol (-1: all of them), accuracy, low, high, and `intact`, the
        accuracy with nothing taken away.
    """
    inputs, at = subject.inputs(examples), subject.answer_positions(examples)
    states, truth = residual_stream(subject, inputs), _truth(inputs, at)
    generator, rows = torch.Generator().manual_seed(seed), []
    with once(subject):
        intact = answers(subject, inputs, at) == truth
        for layer, position in where:
            own = states[layer, position]
            new = own.mean(dim=0).expand_as(own)
            if how == "noise":
                new = new + own.std(dim=0) * torch.randn(own.shape, generator=generator)
            right = answers(subject, inputs, at, {(layer, position): new}) == truth
            rows += [
                {"layer": layer, "position": position} | row for row in _by_symbol(right, intact)
            ]
    return pd.DataFrame(rows)


@all_cores()
def knock_out(
    subject: Subject,
    examples: Examples,
    keys: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Accuracy of every answer symbol when later positions may not attend to an earlier one.

    Args:
        keys: positions to hide, one at a time and from one layer at a time; by default every position.
        layers: by default every one.

    Returns:
        columns layer, position (the hidden one), symbol (-1: all of them), accuracy, low, high,
        intact.
    """
    inputs, at = subject.inputs(examples), subject.answer_positions(examples)
    width = inputs.ids.shape[1]
    truth, rows = _truth(inputs, at), []
    with once(subject):
        intact = answers(subject, inputs, at) == truth
        for layer in range(subject.layers) if layers is None else layers:
            for key in range(width) if keys is None else keys:
                cut = torch.ones(width, width, dtype=torch.bool).tril()
                cut[key + 1 :, key] = False
                with mask_attention(subject.decoder, {layer: cut}.get):
                    right = answers(subject, inputs, at) == truth
                rows += [
                    {"layer": layer, "position": key} | row for row in _by_symbol(right, intact)
                ]
    return pd.DataFrame(rows)


def _by_symbol(right: Tensor, intact: Tensor) -> Iterator[dict]:
    every = [(-1, right.all(dim=1), intact.all(dim=1))]
    every += [(i, right[:, i], intact[:, i]) for i in range(right.shape[1])]
    for symbol, hits, whole in every:
        low, high = wilson_interval(int(hits.sum()), len(hits))
        row = {"symbol": symbol, "accuracy": float(hits.float().mean()), "low": low, "high": high}
        yield row | {"intact": float(whole.float().mean())}
