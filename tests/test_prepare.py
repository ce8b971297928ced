"""Data sets of others: read completely, and counted with the reason where a row cannot be read."""

import contextlib
import csv
import json
import random

import pytest
from datasets import Dataset

from icotlib.cli import main
from icotlib.config import DataConfig
from icotlib.data import readers
from icotlib.data.corpus import load_corpus
from icotlib.data.files import format_line, read_examples
from icotlib.data.forms import Columns
from icotlib.data.prepare import prepare, prepare_cached, write
from icotlib.data.readers import Report, read_rows
from icotlib.errors import ConfigError, DataError
from icotlib.evaluation.grading import same_answer
from icotlib.tasks import Example
from tests.helpers import to_example

OPENAI = {
    "question": "Ann has  $1,200 and spends half.\nHow much is left?",
    "answer": "She spends 1,200/2 = $<<1,200/2=600>>600.\nLeft: <<1200-600=600>>600\n#### 1,600",
}


def test_an_answer_in_gsm8ks_form_is_split():
    assert to_example(OPENAI) == Example(
        "Ann has $1,200 and spends half. How much is left?",
        "<<1200/2=600>> <<1200-600=600>>",
        "1600",
    )


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"question": "q", "steps": ["<<1+1=2>>", "<<2*2=4>>"], "answer": 4}, Columns()),
        ({"question": "q", "cot": "<<1+1=2>> <<2*2=4>>", "answer": "4"}, Columns()),
        ({"Frage": "q", "Weg": "<<1+1=2>>\n<<2*2=4>>", "Wert": 4}, Columns("Frage", "Weg", "Wert")),
    ],
)
def test_columns_are_found_or_named(row, columns):
    assert to_example(row, columns) == Example("q", "<<1+1=2>> <<2*2=4>>", "4")


def test_steps_of_a_list_are_kept_apart(tmp_path):
    row = {"question": "q", "steps": ["add one", "double it"], "answer": 4}
    assert to_example(row, Columns(between=" ; ")).chain == "add one ; double it"
    (tmp_path / "own.jsonl").write_text(
        "\n".join(json.dumps(row | {"question": f"q{i}"}) for i in range(9))
    )
    command = ["prepare", str(tmp_path / "own.jsonl"), "--between", " ; ", "--out"]
    assert main([*command, str(tmp_path / "out")]) == 0
    assert "add one ; double it ####" in (tmp_path / "out" / "train.txt").read_text()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "q"}, "no column looks like the answer"),
        ({"question": " ", "answer": "4"}, "the question is empty"),
        ({"question": "q", "answer": None}, "the answer is empty"),
        ({"question": "a||b", "answer": "4"}, "contains '\|\|' or '####'"),
        ({"question": "a\0b", "answer": "4"}, "NUL"),
        ({"question": {"words": "q"}, "answer": "4"}, "a cell holds dict"),
    ],
)
def test_a_row_that_is_no_example_says_why(row, reason):
    with pytest.raises(ValueError, match=reason):
        to_example(row)


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"no column 'anser' but question, answer.*'answer'"):
        to_example({"question": "q", "answer": "4"}, Columns(answer="anser"))


# --- forms recognised by their fields ----------------------------------------------------------

CHOICES = [{"label": "A", "text": "a bank"}, {"label": "B", "text": "a  river"}]
FLAT = {"label": ["A", "B"], "text": ["a bank", "a river"]}
WHERE = Example("Where do fish live? (A) a bank (B) a river", "Fish need water.", "B")
STRATEGY = {
    "qid": "1",
    "question": "Could a goat drive?",
    "answer": False,
    "facts": ["Goats have hooves.", "Driving takes hands."],
    "decomposition": ["What does driving take?", "Do goats have #1?"],
}
PRONTO = {
    "question": "Every cat is shy. Max is a cat.",
    "query": "True or false: Max is not shy.",
    "chain_of_thought": ["Max is a cat.", "Every cat is shy.", "Max is shy."],
    "answer": "False",
}


