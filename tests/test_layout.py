"""The symbol tokenizer and the sequence layout."""

import re

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from icotlib.data.files import read_examples
from icotlib.data.layout import Layout
from icotlib.data.symbols import symbol_tokenizer
from icotlib.errors import ConfigError, DataError
from icotlib.tasks import Example, SymbolBatch, get_task
from tests.helpers import bytes_tokenizer, unigram_tokenizer

#: Steps of a chain that WordPiece gives back as `< < 2 + 3 = 5 > >`.
WORDS = Example("2 + 3 + 4?", "<<2+3=5>> <<5+4=9>> <<9*1=9>>", "9")

FIELDS = ("ids", "question", "chain", "total")


@pytest.fixture
def task():
    return get_task("mult-2x2")


@pytest.fixture
def layout(task):
    return Layout(symbol_tokenizer(task.symbols))


def test_the_layout_symbol_by_symbol(layout):
    batch = layout.encode([Example("2 1 * 4 3", "8 4 0", "8 0 4 0")])
    tokens = layout.tokenizer.convert_ids_to_tokens(batch.ids[0])
    assert tokens == [
        "2",
        "1",
        "*",
        "4",
        "3",
        "<sep>",
        "8",
        "4",
        "0",
        "<sep>",
        "####",
        "8",
        "0",
        "4",
        "0",
        "<eos>",
    ]
    assert [int(getattr(batch, name)) for name in FIELDS[1:]] == [6, 3, 16]


def test_without_chain_there_is_no_second_separator_either(layout):
    """Against the same examples encoded by hand, rows of different length in one batch."""
    examples = [
        Example("1 2 * 3", "4 5 6", "7 8"),
        Example("2", "", "9"),
        Example("3", "1 + 4", "2"),
    ]
    encoded = layout.encode(examples).without_chain()
    texts = [
        layout.tokenizer.decode(row[:n]) for row, n in zip(encoded.ids, encoded.total, strict=True)
    ]
    assert texts == [
        "1 2 * 3 <sep> #### 7 8 <eos>",
        "2 <sep> #### 9 <eos>",
        "3 <sep> #### 2 <eos>",
    ]
    assert encoded.question.tolist() == [5, 2, 2]
    assert encoded.chain.tolist() == [0, 0, 0]
    assert encoded.ids.shape == (3, 9)


def test_symbols_and_text_encode_alike(task, layout):
    batch = task.render(task.sample(np.random.default_rng(0), 50))
    fast, slow = layout.encode_symbols(batch, task), layout.encode(task.text(batch))
    for name in FIELDS:
        assert torch.equal(getattr(fast, name), getattr(slow, name))


def test_symbols_of_different_length_encode_like_their_text(task, layout):
    batch = SymbolBatch(
        np.array([[1, -1, -1], [1, 2, 3]]),
        np.array([[4, 5], [-1, -1]]),
        np.array([[6, 7], [8, -1]]),
    )
    fast, slow = layout.encode_symbols(batch, task), layout.encode(task.text(batch))
    for name in FIELDS:
        assert torch.equal(getattr(fast, name), getattr(slow, name))


def test_steps_end_where_their_text_does(task):
    """Worked by hand: steps of different length, tokens behind the last step end, no chain."""
    layout = Layout(symbol_tokenizer(task.symbols), step_end="+")
    chains = ["1 2 + 3 + 4 5 6", "7 8 9", "", "1 + 2 +"]
    batch = layout.encode([Example(str(i), chain, "0") for i, chain in enumerate(chains)])
    assert batch.step_ends.tolist() == [[3, 5, 8], [3, 3, 3], [0, 0, 0], [2, 4, 4]]
    assert batch.removal_units.tolist() == [3, 1, 0, 2]
    assert batch.tokens(0).tolist() == [0, 0, 0, 0]
    assert batch.tokens(1).tolist() == [3, 3, 0, 2]
    assert batch.tokens(torch.tensor([2, 9, 1, 1])).tolist() == [5, 3, 0, 2]
    assert batch.tokens(1, side="right").tolist() == [3, 3, 0, 2]
    assert batch.tokens(2, side="right").tolist() == [5, 3, 0, 4]
    assert batch[torch.tensor([3, 0])].tokens(1).tolist() == [2, 3]


