"""Out of distribution: what is held out, how many positions a longer chain takes, what is asked."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from icotlib import experiments
from icotlib.cli import main
from icotlib.config import DataConfig, RunConfig, from_dict, to_dict
from icotlib.data import hold_out
from icotlib.data.batches import stream
from icotlib.data.corpus import load_corpus
from icotlib.data.layout import Layout
from icotlib.data.run_data import RunData
from icotlib.data.symbols import symbol_tokenizer
from icotlib.errors import ConfigError, DataError, RunError
from icotlib.evaluation import ood
from icotlib.evaluation.generation import generate
from icotlib.evaluation.stage_model import StageModel
from icotlib.models.loading import load_stage
from icotlib.reporting.speed import measure_speed, record_speed
from icotlib.runs import Run
from icotlib.tasks import get_task
from icotlib.tasks.multiplication import Multiplication
from icotlib.tasks.parity import Parity
from icotlib.training.trainer import train
from tests.helpers import TINY_SIZES

# --- tasks -------------------------------------------------------------------------------------


def every(task, digits):
    """All questions of a small task."""
    rows = np.stack(np.meshgrid(*digits, indexing="ij"), axis=-1).reshape(-1, len(digits))
    assert len(rows) == task.n_questions
    return rows


def test_pairs_of_lowest_digits_are_held_out():
    task = Multiplication(3, 2)
    a, b = [127, 128, 120, 725, 127, 371], [18, 87, 35, 80, 81, 24]
    assert task.holdout(task.questions(a, b)).tolist() == [True, True, True, True, False, True]


def test_the_start_of_a_string_is_held_out():
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
def test_as_many_questions_are_held_out_as_the_task_says(name, digits):
    task = get_task(name)
    holdout = task.holdout(every(task, digits))
    assert holdout.sum() == task.n_holdout
    assert 0.05 < holdout.mean() < 0.15 or name == "parity-2"


def test_the_digits_of_a_held_out_pair_occur_in_other_questions():
    task = Multiplication(2, 2)
    rows = every(task, [range(10), range(1, 10), range(10), range(1, 10)])
    pairs = {(a, b) for a, b in rows[task.holdout(rows)][:, [0, 2]].tolist()}
    trained = rows[~task.holdout(rows)]
    assert {(7, 8), (8, 7)} < pairs
    for entry in (0, 2):
        assert set(trained[:, entry]) == set(range(10))


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


def held_out_among(task, dataset):
    questions = [row.replace("*", "").split() for row in dataset["question"]]
    return task.holdout(np.array(questions, dtype=int)).sum()


def test_no_set_and_no_batch_of_a_run_with_holdout_has_a_held_out_question():
    sizes = {"task": "mult-2x2", "valid_examples": 200, "test_examples": 300}
    corpus = load_corpus(DataConfig(**sizes, train_examples=2000, holdout=True))
    for dataset in (corpus.train, corpus.valid, corpus.test):
        assert held_out_among(corpus.task, dataset) == 0
    corpus = load_corpus(DataConfig(**sizes, holdout=True))
    batches = stream(corpus, 2000, seed=0)
    for step in range(3):
        question = np.delete(batches(step).question, 2, axis=1)  # without the star
        assert corpus.task.holdout(question).sum() == 0
    open_corpus = load_corpus(DataConfig(**sizes))
    question = np.delete(stream(open_corpus, 2000, seed=0)(0).question, 2, axis=1)
    assert corpus.task.holdout(question).sum() > 100
    assert corpus.digest != open_corpus.digest


def test_too_few_questions_that_are_not_holdout_is_an_error_not_an_endless_search():
    sizes = {"task": "parity-4", "valid_examples": 3, "test_examples": 3}
    load_corpus(DataConfig(**sizes, train_examples=10))
    with pytest.raises(
        ConfigError, match="has only 14 questions that are not holdout, 16 are need"
    ):
        load_corpus(DataConfig(**sizes, train_examples=10, holdout=True))


def test_a_run_can_only_hold_out_what_its_task_does(monkeypatch):
    with pytest.raises(ConfigError, match=r"data\.holdout: somewhere holds out no combinations"):
        DataConfig(path="somewhere", holdout=True)
    monkeypatch.setattr("icotlib.sections.get_task", lambda name: SimpleNamespace(n_holdout=0))
    with pytest.raises(ConfigError, match=r"data\.holdout: parity-8 holds out no combinations"):
        DataConfig(task="parity-8", holdout=True)


def test_a_teacher_must_hold_out_what_its_student_does():
    config = experiments.kd_student("smoke")
    with pytest.raises(ConfigError, match=r"data\.holdout must be equal .* teacher has False, thi"):
        config.override({"data.holdout": True})


def test_lengths_are_tested_on_questions_without_a_held_out_pair():
    config = DataConfig(task="mult-2x2", holdout=True)
    sets = ood.shifted_questions(config, n=100)
    assert list(sets) == ["1x2", "2x1", "3x2", "2x3", ood.COMBINATIONS]
    for name, (task, questions) in sets.items():
        assert len({tuple(row) for row in questions}) == 100
        assert task.holdout(questions).all() == (name == ood.COMBINATIONS)
        assert task.holdout(questions).any() == (name == ood.COMBINATIONS)
    few = ood.shifted_questions(DataConfig(task="parity-3", holdout=True), n=100)
    assert [len(rows) for _, rows in few.values()] == [3, 14, 28, 1]


# --- positions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("removed", "shift", "layout", "needed"),
    # 5x2: question 8, separator, chain 6 + 1 + 7, separator, ####, answer 7; the end is not read.
    [
        (0, 0, "chain", 32),
        (14, 12, "chain", 30),  # all of a chain that is longer by 2 than those of training
        (14, 0, "chain", 18),
        (0, 0, "no_chain", 17),
    ],
)
def test_positions_that_a_longer_question_needs(removed, shift, layout, needed):
    task = Multiplication(5, 2)
    encode = Layout(symbol_tokenizer(task.symbols)).encode_symbols
    config = RunConfig().override({"method": "no_cot", "removal.layout": layout})
    batch = config.input_format.arrange(encode(task.render(task.questions([12345], [67])), task))
    removed = torch.tensor([removed])
    assert ood.missing_positions(batch, removed, shift, needed) == ""
    assert ood.missing_positions(batch, removed, shift, None) == ""
    reason = ood.missing_positions(batch, removed, shift, needed - 2)
    assert reason.startswith(f"needs {needed} positions, the model has {needed - 2}")
    assert reason.endswith("train it with model.extra_positions larger by 2")


@pytest.mark.parametrize("name", ["mult-4x2", "mult-2x2", "parity-10"])
def test_the_study_has_exactly_the_positions_that_its_longest_shift_needs(name):
    study = experiments.shifted("smoke", overrides={"data.task": name})
    config = study["explicit_cot"]
    lengths = [
        RunData(config.override({"data.task": task.name})).longest_total
        for task in get_task(name).shifts().values()
    ]
    extra = config.model.extra_positions
    assert extra == max(lengths) - RunData(config).longest_total > 0
    assert {one.model.extra_positions for one in study.values()} == {extra}
    assert all(one.data.holdout for one in study.values())


def test_a_task_without_shifts_has_no_study():
    assert experiments.shifted("smoke", overrides={"data.path": "somewhere"}) == {}


# --- evaluation --------------------------------------------------------------------------------


class Oracle(nn.Module):
    """Answers parity rightly if the separator is shifted as in training: by the 6 tokens of its
    chains. A shift by the longer chain of a longer question would tell that chain's length.
    """

    def __init__(self, layout, available):
        super().__init__()
        self.layout, self.device = layout, torch.device("cpu")
        self.unused = nn.Parameter(torch.zeros(()))  # every model has some
        vocabulary = len(layout.tokenizer)
        text = SimpleNamespace(max_position_embeddings=available, vocab_size=vocabulary)
        self.config = SimpleNamespace(get_text_config=lambda: text)

    def forward(self, input_ids, position_ids, past_key_values=None, **kwargs):
        if not kwargs["use_cache"]:  # it knows nothing of whole sequences, so all are decoded
            kept = len(input_ids), kwargs["logits_to_keep"], len(self.layout.tokenizer)
            return SimpleNamespace(logits=torch.zeros(kept))
        if past_key_values is None:
            layout, (one,) = self.layout, self.layout.tokenizer.convert_tokens_to_ids(["1"])
            ones = (input_ids == one).sum(dim=1)
            bits = input_ids.shape[1] - 1
            right = (ones % 2 == 1) == (position_ids[:, -1] == bits + 6)
            zero, one = layout.tokenizer.convert_tokens_to_ids(["0", "1"])
            answer = torch.where(right, one, zero)
            fixed = torch.tensor([[layout.sep, layout.answer_delimiter[0], layout.pad, layout.eos]])
            script = fixed.repeat(len(input_ids), 1)
            script[:, 2] = answer
            past_key_values = iter(script.T)
        token = next(past_key_values)
        logits = nn.functional.one_hot(token, len(self.layout.tokenizer)).float()[:, None]
        return SimpleNamespace(logits=logits, past_key_values=past_key_values)


PARITY = TINY_SIZES | {"data.task": "parity-6", "data.valid_examples": 4, "data.test_examples": 4}
PARITY |= {"train.steps": 2, "method": "no_cot"}


def finished(**changes):
    return train(RunConfig().override(PARITY | changes))


def ask_oracle(monkeypatch, available):
    """Every run answers by an oracle with so many positions."""
    layout = Layout(symbol_tokenizer(get_task("parity-6").symbols))
    of = StageModel.of

    def with_oracle(run, removed=None, **kwargs):
        return replace(of(run, removed, **kwargs), model=Oracle(layout, available), layout=layout)

    monkeypatch.setattr(StageModel, "of", with_oracle)


def test_a_run_without_a_test_is_named(runs_folder):
    run = finished()
    (run.folder / "stages.csv").unlink()
    for measure in (lambda: ood.shift_table([run]), lambda: record_speed([run], run)):
        with pytest.raises(RunError, match=rf"{run.name}.*(no test scores|missing)"):
            measure()
    with pytest.raises(ConfigError, match="no model to time"):
        measure_speed({})


def test_longer_questions_are_asked_with_the_shift_of_training(runs_folder, monkeypatch):
    run = finished(**{"data.holdout": True})
    with monkeypatch.context() as patch:
        ask_oracle(patch, available=18)
        table = ood.shift_table([run], n=20).set_index("shift")
    lengths = ["4 bits", "5 bits", "7 bits", "8 bits"]
    assert list(table.index) == [ood.WITHIN, *lengths, ood.COMBINATIONS]
    # 8 bits: the separator at 14, then the second one, #### and the answer: positions 0 to 17.
    assert table.accuracy[1:].tolist() == [1.0] * 5
    assert table.n.tolist() == [4, 14, 20, 20, 20, 8]
    ask_oracle(monkeypatch, available=17)
    table = ood.shift_table([run], n=20).set_index("shift")
    assert table.accuracy.isna().tolist() == [False] * 4 + [True, False]
    assert table.reason["8 bits"].startswith("needs 18 positions, the model has 17")


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "explicit_cot"},
        {"method": "one_model", "removal.warmup_steps": 2},
        {"method": "icot_si", "removal.schedule": "geometric", "removal.steps_per_chunk": 10,
         "removal.warmup_steps": 0},
        {"method": "icot_si", "removal.schedule": "linear", "removal.pace": 4.0,
         "removal.steps_per_epoch": 40, "removal.warmup_steps": 2, "removal.side": "right",
         "removal.keep_positions": False},
        {"method": "no_cot", "removal.layout": "no_chain"},
    ],
    ids=["explicit", "one model", "staged", "never finished", "no chain"],
)  # fmt: skip
def test_every_method_is_asked_everything_it_has_positions_for(runs_folder, changes):
    enough = {"train.steps": 40, "train.batch_size": 32}  # to write answers, some of them right
    run = finished(**changes, **enough, **{"model.extra_positions": 6})
    table = ood.shift_table([run], n=10).set_index("shift")
    assert list(table.columns) == [name for name in ood.COLUMNS if name != "shift"]
    last = run.stages.iloc[-1]
    expected = {ood.WITHIN: (last.accuracy, last.n_test)}
    for name, (task, questions) in ood.shifted_questions(run.config.data, n=10).items():
        expected[name] = accuracy_by_hand(run, task, questions), 10
    tested = table[table.index != ood.COMBINATIONS]
    assert {name: (row.accuracy, row.n) for name, row in tested.iterrows()} == expected
    assert len(expected) == 5
    assert (tested.ci_low <= tested.accuracy).all()
    assert (tested.accuracy <= tested.ci_high).all()
    assert (tested.reason == "").all()
    assert table.reason[ood.COMBINATIONS] == "training held them: it needs data.holdout=true"
    assert np.isnan(table.accuracy[ood.COMBINATIONS])


def accuracy_by_hand(run, task, questions):
    """Accuracy at the run's last stage, one question at a time."""
    model, layout = load_stage(run, int(run.stages.removed.max()))
    form, everything = run.config.input_format, run.stages.removed.max() >= 6
    right = []
    for example in task.text(task.render(questions)):
        encoded = form.arrange(layout.encode([example]))
        removed = int(run.stages.removed.max())
        left = 0 if everything else int(encoded.chain) - removed
        shift = removed if form.keep_positions and form.chain else 0
        written = generate(model, layout, encoded, shift, form.keep_positions)
        is_answer = layout.answer(layout.texts(written)[0]) == example.answer
        allowed = removed == 0 and form.chain
        right.append(is_answer and (allowed or int(layout.measured(written).chain[0]) <= left))
    return np.mean(right)


