"""A fuzz of data files: every file ends in a clean error, or in rows that a second reader confirms.

    python -m tests.fuzz_data --files 10000

Files of all formats are written with one named fault in their values or bytes, and read by
`prepare` or as `data.path`. The second reader here knows the formats by json, csv and pyarrow
alone; it accepts a row that was kept only where the file says so, in order, and nothing that was
lost without a count.
"""

import argparse
import ast
import csv
import gzip
import io
import json
import math
import re
import tempfile
import traceback
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from icotlib.config import DataConfig
from icotlib.data.corpus import examples_of, load_corpus
from icotlib.data.layout import Layout
from icotlib.data.prepare import prepare
from icotlib.data.symbols import symbol_tokenizer
from icotlib.errors import IcotError

Row = dict[str, Any]

TEXTS = (".txt", ".jsonl", ".json", ".csv", ".tsv")
KINDS = (*TEXTS, ".parquet", *(kind + ".gz" for kind in TEXTS))
PARTS = ("question", "steps", "answer")


class Literal(str):
    """A number of a JSON file as it is written there."""


@dataclass
class File:
    kind: str
    fault: str
    data: bytes
    #: Whether every row must be kept.
    harmless: bool


# --- making files ------------------------------------------------------------------------------

WORDS = (
    *(
        "Ann",
        "Bo",
        "café",
        "naïve",
        "pens",
        "日本",
        "apples",
        "costs",
        "Zürich",
        "of",
        "and",
        "why",
    ),
    *("3,400", "1.50", "x²", "½", "−", "it’s"),
)


def rows_of(rng: np.random.Generator) -> list[Row]:
    rows = []
    for number in range(int(rng.integers(2, 9))):
        one, two = (int(x) for x in rng.integers(1, 999, 2))
        words = " ".join(rng.choice(WORDS, 3))
        steps = [f"take {one} {rng.choice(WORDS)}", f"{one} + {two} = {one + two}"]
        question = f"No {number}: {words} {one} and {two}?"
        rows.append({"question": question, "steps": steps, "answer": str(one + two)})
    return rows


def _put(text: str, what: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(0, len(text) + 1))
    return text[:at] + what + text[at:]


def _in_text(*signs: str) -> Callable[[Row, np.random.Generator], None]:
    def change(row: Row, rng: np.random.Generator) -> None:
        part, sign = str(rng.choice(PARTS)), str(rng.choice(signs))
        cell = row[part]
        row[part] = [_put(x, sign, rng) for x in cell] if part == "steps" else _put(cell, sign, rng)

    return change


def _cell(part: str, *values: Any) -> Callable[[Row, np.random.Generator], None]:
    def change(row: Row, rng: np.random.Generator) -> None:
        row[part] = values[int(rng.integers(len(values)))]

    return change


def _without(row: Row, rng: np.random.Generator) -> None:
    del row[str(rng.choice(PARTS))]


def _decomposed(row: Row, rng: np.random.Generator) -> None:
    row["question"] = unicodedata.normalize("NFD", row["question"])


SPACES = ("  ", "\t", "\u00a0", "\u3000", "\u2009", "\x0b", "\u2028", "\x85")
UNSEEN = ("\u200b", "\ufeff", "\u2060", "\u00ad", "\u200e")