def test_steps_of_symbols_and_of_their_text_end_alike(task):
    layout = Layout(symbol_tokenizer(task.symbols), step_end="+")
    plus = task.symbols.index("+")
    batch = SymbolBatch(
        np.array([[1, 2], [3, 4], [5, 6]]),
        np.array([[1, plus, 2, plus], [3, 4, plus, -1], [-1, -1, -1, -1]]),
        np.array([[1], [2], [3]]),
    )
    fast, slow = layout.encode_symbols(batch, task), layout.encode(task.text(batch))
    for name in ("removal_units", "step_ends", "chain", "ids"):
        assert torch.equal(getattr(fast, name), getattr(slow, name))
    for removed in range(4):
        assert torch.equal(fast.tokens(removed), slow.tokens(removed))


def test_without_steps_units_are_tokens(task, layout):
    batch = layout.encode([Example("1", "2 3", "4"), Example("1", "", "4")])
    assert (batch.removal_units.tolist(), batch.tokens(1).tolist()) == ([2, 0], [1, 0])


def test_the_tokenizer_reloads_through_auto_tokenizer(task, layout, tmp_path):
    layout.tokenizer.save_pretrained(tmp_path)
    again = Layout(AutoTokenizer.from_pretrained(tmp_path))
    examples = task.text(task.render(task.sample(np.random.default_rng(0), 5)))
    assert torch.equal(again.encode(examples).ids, layout.encode(examples).ids)
    assert (again.sep, again.eos, again.pad, again.answer_delimiter) == (
        layout.sep,
        layout.eos,
        layout.pad,
        layout.answer_delimiter,
    )


def test_an_unknown_symbol_is_an_error_that_names_it(layout):
    with pytest.raises(ConfigError, match="no token for 'x'"):
        layout.encode([Example("2 x 3", "6", "6")])


def test_generated_text_ends_at_the_end_token(layout):
    batch = layout.encode([Example("2 1 * 4 3", "8 4 0", "8 0 4 0")])
    written = torch.cat([batch.ids[:, 6:], batch.ids[:, :3]], dim=1)  # and continues after it
    assert layout.texts(written) == ["8 4 0 #### 8 0 4 0"]
    assert layout.measured(written).tokens.tolist() == [10]  # 3 + <sep> + #### + 4 + <eos>


@pytest.mark.parametrize(
    ("text", "answer"),
    [("8 4 #### 1 2", "1 2"), ("#### 1 #### 2", "2"), ("8 4 0", None), ("8 ####", "")],
)
def test_the_answer_follows_the_last_delimiter(text, answer):
    assert Layout.answer(text) == answer


def test_gpt2_tokens_are_the_authors(reference):
    tokenizer = AutoTokenizer.from_pretrained(reference / "gpt2-tokenizer")
    examples = read_examples(reference / "multiplication" / "4x4_valid.txt")
    plain, faithful = Layout(tokenizer), Layout(tokenizer, spaced_separators=True)
    assert plain.encode(examples[:9]).chain.tolist() == [46] * 9
    batch = faithful.encode(examples[:9])
    assert batch.chain.tolist() == [47] * 9
    end = batch.question[0] + 47
    space, separator = batch.ids[0, end - 1], batch.ids[0, end]
    assert (int(space), int(separator)) == (220, tokenizer.eos_token_id)
    assert batch.ids[0, end + 1 : end + 3].tolist() == [1303, 21017]
    # the separator is the end token too: decoding must not stop at it
    texts = faithful.texts(batch.ids[:, int(batch.question[0]) :])
    assert texts[0] == f"{examples[0].chain} #### {examples[0].answer}"