def test_a_coupled_model_is_asked_and_its_phases_are_left_out(runs_folder):
    quick = {"train.steps": 2, "teacher.train.steps": 9, "data.task": "mult-1x1"}
    quick |= {"data.valid_examples": 8, "data.test_examples": 8, "data.holdout": True}
    config = experiments.icot_kd("smoke", overrides=quick)
    train(config)
    phases = config.phases
    runs = [Run.of(one) for one in (phases["student"], phases["emulator"], config)]
    table = ood.shift_table(runs, n=10)
    assert set(table.method) == {"icot_kd"}
    assert list(table["shift"]) == [ood.WITHIN, "2x1", "1x2", ood.COMBINATIONS]
    assert table.accuracy.notna().all()
    assert table.n.tolist() == [8, 10, 10, 8]
    layout = RunData(config).layout
    known = ood.training_keys(config, layout)  # the teacher's too: it was trained for longer
    assert np.isin(ood.training_keys(phases["teacher"], layout), known).all()


def test_a_question_that_was_trained_on_is_refused(runs_folder, monkeypatch):
    run = finished(**{"train.steps": 40})
    monkeypatch.setattr(Parity, "shifts", lambda self: {"the same": self})
    with pytest.raises(DataError, match="some of its questions were trained on"):
        ood.shift_table([run], n=40)


