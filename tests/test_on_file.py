"""A trained model on a file of questions, and questions that it cannot be asked."""

import hashlib
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from icotlib.cli import main
from icotlib.config import RunConfig
from icotlib.data.corpus import examples_of, load_corpus
from icotlib.data.files import format_line, write_examples
from icotlib.data.formats import Columns
from icotlib.data.readers import read_file
from icotlib.data.run_data import RunData
from icotlib.errors import ConfigError, DataError, RunError
from icotlib.evaluation import on_file
from icotlib.evaluation.grading import same_answer
from icotlib.evaluation.scoring import wilson_interval
from icotlib.evaluation.stage_model import StageModel
from icotlib.reporting.on_file import add_scores, over_seeds_on_file
from icotlib.tasks import Example
from icotlib.training.trainer import train
from tests.helpers import TINY

#: Questions of own data: the last word of each is its answer.
OWN = {
    "train": [Example(f"say {x} now", f"{x} ,", str(x)) for x in range(20)],
    "valid": [Example(f"say {x} {x} now", f"{x} ,", str(x)) for x in range(5)],
    "test": [Example(f"now {x} say", f"{x} ,", str(x)) for x in range(5)],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run on a stream, on a fixed set and on own data, each with and without kept positions."""
    home = tmp_path_factory.mktemp("evaluate")
    for split, examples in OWN.items():
        write_examples(home / "own" / f"{split}.txt", examples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(home / "runs"))
        config = RunConfig().override(TINY | {"data.task": "mult-1x2", "train.steps": 6})
        shifting = {"method": "icot_si", "removal.keep_positions": False}
        yield {
            "stream": train(config),
            "fixed": train(config.override({"data.train_examples": 40} | shifting)),
            "own": train(config.override({"data.path": str(home / "own")} | shifting)),
            "own_kept": train(config.override({"data.path": str(home / "own")})),
        }


def shown_in_training(run) -> list[Example]:
    """The examples that a run was trained on, by its own batches."""
    data = RunData(run.config)
    if data.corpus.train is not None:
        return examples_of(data.corpus.train)
    decode, questions = data.layout.tokenizer.decode, {}
    for batch in map(data.batches, range(run.totals["step"])):
        for row, length in zip(batch.ids, batch.question, strict=True):
            questions[decode(row[: int(length) - 1])] = None
    return [Example(question, "", "0") for question in questions]


def test_a_folder_is_no_file_of_questions(runs, tmp_path):
    with pytest.raises(DataError, match="is a folder: name a file in it"):
        on_file.evaluate_file(StageModel.of(runs["stream"], device="cpu"), tmp_path)


def test_answers_that_are_not_those_of_the_task_are_said(runs, tmp_path):
    """Digits in the usual order stand for another question than is meant."""
    corpus = load_corpus(runs["stream"].config.data)
    right = examples_of(corpus.test, slice(0, 3))
    path = tmp_path / "swapped.txt"
    swapped = Example("3 * 1 2", "1", "0 3 6")  # 3 * 12 = 36, read as 3 * 21 = 63
    path.write_text("\n".join(map(format_line, [*right, right[0], swapped])) + "\n")
    model = StageModel.of(runs["stream"], device="cpu")
    lines = on_file.evaluate_file(model, path).lines()
    assert "  questions that repeat an earlier one, and count again: 1" in lines
    assert lines[-1].strip().startswith("answers of the file that are not those of mult-1x2: 1;")
    assert "'3 * 1 2', is '0 3 6' there and '3 6 0' by the task" in lines[-1]
    path.write_text("\n".join(map(format_line, right)) + "\n")
    assert "not those of" not in "\n".join(on_file.evaluate_file(model, path).lines())


def test_a_file_of_typed_questions_says_how_they_are_written(runs, tmp_path):
    path = tmp_path / "typed.jsonl"
    path.write_text('{"question": "3 * 84", "answer": "252"}\n{"question": 3\n')
    message = "a question of mult-1x2 is written as in '3 . 4 8'. Left out: 1 because .* not JSON"
    with pytest.raises(ConfigError, match=message):
        on_file.evaluate_file(StageModel.of(runs["stream"], device="cpu"), path)


@pytest.mark.parametrize("name", ["stream", "fixed", "own"])
def test_the_questions_that_stood_in_training_are_counted(runs, name, tmp_path, capsys):
    run = runs[name]
    corpus = load_corpus(run.config.data)
    trained = shown_in_training(run)[:6]
    if name == "stream":  # their chains and answers, which kept positions need
        task = corpus.task
        numbers = [[int(s) for s in x.question.replace("*", "").split()] for x in trained]
        trained = task.text(task.render(np.array(numbers)))
    unseen = examples_of(corpus.test, slice(0, 4))
    lines = [format_line(x) for x in trained]
    path = tmp_path / "mixed.txt"
    path.write_text("\n".join([*lines, *map(format_line, unseen), "no question"]) + "\n")
    model = StageModel.of(run, device="cpu")
    result = on_file.evaluate_file(model, path)
    assert result.table.in_training.tolist() == [True] * 6 + [False] * 4
    assert on_file.evaluate_file(model, path, n=3).table.equals(result.table[:3])
    answers = model.answer([*trained, *unseen])
    assert result.table.given.tolist() == [one.answer for one in answers]
    for row in result.table.itertuples():
        assert row.right == same_answer(row.given, row.answer)
    out = tmp_path / "answers.csv"
    command = ["evaluate", run.name, str(path), "--out", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "left out: 1 because" in printed
    low, high = wilson_interval(int(result.table.right.sum()), 10)
    assert f"of 10 answers right (95% interval {low:.1%} to {high:.1%})" in printed
    assert "6 of its questions stood in training: " in printed
    assert "4 did not: " in printed
    assert re.search(r"\d answers were cut by the limit", printed)
    stored = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert stored.question.tolist() == result.table.question.tolist()
    assert stored.answer.tolist() == result.table.answer.tolist()
    assert main(command) == 1
    assert f"{out} exists" in capsys.readouterr().err


def test_data_that_have_changed_since_training_are_said_to_have(tmp_path, runs_folder, capsys):
    for split, examples in OWN.items():
        write_examples(tmp_path / "own" / f"{split}.txt", examples)
    run = train(RunConfig().override(TINY | {"data.path": str(tmp_path / "own")}))
    file = tmp_path / "asked.txt"
    write_examples(file, OWN["test"])
    (tmp_path / "own" / "train.txt").unlink()
    write_examples(tmp_path / "own" / "train.txt", OWN["train"][:-1])
    assert main(["evaluate", run.name, str(file)]) == 0
    printed = capsys.readouterr().out
    assert "how many of them stood in training is unknown: " in printed
    assert "has changed: it holds" in printed
    shutil.rmtree(tmp_path / "own")
    assert main(["evaluate", run.name, str(file)]) == 0
    assert "train.txt: no such file" in capsys.readouterr().out


def test_commas_of_numbers_stay_where_they_stayed_in_training(tmp_path):
    asked = tmp_path / "asked.csv"
    asked.write_text('question,steps,answer\nsay 1,"1,200","1,200"\n')
    kept, plain = [Example("q", "1,200", "2,5")], [Example("q", "1200", "2,5")]
    assert read_file(asked, like=kept).kept == [Example("say 1", "1,200", "1,200")]
    assert read_file(asked, like=plain).kept == [Example("say 1", "1200", "1200")]
    steps = tmp_path / "steps.jsonl"
    steps.write_text('{"question": "q", "steps": ["a", "b"], "answer": "4"}\n')
    assert read_file(steps, columns=Columns(between=" ; ")).kept == [Example("q", "a ; b", "4")]


def test_a_question_in_another_form_counts_as_the_one_that_was_trained_on(runs):
    run = runs["fixed"]
    question = load_corpus(run.config.data).train[0]["question"]
    a, _, *b = question.split()
    typed = f"{a} x {''.join(reversed(b))}"
    seen = on_file.stood_in_training(run.config, [question, typed, "9 * nothing"])
    assert seen.tolist() == [True, True, False]
    clothes = ["SAY  3 now", "say 3\u200b now", "\ufeffsay\u00a03 now ", "say 33 now"]
    assert on_file.stood_in_training(runs["own"].config, clothes).tolist() == [True] * 3 + [False]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
def test_every_answer_is_written(runs, tmp_path, suffix):
    rows = [{"question": x.question, "steps": x.chain, "answer": x.answer} for x in OWN["test"]]
    path = tmp_path / "test.json"
    path.write_text(json.dumps([*rows, {"question": "", "answer": "3"}, {"question": "say"}]))
    result = on_file.evaluate_file(StageModel.of(runs["own"], device="cpu"), path)
    assert sum(result.report.dropped.values()) == 2
    on_file.write_table([result], out := tmp_path / "new" / f"answers{suffix}")
    read = {".jsonl": lambda x: pd.read_json(x, lines=True, dtype=False), ".csv": pd.read_csv,
            ".parquet": pd.read_parquet}  # fmt: skip
    stored = read[suffix](out)
    assert stored.question.tolist() == [row["question"] for row in rows]
    assert stored.written.fillna("").tolist() == list(result.score.written)
    assert stored.right.tolist() == list(result.score.right)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_runs_stand_beside_each_other_each_configuration_over_its_seeds(runs, tmp_path, capsys):
    path, out = tmp_path / "test.txt", tmp_path / "answers.parquet"
    lines = [
        format_line(example)
        for example in examples_of(load_corpus(runs["stream"].config.data).test)
    ]
    path.write_text("\n".join(lines) + "\n")
    seed = train(runs["stream"].config.override({"seed": 1}))
    names = [runs["stream"].name, seed.name, runs["fixed"].name]
    assert main(["evaluate", *names, names[0], str(path), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("answers right") == 3
    assert printed.count(f"{path.name}: {len(lines)} examples") == 1  # they are asked the same
    assert "lowest (%)" in printed  # shares as the accuracy beside them
    answers = pd.read_parquet(out)
    assert answers.groupby("run").size().to_dict() == dict.fromkeys(names, len(lines))
    models = [StageModel.of(run, device="cpu") for run in (runs["stream"], seed, runs["fixed"])]
    results = [on_file.evaluate_file(model, path) for model in models]
    table = over_seeds_on_file(results)
    assert table.seeds.tolist() == [2, 1]
    assert table.runs.tolist() == [" ".join(names[:2]), names[2]]
    shares = answers.groupby("run").right.mean()
    assert table.accuracy.tolist() == [shares[names[:2]].mean(), shares[names[2]]]
    shorter = on_file.evaluate_file(models[1], path, n=3)
    assert over_seeds_on_file([results[0], shorter]).n.tolist() == [3]
    labelled = train(runs["stream"].config.override({"label": "again"}))
    twice = on_file.evaluate_file(StageModel.of(labelled, device="cpu"), path)
    both = over_seeds_on_file([twice, *results])  # one seed under two labels is one seed
    assert (both.seeds.tolist(), both.runs.tolist()) == ([2, 1], table.runs.tolist())


def test_the_answers_of_one_model_at_two_stages_are_all_written(runs, tmp_path):
    path, model = tmp_path / "test.txt", StageModel.of(runs["stream"], device="cpu")
    path.write_text("3 * 2 1||3 6 0 #### 3 6 0\n")
    results = [on_file.evaluate_file(model.at(k), path) for k in (0, model.removed)]
    on_file.write_table(results, out := tmp_path / "answers.csv")
    assert pd.read_csv(out).removed.tolist() == [0, model.removed]
    for write in (on_file.write_table, lambda *paths: add_scores([], path, paths[1])):
        with pytest.raises(ConfigError, match="no result to write"):
            write([], tmp_path / "none.csv")


def test_what_was_answered_is_kept_whatever_becomes_of_the_next_run(runs, tmp_path, monkeypatch):
    path, out = tmp_path / "test.txt", tmp_path / "answers.csv"
    path.write_text("3 * 2 1||3 6 0 #### 3 6 0\n")
    names = [runs["stream"].name, runs["fixed"].name]
    command = ["evaluate", *names, str(path), "--out", str(out)]
    assert main([*command, "--removed", "3"]) == 1  # the second has no such stage
    assert not out.exists()
    ask = on_file.evaluate_file

    def fails(model, *rest):
        if model.name == names[1]:
            raise RunError("its weights are damaged")
        return ask(model, *rest)

    monkeypatch.setattr(on_file, "evaluate_file", fails)
    assert main(command) == 1
    assert len(pd.read_csv(out)) == 1
    for option, place in (("--out", "x.csv"), ("--scores", "x.csv")):
        nowhere = ["evaluate", names[0], str(path), option, f"/proc/nope/{place}"]
        monkeypatch.setattr(on_file, "evaluate_file", None)  # nothing is asked
        assert main(nowhere) == 1


def test_a_run_is_asked_the_same_questions_as_before(runs, tmp_path, capsys):
    path, scores = tmp_path / "test.txt", tmp_path / "scores.csv"
    path.write_text("3 * 2 1||3 6 0 #### 3 6 0\n4 * 2 1||4 8 0 #### 4 8 0\n")
    command = ["evaluate", runs["stream"].name, str(path), "--scores", str(scores)]
    assert main(command) == 0
    before = scores.read_text()
    assert main([*command, "-n", "1"]) == 1
    assert "with 2 questions of this file, and now 1 were asked" in capsys.readouterr().err
    assert scores.read_text() == before


def test_a_table_of_runs_grows_and_says_where_each_comes_from(runs, tmp_path, capsys):
    questions, scores = tmp_path / "test.txt", tmp_path / "new" / "scores.csv"
    corpus = load_corpus(runs["stream"].config.data)
    lines = [format_line(example) for example in examples_of(corpus.test)]
    questions.write_text("\n".join(lines) + "\n")

    def add(*names, removed=()):
        command = ["evaluate", *names, str(questions), "--scores", str(scores), *removed]
        assert main(command) == 0, capsys.readouterr().err
        return pd.read_csv(scores, keep_default_na=False), json.loads(
            scores.with_suffix(".json").read_text()
        )

    first, origin = add(runs["stream"].name)
    model = StageModel.of(runs["stream"], device="cpu")
    asked = on_file.evaluate_file(model, questions)
    assert first.accuracy.tolist() == [asked.table.right.mean()]
    assert first.in_training.tolist() == [0]
    assert origin["file"]["sha256"] == hashlib.sha256(questions.read_bytes()).hexdigest()
    both, origin = add(runs["fixed"].name)
    assert set(both.run) == {runs["stream"].name, runs["fixed"].name}
    assert both[both.run == runs["stream"].name].equals(
        first.set_axis(both.index[both.run == runs["stream"].name])
    )
    assert [row["run"] for row in origin["runs"]] == sorted(both.run)
    assert all(row["commit"] and row["device"] for row in origin["runs"])
    again, _ = add(runs["fixed"].name)
    assert again.equals(both)
    scores.write_text(scores.read_text().replace(f"{runs['fixed'].config.method},,", "x,007,"))
    add(runs["stream"].name)
    assert "007" in list(pd.read_csv(scores, dtype=str).label)
    more, _ = add(runs["stream"].name, removed=("--removed", "0"))
    assert sorted(more[more.run == runs["stream"].name].removed) == [0, model.removed]


def test_a_table_of_runs_is_not_mixed_with_other_files(runs, tmp_path, capsys):
    scores, origin = tmp_path / "scores.csv", tmp_path / "scores.json"
    name = runs["own"].name
    for file, number in (("a.txt", 1), ("b.txt", 2)):
        (tmp_path / file).write_text(f"now {number} say||{number} , #### {number}\n")

    def refused(file, to=scores):
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        assert main(["evaluate", name, str(tmp_path / file), "--scores", str(to)]) == 1
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
        output = capsys.readouterr()
        assert "answers right" not in output.out  # nothing was asked in vain
        return output.err

    assert "ends in .csv" in refused("a.txt", tmp_path / "scores.txt")
    scores.write_text("mine\n1\n")
    assert "without the scores.json" in refused("a.txt")
    scores.unlink()
    origin.write_text("[]")
    assert "is no provenance file" in refused("a.txt")
    origin.unlink()
    assert main(["evaluate", name, str(tmp_path / "a.txt"), "--scores", str(scores)]) == 0
    capsys.readouterr()
    assert "other questions than those of" in refused("b.txt")
    begun = scores.read_text()
    scores.unlink()  # as where its first writing was interrupted
    assert main(["evaluate", name, str(tmp_path / "a.txt"), "--scores", str(scores)]) == 0
    capsys.readouterr()
    assert scores.read_text() == begun
    figure = {"runs": [], "alt": "a figure"}
    (tmp_path / "figure.json").write_text(json.dumps(figure))
    assert "is no table of `icot evaluate --scores`" in refused("a.txt", tmp_path / "figure.csv")
    assert "nowhere.txt cannot be read" in refused("nowhere.txt")
    scores.write_text(scores.read_text().replace(name, "another"))
    assert "does not say where another" in refused("a.txt")
    scores.write_text("mine\n1\n")
    assert "is damaged" in refused("a.txt")


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("own", "now x say||1 , #### 1", "the tokenizer has no token for 'x'"),
        ("own", "now 2 say||1 , #### two", "the tokenizer has no token for 'two'"),
        ("own", f"now{' 1' * 90} say||1 , #### 1", r"it needs more than the model's \d+ positions"),
        ("stream", "a * b|| #### 1", "the tokenizer has no token for 'a'"),
    ],
)
def test_a_question_that_cannot_be_asked_is_left_out(runs, tmp_path, capsys, name, line, reason):
    askable = {"own": "now 1 say||1 , #### 1", "stream": "3 * 2 1||3 6 0 #### 3 6 0"}[name]
    path = tmp_path / "file.txt"
    path.write_text("\n".join([askable, line, askable]) + "\n")
    assert main(["evaluate", runs[name].name, str(path)]) == 0
    printed = capsys.readouterr().out
    assert re.search(rf"left out: 1 because {reason}.*\(first at question 2\): ", printed)
    assert "of 2 answers right" in printed
    path.write_text(line + "\n")
    assert main(["evaluate", runs[name].name, str(path)]) == 1
    error = capsys.readouterr().err
    assert re.search(rf"can be asked no question of this file\. The first, '.*': {reason}", error)
    assert error.count("\n") == 1


def test_columns_of_other_names_are_read_as_they_are_told(runs, tmp_path, capsys):
    path = tmp_path / "file.csv"
    path.write_text('asked,working,out\nnow 1 say,"1 ,",1\n')
    columns = ["--question", "asked", "--steps", "working", "--answer", "out"]
    assert main(["evaluate", runs["own"].name, str(path), *columns]) == 0
    assert "of 1 answers right" in capsys.readouterr().out


def test_a_file_is_read_in_the_format_that_the_command_names(runs, tmp_path):
    path = tmp_path / "file.csv"
    path.write_text('instruction,reasoning,output,answer\nnow 1 say,"1 ,",1,2\n')
    for words, answer in (([], 2), (["--as", "alpaca"], 1)):
        out = tmp_path / f"answers-{answer}.csv"
        command = ["evaluate", runs["own"].name, str(path), "--out", str(out), *words]
        assert main(command) == 0
        assert pd.read_csv(out).answer.tolist() == [answer]


@pytest.mark.parametrize(
    ("name", "question", "message"),
    [
        (
            "own",
            "now \u00e9 say",
            "the question 'now \u00e9 say' cannot be asked: the tokenizer has",
        ),
        ("own", "now 1 1 " * 60, r"the question 'now 1 1.*\.\.\.' needs \d+ positions"),
        ("own_kept", "now 77 say", "the tokenizer has no token for '77'"),
        ("stream", "12 * 34", "type two numbers with"),
        ("stream", "x", "type two numbers with"),
    ],
)
def test_asking_what_it_cannot_read_is_one_sentence(runs, capsys, name, question, message):
    assert main(["ask", runs[name].name, question]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1


def test_a_table_that_cannot_be_written_is_refused_before_anything_is_asked(runs, tmp_path, capsys):
    for out, message in (("x.xlsx", "ends in .csv, .jsonl, .parquet"), ("", "is a folder")):
        command = ["evaluate", runs["own"].name, "nowhere.txt", "--out", str(tmp_path / out)]
        assert main(command) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("n", ["0", "-3"])
def test_a_number_of_questions_below_one_is_refused(runs, tmp_path, capsys, n):
    with pytest.raises(SystemExit):
        main(["evaluate", runs["stream"].name, str(tmp_path / "f.txt"), "-n", n])
    assert "must be at least 1" in capsys.readouterr().err


def test_asking_nothing_is_an_error_in_words(runs):
    model = StageModel.of(runs["stream"])
    for ask in (lambda: model.evaluate([]), lambda: model.answer([])):
        with pytest.raises(ConfigError, match="there is no question to ask"):
            ask()
    for n in (0, -3):
        with pytest.raises(ConfigError, match=f"n={n}: say how many questions"):
            model.evaluate(n=n)
