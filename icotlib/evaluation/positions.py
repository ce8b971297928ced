"""Names for the positions of a sequence, as figures and analyses use them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from icotlib.data.inputs import InputFormat
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.errors import ConfigError
from icotlib.tasks.questions import QuestionSet


def names(
    layout: Layout,
    form: InputFormat,
    questions: QuestionSet,
    encoded: EncodedBatch,
    removed: int,
    inserted: Sequence[str] = (),
) -> list[str]:
    """A name for every position of the input: `a0`, `=`, `t3`, `=`, `####`, `s0`, ...

    t counts the chain's tokens from 1, s the answer's symbols from 0; `=` is a separator, `<bos>` a
    token that the tokenizer puts at the start of every text.

    Args:
        encoded: one of the questions in the method's format.
        removed: tokens removed from its chain.
        inserted: names of positions without a token that the model puts behind the separator.
    """
    rendered = questions[:1].rendered
    question, chain, total = (int(x[0]) for x in (encoded.question, encoded.chain, encoded.total))
    delimiter, separators = len(layout.answer_delimiter), 2 if form.chain else 1
    answer = total - question - chain - delimiter - separators
    kept = slice(removed, chain) if form.side == "left" else slice(0, chain - removed)
    tokens = [f"t{i + 1}" for i in range(rendered.chain.shape[1])] if chain else []
    first = ["<bos>"] * len(layout.bos_ids)
    asked = _named(questions.task.question_names, question - 1 - len(first), "q")
    before = [*first, *asked, "=", *inserted]
    between = _named(tokens, chain, "t")[kept] + ["="] * (separators - 1)
    symbols = [f"s{i}" for i in range(rendered.answer.shape[1])]
    return [*before, *between, *["####"] * delimiter, *_named(symbols, answer, "s")]


def answer(names: Sequence[str], questions: QuestionSet) -> Tensor:
    """The positions whose next token is a symbol of the answer, `[symbols]`.

    Raises `ConfigError` where a symbol is not one token.
    """
    symbols = [f"s{i}" for i in range(questions[:1].rendered.answer.shape[1])]
    if not set(symbols) <= set(names):
        raise ConfigError(
            f"the tokenizer writes an answer of {questions.task.name} in other tokens than its "
            f"{len(symbols)} symbols, so that no position predicts a symbol: take a model with one "
            "token for each (model.pretrained=null)"
        )
    return torch.tensor([names.index(symbol) for symbol in symbols]) - 1


def _named(names: Sequence[str], count: int, letter: str) -> list[str]:
    """Names for `count` tokens; a tokenizer may add a space (`_`), or split text differently."""
    names = list(names)
    if count == len(names) + 1:
        return [*names, "_"]
    return names if count == len(names) else [f"{letter}.{i}" for i in range(count)]
