"""Tokens: the symbol tokenizer and the one sequence layout of all methods.

    question <sep> chain <sep> #### answer <eos>

Everything after the first separator is learned, the second separator included. An encoded batch
knows where its question and its chain end, and that is all that removal and evaluation need.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from icotlib.errors import ConfigError
from icotlib.tasks import Example, SymbolBatch, Task
from icotlib.tasks.base import PADDING

#: How tokenizers write the space that a token begins with.
SPACES = "Ġ▁ "


PAD, EOS, SEP, ANSWER_DELIMITER = "<pad>", "<eos>", "<sep>", "####"


def symbol_tokenizer(symbols: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per symbol, symbols separated by spaces.

    It saves beside a model and reloads through `AutoTokenizer`. A symbol it does not know is an
    error when it is encoded, never a silent `<unk>`.
    """
    vocabulary = {symbol: i for i, symbol in enumerate([PAD, EOS, SEP, ANSWER_DELIMITER, *symbols])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, sep_token=SEP
    )


@dataclass(frozen=True)
class EncodedBatch:
    """A batch of token sequences, padded on the right; the lengths are tensors `[n]`."""

    #: Tokens `[n, width]`; in int32 where a whole set lies on disk, in int64 once they are taken.
    ids: Tensor
    #: Length of the question with the first separator.
    question: Tensor
    #: Length of the chain, without separators.
    chain: Tensor
    #: Length of the whole sequence.
    total: Tensor
    #: Where removal counts steps: tokens of the chain up to the end of each of its steps,
    #: `[n, most steps]`; the last number is repeated behind a chain of fewer.
    step_ends: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: Tensor | np.ndarray | slice) -> "EncodedBatch":
        if isinstance(rows, np.ndarray):
            rows = torch.from_numpy(rows)
        total = self.total[rows]
        width = int(total.max()) if len(total) else 0
        ends = None if self.step_ends is None else self.step_ends[rows]
        ids = self.ids[rows][:, :width].long()
        return EncodedBatch(ids, self.question[rows], self.chain[rows], total, ends)

    @property
    def removal_units(self) -> Tensor:
        """What removal counts in each chain, its tokens or its steps: `[n]`."""
        if self.step_ends is None:
            return self.chain
        return (self.step_ends < self.chain[:, None]).sum(dim=1) + (self.chain > 0)

    def tokens(self, removed: Tensor | int, side: str = "left") -> Tensor:
        """How many tokens go from each chain with so many of its units, from one side: `[n]`.

        Args:
            removed: tokens or steps, one number or `[n]`; more than a chain has takes all of it.
        """
        removed = torch.as_tensor(removed).expand(len(self)).minimum(self.removal_units)
        if self.step_ends is None:
            return removed
        if side == "right":
            return self.chain - self.tokens(self.removal_units - removed)
        starts = torch.nn.functional.pad(self.step_ends, (1, 0))
        return starts.gather(1, removed[:, None])[:, 0]

    def without_chain(self) -> "EncodedBatch":
        """The layout of distillation, with neither chain nor second separator.

        question <sep> #### answer <eos>
        """
        gone = self.chain + 1
        total = self.total - gone
        column = torch.arange(int(total.max()))[None]
        source = column + gone[:, None] * (column >= self.question[:, None])
        ids = self.ids.gather(1, source.clamp(max=self.ids.shape[1] - 1))
        return EncodedBatch(ids, self.question, torch.zeros_like(self.chain), total)