#: Faults of values, applied to some rows. Those of `HARMLESS` must lose no row.
VALUES: dict[str, Callable[[Row, np.random.Generator], None]] = {
    "nothing": lambda row, rng: None,
    "odd spaces": _in_text(*SPACES),
    "unseen signs": _in_text(*UNSEEN),
    "decomposed letters": _decomposed,
    "separators in text": _in_text("||", "####", "|||", "#####", "|", "##", ">>", "<<", "||||"),
    "special tokens": _in_text("<sep>", " <sep> ", "<eos>", " <pad> ", "<|endoftext|>", "</s>"),
    "quotes": _in_text('"', "'", '""', "`", "\\", '\\"', "“", ",", ";", "\t"),
    "line ends": _in_text("\n", "\r", "\r\n", "\n\n", "\\n"),
    "NUL and control": _in_text("\0", "\x01", "\x1b", "\x7f", "\x1f", "\x9b", "\b"),
    "half a surrogate": _in_text("\ud83d", "\udc80"),
    "grouped numbers": _cell(
        "answer", "0.5,100", "3,400", "(3,400)", "1,234,567", "0,125", "1,2,3", "12,34", "1,234.50"
    ),
    "odd numbers": _cell(
        "answer",
        *(Literal("1e400"), Literal("-0.0"), Literal("12345678901234567890123"), Literal("1E5")),
        *(Literal("0.12345678901234567890123"), Literal("1e-400"), Literal("-7"), Literal("5.0")),
        *(Literal("NaN"), Literal("Infinity"), Literal("-Infinity"), Literal("1" * 5000)),
        *(0.1, 1 / 3, 7, 2**70, 1e22, 5e-324),
    ),
    "other values": _cell("answer", None, True, False, "", " ", "null", "nan", "None", "-", "5%"),
    "bytes": _cell("answer", b"12", b"\xff\xfe", b"caf\xc3\xa9"),
    "nested answer": _cell("answer", ["5"], [["5"]], ["5", "6"], [], {"a": 1}, {"5": None}, [None]),
    "nested steps": _cell(
        "steps",
        *([["a", "b"], "c"], [], [None, "a"], {"a": "b"}, ["a", 5], ["a", {"b": 1}], "['a', 'b']"),
        *('["a", "b"]', "['a', 'b'", "a\nb\n", [1, 2], [0.1, 1e22], None, "", "[a, b]"),
    ),
    "missing column": _without,
    "held-out question": _cell(
        "question",
        "of test",
        "of  test",
        "OF\u00a0Test",
        "of te\u200bst",
        "of valid",
        "\ufeffof valid",
    ),
    "further column": lambda row, rng: row.update({str(rng.choice(["id", "note", "x"])): 5}),
}
HARMLESS = {"nothing", "odd spaces", "unseen signs", "decomposed letters", "further column"}


def _flip(data: bytes, rng: np.random.Generator, times: int) -> bytes:
    changed = bytearray(data)
    for _ in range(times if changed else 0):
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _insert(data: bytes, rng: np.random.Generator, *what: bytes) -> bytes:
    at = int(rng.integers(0, len(data) + 1))
    return data[:at] + what[int(rng.integers(len(what)))] + data[at:]


def _cut_out(data: bytes, rng: np.random.Generator) -> bytes:
    a, b = sorted(int(x) for x in rng.integers(0, len(data) + 1, 2))
    return data[:a] + data[b:]


def _recode(encoding: str) -> Callable[[bytes, np.random.Generator], bytes]:
    def change(data: bytes, rng: np.random.Generator) -> bytes:
        text = data.decode("utf-8", "surrogatepass")
        return text.encode(encoding, "replace" if "utf" not in encoding else "surrogatepass")

    return change


#: Faults of the bytes of a file.
BYTES: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "truncated": lambda data, rng: data[: int(rng.integers(0, len(data) + 1))],
    "bit flip": lambda data, rng: _flip(data, rng, 1),
    "bit flips": lambda data, rng: _flip(data, rng, 20),
    "cut out": _cut_out,
    "repeated": lambda data, rng: data + data,
    "empty": lambda data, rng: b"",
    "byte put in": lambda data, rng: _insert(data, rng, b"\0", b"\xff", b"\x1a", b'"', b"\n", b","),
    "text put in": lambda data, rng: _insert(
        data, rng, b"\r\n", b"{}", b"[]", b"||", b"####", b"\0"
    ),
}
TEXT_BYTES: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "BOM": lambda data, rng: b"\xef\xbb\xbf" + data,
    "CR": lambda data, rng: data.replace(b"\n", b"\r"),
    "CRLF": lambda data, rng: data.replace(b"\n", b"\r\n"),
    "blank lines": lambda data, rng: data.replace(b"\n", b"\n\n"),
    "latin-1": _recode("latin-1"),
    "cp1252": _recode("cp1252"),
    "utf-16": _recode("utf-16"),
    "utf-16 without a mark": _recode("utf-16-le"),
    "utf-32": _recode("utf-32"),
    "encoded twice": lambda data, rng: data.decode("latin-1").encode(),
    "duplicate keys": lambda data, rng: data.replace(b'"answer":', b'"answer": "9", "answer":'),
}
HARMLESS |= {"BOM", "CR", "CRLF", "utf-16", "utf-32"}