@pytest.mark.parametrize(
    ("row", "columns", "example"),
    [
        (
            {
                "answerKey": "B",
                "question": {"stem": "Where do fish live?", "choices": CHOICES},
                "rationale": "Fish need water.",
            },
            Columns(),
            WHERE,
        ),
        (
            {
                "question": "Where do fish live?",
                "choices": FLAT,
                "answerKey": "B",
                "positive explanation": "Fish need water.",
            },
            Columns(),
            WHERE,
        ),
        (
            {"q": "Where do fish live?", "choices": CHOICES, "key": "B", "why": "Fish need water."},
            Columns("q", "why", "key"),
            WHERE,
        ),
        (
            STRATEGY,
            Columns(),
            Example("Could a goat drive?", "Goats have hooves. Driving takes hands.", "no"),
        ),
        (
            STRATEGY | {"facts": [], "answer": "True"},  # a table has text for true and false
            Columns(),
            Example("Could a goat drive?", "What does driving take? Do goats have #1?", "yes"),
        ),
        (
            STRATEGY,
            Columns(steps="decomposition"),
            Example("Could a goat drive?", "What does driving take? Do goats have #1?", "no"),
        ),
        (
            {"question": "1 + 1?", "steps": "1 + 1 = 2", "answer": "2", "facts": "none"},
            Columns(),
            Example("1 + 1?", "1 + 1 = 2", "2"),
        ),
        (
            PRONTO,
            Columns(),
            Example(
                "Every cat is shy. Max is a cat. True or false: Max is not shy.",
                "Max is a cat. Every cat is shy. Max is shy.",
                "False",
            ),
        ),
    ],
)
def test_a_data_set_with_a_form_of_its_own_is_recognised_by_its_fields(row, columns, example):
    assert to_example(row, columns) == example
    if columns == Columns():
        assert to_example({"test_example": row}) == example


CHOICE = {"question": "where?", "choices": CHOICES, "answerKey": "A", "rationale": "so"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (CHOICE | {"answerKey": "C"}, "the answer is not a label of the choices"),
        (CHOICE | {"answerKey": ""}, "no answer is given"),
        (CHOICE | {"rationale": None}, "there are choices but no rationale"),
        (CHOICE | {"question": " "}, "the question is empty"),
        (CHOICE | {"choices": None}, "not a list of labels and texts"),
        (CHOICE | {"choices": "a bank or a river"}, "not a list of labels and texts"),
        (CHOICE | {"choices": ["a bank", 5]}, "not a list of labels and texts"),
        (
            CHOICE | {"choices": {"label": ["A"], "text": ["x", "y"]}},
            "not a list of labels and texts",
        ),
        (CHOICE | {"choices": CHOICES[:1]}, "fewer than two choices"),
        (CHOICE | {"choices": [CHOICES[0], CHOICES[0]]}, "equal labels"),
        (CHOICE | {"choices": [CHOICES[0], {"label": "B"}]}, "empty text"),
        ({"question": "where?", "choices": CHOICES, "rationale": "so"}, "no answerKey"),
        ({"question": {"stem": "where?"}, "answerKey": "A"}, "not a list of labels and texts"),
        (STRATEGY | {"answer": "perhaps"}, "neither true nor false"),
        (STRATEGY | {"answer": None}, "neither true nor false"),
        (STRATEGY | {"facts": "", "decomposition": [" "]}, "facts and decomposition are empty"),
        (PRONTO | {"query": ""}, "the question or the query is empty"),
        ({"test_example": [PRONTO]}, "the test_example is not an object"),
    ],
)
def test_a_row_of_such_a_form_that_lacks_something_says_what(row, reason):
    with pytest.raises(ValueError, match=reason):
        to_example(row)


ROWS = [{"question": f"what is {i} + {i}?", "steps": f"{i}+{i}", "answer": 2 * i} for i in range(9)]
EXAMPLES = [Example(row["question"], row["steps"], str(row["answer"])) for row in ROWS]


