"""Where a plan takes sequence lengths from, if neither tokenizer nor data are at hand."""

from collections.abc import Callable
from typing import Any, Protocol

import torch

from icotlib.config import RunConfig
from icotlib.data.layout import EncodedBatch
from icotlib.errors import ConfigError
from icotlib.models.known_sizes import GSM8K, HUB
from icotlib.tasks import get_task


class LengthSource(Protocol):
    """Where a run's lengths are from: its `RunData`, or `NominalLengths`."""

    batches: Callable[[int], EncodedBatch]
    longest_chain: int
    longest_total: int
    layout: Any


#: Tokens of question (with separator) and of chain in GSM8K: the middles of the tenths of the
#: authors' 500 validation lines, by GPT-2's tokenizer in the authors' layout; and of the rest.
GSM8K_QUESTION = (32, 38, 42, 46, 51, 55, 60, 69, 78, 98)
GSM8K_CHAIN = (8, 15, 15, 19, 22, 24, 29, 31, 36, 47)
GSM8K_REST = 6
GSM8K_LONGEST = (81, 210)


class NominalLengths:
    """Lengths of a run on one of the papers' models, without its tokenizer or its data.

    On multiplication every symbol is one token of GPT-2's tokenizer and `####` two, so that they
    are exact; on GSM8K they are those of the validation set, with GPT-2's tokenizer for all models.

    Raises `ConfigError` for other data.
    """

    layout: Any = None  # the sizes of the papers' models are known

    def __init__(self, config: RunConfig):
        if not has_nominal_lengths(config):
            raise ConfigError(f"the lengths of {config.task} are known from its data only")
        self.size = config.train.batch_size
        if config.data.path:
            self.question, self.chain = map(torch.tensor, (GSM8K_QUESTION, GSM8K_CHAIN))
            self.total = self.question + self.chain + GSM8K_REST
            self.longest_chain, self.longest_total = GSM8K_LONGEST
            return
        task, space = get_task(config.data.task), int(config.model.spaced_separators)
        question, chain, answer = task.widths
        self.question = torch.tensor([question + space + 1])
        self.chain = torch.tensor([chain + space])
        self.total = self.question + self.chain + (1 + 2 + answer + space + 1)
        self.longest_chain, self.longest_total = int(self.chain), int(self.total)

    def batches(self, step: int) -> EncodedBatch:
        """Examples of a step: the lengths in turn, the tokens all zero."""
        rows = (step * self.size + torch.arange(self.size)) % len(self.total)
        total = self.total[rows]
        ids = torch.zeros(self.size, int(total.max()), dtype=torch.long)
        return EncodedBatch(ids, self.question[rows], self.chain[rows], total)


def has_nominal_lengths(config: RunConfig) -> bool:
    """Whether a run's sizes and lengths are known without hub and data."""
    generated = config.data.path is None and config.data.task.startswith("mult-")
    lengths = (generated or config.data.path == GSM8K) and config.input_format.step_end is None
    return config.model.pretrained in HUB and lengths
