"""Answers as a tokenizer gives them back, and how much a model may write."""

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from icotlib.data.inputs import InputFormat
from icotlib.data.layout import Layout
from icotlib.data.symbols import symbol_tokenizer
from icotlib.errors import ConfigError
from icotlib.evaluation.generation import EndOfAnswer
from icotlib.evaluation.scoring import score
from icotlib.evaluation.truths import check_given_back, graded
from icotlib.tasks import Example
from tests.helpers import bytes_tokenizer, unigram_tokenizer

WORDS = "<unk> <end> # #### paris san jose zurich 5 3 - / 1 2 3.5 52 the % , l'été"


def words_tokenizer(*steps, words=WORDS, split=None):
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words.split())}, "<unk>"))
    made.normalizer = normalizers.Sequence(list(steps))
    made.pre_tokenizer = split or pre_tokenizers.WhitespaceSplit()
    return Layout(
        PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", unk_token="<unk>")
    )


LOWER = [normalizers.Lowercase()]
PLAIN = [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
SIGNS = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])


@pytest.mark.parametrize(
    ("layout", "answer"),
    [
        (words_tokenizer(*LOWER), "Paris"),
        (words_tokenizer(*PLAIN), "Zürich"),
        (words_tokenizer(*PLAIN), "San José"),
        (words_tokenizer(split=SIGNS), "1/2"),
        (words_tokenizer(split=SIGNS), "5%"),
        (words_tokenizer(), "3.5"),
        (Layout(bytes_tokenizer(["1 2 3"] * 5)), "−½ 日本 🙂 ```x```"),
        (Layout(symbol_tokenizer(["Aa", "aA"])), "Aa aA"),
    ],
)
def test_an_answer_that_is_given_back_is_right(layout, answer):
    check_given_back(layout, [answer])
    (written,) = layout.texts(torch.tensor(layout._tokens([f" #### {answer}"])))
    assert score([written], [answer], layout).accuracy == 1


@pytest.mark.parametrize(
    ("layout", "answers", "message"),
    [
        (words_tokenizer(), ["5", "London"], "the answer 'London' to nothing"),
        (words_tokenizer(split=SIGNS, words="<unk> <end> # 5"), ["$5", "5%"], "both to '5'.*apart"),
        (words_tokenizer(normalizers.Replace("-", "")), ["-5"], "the answer '-5' to '5'"),
        (words_tokenizer(normalizers.NFKC()), ["5²"], "the answer '5²' to '52'"),
        (words_tokenizer(normalizers.Replace("san ", "")), ["san jose"], "to 'jose'"),
        (
            words_tokenizer(words="<unk> <end> 5"),
            ["5"],
            "the answer '5' to a text without the answer delimiter",
        ),
        (words_tokenizer(*PLAIN, words=WORDS + " sie"), ["Šíe", "sie"], "cannot be told apart"),
        (Layout(unigram_tokenizer([" 1 2 3 #### +"] * 5)), ["1", "日"], "decodes the answer '日'"),
    ],
)
def test_a_lost_answer_is_named_before_training(layout, answers, message):
    with pytest.raises(ConfigError, match=message):
        check_given_back(layout, answers)


def test_a_lossy_tokenizer_makes_no_wrong_answer_right():
    layout = words_tokenizer(*PLAIN)
    given = ["zurich", "paris", "5", None, ""]
    assert graded(layout, given, ["Zürich", "Zürich", "52", "5", "5"]) == [True] + [False] * 4


# --- how much a model may write ----------------------------------------------------------------


def test_the_limit_is_one_of_all_sets():
    """Worked by hand: chain, separator, delimiter, answer, end."""
    layout = Layout(symbol_tokenizer(["a", "b", "c"]))
    short = layout.encode([Example("a", "b", "c")])
    long = layout.encode([Example("a a", " ".join(["b"] * 40), "c"), Example("a", "", "c c")])
    assert InputFormat().longest_rest([short], 0) == 5
    assert InputFormat().longest_rest([short, long], 0) == 44
    assert InputFormat().longest_rest([short, long], 30) == 14
    assert InputFormat().longest_rest([short, long], 100) == 5
    assert InputFormat(chain=False).longest_rest([short, long], 0) == 4


@pytest.mark.parametrize(
    ("rows", "cut"),
    [
        (["b <sep> #### c <eos>", "b <sep> #### c c"], [False, True]),
        (["b b b b", "b <eos> b b"], [True, False]),
        (["#### c <eos> <eos>", "#### #### #### ####"], [False, True]),
    ],
)
def test_answers_that_the_limit_cut_are_known(rows, cut):
    layout = Layout(symbol_tokenizer(["a", "b", "c"]))
    ids = [layout.tokenizer.convert_tokens_to_ids(row.split()) for row in rows]
    width = max(map(len, ids))
    ids = [row + [layout.pad] * (width - len(row)) for row in ids]
    assert layout.measured(torch.tensor(ids)).cut.tolist() == cut


def test_with_one_token_for_separator_and_end_the_chain_may_end_and_the_answer_be_cut():
    layout = Layout(bytes_tokenizer(["1 2 3 ####"] * 5))
    batch = layout.encode([Example("1", "2 # 3", "3")])
    rest = batch.ids[:, int(batch.question[0]) :]
    assert layout.measured(rest).cut.tolist() == [False]
    assert layout.measured(rest[:, :-1]).cut.tolist() == [True]
    assert layout.measured(rest[:, : int(batch.chain[0]) + 1]).cut.tolist() == [True]


def test_a_part_of_the_delimiter_in_the_chain_does_not_let_the_separator_end_the_answer():
    layout = Layout(bytes_tokenizer(["1 2 3"] * 5))  # writes #### as several tokens
    assert len(layout.answer_delimiter) > 1
    batch = layout.encode([Example("1", "2 # 3", "3")])
    end = EndOfAnswer(layout, 1, torch.device("cpu"))
    rest = batch.ids[0, int(batch.question[0]) :].tolist()
    ended = [end.reached_by_all(torch.tensor([[token]])) for token in rest]
    assert ended == [False] * (len(rest) - 1) + [True]