class Layout:
    """The sequence layout over a tokenizer: encodes examples, decodes answers.

    With a symbol tokenizer each symbol is one token and the separator a token of its own. With a
    pretrained one, separators and end are its end-of-text token and the chain begins with a
    space, as in the authors' data; `spaced_separators` adds the space that their code leaves
    before each separator. A tokenizer that begins every text with a token of its own does so here.

    With `step_end`, a text that every step of a chain ends with, removal counts steps.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        spaced_separators: bool = False,
        step_end: str | None = None,
    ):
        if tokenizer.eos_token_id is None:
            raise ConfigError("the tokenizer has no end-of-text token; set tokenizer.eos_token")
        self.tokenizer = tokenizer
        self.eos = tokenizer.eos_token_id
        self.sep = self.eos if tokenizer.sep_token_id is None else tokenizer.sep_token_id
        self.pad = self.eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self._symbolic = tokenizer.sep_token == SEP
        self._tail = " " if spaced_separators and not self._symbolic else ""
        self._step_end = step_end
        self.bos_ids, self._prefix_space = ([], "") if self._symbolic else _beginnings(tokenizer)
        self.answer_delimiter = self._tokens([self._prefix_space + ANSWER_DELIMITER])[0]

    @cached_property
    def fingerprint(self) -> str | None:
        """A hash of everything that says how examples are encoded.

        None with a tokenizer written in Python, which cannot be hashed.
        """
        if not self.tokenizer.is_fast:
            return None
        parts = [
            self.sep,
            self.pad,
            self.eos,
            self.bos_ids,
            self._prefix_space,
            self._tail,
            self._step_end,
        ]
        text = json.dumps([self.tokenizer.backend_tokenizer.to_str(), *parts])
        return hashlib.sha256(text.encode()).hexdigest()

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        return self._tokenized(texts)["input_ids"]

    def _tokenized(self, texts: list[str], **settings: Any) -> BatchEncoding:
        try:
            return self.tokenizer(texts, add_special_tokens=False, **settings)
        except Exception as error:  # the tokenizers library raises plain Exception
            known = self.tokenizer.get_vocab()
            missing = [word for text in texts for word in text.split() if word not in known]
            if not (self._symbolic and missing):
                raise
            raise ConfigError(f"the tokenizer has no token for {missing[0]!r}") from error

    def encode(self, examples: Sequence[Example]) -> EncodedBatch:
        """Encode text examples. Raises `ConfigError` for a symbol the tokenizer lacks."""
        questions = self._tokens([example.question + self._tail for example in examples])
        questions = [self.bos_ids + tokens for tokens in questions]
        written = [self._prefix_space + x.chain + self._tail if x.chain else "" for x in examples]
        chains, ends = self._chains(written)
        answers = self._tokens(
            [
                f"{self._prefix_space}{ANSWER_DELIMITER} {example.answer}{self._tail}"
                for example in examples
            ]
        )
        rows = [
            [*question, self.sep, *chain, self.sep, *answer, self.eos]
            for question, chain, answer in zip(questions, chains, answers, strict=True)
        ]
        total = np.array([len(row) for row in rows])
        ids = np.full((len(rows), total.max()), self.pad)
        ids[np.arange(total.max()) < total[:, None]] = np.concatenate(rows)
        question = torch.tensor([len(part) + 1 for part in questions])
        chain = torch.tensor([len(part) for part in chains])
        return EncodedBatch(torch.from_numpy(ids), question, chain, torch.from_numpy(total), ends)

    def _chains(self, texts: list[str]) -> tuple[list[list[int]], Tensor | None]:
        """Tokens of chains, and where removal counts steps, those up to the end of each step.

        The latter `[n, most steps]`. A token belongs to the step in which it begins.
        """
        if self._step_end is None:
            return self._tokens(texts), None
        if not self.tokenizer.is_fast:
            raise ConfigError(
                f"removal.step_end={self._step_end!r}: {type(self.tokenizer).__name__} does not "
                "say which token stands where; set removal.step_end=null to remove by token"
            )
        found = self._tokenized(texts, return_offsets_mapping=True)
        rows = []
        for text, offsets in zip(texts, found["offset_mapping"], strict=True):
            cuts = [x.end() for x in re.finditer(re.escape(self._step_end), text)]
            counts = np.searchsorted([start for start, _ in offsets], cuts)
            last = len(offsets) - (text[cuts[-1] :].isspace() if cuts else 0)
            rows.append(np.unique([*counts[(counts > 0) & (counts < last)], len(offsets)]))
        most = max(len(row) for row in rows)
        padded = [np.pad(row, (0, most - len(row)), mode="edge") for row in rows]
        return found["input_ids"], torch.from_numpy(np.stack(padded))

    def encode_symbols(self, pieces: SymbolBatch, task: Task) -> EncodedBatch:
        """Encode a generated batch, with a symbol tokenizer without a loop over examples.

        Equal to `encode(task.text(pieces))`.
        """
        if not self._symbolic or self._step_end not in (None, *task.symbols):
            return self.encode(task.text(pieces))
        symbols = task.symbols
        table = np.array([*self.tokenizer.convert_tokens_to_ids(list(symbols)), self.pad])
        n = len(pieces.question)
        sep, eos = np.full((n, 1), self.sep), np.full((n, 1), self.eos)
        mark = np.full((n, 1), self.answer_delimiter[0])
        parts = [table[pieces.question], sep, table[pieces.chain], sep, mark]
        rows = np.hstack([*parts, table[pieces.answer], eos])
        question, chain, answer = ((piece != PADDING).sum(axis=1) for piece in pieces)
        question, total = question + 1, question + chain + answer + 4
        used = rows != self.pad
        if not used.all():  # close the gaps that short pieces leave
            order = np.argsort(~used, axis=1, kind="stable")
            rows = np.take_along_axis(rows, order, axis=1)[:, : total.max()]
        found = EncodedBatch(*map(torch.from_numpy, (rows, question, chain, total)))
        if self._step_end is None:
            return found
        last = pieces.chain == symbols.index(self._step_end)
        return replace(found, step_ends=torch.from_numpy(_ends_of(last, pieces.chain != PADDING)))

    def texts(self, rows: Tensor) -> list[str]:
        """Generated tokens `[n, width]` as text, up to and without the end token."""
        return [
            " ".join(text.split())
            for text in self.tokenizer.batch_decode(self._cut(rows), skip_special_tokens=True)
        ]

    def _cut(self, rows: Tensor) -> list[list[int]]:
        """Rows up to the end of the answer: the first end token after the mark.

        Where separator and end are the same token, the separator before the mark is no end.
        """
        cut = []
        for row in rows.tolist():
            start = _find(row, self.answer_delimiter)
            end = next((i for i in range(start, len(row)) if row[i] == self.eos), len(row))
            cut.append(row[:end])
        return cut

    def lengths(self, rows: Tensor) -> list[int]:
        """Tokens that each row of `[n, width]` holds, its end token included."""
        return [min(len(row) + 1, rows.shape[1]) for row in self._cut(rows)]

    @staticmethod
    def answer(text: str) -> str | None:
        """The answer in a generated text: what follows the last mark; None without a mark."""
        _, mark, answer = text.rpartition(ANSWER_DELIMITER)
        return " ".join(answer.split()) if mark else None


def _beginnings(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], str]:
    """Tokens that every text begins with, and what leads a chain and the mark.

    Some tokenizers put a space before a text themselves, and would make ours two.
    """
    tokens = tokenizer("1")["input_ids"]
    if not tokens:
        raise ConfigError(
            f"the tokenizer ({tokenizer.name_or_path}) knows no token: its files are missing"
        )
    begin = tokens[:1] if tokens[0] == tokenizer.bos_token_id else []
    spaced = tokenizer.tokenize("1")[0][0] in SPACES
    return begin, "" if spaced else " "


def _ends_of(last: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Tokens up to the end of each step, `[n, most steps]`.

    Args:
        last: `[n, width]`, whether a step ends with this symbol of a chain.
        used: `[n, width]`, whether there is a symbol; none follows where there is not.
    """
    length = used.sum(axis=1, keepdims=True)
    counts = np.arange(1, last.shape[1] + 1)
    ends = np.sort(np.where(last & (counts < length), counts, length), axis=1)
    most = int((ends < length).sum(axis=1).max()) + 1
    return ends[:, :most]


def _find(row: list[int], pattern: list[int]) -> int:
    """Where a token pattern first ends in a row, or 0."""
    width = len(pattern)
    for i in range(len(row) - width + 1):
        if row[i : i + width] == pattern:
            return i + width
    return 0