def write_rows(path):
    """The same nine rows in any kind of file."""
    kind = path.suffix
    if kind == ".txt":
        path.write_text("".join(format_line(example) + "\r\n" for example in EXAMPLES))
    elif kind in (".jsonl", ".ndjson"):
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == ".json":
        path.write_text(json.dumps({"data": ROWS}))
    elif kind == ".parquet":
        Dataset.from_list(ROWS).to_parquet(str(path))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ROWS[0], delimiter="\t" if kind == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(ROWS)
    return path


@pytest.mark.parametrize("kind", readers.KINDS)
def test_every_kind_of_file_gives_the_same_examples(tmp_path, kind):
    report = Report()
    read_rows(write_rows(tmp_path / f"data{kind}"), report)
    assert report.kept == EXAMPLES
    assert not report.dropped


def test_a_quote_left_open_swallows_no_rows(tmp_path):
    path = tmp_path / "open.csv"
    path.write_text('question,answer\n"what is 1,1\nwhat is 2,2\nwhat is 3,3\n')
    with pytest.raises(DataError, match="the table cannot be read"):
        read_rows(path, Report())
    path = tmp_path / "open.tsv"
    path.write_text('question\tanswer\n"what" is 1\t1\n"what is 2\t2\nwhat is 3\t3\n')
    report = Report()
    read_rows(path, report)
    assert [example.answer for example in report.kept] == ["1", "2", "3"]


def test_a_bar_in_a_question_is_read_back(tmp_path):
    example = to_example({"question": "What is |3 - 5|?", "steps": "2", "answer": "2"})
    (tmp_path / "x.txt").write_text(format_line(example) + "\n")
    assert read_examples(tmp_path / "x.txt") == [example]


