"""Out of distribution: what is kept back, where longer chains would have stood, what is asked."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from icotlib import experiments
from icotlib.cli import main
from icotlib.config import DataConfig, RunConfig
from icotlib.data.batches import stream
from icotlib.data.corpus import load_corpus
from icotlib.data.inputs import in_layout
from icotlib.data.layout import Layout, symbol_tokenizer
from icotlib.data.run_data import RunData
from icotlib.errors import ConfigError, DataError
from icotlib.evaluation import ood
from icotlib.runs import Run
from icotlib.tasks import get_task
from icotlib.tasks.multiplication import Multiplication
from icotlib.tasks.parity import Parity
from icotlib.training.trainer import train
from tests.conftest import TINY

# --- tasks -------------------------------------------------------------------------------------


def every(task, digits):
    """All questions of a small task."""
    rows = np.stack(np.meshgrid(*digits, indexing="ij"), axis=-1).reshape(-1, len(digits))
    assert len(rows) == task.n_questions
    return rows


def test_pairs_of_lowest_digits_are_reserved():
    task = Multiplication(3, 2)
    a, b = [127, 128, 120, 725, 127, 371], [18, 87, 35, 80, 81, 24]
    assert task.holdout(task.questions(a, b)).tolist() == [True, True, True, True, False, True]


def test_the_start_of_a_string_is_reserved():
    questions = np.array([[1, 0, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 0, 1]])
    assert Parity(4).holdout(questions).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        ("mult-1x1", [range(1, 10), range(1, 10)]),
        ("mult-1x2", [range(1, 10), range(10), range(1, 10)]),
        ("mult-2x1", [range(10), range(1, 10), range(1, 10)]),
        ("mult-2x2", [range(10), range(1, 10), range(10), range(1, 10)]),
        ("parity-2", [range(2)] * 2),
        ("parity-6", [range(2)] * 6),
    ],
)
def test_as_many_questions_are_reserved_as_the_task_says(name, digits):
    task = get_task(name)
    holdout = task.holdout(every(task, digits))
    assert holdout.sum() == task.n_holdout
    assert 0.05 < holdout.mean() < 0.15 or name == "parity-2"


def test_what_a_reserved_pair_combines_stands_in_other_questions():
    task = Multiplication(2, 2)
    rows = every(task, [range(10), range(1, 10), range(10), range(1, 10)])
    pairs = {(a, b) for a, b in rows[task.holdout(rows)][:, [0, 2]].tolist()}
    trained = rows[~task.holdout(rows)]
    assert {(7, 8), (8, 7)} < pairs
    for place in (0, 2):
        assert set(trained[:, place]) == set(range(10))


@pytest.mark.parametrize(
    ("name", "shifted"),
    [
        ("mult-4x2", {"3x2": "mult-3x2", "4x1": "mult-4x1", "5x2": "mult-5x2", "4x3": "mult-4x3"}),
        ("mult-1x20", {"1x19": "mult-1x19", "2x20": "mult-2x20"}),
        ("mult-2x2-any", {"1x1": "mult-1x1-any", "3x3": "mult-3x3-any"}),
        ("parity-3", {"2 bits": "parity-2", "4 bits": "parity-4", "5 bits": "parity-5"}),
    ],
)
def test_shifts_are_the_sizes_around(name, shifted):
    task = get_task(name)
    assert {key: other.name for key, other in task.shifts().items()} == shifted
    assert all(set(other.symbols) <= set(task.symbols) for other in task.shifts().values())


# --- data --------------------------------------------------------------------------------------


def reserved_among(task, dataset):
    questions = [row.replace("*", "").split() for row in dataset["question"]]
    return task.holdout(np.array(questions, dtype=int)).sum()


def test_no_set_and_no_batch_of_a_reserving_run_holds_a_reserved_question():
    sizes = {"task": "mult-2x2", "valid_examples": 200, "test_examples": 300}
    corpus = load_corpus(DataConfig(**sizes, train_examples=2000, holdout=True))
    for dataset in (corpus.train, corpus.valid, corpus.test):
        assert reserved_among(corpus.task, dataset) == 0
    corpus = load_corpus(DataConfig(**sizes, holdout=True))
    batches = stream(corpus, 2000, seed=0)
    for step in range(3):
        question = np.delete(batches(step).question, 2, axis=1)  # without the star
        assert corpus.task.holdout(question).sum() == 0
    open_corpus = load_corpus(DataConfig(**sizes))
    question = np.delete(stream(open_corpus, 2000, seed=0)(0).question, 2, axis=1)
    assert corpus.task.holdout(question).sum() > 100
    assert corpus.digest != open_corpus.digest


def test_too_few_questions_that_are_not_reserved_is_an_error_not_an_endless_search():
    sizes = {"task": "parity-4", "valid_examples": 3, "test_examples": 3}
    load_corpus(DataConfig(**sizes, train_examples=10))
    with pytest.raises(ConfigError, match="has only 14 questions that are not holdout, 16 are"):
        load_corpus(DataConfig(**sizes, train_examples=10, holdout=True))


def test_a_run_can_only_reserve_what_its_task_reserves(monkeypatch):
    with pytest.raises(ConfigError, match="somewhere reserves no questions"):
        DataConfig(path="somewhere", holdout=True)
    monkeypatch.setattr("icotlib.config.get_task", lambda name: SimpleNamespace(n_holdout=0))
    with pytest.raises(ConfigError, match="parity-8 reserves no questions"):
        DataConfig(task="parity-8", holdout=True)


def test_a_teacher_must_reserve_what_its_student_does():
    config = experiments.kd_student("smoke")
    with pytest.raises(ConfigError, match=r"data\.holdout of the teacher differs"):
        config.override({"data.holdout": True})


def test_lengths_are_tested_on_questions_without_a_reserved_pair():
    config = DataConfig(task="mult-2x2", holdout=True)
    sets = ood.shifted_questions(config, n=100)
    assert list(sets) == ["1x2", "2x1", "3x2", "2x3", ood.COMBINATIONS]
    for name, (task, questions) in sets.items():
        assert len({tuple(row) for row in questions}) == 100
        assert task.holdout(questions).all() == (name == ood.COMBINATIONS)
        assert task.holdout(questions).any() == (name == ood.COMBINATIONS)
    every_one = ood.shifted_questions(DataConfig(task="parity-3", holdout=True), n=100)
    assert [len(rows) for _, rows in every_one.values()] == [3, 14, 28, 1]


# --- room --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("removed", "keep", "direct", "needed"),
    # 5x2: question 8, separator, chain 6 + 1 + 7, separator, mark, answer 7; the end is not read.
    [(0, True, False, 32), (14, True, False, 32), (14, False, False, 18), (0, True, True, 17)],
)
def test_positions_that_a_longer_question_needs(removed, keep, direct, needed):
    task = Multiplication(5, 2)
    layout = Layout(symbol_tokenizer(task.symbols))
    batch = layout.encode_symbols(task.render(task.questions([12345], [67])), task)
    removal = {"method": "no_cot", "removal.schedule": "all", "removal.direct": direct}
    batch = in_layout(batch, RunConfig().override(removal).removal)
    assert ood.missing_positions(batch, removed, keep, needed) == ""
    assert ood.missing_positions(batch, removed, keep, None) == ""
    reason = ood.missing_positions(batch, removed, keep, needed - 2)
    assert reason.startswith(f"needs {needed} positions, the model has {needed - 2}")
    assert reason.endswith("model.room larger by 2")


@pytest.mark.parametrize("name", ["mult-4x2", "mult-2x2", "parity-10"])
def test_the_study_has_exactly_the_room_that_its_longest_shift_needs(name):
    study = experiments.shifted("smoke", overrides={"data.task": name})
    config = study["explicit_cot"]
    lengths = [
        RunData(config.override({"data.task": task.name})).longest_total
        for task in get_task(name).shifts().values()
    ]
    assert config.model.room == max(lengths) - RunData(config).longest_total > 0
    assert {one.model.room for one in study.values()} == {config.model.room}
    assert all(one.data.holdout for one in study.values())


def test_a_task_without_shifts_has_no_study():
    assert experiments.shifted("smoke", overrides={"data.path": "somewhere"}) == {}


# --- evaluation --------------------------------------------------------------------------------


class Oracle(nn.Module):
    """Answers parity rightly if the separator stands where a model of that stage was taught.

    With kept positions that is behind the bits and as many places as their chain had.
    """

    def __init__(self, layout, room):
        super().__init__()
        self.layout, self.device = layout, torch.device("cpu")
        vocabulary = len(layout.tokenizer)
        text = SimpleNamespace(max_position_embeddings=room, vocab_size=vocabulary)
        self.config = SimpleNamespace(get_text_config=lambda: text)

    def forward(self, input_ids, position_ids, past_key_values=None, **kwargs):
        if not kwargs["use_cache"]:  # it knows nothing of whole sequences, so all are decoded
            kept = len(input_ids), kwargs["logits_to_keep"], len(self.layout.tokenizer)
            return SimpleNamespace(logits=torch.zeros(kept))
        if past_key_values is None:
            layout, (one,) = self.layout, self.layout.tokenizer.convert_tokens_to_ids(["1"])
            ones = (input_ids == one).sum(dim=1)
            bits = input_ids.shape[1] - 1
            right = (ones % 2 == 1) == (position_ids[:, -1] == 2 * bits)
            zero, one = layout.tokenizer.convert_tokens_to_ids(["0", "1"])
            answer = torch.where(right, one, zero)
            fixed = torch.tensor([[layout.sep, layout.answer_delimiter[0], layout.pad, layout.eos]])
            script = fixed.repeat(len(input_ids), 1)
            script[:, 2] = answer
            past_key_values = iter(script.T)
        token = next(past_key_values)
        logits = nn.functional.one_hot(token, len(self.layout.tokenizer)).float()[:, None]
        return SimpleNamespace(logits=logits, past_key_values=past_key_values)


PARITY = {**TINY, "data.task": "parity-6", "data.valid_examples": 4, "data.test_examples": 4}
PARITY |= {"train.steps": 2, "method": "no_cot", "removal.schedule": "all"}


def finished(**changes):
    config = RunConfig().override({**PARITY, **changes})
    train(config)
    return Run.of(config)


def test_a_longer_chain_would_have_taken_more_positions(runs_folder, monkeypatch):
    run = finished(**{"data.holdout": True})
    layout = Layout(symbol_tokenizer(get_task("parity-6").symbols))
    monkeypatch.setattr(ood, "load_stage", lambda *_: (Oracle(layout, 20), layout))
    table = ood.shift_table([run], n=20).set_index("shift")
    lengths = ["4 bits", "5 bits", "7 bits", "8 bits"]
    assert list(table.index) == [ood.WITHIN, *lengths, ood.COMBINATIONS]
    # 8 bits: the separator at 16, then its copy, the mark and the answer: positions 0 to 19.
    assert table.accuracy[1:].tolist() == [1.0] * 5
    assert table.n.tolist() == [4, 14, 20, 20, 20, 8]
    monkeypatch.setattr(ood, "load_stage", lambda *_: (Oracle(layout, 19), layout))
    table = ood.shift_table([run], n=20).set_index("shift")
    assert table.accuracy.isna().tolist() == [False] * 4 + [True, False]
    assert table.reason["8 bits"].startswith("needs 20 positions, the model has 19")


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "explicit_cot", "removal.schedule": "none"},
        {"method": "icot_si", "removal.schedule": "random"},
        {"method": "icot_si", "removal.schedule": "geometric", "removal.steps_per_chunk": 2,
         "removal.warmup_steps": 0, "train.steps": 8},
        {"method": "icot_si", "removal.schedule": "linear", "removal.pace": 4.0,
         "removal.steps_per_epoch": 2, "removal.side": "right", "removal.keep_positions": False},
        {"method": "no_cot", "removal.schedule": "all", "removal.direct": True},
    ],
    ids=["explicit", "random", "staged", "unfinished", "direct"],
)  # fmt: skip
def test_every_method_is_asked_everything_it_has_room_for(runs_folder, changes):
    run = finished(**changes, **{"model.room": 6})
    table = ood.shift_table([run], n=10).set_index("shift")
    assert list(table.columns) == [name for name in ood.COLUMNS if name != "shift"]
    tested = table[table.index != ood.COMBINATIONS]
    assert tested.accuracy.between(0, 1).all()
    assert (tested.ci_low <= tested.accuracy).all()
    assert (tested.n[1:] == 10).all()
    assert table.reason[ood.COMBINATIONS] == ("training held them: it needs data.holdout=True")
    last = run.stages.iloc[-1]
    assert table.accuracy[ood.WITHIN] == last.accuracy


def test_a_coupled_system_is_asked_and_its_parts_are_left_out(runs_folder):
    quick = {"train.steps": 2, "teacher.train.steps": 9, "data.task": "mult-1x1"}
    quick |= {"data.valid_examples": 8, "data.test_examples": 8, "data.holdout": True}
    config = experiments.icot_kd("smoke", overrides=quick)
    for one in [config.teacher, config.student, config.emulator, config]:
        train(one)
    runs = [Run.of(one) for one in (config.student, config.emulator, config)]
    table = ood.shift_table(runs, n=10)
    assert set(table.method) == {"icot_kd"}
    assert list(table["shift"]) == [ood.WITHIN, "2x1", "1x2", ood.COMBINATIONS]
    assert table.accuracy.notna().all()
    assert table.n.tolist() == [8, 10, 10, 8]
    known = ood.training_keys(config)  # the teacher's questions count: it was trained for longer
    assert np.isin(ood.training_keys(config.teacher), known).all()


def test_a_question_that_stood_in_training_is_refused(runs_folder, monkeypatch):
    run = finished(**{"train.steps": 40})
    monkeypatch.setattr(Parity, "shifts", lambda self: {"the same": self})
    with pytest.raises(DataError, match="some of its questions stood in training"):
        ood.shift_table([run], n=40)


@pytest.mark.parametrize("fixed", [None, 20])
def test_training_keys_are_those_of_every_question_trained_on(runs_folder, fixed):
    run = finished(**{"data.train_examples": fixed, "train.steps": 5})
    run_data = RunData(run.config)
    shown = torch.cat([run_data.batches(step).ids[:, :6] for step in range(5)])
    known = ood.training_keys(run.config)
    assert len(known) == len({tuple(row) for row in shown.tolist()})
    assert not np.isin(ood.encoded_keys(run_data.test), known).any()


def test_the_command_trains_every_method_and_says_how_it_does(runs_folder, capsys):
    quick = ["train.steps=2", "data.task=mult-1x1", "data.valid_examples=8", "data.test_examples=8"]
    command = ["shifts", "--preset", "smoke", "--questions", "10", "--jobs", "1"]
    assert main([*command, *(word for change in quick for word in ("--set", change))]) == 0
    printed = capsys.readouterr().out
    for method in ("explicit_cot", "icot_si", "icot_kd", "no_cot"):
        assert (
            len(re.findall(rf"^ *{method} +0 +(?:2x1|1x2|unseen combinations)", printed, re.M)) == 3
        )
    assert main([*command, "--set", "data.path=somewhere"]) == 1
