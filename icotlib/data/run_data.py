"""What a run reads: its examples as tokens, and its training batches by step."""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoConfig, PreTrainedConfig

from icotlib import paths
from icotlib.config import RunConfig
from icotlib.data.batches import epochs, stream
from icotlib.data.chains import with_chains
from icotlib.data.corpus import Corpus, check_folder, examples_of, load_corpus
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.data.padding import check_room, stacked
from icotlib.data.symbols import ANSWER_DELIMITER, EOS, SEP, symbol_tokenizer
from icotlib.errors import ConfigError
from icotlib.system import seals
from icotlib.system.pretrained import check_pretrained, load_pretrained, load_tokenizer

#: Training sets of at least so many examples are stored on disk as tokens.
MANY = 10_000

#: Examples encoded at a time: the tokenizer's lists take many times the memory of the tokens.
BLOCK = 20_000


class RunData:
    """The encoded examples of a run: corpus -> layout -> encoded sets -> training batches."""

    def __init__(self, config: RunConfig):
        self.config = config
        self.corpus = load_corpus(config.data)
        self.layout = build_layout(config, self.corpus.symbols)
        self.valid = self._read(self.layout.encode(examples_of(self.corpus.valid)))
        self.test = self._read(self.layout.encode(examples_of(self.corpus.test)))
        #: The fixed training set, or None where every batch is drawn afresh.
        self.train = _training_set(self.corpus, self.layout)
        sets = self.sets
        _check_steps(config, self.corpus, sets)
        #: Removal units (tokens or steps) of the longest chain.
        self.longest_chain = _longest_chain(config, self.corpus, sets)
        _check_chains(config, self.longest_chain)
        #: Tokens of the longest sequence.
        self.longest_total = _longest_total(config, self.corpus, sets, self.longest_chain)
        self._batches = _training_batches(config, self.corpus, self.layout, self.train)

    @property
    def sets(self) -> list[EncodedBatch]:
        """What is encoded before training: validation, test, and the fixed training set."""
        return [encoded for encoded in (self.valid, self.test, self.train) if encoded is not None]

    @property
    def held_out(self) -> tuple[int, int]:
        """The numbers of validation and of test examples."""
        return len(self.valid), len(self.test)

    @property
    def widest_batch(self) -> int:
        """Tokens of the widest batch where shorter questions are padded to the longest one."""
        lengths = torch.cat([encoded.question for encoded in self.sets])
        return self.longest_total + int(lengths.max() - lengths.min())

    def batches(self, step: int, /) -> EncodedBatch:
        """The training batch of a step: a function of config and step, so that a run can resume."""
        return self._read(self._batches(step))

    def _read(self, batch: EncodedBatch) -> EncodedBatch:
        """Encoded examples with the chains that the run reads."""
        return with_chains(batch, self.config.input_format.chains, self.layout.sep)

    @property
    def answers(self) -> Sequence[str]:
        """The true answers of the test set."""
        return self.corpus.test["answer"]

    @property
    def all_answers(self) -> Iterator[str]:
        """The answers of all sets; of a training stream none."""
        sets = (self.corpus.valid, self.corpus.test, self.corpus.train)
        return itertools.chain.from_iterable(one["answer"] for one in sets if one is not None)


def check_sources(configs: Sequence[RunConfig]) -> None:
    """Raises `ConfigError` or `DataError` for a model or data that these runs could not load."""
    for source in {config.model.pretrained for config in configs}:
        if source is not None:
            check_pretrained(source)
    for folder in {config.data.path for config in configs}:
        if folder is not None:
            check_folder(folder)


def build_layout(config: RunConfig, symbols: Sequence[str]) -> Layout:
    """The tokenizer and sequence layout of a run.

    Args:
        symbols: all symbols of its corpus, which are the tokens unless the model is pretrained.
    """
    model = config.model
    if model.pretrained is None:
        tokenizer = symbol_tokenizer(symbols)
    else:
        model.check_content()
        tokenizer = load_tokenizer(model.pretrained)
        rows = getattr(_text_config(model.pretrained), "vocab_size", None)
        if rows and (tokenizer.pad_token_id or 0) >= rows:
            # A padding token that was added, and no row for it: no position sees padding, so that
            # any token will do.
            tokenizer.pad_token = tokenizer.eos_token
    return Layout(tokenizer, model.spaced_separators, config.input_format.step_end)


def _text_config(pretrained: str) -> PreTrainedConfig:
    """The config of the language model in a pretrained model."""
    config = load_pretrained(AutoConfig, pretrained)
    return config if config.is_encoder_decoder else config.get_text_config(decoder=True)


def _training_set(corpus: Corpus, layout: Layout) -> EncodedBatch | None:
    return None if corpus.train is None else encode_once(layout, corpus.train, corpus.digest)


