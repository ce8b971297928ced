"""Sequence lengths of the papers' runs, for plans without their tokenizers and data."""

from typing import Any, Protocol

import torch

from icotlib.config import RunConfig
from icotlib.data.layout import EncodedBatch
from icotlib.errors import ConfigError
from icotlib.models.known_sizes import GSM8K, HUB
from icotlib.tasks import get_task


class LengthSource(Protocol):
    """What gives a run's sequence lengths: its `RunData`, or `NominalLengths`."""

    longest_chain: int
    longest_total: int
    layout: Any

    @property
    def held_out(self) -> tuple[int, int]:
        """Examples of validation and of the test: of files perhaps fewer than settings allow."""

    @property
    def test(self) -> EncodedBatch:
        """Examples of the test, whose lengths training may not have yet (`data.growth_steps`)."""

    def batches(self, step: int, /) -> EncodedBatch:
        """The training batch of a step."""


#: Tokens of question (with separator) and of chain in GSM8K, each sorted on its own: the median of
#: every tenth of the authors' 500 validation lines, with GPT-2's tokenizer in the authors' layout.
#: Then the tokens of the rest of a sequence, and those of the longest chain and sequence.
GSM8K_QUESTION = (32, 38, 42, 46, 51, 55, 60, 69, 78, 98)
GSM8K_CHAIN = (8, 15, 15, 19, 22, 24, 29, 31, 36, 47)
GSM8K_REST = 6
GSM8K_LONGEST = (81, 210)


class NominalLengths:
    """Lengths of a run on one of the papers' models, without its tokenizer and data.

    On multiplication they are exact: GPT-2's tokenizer has one token for each symbol and two for
    `####`. On GSM8K they are those of the validation set with GPT-2's tokenizer, for all models.

    Raises `ConfigError` for other data.
    """

    #: None: the sizes of these models are known without a tokenizer.
    layout: Any = None

    def __init__(self, config: RunConfig):
        if not has_nominal_lengths(config):
            raise ConfigError(f"the lengths of {config.task} are known from its data only")
        self.size = config.train.batch_size
        self.held_out = config.data.valid_examples, config.data.test_examples
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

    @property
    def test(self) -> EncodedBatch:
        """As a batch of training: lengths are the same."""
        return self.batches(0)

    def batches(self, step: int) -> EncodedBatch:
        """A batch of a step: its lengths are taken in turn, its tokens are zeros."""
        rows = (step * self.size + torch.arange(self.size)) % len(self.total)
        total = self.total[rows]
        ids = torch.zeros(self.size, int(total.max()), dtype=torch.long)
        return EncodedBatch(ids, self.question[rows], self.chain[rows], total)


def has_nominal_lengths(config: RunConfig) -> bool:
    """Whether a run's model sizes and lengths are known without hub and data."""
    generated = config.data.path is None and config.data.task.startswith("mult-")
    known_data = generated or config.data.path == GSM8K
    return known_data and config.model.pretrained in HUB and config.input_format.step_end is None