@pytest.mark.parametrize("fixed", [None, 20])
def test_training_keys_are_those_of_every_question_trained_on(runs_folder, fixed):
    run = finished(**{"data.train_examples": fixed, "train.steps": 5})
    run_data = RunData(run.config)
    shown = torch.cat([run_data.batches(step).ids[:, :6] for step in range(5)])
    known = ood.training_keys(run.config, run_data.layout)
    assert len(known) == len({tuple(row) for row in shown.tolist()})
    assert not np.isin(ood.encoded_keys(run_data.test), known).any()


@pytest.mark.usefixtures("shared_worker")
def test_the_command_trains_every_method_and_prints_its_accuracy(runs_folder, capsys):
    quick = ["train.steps=2", "data.task=mult-1x1", "data.valid_examples=8", "data.test_examples=8"]
    command = ["shifts", "--preset", "smoke", "--questions", "10", "--jobs", "1"]
    assert main([*command, *(word for change in quick for word in ("--set", change))]) == 0
    printed = capsys.readouterr().out
    for method in ("explicit_cot", "icot_si", "one_model", "icot_kd", "no_cot"):
        assert (
            len(re.findall(rf"^ *{method} +0 +(?:2x1|1x2|unseen combinations)", printed, re.M)) == 3
        )
    assert main([*command, "--set", "data.path=somewhere"]) == 1


