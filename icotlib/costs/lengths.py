"""Sequence lengths of the papers' runs, for plans without their tokenizers and data."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Typical:
    """Lengths of a data set's examples with GPT-2's tokenizer, in the layout of the papers.

    `question` (with separator), `chain` and `steps` are sorted each on its own: the median of every
    tenth of the examples.
    """

    question: tuple[int, ...]
    chain: tuple[int, ...]
    #: Steps of each chain, which share its tokens evenly.
    steps: tuple[int, ...]
    #: Tokens after the chain.
    rest: int
    #: The longest chain in tokens and in steps, and the longest sequence in tokens.
    longest: tuple[int, int, int]

    def step_ends(self) -> torch.Tensor:
        """Where each step ends in its chain: `[10, most steps]` (`EncodedBatch.step_ends`)."""
        chain, steps = torch.tensor(self.chain), torch.tensor(self.steps)
        number = torch.arange(1, int(steps.max()) + 1)[None].minimum(steps[:, None])
        return chain[:, None] * number // steps[:, None]


#: By the folder of the papers' data (its authors' 500 validation lines) or the generated task
#: (2,000 of its questions).
TYPICAL = {
    GSM8K: Typical(
        question=(32, 38, 42, 46, 51, 55, 60, 69, 78, 98),
        chain=(8, 15, 15, 19, 22, 24, 29, 31, 36, 47),
        steps=(1, 2, 2, 2, 3, 3, 3, 4, 5, 6),
        rest=6,
        longest=(81, 8, 210),
    ),
    "prosqa-23": Typical(
        question=(270, 300, 323, 338, 353, 369, 383, 400, 422, 462),
        chain=(28, 28, 29, 30, 36, 38, 39, 40, 47, 51),
        steps=(3, 3, 3, 3, 4, 4, 4, 4, 5, 5),
        rest=12,
        longest=(63, 6, 598),
    ),
    "prontoqa-5": Typical(
        question=(198, 201, 203, 204, 205, 207, 208, 209, 211, 214),
        chain=(78, 80, 81, 82, 83, 84, 85, 87, 88, 91),
        steps=(11,) * 10,
        rest=6,
        longest=(96, 11, 321),
    ),
}


class NominalLengths:
    """Lengths of a run on one of the papers' models, without its tokenizer and data.

    On multiplication they are exact: GPT-2's tokenizer has one token for each symbol and two for
    `####`. On other data they are `TYPICAL` ones with GPT-2's tokenizer, for all models.

    Raises `ConfigError` for other data.
    """

    #: None: the sizes of these models are known without a tokenizer.
    layout: Any = None

    def __init__(self, config: RunConfig):
        if not has_nominal_lengths(config):
            raise ConfigError(f"the lengths of {config.task} are known from its data only")
        self.size = config.train.batch_size
        self.held_out = config.data.valid_examples, config.data.test_examples
        self.step_ends = None
        typical = TYPICAL.get(_data_of(config))
        if typical is not None:
            self.question, self.chain = map(torch.tensor, (typical.question, typical.chain))
            self.total = self.question + self.chain + typical.rest
            tokens, steps, self.longest_total = typical.longest
            self.longest_chain = tokens
            if config.input_format.step_end is not None:
                self.step_ends, self.longest_chain = typical.step_ends(), steps
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
        ends = None if self.step_ends is None else self.step_ends[rows]
        return EncodedBatch(ids, self.question[rows], self.chain[rows], total, ends)


def has_nominal_lengths(config: RunConfig) -> bool:
    """Whether a run's model sizes and lengths are known without hub and data."""
    data, step_end = _data_of(config), config.input_format.step_end
    exact = config.data.path is None and data.startswith("mult-") and step_end is None
    return (exact or data in TYPICAL) and config.model.pretrained in HUB


def _data_of(config: RunConfig) -> str:
    """The folder of a run's data, or its generated task."""
    return config.data.task if config.data.path is None else config.data.path
