"""Files of every kind, and where the splits of a data set are found."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os

import pyarrow
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from icotlib.cli import main
from icotlib.data.files import SPLITS, format_line, read_examples
from icotlib.data.formats import Columns
from icotlib.data.prepare import count_words, prepare, write
from icotlib.data.readers import Report, read_rows
from icotlib.errors import ConfigError, DataError
from icotlib.paths import PROJECT
from icotlib.tasks import Example


def line(i, **more):
    return json.dumps({"question": f"q{i}", "steps": f"s{i}", "answer": str(i)} | more) + "\n"


def lines(*numbers):
    return "".join(map(line, numbers))


def table(separator=",", end="\n", quote='"', header="question{}steps{}answer", n=3):
    rows = [header.format(separator, separator)]
    rows += [separator.join((f"q{i}", f"s{i}", str(i))) for i in range(n)]
    return end.join([*rows, ""])


def read(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    report = Report()
    read_rows(path, report)
    return report


def pandas_table(separator):
    """Rows with separators, quotes and line ends inside, quoted as pandas does."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, lineterminator="\n")
    writer.writerow(["", "question", "steps", "answer"])
    writer.writerow([0, f'Say "a{separator}b"', "s\nt", "5"])
    writer.writerow([1, "plain", "s", "6"])
    return file.getvalue()


# --- tables ------------------------------------------------------------------------------------

