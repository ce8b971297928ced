"""The sequence layout that all methods share.

    question <sep> chain <sep> #### answer <eos>

Everything after the first separator is learned, the second separator included. An encoded batch
holds the lengths of its questions and chains, from which removal and evaluation follow.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase

from icotlib.data.padding import padded
from icotlib.data.steps import count_steps, step_ends_of_symbols, step_ends_of_text
from icotlib.data.symbols import ANSWER_DELIMITER, adds_space, bos_ids, is_symbol_tokenizer
from icotlib.data.written import Ends, Written, ends_of
from icotlib.errors import ConfigError, DataError
from icotlib.tasks import Example, SymbolBatch, Task
from icotlib.tasks.base import PADDING

#: The version of what `Layout.encode` makes of a text; a new one makes stored tokens stale.
ENCODING = 2


@dataclass(frozen=True)
class EncodedBatch:
    """A batch of token sequences, padded on the right; lengths are counted in tokens, `[n]`."""

    #: Token ids `[n, width]`: int32 where a whole set is on disk, int64 in the rows taken from it.
    ids: Tensor
    #: Length of the question with the first separator.
    question: Tensor
    #: Length of the chain, without separators.
    chain: Tensor
    #: Length of the whole sequence.
    total: Tensor
    #: Where removal counts steps: the length of the chain up to the end of each step,
    #: `[n, most steps]`; chains of fewer steps repeat their last number.
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
        """The number of units that removal counts in each chain, tokens or steps: `[n]`."""
        if self.step_ends is None:
            return self.chain
        return (self.step_ends < self.chain[:, None]).sum(dim=1) + (self.chain > 0)

    def tokens(self, removed: Tensor | int, side: str = "left") -> Tensor:
        """The number of tokens that are removed from each chain with so many units: `[n]`.

        Args:
            removed: units (tokens or steps), one number or `[n]`; a number beyond the chain's
                units stands for the whole chain.
            side: the end of the chain that is removed first, `left` or `right`.
        """
        removed = torch.as_tensor(removed).expand(len(self)).minimum(self.removal_units)
        if self.step_ends is None:
            return removed
        if side == "right":
            return self.chain - self.tokens(self.removal_units - removed)
        starts = torch.nn.functional.pad(self.step_ends, (1, 0))
        return starts.gather(1, removed[:, None])[:, 0]

    def without_chain(self) -> "EncodedBatch":
        """The same examples without chain and second separator, as distillation has them:

        question <sep> #### answer <eos>
        """
        left_out = self.chain + 1
        total = self.total - left_out
        column = torch.arange(int(total.max()))[None]
        source = column + left_out[:, None] * (column >= self.question[:, None])
        ids = self.ids.gather(1, source.clamp(max=self.ids.shape[1] - 1))
        return EncodedBatch(ids, self.question, torch.zeros_like(self.chain), total)


class Layout:
    """The sequence layout over a tokenizer: encodes examples, decodes answers.

    With a symbol tokenizer each symbol is one token, and the separator is a token of its own. With
    a pretrained tokenizer, separators and end are its end-of-text token, and the chain begins with
    a space, as in the authors' data. A token that the tokenizer puts at the start of every text
    stands at the start of the question. Text that spells a special token stays text.

    Args:
        spaced_separators: with a pretrained tokenizer, put the space before each separator that the
            authors' code leaves there.
        step_end: the text that ends every step of a chain; removal then counts steps.

    Raises `ConfigError` for a tokenizer without an end-of-text token.
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
        self._symbolic = is_symbol_tokenizer(tokenizer)
        #: Padding is masked. A padding token of a pretrained tokenizer was perhaps added without a
        #: row in the model's table, so that the end token stands in its place.
        self.pad = tokenizer.pad_token_id if self._symbolic else self.eos
        self._step_end = step_end
        #: Tokens that every sequence begins with.
        self.bos_ids = [] if self._symbolic else bos_ids(tokenizer)
        #: The space before the chain and before the answer delimiter.
        self._prefix_space = "" if self._symbolic or adds_space(tokenizer) else " "
        #: The space after question, chain and answer.
        self._suffix_space = " " if spaced_separators and not self._symbolic else ""
        #: The tokens of `####`.
        self.answer_delimiter = self._tokens([self._prefix_space + ANSWER_DELIMITER])[0]

    @property
    def settings(self) -> dict[str, Any]:
        """How it was made, the tokenizer aside: what is saved beside the weights."""
        return {"spaced_separators": bool(self._suffix_space), "step_end": self._step_end}

    @cached_property
    def fingerprint(self) -> str | None:
        """A hash of the tokenizer and of all settings here; equal hashes encode equally.

        None for a tokenizer written in Python, which cannot be hashed.
        """
        if not self.tokenizer.is_fast:
            return None
        parts = [
            ENCODING,
            self.sep,
            self.pad,
            self.eos,
            self.bos_ids,
            self._prefix_space,
            self._suffix_space,
            self._step_end,
        ]
        text = json.dumps([self.tokenizer.backend_tokenizer.to_str(), *parts])
        return hashlib.sha256(text.encode()).hexdigest()

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        return self._tokenized(texts)["input_ids"]

    def _tokenized(self, texts: list[str], **settings: Any) -> BatchEncoding:
        settings |= {"add_special_tokens": False, "split_special_tokens": True}
        try:
            return self.tokenizer(texts, **settings)
        except Exception:  # the tokenizers library raises plain Exception
            for text in texts:
                self._check_encodes(text, settings)
            raise

    def _check_encodes(self, text: str, settings: dict[str, Any]) -> None:
        """Raises `ConfigError` that names the text or symbol that cannot be encoded."""
        try:
            self.tokenizer([text], **settings)
        except Exception as error:
            known = self.tokenizer.get_vocab() if self._symbolic else ()
            missing = [word for word in text.split() if self._symbolic and word not in known]
            if missing:
                raise ConfigError(f"the tokenizer has no token for {missing[0]!r}") from error
            raise ConfigError(f"the tokenizer cannot encode {text!r}: {error}") from error

    def _check_marks(self, texts: list[str], tokens: list[list[int]]) -> None:
        """Raises `DataError` for a text that the tokenizer turns into a separator or end token."""
        for text, row in zip(texts, tokens, strict=True):
            if self.sep in row or self.eos in row:
                mark = self.tokenizer.convert_ids_to_tokens(
                    self.sep if self.sep in row else self.eos
                )
                raise DataError(
                    f"{text.strip()!r}: the tokenizer reads {mark!r} in it as the token that "
                    "separates the parts of an example; remove it from the data, or use another "
                    "tokenizer"
                )

    def encode(self, examples: Sequence[Example]) -> EncodedBatch:
        """Encode text examples.

        Raises `ConfigError` for a symbol that the tokenizer lacks, `DataError` for text in which it
        finds a separator, and for an example to whose length the others cannot be padded.
        """
        before, after = self._prefix_space, self._suffix_space
        questions = self._tokens([x.question + after for x in examples])
        self._check_marks([x.question for x in examples], questions)
        questions = [self.bos_ids + tokens for tokens in questions]
        chains, step_ends = self._chains(
            [before + x.chain + after if x.chain else "" for x in examples]
        )
        answers = self._tokens([f"{before}{ANSWER_DELIMITER} {x.answer}{after}" for x in examples])
        self._check_marks([x.chain for x in examples], chains)
        self._check_marks([x.answer for x in examples], answers)
        rows = [
            [*question, self.sep, *chain, self.sep, *answer, self.eos]
            for question, chain, answer in zip(questions, chains, answers, strict=True)
        ]
        ids, total = padded(rows, self.pad, lambda row: examples[row].question)
        question = torch.tensor([len(tokens) + 1 for tokens in questions])
        chain = torch.tensor([len(tokens) for tokens in chains])
        return EncodedBatch(
            torch.from_numpy(ids), question, chain, torch.from_numpy(total), step_ends
        )

    def _chains(self, texts: list[str]) -> tuple[list[list[int]], Tensor | None]:
        """The tokens of chains, and `step_ends` where removal counts steps.

        A token belongs to the step in which its text begins.
        """
        if self._step_end is None:
            return self._tokens(texts), None
        if not self.tokenizer.is_fast:
            raise ConfigError(
                f"step_end={self._step_end!r}: {type(self.tokenizer).__name__} does not "
                "report where in the text a token begins; set step_end=null to remove "
                "single tokens"
            )
        encoding = self._tokenized(texts, return_offsets_mapping=True)
        rows = [
            step_ends_of_text(text, offsets, self._step_end)
            for text, offsets in zip(texts, encoding["offset_mapping"], strict=True)
        ]
        most = max(len(row) for row in rows)
        padded = [np.pad(row, (0, most - len(row)), mode="edge") for row in rows]
        return encoding["input_ids"], torch.from_numpy(np.stack(padded))

    def encode_symbols(self, batch: SymbolBatch, task: Task) -> EncodedBatch:
        """Encode a generated batch; equal to `encode(task.text(batch))`.

        With a symbol tokenizer this needs no loop over examples.
        """
        if not self._symbolic or self._step_end not in (None, *task.symbols):
            return self.encode(task.text(batch))
        n = len(batch.question)
        table = np.append(self.tokenizer.convert_tokens_to_ids(list(task.symbols)), self.pad)
        sep, delimiter, eos = (
            np.full((n, 1), token) for token in (self.sep, self.answer_delimiter[0], self.eos)
        )
        asked, chain_ids, answered = (table[symbols] for symbols in batch)
        rows = np.hstack([asked, sep, chain_ids, sep, delimiter, answered, eos])
        question, chain, answer = ((symbols != PADDING).sum(axis=1) for symbols in batch)
        question, total = question + 1, question + chain + answer + 4
        is_token = rows != self.pad
        if not is_token.all():  # close the gaps that the padding of shorter parts leaves
            order = np.argsort(~is_token, axis=1, kind="stable")
            rows = np.take_along_axis(rows, order, axis=1)[:, : total.max()]
        encoded = EncodedBatch(*map(torch.from_numpy, (rows, question, chain, total)))
        if self._step_end is None:
            return encoded
        ends_step = batch.chain == task.symbols.index(self._step_end)
        step_ends = step_ends_of_symbols(ends_step, batch.chain != PADDING)
        return replace(encoded, step_ends=torch.from_numpy(step_ends))

    def texts(self, rows: Tensor) -> list[str]:
        """Generated tokens `[n, width]` as text, up to and without the end token."""
        return self._decoded(self._cut(rows))

    def _decoded(self, rows: list[list[int]]) -> list[str]:
        """Tokens as text, also where the tokenizer writes the answer delimiter as `# # # #`."""
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        plain = [" ".join(text.split()) for text in texts]
        if self._delimiter_text == ANSWER_DELIMITER:
            return plain
        return [text.replace(self._delimiter_text, ANSWER_DELIMITER) for text in plain]

    @cached_property
    def _delimiter_text(self) -> str:
        return self._as_decoded(self.answer_delimiter, ANSWER_DELIMITER)

    @cached_property
    def _step_text(self) -> str:
        end = self._step_end or ""
        return self._as_decoded(self._tokens([end])[0], end)

    def _as_decoded(self, tokens: list[int], text: str) -> str:
        """A text as it reads in what the tokenizer decodes: `> >` for `>>`, for example; itself
        where more than spaces differ."""
        (found,) = self.tokenizer.batch_decode([tokens], skip_special_tokens=True)
        found = found.strip()
        return found if found and found.replace(" ", "") == text.replace(" ", "") else text

    def _ends(self, rows: Tensor) -> Ends:
        return ends_of(rows.cpu(), self.answer_delimiter, self.sep, self.eos)

    def _cut(self, rows: Tensor) -> list[list[int]]:
        """The tokens of each row up to and without its end token (`ends_of`)."""
        ends = self._ends(rows).text.tolist()
        return [row[:end] for row, end in zip(rows.tolist(), ends, strict=True)]

    def measured(self, rows: Tensor) -> Written:
        """How much generated tokens `[n, width]` hold, the chain in the units of removal."""
        ends = self._ends(rows)
        chain = ends.before_answer - ends.separated.long()
        if self._step_end is not None:
            chain = self._steps(rows, ends.before_answer)
        return Written(ends.written.numpy(), chain.numpy(), ~ends.ended.numpy())

    def _steps(self, rows: Tensor, before_answer: Tensor) -> Tensor:
        """The number of steps before the answer, `[n]`."""
        chains = [row[:end] for row, end in zip(rows.tolist(), before_answer.tolist(), strict=True)]
        texts = self.tokenizer.batch_decode(chains, skip_special_tokens=True)
        return torch.tensor([count_steps(text, self._step_text) for text in texts])

    def given_back(self, answers: Sequence[str]) -> list[str | None]:
        """Answers as they read when the model has written them: encoded, and decoded again.

        None where the tokenizer loses the answer delimiter.
        """
        before, after = self._prefix_space, self._suffix_space
        tokens = self._tokens([f"{before}{ANSWER_DELIMITER} {x}{after}" for x in answers])
        return [self.answer(text) for text in self._decoded(tokens)]

    @property
    def exact(self) -> bool:
        """Whether every text is given back as it is: each symbol is a token of its own."""
        return self._symbolic

    @staticmethod
    def answer(text: str) -> str | None:
        """The answer in a generated text, after the last delimiter; None without a delimiter."""
        _, delimiter, answer = text.rpartition(ANSWER_DELIMITER)
        return " ".join(answer.split()) if delimiter else None