# --- the questions of a file -------------------------------------------------------------------


SIZES_OF_HOLD_OUT = {"task": "mult-1x2", "valid_examples": 40, "test_examples": 40}


def questions_of(dataset):
    return set(dataset["question"])


@pytest.fixture
def held_file(tmp_path):
    """The questions that a run without hold-out would train on first, in a file."""
    corpus = load_corpus(DataConfig(**SIZES_OF_HOLD_OUT, train_examples=60))
    lines = [f"{row['question']}||{row['chain']} #### {row['answer']}" for row in corpus.train]
    file = tmp_path / "benchmark.txt"
    file.write_text("\n".join(lines[:30]) + "\n")
    return file


def test_a_row_that_cannot_be_kept_out_is_an_error(held_file):
    held_file.write_text(held_file.read_text() + "1 2 * 3 4\n")
    with pytest.raises(DataError, match=r"1 row .* could not be kept out .*benchmark\.txt:31"):
        load_corpus(DataConfig(**SIZES_OF_HOLD_OUT, hold_out=str(held_file)))


def test_no_set_and_no_batch_has_a_question_of_the_file(held_file):
    held = {line.partition("||")[0] for line in held_file.read_text().splitlines()}
    before = load_corpus(DataConfig(**SIZES_OF_HOLD_OUT))
    corpus = load_corpus(DataConfig(**SIZES_OF_HOLD_OUT, hold_out=str(held_file)))
    fixed = load_corpus(
        DataConfig(**SIZES_OF_HOLD_OUT, train_examples=300, hold_out=str(held_file))
    )
    for dataset in (corpus.valid, corpus.test, fixed.valid, fixed.test, fixed.train):
        assert not questions_of(dataset) & held
    splits = [questions_of(x) for x in (fixed.train, fixed.valid, fixed.test)]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 380
    batch, open_batch = stream(corpus, 500, 0), stream(before, 500, 0)
    assert not {x.question for x in corpus.task.text(batch(3))} & held
    assert {x.question for x in before.task.text(open_batch(3))} & held
    assert 0 < fixed.file_questions.met <= 30  # once each
    assert len({before.digest, corpus.digest}) == 2
    assert str(fixed.file_questions) == "hold-out: 30 questions of benchmark.txt"