THREE = [Example(f"q{i}", f"s{i}", str(i)) for i in range(3)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", table()),
        ("a.csv", table(";")),
        ("a.csv", table("\t")),
        ("a.csv", table("|")),
        ("a.tsv", table("\t")),
        ("a.tsv", table(",")),
        ("a.csv", table(end="\r\n")),
        ("a.csv", table(end="\r")),
        ("a.csv", "\ufeff" + table()),
        ("a.csv", "sep=;\n" + table(";")),
        ("a.csv", table(";").encode("utf-16")),
        ("a.csv", table(header="Question{}Chain of Thought{}Answer")),
        ("a.csv", table(header="sQuestion{}lEquations{}lSolutions")),
        ("a.csv", table(header=" question {}\u200bsteps{}answer")),
        ("a.csv.gz", gzip.compress(table().encode(), mtime=0)),
        ("a.jsonl.gz", gzip.compress(lines(0, 1, 2).encode(), mtime=0)),
        ("a.json.gz", gzip.compress(f"[{line(0)},{line(1)},{line(2)}]".encode(), mtime=0)),
        ("a.tsv.bz2", bz2.compress(table("\t").encode())),
        ("a.ndjson.xz", lzma.compress(lines(0, 1, 2).encode())),
        ("a.jsonl", lines(0, 1, 2).replace("\n", "\r")),
        ("a.jsonl", lines(0, 1, 2).encode("utf-16")),
        ("a.jsonl", "\n\n" + lines(0, 1, 2) + "  \n"),
        ("a.json", lines(0, 1, 2)),
        ("a.txt", "q0||s0 #### 0\rq1||s1 #### 1\rq2||s2 #### 2\r"),
        ("a.txt", "\ufeffq0||s0 #### 0\r\nq1|| s1 ####1\r\n\r\nq2||s2 #### 2"),
    ],
)
def test_every_kind_of_file_is_read(tmp_path, name, data):
    report = read(tmp_path / name, data)
    assert report.kept == THREE
    assert not report.dropped


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t"), ("b.csv", ";")])
def test_tables_are_quoted_as_pandas_does(tmp_path, name, separator):
    report = read(tmp_path / name, pandas_table(separator))
    said = " ".join(f'Say "a{separator}b"'.split())
    assert report.kept == [Example(said, "s t", "5"), Example("plain", "s", "6")]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", "question,steps,answer,answer\nq,s,4,5\n", "two columns are called 'answer'"),
        ("a.csv", 'question,answer\n"q0,1\nq1",2\n', "can be read as 1 rows .* or as 2 rows"),
        ("a.tsv", 'question\tanswer\n"q0\t1\nq1"\t2\n', "can be read as 1 rows .* or as 2 rows"),
        ("a.csv", 'question,answer\n"q0,1\n', "table cannot be read"),
        ("a.csv", "question,answer\nq\u00e9,1\n".encode("latin-1"), "is not UTF-8 .byte 17"),
        ("a.csv", "question,answer\n".encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        ("a.jsonl", lines(0).encode("utf-16-be"), "UTF-16 without a byte-order mark"),
        ("a.csv", "", "the table is empty"),
        ("a.csv.gz", b"no gzip", "cannot be read"),
        ("a.csv.gz", gzip.compress(table().encode(), mtime=0)[:-9], "cannot be read"),
        ("a.xlsx", b"", "unknown kind"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path, name, data, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path / name, data)


def test_a_row_with_other_cells_than_the_header_is_counted_and_shown(tmp_path):
    report = read(tmp_path / "a.csv", "question,answer\nq0,0\nq1,1,2\nq2\n")
    assert [example.question for example in report.kept] == ["q0"]
    assert "left out: 2 because the row has more or fewer cells than the header (first at a.csv:3)"\
        ": q1,1,2" in "\n".join(report.lines("x"))  # fmt: skip


def test_decimal_commas_in_a_table_of_semicolons_stay(tmp_path):
    report = read(tmp_path / "a.csv", "question;answer\nq0;1,5\nq1;1,250\n")
    assert [example.answer for example in report.kept] == ["1,5", "1,250"]
    report = read(tmp_path / "a.csv", "question;answer\nq0;15\nq1;1,250\n")
    assert [example.answer for example in report.kept] == ["15", "1,250"]
    assert "commas in numbers stay" in "".join(report.lines("x"))


# --- JSON --------------------------------------------------------------------------------------

ROW = {"question": "q0", "answer": "0"}


@pytest.mark.parametrize(
    ("document", "kept"),
    [
        ([ROW], 1),
        ({"data": [ROW]}, 1),
        ({"version": 1, "examples": [ROW], "names": ["a"]}, 1),
        ({"canary": "x", "examples": [{"input": "q0", "target": "0"}]}, 1),
        ({"data": {"rows": [ROW]}}, 1),
        (ROW, 1),
        ({"a": ROW, "b": {"question": "q1", "answer": "1"}}, 2),
        ({"question": ["q0", "q1"], "answer": ["0", "1"]}, 2),
        ({"question": {"0": "q0", "1": "q1"}, "answer": {"0": "0", "1": "1"}}, 2),
        ({"columns": ["question", "answer"], "index": [0], "data": [["q0", "0"]]}, 1),
        ({"chat": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "5"}]}, 1),
    ],
)  # fmt: skip
def test_objects_with_rows_under_a_key(tmp_path, document, kept):
    report = read(tmp_path / "a.json", json.dumps(document))
    assert len(report.kept) == kept
    assert not report.dropped


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": [{"question": "q"}], "b": [{"question": "q"}]}', "several lists of rows, a, b"),
        ('{"question": ["q0", "q1"], "answer": ["0"]}', "differ in length"),
        ('{"data": [], "data": []}', "the key 'data' stands twice"),
        ("3", "neither a list"),
    ],
)
def test_objects_that_could_be_several_things_are_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.json", text)