@pytest.mark.parametrize(
    "symbol", ["<sep>", "<eos>", "<pad>", "####", "a####b", "two words", "", "3"]
)
def test_a_symbol_that_the_layout_cannot_have_is_named(symbol):
    with pytest.raises(ConfigError, match=re.escape(repr(symbol))):
        symbol_tokenizer(["1", "2", "3", symbol])


@pytest.mark.parametrize(
    "text", ["<|endoftext|>", "a<|endoftext|>b", "</s>", "[PAD]", "<pad>", "<mark>"]
)
def test_text_that_spells_a_special_token_stays_text(text):
    tokenizer = bytes_tokenizer(["what does it mean in a file"] * 5)
    tokenizer.add_special_tokens({"pad_token": "[PAD]", "additional_special_tokens": ["<mark>"]})
    layout = Layout(tokenizer)
    example = Example(f"what does {text} mean?", f"it is {text} so", text)
    batch = layout.encode([example])
    assert (batch.ids == layout.sep).sum() == 3  # two separators and the end
    rest = batch.ids[:, int(batch.question[0]) :]
    assert layout.texts(rest) == [f"it is {text} so #### {text}"]


@pytest.mark.parametrize("part", ["question", "chain", "answer"])
def test_a_separator_that_the_tokenizer_finds_in_text_is_refused(part):
    """Unigram vocabularies hold their special tokens, and find them in text."""
    layout = Layout(unigram_tokenizer([" 1 2 3 </s> #### +"] * 5))
    example = Example("1 + 2", "3", "3")
    layout.encode([example])
    with pytest.raises(DataError, match=r"1 </s> 2.*as the token that separates"):
        layout.encode([example, example._replace(**{part: "1 </s> 2"})])


def test_a_text_that_the_tokenizer_cannot_encode_is_named():
    words = Tokenizer(models.WordLevel({"<end>": 0, "####": 1, "a": 2}))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    layout = Layout(PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>"))
    with pytest.raises(ConfigError, match="cannot encode 'a b'"):
        layout.encode([Example("a", "a", "a"), Example("a b", "a", "a")])


def test_a_separator_of_the_same_name_makes_no_symbol_tokenizer():
    """XLNet's tokenizer calls its separator so; texts are then no symbols between spaces."""
    tokenizer = bytes_tokenizer(["what does it mean in a file"] * 5)
    tokenizer.add_special_tokens({"sep_token": "<sep>", "pad_token": "<pad>"})
    layout = Layout(tokenizer)
    assert not layout.exact
    assert layout.sep == tokenizer.sep_token_id
    batch = layout.encode([Example("what does it mean?", "a file", "file")])
    assert layout.texts(batch.ids[:, int(batch.question[0]) :])[0].endswith("#### file")
    assert Layout(symbol_tokenizer(["1", "2"])).exact


def test_padding_is_a_token_of_the_model():
    tokenizer = bytes_tokenizer(["1 2 3"] * 5)
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    batch = Layout(tokenizer).encode([Example("1", "2", "3"), Example("1 2 3", "1 2", "2")])
    assert batch.ids.max() < rows


def test_written_steps_are_counted_as_the_tokenizer_gives_them_back():
    wordpiece = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    wordpiece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    wordpiece.decoder = decoders.WordPiece()
    special = ["[UNK]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=99, special_tokens=special, show_progress=False)
    wordpiece.train_from_iterator([" ".join(WORDS) + " ####"] * 3, trainer)
    ends = {"eos_token": "[SEP]", "unk_token": "[UNK]"}
    layout = Layout(PreTrainedTokenizerFast(tokenizer_object=wordpiece, **ends), step_end=">>")
    batch = layout.encode([WORDS])
    written = batch.ids[:, batch.question[0] : batch.total[0]]
    assert "> >" in layout.texts(written)[0]
    assert layout.measured(written).chain.tolist() == batch.removal_units.tolist() == [3]