def test_what_training_would_have_been_shown_is_counted_and_nothing_else(held_file):
    """Not the draws of the other sets, nor rows that are drawn beyond the batch."""
    held = {line.partition("||")[0] for line in held_file.read_text().splitlines()}
    before = load_corpus(DataConfig(**SIZES_OF_HOLD_OUT))
    corpus = load_corpus(DataConfig(**SIZES_OF_HOLD_OUT, hold_out=str(held_file)))
    assert corpus.file_questions.met == 0
    batch, open_batch = stream(corpus, 20, 0), stream(before, 20, 0)
    shown = [x.question for step in range(40) for x in before.task.text(open_batch(step))]
    for step in range(40):
        batch(step)
    assert corpus.file_questions.met == sum(question in held for question in shown) > 10


@pytest.mark.parametrize(
    ("task", "written", "same"),
    [
        ("mult-2x1", "2 1 * 3", True),
        ("mult-2x1", "12 * 3", True),
        ("mult-2x1", "  12x3 ", True),
        ("mult-2x1", "\ufeff2  1\u00a0* 3", True),
        ("mult-2x1", "21 * 3", False),
        ("parity-4", "1011", True),
        ("parity-4", "1 0 1\u200b 1", True),
        ("parity-4", "1 1 0 1", False),
        ("twopaths-8x2", None, True),
        ("twopeople-2", None, True),
    ],
)
def test_a_question_is_known_in_every_form(tmp_path, task, written, same):
    task = get_task(task)
    question = {"mult-2x1": "12 * 3", "parity-4": "1011"}.get(task.name, task.example_question)
    key = hold_out.rendered_keys(task, task.parse_question(question))
    forms = [written]
    if written is None:
        rendered = task.text(task.render(task.parse_question(question)))[0].question
        forms = [question, rendered, rendered.upper(), f"  {rendered.replace(' ', '  ')}"]
    for form in forms:
        keys, known = hold_out.keys_of_texts(task, [form, "no question at all"])
        assert known.tolist() == [True, False]
        assert (keys[0] == key[0]) == same