@pytest.mark.parametrize(
    ("cell", "answer"),
    [
        ("51.0", "51.0"),
        ("51", "51"),
        ("0.1000", "0.1000"),
        ("1e400", "1e400"),
        ("1E+5", "1E+5"),
        ("-0", "-0"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("0.12345678901234567890123", "0.12345678901234567890123"),
        ("9" * 5000, "9" * 5000),
        ("[0.50]", "0.50"),
        ('"[0.50]"', "0.50"),
        ("true", "yes"),
        ("false", "no"),
        ('"0.5,100"', "0.5,100"),
    ],
)
def test_numbers_keep_the_digits_that_stand_there(tmp_path, cell, answer):
    report = read(tmp_path / "a.jsonl", f'{{"question": "q", "answer": {cell}}}\n')
    assert [example.answer for example in report.kept] == [answer]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"question": "q", "answer": NaN}', "the answer is empty"),
        ('{"question": "q", "answer": null}', "the answer is empty"),
        ('{"question": "q", "answer": Infinity}', "a cell holds an infinite number"),
        ('{"question": "q", "answer": 1, "answer": 2}', "the key 'answer' stands twice"),
        ('{"question": "q", "answer": {"text": 1, "text": 2}}', "the key 'text' stands twice"),
        ('{"question": "q\\u0000", "answer": 1}', "NUL"),
        ('{"question": "\\ud83d", "answer": 1}', "surrogate"),
        ('{"question": "\\frac{1}{2}", "answer": 1}', "lost its backslash"),
        ('{"question": "q", "answer": 01}', "not JSON"),
    ],
)
def test_a_row_that_is_left_out_is_counted_with_its_text(tmp_path, row, reason):
    report = read(tmp_path / "a.jsonl", row + "\n")
    assert not report.kept
    assert sum(report.dropped.values()) == 1
    printed = "\n".join(report.lines("x"))
    assert reason in printed
    assert "a.jsonl:1): " in printed


# --- parquet -----------------------------------------------------------------------------------