def test_a_hub_set_gives_its_splits(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked, splits = [], {"train": ROWS[2:], "validation": ROWS[:1], "test": ROWS[1:2]}
    monkeypatch.setattr("datasets.load_dataset", lambda *name: asked.append(name) or splits)
    reports = prepare("owner/name:main")
    assert asked == [("owner/name", "main")]
    assert [len(reports[split].kept) for split in ("train", "valid", "test")] == [7, 1, 1]
    splits["extra"] = []
    reports = prepare("owner/name")
    assert "left out: owner/name, split extra: no usual name" in reports["train"].notes[0]
    del splits["train"]
    with pytest.raises(DataError, match="its splits are validation, test, extra"):
        prepare("owner/name")


def test_what_is_left_out_is_counted_with_its_reason_and_line(tmp_path):
    path = tmp_path / "train.jsonl"
    lines = [json.dumps(ROWS[0]), "{broken", json.dumps([1]), json.dumps({"question": "q"})]
    path.write_bytes("\n".join([*lines, "{again"]).encode() + b"\n\xff\xfe\n" + b"x" * 100_001)
    report = Report()
    read_rows(path, report)
    assert report.kept == EXAMPLES[:1]
    assert dict(report.dropped) == {
        "the line is not JSON": 2,
        "the line is JSON, but not an object": 1,
        "no column looks like the answer: name it (--answer COLUMN)": 1,
        "the line is not UTF-8": 1,
        "the line is longer than 100,000 characters": 1,
    }
    assert report.first["the line is not JSON"] == "train.jsonl:2"
    assert "left out: 2 because the line is not JSON (first at train.jsonl:2)" in "".join(
        report.lines("train")
    )


def test_no_question_is_in_two_splits(tmp_path):
    for split, rows in (
        ("train", [*ROWS, ROWS[0], ROWS[8]]),
        ("validation", ROWS[:3]),
        ("my_test", ROWS[2:4]),
    ):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    reports = prepare(tmp_path)
    assert {split: len(report.kept) for split, report in reports.items()} == {
        "train": 5,
        "valid": 2,
        "test": 2,
    }
    assert dict(reports["train"].dropped) == {
        "the question is in test too": 2,
        "the question is in valid too": 3,
        "the question is repeated": 1,
    }
    reports = prepare({"train": write_rows(tmp_path / "x.csv"), "test": tmp_path / "my_test.jsonl"})
    assert len(reports["valid"].kept) == 2  # a third of the training examples, at most


def test_one_command_prepares_what_training_reads(tmp_path, capsys):
    source, out = write_rows(tmp_path / "mine.csv"), tmp_path / "out"
    assert main(["prepare", str(source), "--out", str(out), "--held-out", "2"]) == 0
    printed = capsys.readouterr().out
    assert "train: 5 examples" in printed
    assert "1 to 1, median 1; 0 without any step" in printed
    corpus = load_corpus(DataConfig(path=str(out)))
    found = [*corpus.train["question"], *corpus.valid["question"], *corpus.test["question"]]
    assert sorted(found) == sorted(row["question"] for row in ROWS)
    assert main(["prepare", str(source), "--out", str(out)]) == 1
    assert "exists; give --out another folder" in capsys.readouterr().err


def test_the_command_reads_rows_in_the_format_that_it_is_told(tmp_path):
    rows = [f"q{x},<<{x}+1={x + 1}>>,{x + 1},7" for x in range(9)]
    source = tmp_path / "mine.csv"
    source.write_text("\n".join(["instruction,reasoning,output,answer", *rows]))
    for words, ending in (([], "#### 7"), (["--as", "alpaca"], "<<3+1=4>> #### 4")):
        out = tmp_path / f"out-{len(words)}"
        assert main(["prepare", str(source), "--out", str(out), *words]) == 0
        lines = "".join(path.read_text() for path in out.glob("*.txt")).splitlines()
        (one,) = (line for line in lines if line.startswith("q3||"))
        assert one.endswith(ending)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing.jsonl", "no such file"),
        ("two/three/four", "no hub id"),
        ("owner/name", "Download its files by hand"),
    ],
)
def test_a_source_that_is_not_there(source, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.load_dataset", lambda *name: 1 / 0)
    with pytest.raises(DataError, match=message):
        prepare(source)


@pytest.mark.parametrize("questions", [1, 2, 3, 4])
def test_four_questions_are_the_fewest_to_draw_two_splits_from(tmp_path, questions):
    path = tmp_path / "few.txt"
    path.write_text("".join(f"q {x}||s #### {x}\n" for x in range(questions)))
    if questions < 4:
        with pytest.raises(
            DataError, match=r"too few training questions \(\d\) to draw (valid|test) from"
        ):
            prepare(path)
    else:
        reports = prepare(path)
        assert [len(reports[split].kept) for split in ("train", "valid", "test")] == [2, 1, 1]


def test_a_split_without_an_example_says_what_happened(tmp_path):
    (tmp_path / "train.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"no example is left for train .*no column looks like"):
        prepare(tmp_path)
    (tmp_path / "train.txt").touch()
    with pytest.raises(ConfigError, match="exists"):
        write({}, tmp_path)


def damage(data: bytes, rng: random.Random) -> bytes:
    """A file with something done to it."""
    at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    piece = rng.choice([
        b"", b"||", b"####", b"\0", b"\xff", b"\r\n", b"\n", b'"', b",", b"{", b"]" * 2000,
        b"[" * 2000, b"|", b"\\ud83d", b"9" * 5000, b"\xef\xbb\xbf", data[at:end],
        "ß\u2028".encode(),
    ])  # fmt: skip
    return data[:at] + piece + data[rng.choice([at, end]) :]


def write_forms(path):
    """Nine rows of a data set with a form of its own."""
    form = {"choices": CHOICE, "strategy": STRATEGY, "pronto": PRONTO}[path.stem]
    rows = [form | {"question": f"{i}: {form['question']}"} for i in range(9)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        named = {f"example{i}": {"test_example": row} for i, row in enumerate(rows)}
        path.write_text(json.dumps(named))
    return path


@pytest.mark.parametrize(
    "name",
    [f"whole{kind}" for kind in readers.KINDS if kind != ".parquet"]
    + ["choices.jsonl", "strategy.jsonl", "pronto.jsonl", "pronto.json"],
)
def test_damaged_files_end_in_a_count_or_a_clear_error(tmp_path, name):
    path = tmp_path / name
    whole = (write_rows if path.stem == "whole" else write_forms)(path).read_bytes()
    path, rng = tmp_path / f"data{path.suffix}", random.Random(0)
    read = 0
    for _ in range(400):
        data = whole
        for _ in range(rng.randint(1, 4)):
            data = damage(data, rng)
        path.write_bytes(data)
        report = Report()
        with contextlib.suppress(DataError):
            read_rows(path, report)
        read += len(report.kept)
        for example in report.kept:  # what is kept can be written, and read back as it is
            (tmp_path / "again.txt").write_text(format_line(example) + "\n")
            assert read_examples(tmp_path / "again.txt") == [example]
    assert read > 400


def test_damaged_parquet_is_a_clear_error(tmp_path):
    whole = write_rows(tmp_path / "whole.parquet").read_bytes()
    rng = random.Random(0)
    for i in range(20):
        path = tmp_path / f"{i}.parquet"
        path.write_bytes(damage(whole, rng)[: rng.randrange(len(whole))])
        with pytest.raises(DataError, match="the parquet file cannot be read"):
            read_rows(path, Report())


# --- the field's own files ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def gsm8k(reference):
    return reference / "gsm8k"


def test_the_authors_validation_lines_come_out_of_openais_file(gsm8k):
    ours, theirs = Report(), Report()
    read_rows(gsm8k / "openai_train.jsonl", ours)
    read_rows(gsm8k / "valid.txt", theirs)
    assert len(ours.kept) == 7473
    assert len(theirs.kept) == 500
    assert not ours.dropped
    assert not theirs.dropped

    def without_commas(example):
        return example.question.replace(",", ""), example.chain.replace(",", ""), example.answer

    assert set(map(without_commas, theirs.kept)) <= set(map(without_commas, ours.kept))


def test_gsm8ks_test_set(gsm8k):
    report = Report()
    read_rows(gsm8k / "openai_test.jsonl", report)
    assert len(report.kept) == 1319
    assert sum(not example.chain for example in report.kept) == 18
    assert all(
        same_answer(example.answer, example.answer.replace(",", "")) for example in report.kept
    )


def test_gsm8k_is_prepared_with_its_overlap_counted(gsm8k, tmp_path, capsys):
    command = ["prepare", str(gsm8k / "openai_train.jsonl"), "--out", str(tmp_path / "out")]
    command += ["--valid", str(gsm8k / "valid.txt"), "--test", str(gsm8k / "openai_test.jsonl")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "test: 1,319 examples" in printed
    assert "because the question is in valid too" in printed
    assert load_corpus(DataConfig(path=str(tmp_path / "out"))).train.num_rows <= 7473 - 490


# --- what notebook 14 is told ------------------------------------------------------------------


def test_a_notebook_takes_columns_and_a_test_file_of_ones_own(tmp_path):
    for name, first, count in (("mine", 1, 30), ("test", 60, 4)):
        rows = [f"{a} apples and 2?,{a}+2={a + 2},{a + 2}" for a in range(first, first + count)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["q,how,result", *rows]))
    columns = Columns.of({"question": "q", "steps": "how", "answer": "result"})
    assert columns == Columns.of("{question: q, steps: how, answer: result}")
    folder, reports = prepare_cached(
        tmp_path / "mine.csv", tmp_path / "home", columns, test=tmp_path / "test.csv"
    )
    assert [len(reports[split].kept) for split in ("train", "valid", "test")] == [20, 10, 4]
    assert reports["test"].kept[0] == Example("60 apples and 2?", "60+2=62", "62")
    assert (folder / "test.txt").is_file()


def test_a_part_that_has_no_column_is_a_mistake():
    with pytest.raises(ConfigError, match=r"columns: no 'qestion', but question, .*'question'"):
        Columns.of({"qestion": "q"})
    with pytest.raises(ConfigError, match="columns must map question"):
        Columns.of("question")