def test_a_run_is_known_by_the_content_of_the_file(held_file, tmp_path):
    def name(file):
        return RunConfig().override({"data.task": "mult-1x2", "data.hold_out": str(file)}).run_name

    assert RunConfig().digest == "4a1779511a57faf6"  # runs without a file keep their name
    moved = tmp_path / "elsewhere.txt"
    moved.write_bytes(held_file.read_bytes())
    first = name(held_file)
    assert name(moved) == first != RunConfig().override({"data.task": "mult-1x2"}).run_name
    config = RunConfig().override({"data.task": "mult-1x2", "data.hold_out": str(held_file)})
    held_file.write_text("1 * 1 1|| #### 1 1\n")
    assert name(held_file) != first
    again = from_dict(to_dict(config))
    assert again.run_name == first  # as it is stored
    with pytest.raises(DataError, match=r"benchmark.txt has changed since this run was conf"):
        load_corpus(again.data)
    held_file.unlink()
    assert from_dict(to_dict(config)).run_name == first
    with pytest.raises(DataError, match=r"benchmark.txt is missing"):
        load_corpus(again.data)


def test_what_cannot_be_held_out_is_one_sentence(held_file, tmp_path):
    with pytest.raises(ConfigError, match=r"data.hold_out: .*nowhere.txt is no file to read"):
        DataConfig(task="mult-1x2", hold_out=str(tmp_path / "nowhere.txt"))
    with pytest.raises(ConfigError, match="give the file to `icot prepare --test` instead"):
        DataConfig(path="somewhere", hold_out=str(held_file))
    with pytest.raises(DataError, match=r"holds no question of parity-6, such as '.*'; its first"):
        load_corpus(DataConfig(task="parity-6", valid_examples=4, test_examples=4,
                               hold_out=str(held_file)))  # fmt: skip
    with pytest.raises(ConfigError, match=r"only 780 questions that are not in data\.hold_out"):
        load_corpus(
            DataConfig(
                task="mult-1x2", valid_examples=400, test_examples=1, hold_out=str(held_file)
            )
        )
    config = experiments.kd_student("smoke", overrides={"data.task": "mult-1x2"})
    with pytest.raises(ConfigError, match=r"data.hold_out must be equal in a run and in those"):
        config.override({"data.hold_out": str(held_file)})


def test_the_command_line_counts_what_it_kept_out(held_file, tmp_path, capsys):
    command = ["data", "mult-1x2", "--train", "300", "--valid", "20", "--test", "20"]
    assert main([*command, "--out", str(tmp_path / "a"), "--hold-out", str(held_file)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"hold-out: 30 questions of benchmark.txt, met \d+ times and left", printed)
    held = {line.partition("||")[0] for line in held_file.read_text().splitlines()}
    written = (tmp_path / "a" / "train.txt").read_text().splitlines()
    assert not held & {line.partition("||")[0] for line in written}