def test_parquet_keeps_short_floats_and_names_labels(tmp_path):
    columns = {
        "question": ["q0", "q1", "q2"],
        "answer": pyarrow.array([0.1, 51.0, None], pyarrow.float32()),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    report = Report()
    read_rows(tmp_path / "a.parquet", report)
    assert [example.answer for example in report.kept] == ["0.1", "51.0"]
    assert dict(report.dropped) == {"the answer is empty": 1}
    features = Features({"question": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    rows = Dataset.from_dict({"question": ["q0", "q1"], "label": [1, 0]}, features)
    rows.to_parquet(str(tmp_path / "b.parquet"))
    report = Report()
    read_rows(tmp_path / "b.parquet", report)
    assert [example.answer for example in report.kept] == ["yes", "no"]


def test_bytes_are_refused(tmp_path):
    table = pyarrow.table({"question": ["q0"], "answer": [b"12"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    report = Report()
    read_rows(tmp_path / "a.parquet", report)
    assert dict(report.dropped) == {"a cell holds bytes, not text": 1}


# --- splits ------------------------------------------------------------------------------------


def make(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode())) if name.endswith("gz") else path.write_text(
            text
        )
    return folder


TRAIN, VALID, TEST = lines(*range(6)), lines(10, 11), lines(20)


@pytest.mark.parametrize(
    "names",
    [
        ("train.jsonl", "valid.jsonl", "test.jsonl"),
        ("train.jsonl", "val.jsonl", "test.jsonl"),
        ("training.jsonl", "development.jsonl", "testing.jsonl"),
        ("TRAIN.JSONL", "Dev.jsonl", "Test.jsonl"),
        ("my_train.jsonl", "my-eval.jsonl", "my.test.jsonl"),
        ("data/train.jsonl", "data/validation.jsonl", "data/test.jsonl"),
        ("train.jsonl.gz", "val.json.gz", "test.jsonl"),
        ("main/train-00000-of-00001.jsonl", "main/dev-00000-of-00001.jsonl", "main/test.jsonl"),
        ("train/a.jsonl", "val/a.jsonl", "test/a.jsonl"),
        ("set/train/part.jsonl", "set/dev/part.jsonl", "set/test/part.jsonl"),
        ("train.jsonl", "dev/dev.jsonl", "test/data.jsonl"),
    ],
)
def test_splits_are_found_by_all_usual_names(tmp_path, names):
    reports = prepare(make(tmp_path, dict(zip(names, (TRAIN, VALID, TEST), strict=True))))
    assert [len(reports[split].kept) for split in SPLITS] == [6, 2, 1]
    for split, name in zip(SPLITS, names, strict=True):
        assert f"from {name} as columns: question = question, steps" in "\n".join(
            reports[split].lines(split)
        )


@pytest.mark.parametrize(
    ("files", "left_out"),
    [
        ({"notes.csv": "a,b\n"}, "notes.csv"),
        ({"extra.jsonl": TEST, "README.md": "x"}, "README.md, extra.jsonl"),
        ({"train.tok.jsonl": TRAIN}, "train.tok.jsonl"),
        ({"other/train.jsonl": TRAIN, "other/test.jsonl": TEST}, "other/test.jsonl, other/train"),
        ({f"n{i}.md": "" for i in range(11)}, "n6.md and 3 more"),
    ],
)
def test_files_that_are_left_out_are_named(tmp_path, files, left_out):
    make(tmp_path, {"train.jsonl": TRAIN, "dev.jsonl": VALID, "test.jsonl": TEST} | files)
    reports = prepare(tmp_path)
    assert [len(reports[split].kept) for split in SPLITS] == [6, 2, 1]
    notes = "\n".join(reports["train"].lines("train")).replace("n10.md, ", "")
    assert f"left out: {left_out}" in notes or left_out in notes


def test_shards_are_read_together_and_a_missing_one_is_an_error(tmp_path):
    shards = {f"data/train-0000{i}-of-00002.jsonl": lines(*range(3 * i, 3 * i + 3)) for i in (0, 1)}
    reports = prepare(make(tmp_path / "a", shards | {"data/test.jsonl": TEST}), held_out=2)
    assert len(reports["train"].kept) + len(reports["valid"].kept) == 6
    assert len(reports["test"].kept) == 1
    shards.pop("data/train-00001-of-00002.jsonl")
    with pytest.raises(DataError, match="1 of 2 shards of train are there"):
        prepare(make(tmp_path / "b", shards))
    parts = {f"train_part{i}.jsonl": lines(*range(3 * i, 3 * i + 3)) for i in (1, 2)}
    reports = prepare(make(tmp_path / "c", parts), held_out=1)
    assert sum(len(report.kept) for report in reports.values()) == 6


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"val.jsonl": VALID, "dev.jsonl": TEST}, "several files may be the valid split"),
        ({"train.csv": table()}, "several files may be the train split"),
        ({"a_test.jsonl": TEST, "b_test.jsonl": TEST}, "Choose one by --test FILE"),
    ],
)
def test_two_files_for_one_split_are_refused(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        prepare(make(tmp_path, {"train.jsonl": TRAIN} | files))


def test_several_data_sets_in_a_folder_are_refused(tmp_path):
    make(tmp_path, {"main/train.jsonl": TRAIN, "socratic/train.jsonl": TRAIN})
    with pytest.raises(DataError, match=r"several folders have a training split.*main, socratic"):
        prepare(tmp_path)


def test_one_file_per_row_below_a_split(tmp_path):
    files = {f"train/algebra/{i}.json": line(i) for i in range(4)}
    files |= {f"train/geometry/{i}.json": line(i) for i in range(4, 6)}
    files |= {"test/algebra/1.json": line(20), "test/geometry/2.json": line(21)}
    reports = prepare(make(tmp_path, files), held_out=1)
    assert [len(reports[split].kept) for split in SPLITS] == [5, 1, 2]


def test_a_folder_with_one_file_is_that_file(tmp_path):
    reports = prepare(make(tmp_path, {"problems.jsonl": TRAIN, "README.md": ""}), held_out=1)
    assert [len(reports[split].kept) for split in SPLITS] == [4, 1, 1]


def test_saved_data_sets_are_read(tmp_path):
    def rows(*numbers):
        return Dataset.from_list([json.loads(line(i)) for i in numbers])

    splits = {"train": rows(*range(6)), "validation": rows(10, 11), "test": rows(20)}
    DatasetDict(splits | {"extra": rows(30)}).save_to_disk(tmp_path / "dict")
    reports = prepare(tmp_path / "dict")
    assert [len(reports[split].kept) for split in SPLITS] == [6, 2, 1]
    assert "split extra: no usual name" in "\n".join(reports["train"].notes)
    rows(*range(6)).save_to_disk(tmp_path / "one")
    reports = prepare(tmp_path / "one", held_out=1)
    assert [len(reports[split].kept) for split in SPLITS] == [4, 1, 1]
    with pytest.raises(DataError, match="holds saved data sets"):
        prepare(tmp_path)


def test_a_test_file_beside_a_folder_takes_the_place_of_its_own(tmp_path, capsys):
    make(tmp_path / "set", {"train.jsonl": TRAIN, "val.jsonl": VALID, "test.jsonl": TEST})
    (tmp_path / "mine.jsonl").write_text(lines(30, 31, 32))
    command = ["prepare", str(tmp_path / "set"), "--test", str(tmp_path / "mine.jsonl")]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert "left out: test.jsonl: mine.jsonl is given for test" in capsys.readouterr().out
    assert len(read_examples(tmp_path / "out" / "test.txt")) == 3
    assert len(read_examples(tmp_path / "out" / "valid.txt")) == 2
    with pytest.raises(DataError, match="is a folder; give the file of the test split"):
        prepare({"train": tmp_path / "set", "test": tmp_path / "set"})


def test_a_column_or_a_key_may_name_the_split(tmp_path):
    rows = [line(i, split="train") for i in range(6)] + [line(10, split="dev")]
    (tmp_path / "a.jsonl").write_text("".join([*rows, line(20, split="test"), line(9, split="x")]))
    reports = prepare(tmp_path / "a.jsonl")
    assert [len(reports[split].kept) for split in SPLITS] == [6, 1, 1]
    assert dict(reports["train"].dropped) == {"its split is no usual name of a split": 1}
    splits = {"train": range(6), "validation": [10], "test": [20]}
    document = {name: [json.loads(line(i)) for i in numbers] for name, numbers in splits.items()}
    (tmp_path / "b.json").write_text(json.dumps(document))
    reports = prepare(tmp_path / "b.json")
    assert [len(reports[split].kept) for split in SPLITS] == [6, 1, 1]


# --- questions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Combien de cafés ?", "Combien de cafe\u0301s ?"),
        ("\ufeffHow many?", "How  many?"),
        ("How\u00a0many?", "how many?"),
        ("Ann’s “3”?", 'Ann\'s "3"?'),
        ("Is 3 − 2 odd?", "Is 3 - 2 odd?"),
        ("a\u200bb", "ab"),
    ],
)
def test_a_question_of_test_is_left_out_of_train_however_it_is_written(tmp_path, one, other):
    rows = {
        "train.jsonl": [one, "q1", "q2"],
        "valid.jsonl": ["q3"],
        "test.jsonl": [other],
    }
    for name, questions in rows.items():
        text = "".join(json.dumps({"question": q, "answer": "1"}) + "\n" for q in questions)
        (tmp_path / name).write_text(text)
    reports = prepare(tmp_path)
    assert [x.question for x in reports["train"].kept] == ["q1", "q2"]
    assert dict(reports["train"].dropped) == {"the question is in test too": 1}


