"""Files, splits, training batches."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from icotlib.config import DataConfig, RunConfig
from icotlib.data import padding, run_data
from icotlib.data.batches import epochs, stream
from icotlib.data.corpus import draw_unseen, first_of_each, load_corpus
from icotlib.data.files import read_examples, write_examples
from icotlib.data.hold_out import question_keys
from icotlib.data.layout import Layout
from icotlib.data.run_data import RunData
from icotlib.data.symbols import symbol_tokenizer
from icotlib.errors import ConfigError, DataError
from icotlib.evaluation.ood import encoded_keys
from icotlib.tasks import Example, get_task

SMALL = DataConfig(task="mult-2x2", valid_examples=100, test_examples=200)


def test_files_round_trip(tmp_path):
    examples = [Example("1 * 2", "2 0", "2 0"), Example("a question", "", "7")]
    write_examples(tmp_path / "x.txt", examples)
    assert read_examples(tmp_path / "x.txt") == examples
    with pytest.raises(FileExistsError):
        write_examples(tmp_path / "x.txt", examples)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 * 2 2 #### 2", r"exactly one '\|\|', found 0"),
        ("1||2||3 #### 2", r"exactly one '\|\|', found 2"),
        ("1 * 2||2", "exactly one '####', found 0"),
        ("1||2 #### 3 #### 4", "exactly one '####', found 2"),
        ("||2 #### 3", "must not be empty"),
        ("1||2 ####", "must not be empty"),
        ("1 #### 2||3", "must not be empty"),
        ("is |x|||x #### 3", r"cannot tell a separator from text in '\|\|\|'"),
        ("1||2 ##### 3", "cannot tell a separator from text in '#####'"),
        ("1||2\0 #### 3", "a NUL byte"),
        ("1||\\frac{1}{2}\f #### 3\x1b", "control character U.001B"),
        ("\u200b||2 #### 3", "must not be empty"),
    ],
)
def test_a_malformed_line_names_file_and_line(tmp_path, line, message):
    path = tmp_path / "bad.txt"
    path.write_text(f"1||2 #### 3\n\n{line}\n1||2 #### 4\n")
    with pytest.raises(DataError, match=rf"bad.txt:3: .*{message}"):
        read_examples(path)


def test_bytes_that_are_not_utf8_are_a_malformed_line(tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"1||2 #### 3\n\xff\xfe||1 #### 2\n")
    with pytest.raises(DataError, match=r"bad\.txt:2"):
        read_examples(tmp_path / "bad.txt")


@pytest.mark.parametrize(
    "data",
    [
        "\ufeffq é||1 2 #### 3 4\nb||c #### d",
        "q e\u0301||1 2 #### 3 4\r\nb||c #### d\r\n",
        "q  é ||\t1\u00a02 ####\u20093  4\rb||c####d\r",
        "\u200eq \u00adé||1 2\u2028####\u20603 4\n \u200b \n\nb||c #### d\n\n",
        "q é||1 2 #### 3 4\x0b\nb||c\u3000#### d",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_spaces_line_ends_and_unseen_signs_make_no_difference(tmp_path, data, encoding):
    (tmp_path / "x.txt").write_bytes(data.encode(encoding))
    expected = [Example("q é", "1 2", "3 4"), Example("b", "c", "d")]
    assert read_examples(tmp_path / "x.txt") == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("1||2 #### 3\né||1 #### 2\n".encode("latin-1"), r"bad.txt:2: .*0xe9 at 1.*Latin-1"),
        ("1||2 #### 3\n€||1 #### 2\n".encode("cp1252"), r"bad.txt:2: .*0x80 at 1"),
        ("1||2 #### 3\n".encode("utf-16-le"), r"bad.txt:1: .*NUL"),
        ("1||日 #### 3\n".encode("shift-jis"), r"bad.txt:1: .*not UTF-8"),
        (b"1||2 #### 3\n1||\xed\xa0\x80 #### 2", r"bad.txt:2: .*not UTF-8"),
    ],
)
def test_other_encodings_are_named_with_the_line(tmp_path, data, message):
    (tmp_path / "bad.txt").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_examples(tmp_path / "bad.txt")


def test_the_authors_gsm8k_file_reads(reference):
    examples = read_examples(reference / "gsm8k" / "valid.txt")
    assert len(examples) == 500
    assert examples[0].chain == "<<4-2=2>> <<2/.5=4>> <<12/4=3>> <<100*3=300>>"


def test_splits_do_not_overlap_and_are_seeded(tmp_path, monkeypatch):
    monkeypatch.setattr("icotlib.paths.WORK", tmp_path)
    config = DataConfig(task="mult-2x2", train_examples=7500, valid_examples=100, test_examples=200)
    corpus = load_corpus(config)
    questions = [*corpus.train["question"], *corpus.valid["question"], *corpus.test["question"]]
    assert len(set(questions)) == len(questions) == 7800
    assert load_corpus(config).digest == corpus.digest
    other = load_corpus(DataConfig(**{**vars(config), "seed": 1}))
    assert other.digest != corpus.digest
    assert other.test["question"] != corpus.test["question"]


def test_the_held_out_sets_do_not_depend_on_the_training_set():
    fixed = DataConfig(**{**vars(SMALL), "train_examples": 50})
    assert load_corpus(SMALL).test["question"] == load_corpus(fixed).test["question"]


def test_a_large_set_is_cached_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr("icotlib.paths.WORK", tmp_path)
    config = DataConfig(task="mult-3x2", train_examples=10_000)
    first = load_corpus(config)
    assert len(list((tmp_path / "data" / "cache").iterdir())) == 1
    assert load_corpus(config).digest == first.digest


@pytest.mark.parametrize("step_end", [None, "+"])
def test_a_large_set_is_encoded_once_and_its_tokens_read_from_disk(tmp_path, monkeypatch, step_end):
    """Chains and questions of different length, in blocks of different width."""
    monkeypatch.setattr("icotlib.paths.WORK", tmp_path)
    examples = [
        Example("1 + 2", "", "3"),
        Example("1 2 + 3", "1 2 +", "1 5"),
        Example("1", "2", "3"),
    ]
    examples += [Example("9 + 9", "9 + 9 + 9 + 9", "1 8"), Example("4", "5 + 6", "7 7")]
    columns = dict(zip(Example._fields, map(list, zip(*examples, strict=True)), strict=True))
    layout = Layout(symbol_tokenizer([*"0123456789+"]), step_end=step_end)
    encoded = layout.encode(examples)
    monkeypatch.setattr(run_data, "MANY", 5)
    monkeypatch.setattr(run_data, "BLOCK", 2)
    stored = [run_data.encode_once(layout, Dataset.from_dict(columns), "of this corpus")]
    with monkeypatch.context() as patch:
        patch.setattr(Layout, "encode", lambda *_: pytest.fail("encoded again"))
        stored.append(run_data.encode_once(layout, Dataset.from_dict(columns), "of this corpus"))
        with pytest.raises(pytest.fail.Exception):
            run_data.encode_once(layout, Dataset.from_dict(columns), "of another corpus")
    for batch in stored:
        for rows in (slice(None), torch.tensor([3, 0, 3])):
            taken, expected = batch[rows], encoded[rows]
            assert taken.ids.dtype == torch.int64
            assert (taken.step_ends is None) == (step_end is None)
            for name, value in vars(expected).items():
                assert value is None or torch.equal(getattr(taken, name), value)
        assert (encoded_keys(batch) == encoded_keys(encoded)).all()
    other = Layout(symbol_tokenizer([*"9876543210+"]), step_end=step_end)
    assert other.fingerprint != layout.fingerprint


@pytest.mark.parametrize("many", [5, 500])
def test_an_example_to_whose_length_others_cannot_be_padded_is_named(tmp_path, monkeypatch, many):
    """In memory, and stored in blocks that fit one by one."""
    monkeypatch.setattr("icotlib.paths.WORK", tmp_path)
    monkeypatch.setattr(run_data, "MANY", many)
    monkeypatch.setattr(run_data, "BLOCK", 2)
    monkeypatch.setattr(padding, "SMALL", 0)
    layout = Layout(symbol_tokenizer([*"0123456789+"]))
    questions = [f"{number} + 1" for number in range(10)]
    short = {"question": questions, "chain": ["1"] * 10, "answer": ["7"] * 10}
    long = short | {"chain": ["1"] * 8 + [" ".join("1" * 400), "1"]}
    monkeypatch.setattr(padding.memory, "available", lambda: 20_000)
    assert len(run_data.encode_once(layout, Dataset.from_dict(short), "short")) == 10
    with pytest.raises(DataError, match=r"question '8 \+ 1' has 408 tokens, .* at most 9.*shorten"):
        run_data.encode_once(layout, Dataset.from_dict(long), "long")


def test_the_stream_never_draws_a_held_out_question():
    corpus = load_corpus(SMALL)
    held_out = set(corpus.valid["question"]) | set(corpus.test["question"])
    batches = stream(corpus, 2000, seed=0)
    seen = {x.question for step in range(10) for x in corpus.task.text(batches(step))}
    assert not seen & held_out
    assert len(seen) > 7000  # of 8100 - 300: nearly all others are drawn


def test_the_stream_is_a_function_of_seed_and_step():
    corpus = load_corpus(SMALL)
    first, again = stream(corpus, 8, seed=3), stream(corpus, 8, seed=3)
    first(0)
    assert np.array_equal(first(5).question, again(5).question)
    assert not np.array_equal(first(5).question, first(6).question)
    assert not np.array_equal(first(5).question, stream(corpus, 8, seed=4)(5).question)


def test_epochs_hold_every_row_once_in_a_new_order():
    batch = epochs(10, 4, seed=0)
    rows = np.concatenate([batch(step) for step in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert list(rows[:10]) != list(rows[10:])
    assert np.array_equal(epochs(10, 4, seed=0)(3), rows[12:16])


def test_a_batch_larger_than_the_set_spans_several_epochs():
    rows = epochs(3, 8, seed=0)(0)
    assert sorted(rows[:3]) == sorted(rows[3:6]) == [0, 1, 2]


def test_distinct_draws_can_use_up_a_task():
    task = get_task("parity-4")
    nothing = np.array([], dtype=np.uint64)
    rows = draw_unseen(task, np.random.default_rng(0), 16, nothing, distinct=True)
    assert len({tuple(row) for row in rows}) == 16


def test_keys_tell_questions_apart():
    task = get_task("mult-2x2")
    rows = task.sample(np.random.default_rng(0), 20_000)
    assert first_of_each(question_keys(rows)).sum() == len({tuple(row) for row in rows})


def test_too_few_questions_is_an_error_that_says_so():
    with pytest.raises(ConfigError, match="has only 16 questions, 40 are needed"):
        load_corpus(DataConfig(task="parity-4", valid_examples=10, test_examples=10))


def write_folder(folder, **splits):
    for split, questions in splits.items():
        write_examples(folder / f"{split}.txt", [Example(q, "1 2", "3") for q in questions])


def test_own_files_are_a_corpus(tmp_path):
    write_folder(tmp_path, train=["1", "2"], valid=["4"], test=["5", "6"])
    corpus = load_corpus(DataConfig(path=str(tmp_path)))
    assert corpus.train["question"] == ["1", "2"]
    assert corpus.symbols == ("1", "2", "3", "4", "5", "6")


def test_a_test_question_in_the_training_file_is_an_error(tmp_path):
    write_folder(tmp_path, train=["1", "2"], valid=["4"], test=["2"])
    with pytest.raises(DataError, match=r"test.txt:1: 1 of its .* in train.txt too"):
        load_corpus(DataConfig(path=str(tmp_path)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2 + 3", "2  +\t3"),
        ("caf\u00e9", "cafe\u0301"),
        ("How many?", "how many?"),
        ("1\u00a0000", "1 000"),
        ("Ann\u2019s", "Ann's"),
        ("x\u200by", "xy"),
    ],
)
@pytest.mark.parametrize(
    ("first", "second"), [("train", "valid"), ("train", "test"), ("valid", "test")]
)
def test_questions_that_read_alike_may_not_be_in_two_splits(tmp_path, one, other, first, second):
    questions = {"train": ["t"], "valid": ["v"], "test": ["w"]}
    questions[first], questions[second] = ["a", one], [other, "b"]
    write_folder(tmp_path, **questions)
    with pytest.raises(DataError, match=rf"{second}.txt:1: .* {first}.txt too.* in line 2"):
        load_corpus(DataConfig(path=str(tmp_path)))


def test_a_split_may_not_ask_a_question_twice(tmp_path):
    asked = {"train": ["t", "t"], "valid": ["v"], "test": ["w", "x", "W"]}
    write_folder(tmp_path / "twice", **asked)
    twice = r"test.txt:3: the question of line 1 is asked again, 'W'; `icot prepare .*` leaves it"
    with pytest.raises(DataError, match=twice):
        load_corpus(DataConfig(path=str(tmp_path / "twice")))
    write_folder(tmp_path, **asked | {"test": ["w", "x"]})
    assert len(load_corpus(DataConfig(path=str(tmp_path))).train) == 2  # in training it may
    lines = (tmp_path / "train.txt").read_text().replace("#### ", "#### 7", 1)
    (tmp_path / "train.txt").write_text(lines)
    with pytest.raises(DataError, match=r"train.txt:2: the question of line 1 has another answer"):
        load_corpus(DataConfig(path=str(tmp_path)))


@pytest.mark.parametrize("method", ["icot_si", "one_model", "explicit_cot", "coconut", "codi"])
def test_methods_that_train_on_chains_refuse_data_without_any(tmp_path, method):
    for split in ("train", "valid", "test"):
        rows = [Example(f"{split} {n}", "", "1") for n in range(4)]
        write_examples(tmp_path / f"{split}.txt", rows)
    own = {"data.path": str(tmp_path), "train.batch_size": 2}
    with pytest.raises(ConfigError, match=f"no example of .* has a chain, and {method} trains on"):
        RunData(RunConfig().override(own | {"method": method}))
    assert RunData(RunConfig().override(own | {"method": "no_cot"})).longest_chain == 0


# --- what a run reads --------------------------------------------------------------------------

SIZES = {"data.valid_examples": 20, "data.test_examples": 20, "train.batch_size": 6}


def test_a_runs_lengths_are_those_of_its_longest_example_even_if_it_is_not_drawn():
    config = RunConfig().override(SIZES | {"data.task": "twopeople-1to5", "data.valid_examples": 1})
    data, task = RunData(config), get_task("twopeople-1to5")
    question, chain, answer = task.widths
    assert (data.longest_chain, data.longest_total) == (chain, question + chain + answer + 4)
    assert data.train is None
    assert int(data.test.chain.max()) < chain or int(data.test.total.max()) < data.longest_total


def test_steps_are_counted_in_the_chains_that_are_there():
    changes = {"removal.step_end": "+", "removal.keep_positions": False, "data.task": "mult-3x3"}
    data = RunData(RunConfig().override(SIZES | changes))
    assert data.longest_chain == 3  # three partial products, with + between them
    assert data.batches(0).step_ends is not None


def test_training_batches_are_a_function_of_config_and_step():
    for changes in ({}, {"data.train_examples": 40}):
        config = RunConfig().override(SIZES | {"data.task": "mult-2x2"} | changes)
        data, again = RunData(config), RunData(config)
        data.batches(0)
        assert torch.equal(data.batches(7).ids, again.batches(7).ids)
        assert not torch.equal(data.batches(7).ids, data.batches(8).ids)
        other = RunData(config.override(seed=1))
        assert not torch.equal(data.batches(7).ids, other.batches(7).ids)
        assert torch.equal(data.test.ids, other.test.ids)


def test_a_step_end_that_no_chain_contains_is_refused():
    changes = {"removal.step_end": "*", "removal.keep_positions": False, "data.task": "mult-2x2"}
    with pytest.raises(ConfigError, match=r"'\*' occurs inside no chain"):
        RunData(RunConfig().override(SIZES | changes))


def test_only_smaller_questions_are_given_up_where_hardly_any_is_left():
    task, left = get_task("mult-2x2"), np.array([[4, 2, 1, 7]])
    rng = np.random.default_rng(0)
    every = np.unique(question_keys(task.sample(rng, 200_000)))
    held_out = every[every != question_keys(left)]
    assert len(held_out) == task.n_questions - 1
    assert np.array_equal(draw_unseen(task, rng, 1, held_out), left)
    with pytest.raises(ConfigError, match=r"data\.growth_steps"):
        draw_unseen(task, np.random.default_rng(0), 1, every, smaller=task.sample)
