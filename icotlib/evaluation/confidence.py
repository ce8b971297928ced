"""How sure a model is of what it wrote: the probability that it gives its own answer."""

from collections.abc import Sequence

import numpy as np
import torch

from icotlib.data.inputs import IGNORE
from icotlib.errors import ConfigError
from icotlib.evaluation import askable
from icotlib.evaluation.asking import Answer
from icotlib.evaluation.bounded import examples_at_once
from icotlib.evaluation.stage_model import StageModel
from icotlib.models.decoding import logits_of
from icotlib.models.precision import training_precision
from icotlib.tasks import Example


@torch.no_grad()
def log_probabilities(model: StageModel, answers: Sequence[Answer]) -> np.ndarray:
    """The log-probability of each written answer after the chain that was written before it, `[n]`.

    Its tokens are those from the end of the chain to the end token, in one teacher-forced pass.
    That of a text without an answer, cut by the limit, or longer than the model's positions, is
    minus infinity.

    Args:
        model: at the stage at which it wrote them.

    Raises `ConfigError` for a run whose chains are fillers, which the text of a chain leaves out.
    """
    if model.format.chains == "filler":
        raise ConfigError(
            f"{model.name} writes fillers (removal.chains=filler), which are no text that could be "
            "read again: its confidence is unknown"
        )
    found = np.full(len(answers), -np.inf)
    whole = [number for number, one in enumerate(answers) if one.answer and not one.cut]
    if not whole:
        return found
    written = [Example(answers[n].question, answers[n].chain, answers[n].answer) for n in whole]
    batch = model.format.arrange(askable.encoded(model.layout, written))
    # A text may be longer than the model's positions.
    fits = askable.fits(model, batch, torch.zeros(len(batch), dtype=torch.long))
    whole, batch = [number for number, one in zip(whole, fits, strict=True) if one], batch[fits]
    if not whole:
        return found
    longest = int(batch.total.max())
    size = examples_at_once(model.model.config, longest, longest)
    parts = []
    for start in range(0, len(whole), size):
        part = batch[start : start + size]
        # The chain is what was left of it: nothing more is removed, positions alone are shifted.
        inputs = model.format.inputs(part, torch.zeros(len(part), dtype=torch.long), model.shift)
        inputs = inputs.to(model.device)
        with training_precision(model.precision, model.model):
            logits = logits_of(model.model, inputs).float()
        keep = logits.shape[1]
        labels, mask = inputs.labels[:, -keep:], inputs.answer_mask[:, -keep:]
        each = logits.log_softmax(dim=-1).gather(2, labels.clamp(min=0)[:, :, None])[:, :, 0]
        parts.append((each * (mask & (labels != IGNORE))).sum(dim=1).cpu())
    found[whole] = torch.cat(parts).double().numpy()
    return found