def test_further_chains_are_counted_or_kept_in_train_alone(tmp_path):
    rows = [line(i) + line(i, steps="other") + line(i) + line(i, answer="99") for i in range(9)]
    (tmp_path / "a.jsonl").write_text("".join(rows))
    reports = prepare(tmp_path / "a.jsonl", held_out=2)
    assert [len(reports[split].kept) for split in SPLITS] == [5, 2, 2]
    assert dict(reports["train"].dropped) == {
        "the question has further chains (--all-chains keeps them)": 9,
        "the question is repeated": 9,
        "the question is repeated with another answer": 9,
    }
    more = prepare(tmp_path / "a.jsonl", held_out=2, all_chains=True)
    assert [len(more[split].kept) for split in SPLITS] == [10, 2, 2]
    assert more["test"].kept == reports["test"].kept
    questions = [{example.question for example in more[split].kept} for split in SPLITS]
    assert not questions[0] & questions[1] | questions[0] & questions[2]


def test_long_examples_are_counted(tmp_path, capsys):
    rows = [line(i, steps="word " * (30 if i % 3 == 0 else 3)) for i in range(12)]
    (tmp_path / "a.jsonl").write_text("".join(rows))
    command = ["prepare", str(tmp_path / "a.jsonl"), "--held-out", "1", "--max-tokens", "20"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "left out: 4 because it is longer than 20 tokens (--max-tokens)" in printed
    assert "train: 6 examples" in printed
    assert main([*command[:2], "--tokenizer", "x", "--out", str(tmp_path / "b")]) == 1
    assert "--max-tokens N, which is missing" in capsys.readouterr().err


def test_words_digits_and_signs_are_counted():
    # Ann has 1 2 . | two separators, ####, an end | 5 | chain 3 + 2 = 5
    assert count_words([Example("Ann has 12.", "3+2=5", "5")]) == [5 + 5 + 4 + 1 + 3]


def test_a_tokenizer_counts_what_is_trained_on(tmp_path, pretrained, capsys):
    (tmp_path / "a.jsonl").write_text(lines(*range(9)))
    command = ["prepare", str(tmp_path / "a.jsonl"), "--tokenizer", pretrained("gpt2")]
    assert main([*command, "--max-tokens", "50", "--out", str(tmp_path / "out")]) == 0
    assert main([*command, "--max-tokens", "2", "--out", str(tmp_path / "b")]) == 1
    assert "left out: 9 because it is longer than 2 tokens" in capsys.readouterr().err


# --- the inputs that once failed ----------------------------------------------------------------


@pytest.fixture
def cases():
    folder = PROJECT.parent / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip("the small inputs are not beside this clone")
    return folder


@pytest.mark.parametrize(
    ("name", "columns", "line"),
    [
        ("05_val", {}, "Add 0 and 2.||<<0+2=2>> #### 2"),
        (
            "06_newline_steps.jsonl",
            {"between": " ; "},
            "Eve has 3 bags of 4 nuts and eats 2. How many are left?||3 bags hold 12 nuts ; "
            "without 2 there are 10 #### 10",
        ),
        (
            "12_commas.jsonl",
            {},
            "Which point is 3 right and 400 up?||x is 3; y is 400 #### (3,400)",
        ),
        ("12_commas.jsonl", {}, "Wie viel ist ein Achtel?||1/8 = 0,125 #### 0,125"),
        ("13_alpaca.json", {}, "Multiply the two numbers. 3 and 4|| #### 12"),
        ("15_list_column.csv", {}, "What is 1+3 doubled?||<<1+3=4>> <<4*2=8>> #### 8"),
        (
            "17_said_twice.jsonl",
            {"question": "query", "answer": "response"},
            "Ann has 2 coins and finds 3. How many?||She has 2 + 3 = 5 coins. #### 5",
        ),
    ],
)
def test_small_inputs_come_out_right(cases, name, columns, line):
    reports = prepare(cases / name, Columns(**columns))
    assert line in [format_line(x) for report in reports.values() for x in report.kept]
    read = sum(sum(report.read_as.values()) for report in reports.values())
    assert read == {"05_val": 18}.get(name, 9)


def test_composed_and_decomposed_letters_are_one_question(cases):
    reports = prepare(cases / "37_unicode")
    assert dict(reports["train"].dropped) == {"the question is in test too": 1}


# --- writing -----------------------------------------------------------------------------------


def test_no_set_is_half_written(tmp_path, monkeypatch):
    reports = {split: Report([Example(split, "s", "1")]) for split in SPLITS}
    out = tmp_path / "deep" / "out"

    def full(path, examples):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr("icotlib.data.prepare.write_examples", full)
        with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
            write(reports, out)
    assert os.listdir(out.parent) == []
    write(reports, out)
    assert sorted(os.listdir(out)) == ["test.txt", "train.txt", "valid.txt"]
    assert os.listdir(out.parent) == ["out"]
    assert (out.stat().st_mode & 0o077) == (out.parent.stat().st_mode & 0o077)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.md").touch()
    write(reports, tmp_path / "full")
    assert len(os.listdir(tmp_path / "full")) == 4
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        write(reports, tmp_path / "file" / "out")