def _training_batches(
    config: RunConfig, corpus: Corpus, layout: Layout, train: EncodedBatch | None
) -> Callable[[int], EncodedBatch]:
    """Training batches by step: rows of the fixed set, or examples drawn afresh."""
    size, seed = config.train.batch_size, config.seed
    if train is not None:
        rows = epochs(len(train), size, seed)
        return lambda step: train[rows(step)]
    task, drawn = corpus.task, stream(corpus, size, seed)
    assert task is not None, "examples from files are a fixed training set"
    return lambda step: layout.encode_symbols(drawn(step), task)


def _check_steps(config: RunConfig, corpus: Corpus, sets: Sequence[EncodedBatch]) -> None:
    """Raises `ConfigError` if steps are to be removed, and no chain has two of them."""
    step_end = config.input_format.step_end
    if step_end is not None and not any((x.removal_units > 1).any() for x in sets):
        chain = next((x for x in corpus.valid["chain"] if x), "")
        section = next(
            name for name in config.spec.sections if hasattr(getattr(config, name), "step_end")
        )
        raise ConfigError(
            f"{section}.step_end={step_end!r} occurs inside no chain, so that there are no "
            f"steps to remove; a chain here is {chain!r}: set {section}.step_end to the text that "
            f"ends a step there, such as {section}.step_end=';', or to null for single tokens"
        )


def _check_chains(config: RunConfig, longest: int) -> None:
    """Raises `ConfigError` for a method that trains on chains where no example has one."""
    if longest == 0 and config.spec.reads_chains:
        raise ConfigError(
            f"no example of {config.data.path or config.task} has a chain, and {config.method} "
            "trains on chains: put the steps between || and #### of each line, or take method "
            "no_cot"
        )


def _longest_chain(config: RunConfig, corpus: Corpus, sets: Sequence[EncodedBatch]) -> int:
    """Removal units of the longest chain: of the task's, where a token is a symbol, or of these."""
    widths = _task_widths(config, corpus)
    if widths and config.input_format.step_end is None:
        return widths[1]
    return max(int(encoded.removal_units.max()) for encoded in sets)


def _longest_total(
    config: RunConfig, corpus: Corpus, sets: Sequence[EncodedBatch], longest_chain: int
) -> int:
    """Tokens of the longest sequence: of the task's, where a token is a symbol, or of these.

    With kept positions every sequence reaches as far as if its chain were the longest, and with
    chains of other questions any may have the longest one.
    """
    widths = _task_widths(config, corpus)
    if widths:
        return sum(widths) + len([SEP, SEP, ANSWER_DELIMITER, EOS])
    last_stage = config.spec.make_schedule(config, longest_chain).final_stage
    form, longest = config.input_format, max(int(encoded.total.max()) for encoded in sets)
    if not form.shift(last_stage) and form.chains != "shuffled":
        return longest
    chain = max(int(encoded.chain.max()) for encoded in sets)
    return max(longest, chain + max(int((x.total - x.chain).max()) for x in sets))


def _task_widths(config: RunConfig, corpus: Corpus) -> tuple[int, int, int] | None:
    """The task's widths, or None where they are not lengths in tokens."""
    is_exact = corpus.task is not None and config.model.pretrained is None
    return corpus.task.widths if corpus.task and is_exact else None


def encode_once(layout: Layout, dataset: Dataset, digest: str) -> EncodedBatch:
    """A training set as tokens; a large one is encoded once and memory-mapped from disk after that.

    Args:
        digest: that of the corpus to which the training set belongs.
    """
    if len(dataset) < MANY or layout.fingerprint is None:
        return layout.encode(examples_of(dataset))
    key = hashlib.sha256(f"{digest} {layout.fingerprint}".encode()).hexdigest()[:16]
    folder = seals.cached(paths.data_cache() / f"tokens-{key}", partial(_store, layout, dataset))
    ids = torch.from_numpy(np.load(folder / "ids.npy", mmap_mode="c"))  # torch refuses read-only
    lengths = torch.from_numpy(np.load(folder / "lengths.npy"))
    ends = torch.from_numpy(np.load(folder / "ends.npy")).long()
    question, chain, total = lengths
    return EncodedBatch(ids, question, chain, total, ends if ends.shape[1] else None)


def _store(layout: Layout, dataset: Dataset, folder: Path) -> None:
    """Encode a set block by block into files that can be memory-mapped."""
    ids, lengths, ends = [], [], []
    for start in range(0, len(dataset), BLOCK):
        block = layout.encode(examples_of(dataset, slice(start, start + BLOCK)))
        ids.append(block.ids.int().numpy())
        lengths.append(torch.stack([block.question, block.chain, block.total]).numpy())
        no_steps = np.empty((len(block), 0))
        ends.append(no_steps if block.step_ends is None else block.step_ends.numpy())
    # Blocks are padded, and then one below the other in another array.
    total = np.concatenate([block[2] for block in lengths])
    check_room(total, 2 * ids[0].itemsize, lambda row: dataset[row]["question"])
    folder.mkdir(parents=True)
    np.save(folder / "ids.npy", stacked(ids, layout.pad))
    np.save(folder / "lengths.npy", np.concatenate(lengths, axis=1))
    np.save(folder / "ends.npy", stacked(ends).astype(np.int32))
