"""What a run reads: its examples as tokens, and its training batches by step."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoTokenizer

from icotlib import paths
from icotlib.config import RunConfig
from icotlib.data.batches import epochs, stream
from icotlib.data.corpus import Corpus, check_folder, examples_of, load_corpus
from icotlib.data.layout import ANSWER_DELIMITER, EOS, SEP, EncodedBatch, Layout, symbol_tokenizer
from icotlib.errors import ConfigError
from icotlib.system.pretrained import _pretrained, check_pretrained

#: From so many training examples on, tokens are kept on disk.
MANY = 10_000


#: Examples encoded at a time: the tokenizer's lists take many times the room of the tokens.
PART = 20_000


class RunData:
    """The encoded examples of a run.

    `batches(step)` gives the training batch of a step: a pure function of the config and the
    step, so that a run can resume.
    """

    def __init__(self, config: RunConfig):
        self.config = config
        self.corpus = load_corpus(config.data)
        self.layout = build_layout(config, self.corpus)
        self.valid = self.layout.encode(examples_of(self.corpus.valid))
        self.test = self.layout.encode(examples_of(self.corpus.test))
        train, digest = self.corpus.train, self.corpus.digest
        #: The fixed training set, or None where every batch is fresh.
        self.train: EncodedBatch | None = train and encode_once(self.layout, train, digest)
        self.batches = self._batches()
        #: What removal counts in the longest chain, and tokens of the longest sequence.
        self.longest_chain, self.longest_total = self._longest()

    @property
    def answers(self) -> Sequence[str]:
        """The true answers of the test set."""
        return self.corpus.test["answer"]

    def _longest(self) -> tuple[int, int]:
        sets = [part for part in (self.valid, self.test, self.train) if part is not None]
        chain = max(int(encoded.removal_units.max()) for encoded in sets)
        total = max(int(encoded.total.max()) for encoded in sets)
        self._check_steps(sets)
        task, step_end = self.corpus.task, self.config.input_format.step_end
        if task is not None and self.config.model.pretrained is None:
            total = sum(task.widths) + len([SEP, SEP, ANSWER_DELIMITER, EOS])
            chain = chain if step_end else task.widths[1]
        return chain, total

    def _check_steps(self, sets: list[EncodedBatch]) -> None:
        end = self.config.input_format.step_end
        if end is not None and not any((x.removal_units > 1).any() for x in sets):
            found = next((x for x in self.corpus.valid["chain"] if x), "")
            raise ConfigError(
                f"removal.step_end={end!r} stands inside no chain, so that there are no steps to "
                f"remove; a chain here is {found!r}"
            )

    def _batches(self) -> Callable[[int], EncodedBatch]:
        size, seed = self.config.train.batch_size, self.config.seed
        if self.train is not None:
            rows = epochs(len(self.train), size, seed)
            return lambda step: self.train[rows(step)]
        pieces, task = stream(self.corpus, size, seed), self.corpus.task
        return lambda step: self.layout.encode_symbols(pieces(step), task)


def check(configs: Sequence[RunConfig]) -> None:
    """Raises `ConfigError` or `DataError` for a model or data that these runs would not find."""
    for source in {config.model.pretrained for config in configs} - {None}:
        check_pretrained(source)
    for folder in {config.data.path for config in configs} - {None}:
        check_folder(folder)


def encode_once(layout: Layout, dataset: Dataset, digest: str) -> EncodedBatch:
    """A training set as tokens; a large one is encoded once, and read from disk from then on.

    Its tokens stay there, memory-mapped: batches take what they need.

    Args:
        digest: of the corpus that the training set belongs to.
    """
    if len(dataset) < MANY or layout.fingerprint is None:
        return layout.encode(examples_of(dataset))
    key = hashlib.sha256(f"{digest} {layout.fingerprint}".encode()).hexdigest()[:16]
    folder = paths.create_once(
        paths.data_cache() / f"tokens-{key}", partial(_store, layout, dataset)
    )
    ids = torch.from_numpy(np.load(folder / "ids.npy", mmap_mode="c"))  # "c": torch wants to write
    lengths = torch.from_numpy(np.load(folder / "lengths.npy"))
    ends = torch.from_numpy(np.load(folder / "ends.npy")).long()
    return EncodedBatch(ids, *lengths, ends if ends.shape[1] else None)


def _store(layout: Layout, dataset: Dataset, folder: Path) -> None:
    """Encode a set part by part into files that can be memory-mapped."""
    ids, lengths, ends = [], [], []
    for start in range(0, len(dataset), PART):
        one = layout.encode(examples_of(dataset, slice(start, start + PART)))
        ids.append(one.ids.int().numpy())
        lengths.append(torch.stack([one.question, one.chain, one.total]).numpy())
        ends.append(np.empty((len(one), 0)) if one.step_ends is None else one.step_ends.numpy())
    folder.mkdir(parents=True)
    np.save(folder / "ids.npy", _stacked(ids, layout.pad))
    np.save(folder / "lengths.npy", np.concatenate(lengths, axis=1))
    np.save(folder / "ends.npy", _stacked(ends).astype(np.int32))


def _stacked(parts: Sequence[np.ndarray], padding: int | None = None) -> np.ndarray:
    """Parts of unequal width `[n, width]` above each other; by default their last column is
    repeated."""
    width = max(part.shape[1] for part in parts)
    how = {"mode": "edge"} if padding is None else {"constant_values": padding}
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, width - part.shape[1])), **how) for part in parts]
    )


def build_layout(config: RunConfig, corpus: Corpus) -> Layout:
    """The tokenizer and layout of a run: the pretrained one, or one token per symbol."""
    model = config.model
    if model.pretrained is None:
        tokenizer = symbol_tokenizer(corpus.symbols)
    else:
        tokenizer = _pretrained(AutoTokenizer, model.pretrained)
    return Layout(tokenizer, model.spaced_separators, config.input_format.step_end)