def text_of(rows: list[Row], kind: str) -> str:
    """A file's text; raises `TypeError` for values that the format cannot hold."""
    if kind == ".txt":
        return "".join(
            f"{x.get('question', '')}||{_plain_cell(x.get('steps'))} #### "
            f"{_plain_cell(x.get('answer'))}\n"
            for x in rows
        )
    if kind in (".csv", ".tsv"):
        names = list(dict.fromkeys(name for row in rows for name in row))
        separator = "\t" if kind == ".tsv" else ","
        out = io.StringIO()
        writer = csv.writer(out, delimiter=separator, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_plain_cell(row.get(name, "")) for name in names] for row in rows)
        return out.getvalue()
    if kind == ".jsonl":
        return "".join(_json(row) + "\n" for row in rows)
    return "[" + ",\n".join(map(_json, rows)) + "]\n"


def _json(value: Any) -> str:
    """JSON with numbers as they are written in `Literal`."""
    if isinstance(value, Literal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _plain_cell(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(x, str) for x in value):
        return " ".join(value)
    return "" if value is None else str(value)


def parquet_of(rows: list[Row], rng: np.random.Generator) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        cells = [row.get(name) for row in rows]
        cells = [str(x) if isinstance(x, Literal) else x for x in cells]
        try:
            columns[name] = pa.array(cells)
        except (pa.ArrowException, TypeError, OverflowError, UnicodeError):
            columns[name] = pa.array([None if x is None else repr(x) for x in cells])
        if pa.types.is_string(columns[name].type) and rng.random() < 0.3:
            columns[name] = columns[name].dictionary_encode()
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def make(seed: int) -> File:
    """A file with one named fault: a function of the seed."""
    rng = np.random.default_rng([17, seed])
    kind = str(rng.choice(KINDS))
    rows, base = rows_of(rng), kind.removesuffix(".gz")
    names = [*VALUES, *BYTES, *(TEXT_BYTES if base != ".parquet" else ())]
    fault = names[int(rng.integers(len(names)))]
    if fault in VALUES:
        for row in rows:
            if rng.random() < 0.5:
                VALUES[fault](row, rng)
    if base == ".parquet":
        data = parquet_of(rows, rng)
    else:
        try:
            text = text_of(rows, base)
        except TypeError:  # JSON holds no bytes
            return make(seed + 1_000_003)
        data = text.encode("utf-8", "surrogatepass")
    if fault in TEXT_BYTES:
        data = TEXT_BYTES[fault](data, rng)
    zipped = kind != base
    before = zipped and rng.random() < 0.5
    if fault in BYTES and not before:
        data = BYTES[fault](data, rng)
    data = gzip.compress(data, mtime=0) if zipped else data
    if fault in BYTES and before:
        data = BYTES[fault](data, rng)
    harmless = fault in HARMLESS and not (
        base in (".txt", ".csv", ".tsv") and fault == "odd spaces"
    )
    return File(kind, fault, data, harmless)


# --- the second reader -------------------------------------------------------------------------


def plain(text: str) -> str | None:
    """A text without what is not seen; None where it holds what no text may."""
    if any(unicodedata.category(x) in ("Cc", "Cs") and not x.isspace() for x in text):
        return None
    seen = "".join(x for x in text if unicodedata.category(x) != "Cf" and x not in "\u034f\u180e")
    return " ".join(unicodedata.normalize("NFC", seen).split())


GROUPED = re.compile(r"(?<![\d.,(\[{])[1-9]\d{0,2}(?:,\d{3})+(?![\d,)\]}])")


def accepted(cell: Any) -> set[str]:
    """The texts that a cell may be read as."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return {""}
    if isinstance(cell, bool):
        return {"true", "True", "yes"} if cell else {"false", "False", "no"}
    if isinstance(cell, bytes):
        try:
            return accepted(cell.decode())
        except UnicodeDecodeError:
            return set()
    if isinstance(cell, list):
        parts = [accepted(part) for part in cell]
        if not all(parts):
            return set()
        found = {""}
        for part in parts:
            found = {f"{a} {b}".strip() for a in found for b in part}
        return found
    if isinstance(cell, dict):
        return set()
    text = plain(str(cell))
    if text is None:
        return set()
    found = {text, GROUPED.sub(lambda match: match[0].replace(",", ""), text)}
    if isinstance(cell, str) and text[:1] == "[":
        for read in (json.loads, ast.literal_eval):
            try:
                listed = read(text)
            except (ValueError, SyntaxError, RecursionError):
                continue
            if isinstance(listed, list):
                found |= accepted(listed)
    if text.casefold() in ("nan", "null", "none"):
        found.add("")
    if isinstance(cell, str) and re.match("####[^#]", text):  # an answer behind the mark of GSM8K
        found |= accepted(text[4:])
    return found


def says(cell: Any, kept: str) -> bool:
    """Whether a cell holds a text that was kept."""
    if kept in accepted(cell):
        return True
    number = isinstance(cell, (Literal, int, float)) and not isinstance(cell, bool)
    if not number:
        return False
    try:
        ours, theirs = Decimal(kept), Decimal(str(cell))
    except InvalidOperation:
        return False
    return ours.is_finite() and ours == theirs


def pairs_once(pairs: list[tuple[str, Any]]) -> Any:
    """An object; one that names a key twice holds no row."""
    return dict(pairs) if len(dict(pairs)) == len(pairs) else {"twice": [key for key, _ in pairs]}


def loads(text: str) -> Any:
    read = json.JSONDecoder(
        object_pairs_hook=pairs_once,
        parse_float=Literal,
        parse_int=Literal,
        parse_constant=Literal,
    )
    return read.decode(text)


def text_in(data: bytes) -> str:
    """The text of bytes; bytes that are no UTF-8 become signs which no row may hold."""
    if data[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return data.decode("utf-32", "replace").replace("\ufffd", "\udc80")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace").replace("\ufffd", "\udc80")
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def lines_in(text: str) -> list[str]:
    lines = text.split("\n") if "\n" in text else text.split("\r")
    return [line.removesuffix("\r") for line in lines]


def authors_row(line: str) -> Row | None:
    """`question||chain #### answer`, or None."""
    text = plain(line)
    if (
        text is None
        or re.findall(r"\|{2,}", text) != ["||"]
        or re.findall("#{4,}", text) != ["####"]
    ):
        return None
    question, rest = text.split("||")
    steps, found, answer = rest.partition("####")
    if not (found and question.strip() and answer.strip()):
        return None
    return {"question": question.strip(), "steps": steps.strip(), "answer": answer.strip()}


def readings(kind: str, data: bytes) -> Iterator[list[Row]]:
    """What a file may be read as, one list of rows for each reading."""
    base = kind.removesuffix(".gz")
    if base != kind:
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            return
    if base == ".parquet":
        try:
            yield pq.read_table(io.BytesIO(data)).to_pylist()
        except Exception:  # pyarrow raises types of its own
            return
        return
    text = text_in(data)
    if base == ".txt":
        yield [row for line in lines_in(text) if (row := authors_row(line))]
    elif base in (".json", ".jsonl"):
        yield from _json_readings(text)
    else:
        yield from _table_readings(text)


def _json_readings(text: str) -> Iterator[list[Row]]:
    rows = []
    for line in lines_in(text):
        try:
            row = loads(line.strip())
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    yield rows
    try:
        whole = loads(text)
    except (ValueError, RecursionError):
        return
    yield [row for row in (whole if isinstance(whole, list) else [whole]) if isinstance(row, dict)]


def _table_readings(text: str) -> Iterator[list[Row]]:
    for separator in ",\t;|":
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            source = io.StringIO(text, newline="")
            try:
                records = [x for x in csv.reader(source, delimiter=separator, quoting=quoting) if x]
            except csv.Error:
                continue
            if records:
                names = [name.strip().lower() for name in records[0]]
                yield [
                    dict(zip(names, record, strict=True))
                    for record in records[1:]
                    if len(record) == len(names) == len(set(names))
                ]


def confirms(rows: list[Row], kept: list[Any]) -> bool:
    """Whether these rows hold, in this order, everything that was kept."""
    left = iter(rows)
    return all(any(_is_row(row, example) for row in left) for example in kept)


def _is_row(row: Row, example: Any) -> bool:
    cells = {_name(str(name)): cell for name, cell in row.items()}
    if not {"question", "answer"} <= set(cells) or not example.question or not example.answer:
        return False
    steps = cells.get("steps")
    if isinstance(steps, str) and steps.count("####") == 1:  # the answer stands behind them too
        steps, _, marked = steps.partition("####")
        if example.answer not in marked:
            return False
        cells["steps"] = steps
    return all(says(cells.get(part), text) for part, text in zip(PARTS, example, strict=True))


def _name(text: str) -> str:
    """A column's name in small letters, unless case separates words in it."""
    name = "answer" if text == "ans" else str(plain(text)).strip(" []{}#|,")
    return name.lower() if name.islower() or name.istitle() or name.isupper() else name


# --- one file ----------------------------------------------------------------------------------

HELD_OUT = {"valid": "of valid||a #### 1\n", "test": "of test||a #### 2\n"}
LEAKS = {"of valid", "of test"}


def check(file: File, folder: Path) -> str | None:
    """Read a file as `prepare` does, and where it is text of the authors' also by `data.path`.

    Returns:
        What is wrong, or None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"train{file.kind}"
    path.write_bytes(file.data)
    for split, text in HELD_OUT.items():
        (folder / f"{split}.txt").write_text(text)
    wrong = _prepared(file, path)
    if wrong is None and file.kind == ".txt":
        wrong = _by_path(file, folder)
    path.unlink()
    return wrong


def _prepared(file: File, path: Path) -> str | None:
    sources = {"train": path} | {split: path.with_name(f"{split}.txt") for split in HELD_OUT}
    try:
        report = prepare(sources)["train"]
    except IcotError as error:
        return f"refused: {error}" if file.harmless else None
    except Exception:
        return traceback.format_exc()
    for example in report.kept:
        if not all(plain(part) == part for part in example):
            return f"not in the normal form: {example}"
        if authors_row(f"{example.question}||{example.chain} #### {example.answer}") is None:
            return f"cannot be written as a line: {example}"
        if example.question.casefold() in LEAKS:
            return f"a held-out question is in train: {example}"
    found = list(readings(file.kind, file.data))
    if not any(confirms(rows, report.kept) for rows in found):
        return f"wrong rows: {report.kept}"
    if file.harmless and len(report.kept) < min(map(len, found)):
        return f"rows are lost: {report.dropped}"
    counted = len(report.kept) + report.dropped.total()
    if counted < min((len(rows) for rows in found if confirms(rows, report.kept)), default=0):
        return f"{counted} rows are counted of {[len(rows) for rows in found]}"
    return None


def _by_path(file: File, folder: Path) -> str | None:
    try:
        corpus = load_corpus(DataConfig(path=str(folder)))
        layout = Layout(symbol_tokenizer(corpus.symbols))
        examples = examples_of(corpus.train)
        batch = layout.encode(examples)
    except IcotError as error:
        return f"refused as data.path: {error}" if file.harmless else None
    except Exception:
        return traceback.format_exc()
    lines = [line for line in lines_in(text_in(file.data)) if plain(line) != ""]
    rows = [authors_row(line) for line in lines]
    if [None if row is None else tuple(row.values()) for row in rows] != [*map(tuple, examples)]:
        return f"wrong rows by data.path: {examples}"
    if any(example.question.casefold() in LEAKS for example in examples):
        return "a held-out question is in train by data.path"
    rests = [
        row[int(n) : int(m)]
        for row, n, m in zip(batch.ids, batch.question, batch.total, strict=True)
    ]
    for rest, example in zip(rests, examples, strict=True):
        (text,) = layout.texts(torch.as_tensor(rest)[None])
        if text.split() != f"{example.chain} #### {example.answer}".split():
            return f"written as {text!r}: {example}"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first file")
    parser.add_argument("--show", type=int, default=10, help="faults to show")
    options = parser.parse_args()
    faults: Counter = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.first, options.first + options.files):
            file = make(seed)
            wrong = check(file, Path(folder))
            if wrong is not None:
                faults[file.fault, file.kind] += 1
                if faults.total() <= options.show:
                    print(
                        f"--- {seed} {file.kind} {file.fault}\n{file.data[:600]!r}\n{wrong[-1500:]}"
                    )
    print(f"{options.files} files, {faults.total()} faults", *faults.most_common(), sep="\n  ")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
