"""Other people's data, brought into the papers' format: GSM8K in its shapes, tables, JSON, parquet.

ProsQA, ProntoQA, StrategyQA and multiple choice as in CommonsenseQA are known by their fields
(`_known_form`).

A source is a file, a folder, or a data set of the hub. Every row becomes `question, steps,
answer`; what cannot is counted with its reason, never dropped silently and never half read.
"""

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from icotlib import paths
from icotlib.data import SPLITS, format_line, parse_line, write_examples
from icotlib.errors import ConfigError, DataError, did_you_mean
from icotlib.tasks import Example

#: Columns as they are called in the wild, in the order in which they are looked for.
NAMES = {
    "question": ("question", "problem", "input", "prompt"),
    "steps": (
        *("steps", "cot", "chain", "chain_of_thought", "rationale", "solution", "explanation"),
        *("positive explanation", "positive_explanation"),
    ),
    "answer": ("answer", "output", "target", "label"),
}
#: Files that are read, and the stems that name a split.
KINDS = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet")
STEMS = {"train": "train", "valid": "valid", "validation": "valid", "dev": "valid", "test": "test"}
#: The longest line that is taken for an example, in characters.
LONGEST = 100_000

_EQUATION = re.compile(r"<<(.*?)>>", re.DOTALL)
_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold question, steps and answer; None finds them by `NAMES`."""

    question: str | None = None
    steps: str | None = None
    answer: str | None = None
    #: What is written between the steps of a list: `removal.step_end` can then tell them apart.
    between: str = " "


@dataclass
class Report:
    """What became of the rows of one split."""

    kept: list[Example] = field(default_factory=list)
    #: Rows that were left out, by reason.
    dropped: Counter = field(default_factory=Counter)
    #: The first row left out for each reason, as `file:line`.
    first: dict[str, str] = field(default_factory=dict)

    def drop(self, reason: str, where: str) -> None:
        self.dropped[reason] += 1
        self.first.setdefault(reason, where)

    def lines(self, split: str) -> Iterator[str]:
        """The report as text."""
        lengths = [len(example.chain.split()) for example in self.kept]
        without = sum(not length for length in lengths)
        yield f"{split}: {len(self.kept):,} examples"
        if lengths:
            text = f"{min(lengths)} to {max(lengths)}, median {median(lengths):g}"
            yield f"  chain, symbols between spaces: {text}; {without:,} without any step"
        for reason, count in self.dropped.most_common():
            yield f"  left out: {count:,} because {reason} (first at {self.first[reason]})"


# --- rows --------------------------------------------------------------------------------------


def to_example(row: dict[str, Any], columns: Columns = Columns()) -> Example:
    """One row as an example. `ValueError` says what is wrong with it.

    Steps may be a list or a text. Without steps, an answer in GSM8K's form, prose with equations
    in `<<...>>` and the number behind `####`, is taken apart: its equations are the steps. The
    forms of ProntoQA, StrategyQA and CommonsenseQA are known by their fields.
    """
    row, columns = _known_form(row, columns)
    question = _text(_column(row, "question", columns.question))
    answer = _column(row, "answer", columns.answer)
    steps = _column(row, "steps", columns.steps, required=columns.steps is not None)
    if steps is None and isinstance(answer, str) and "####" in answer:
        prose, _, answer = answer.rpartition("####")
        steps = [f"<<{equation}>>" for equation in _EQUATION.findall(prose)]
    if isinstance(steps, (list, tuple, np.ndarray)):
        steps = columns.between.join(_text(step) for step in steps)
    chain, answer = _plain(_text(steps)), _plain(_text(answer))
    if not question:
        raise ValueError("the question is empty")
    if not answer:
        raise ValueError("the answer is empty")
    for part in (question, chain, answer):
        if "||" in part or "####" in part:
            raise ValueError("'||' or '####', which separate the parts, stands inside one")
    example = Example(question, chain, answer)
    if parse_line(format_line(example)) != example:
        raise ValueError("its parts run together when they are written as one line")
    return example


def _column(row: dict[str, Any], part: str, name: str | None, required: bool = True) -> Any:
    if name is not None:
        if name not in row:
            known = ", ".join(map(str, row))
            raise ValueError(f"there is no column {name!r} but {known}{did_you_mean(name, row)}")
        return row[name]
    found = next((known for known in NAMES[part] if known in row), None)
    if found is None and required:
        raise ValueError(f"no column looks like the {part}: name it (--{part} COLUMN)")
    return None if found is None else row[found]


# --- forms known by their fields ---


def _known_form(row: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], Columns]:
    """The row in the common form, if its fields are those of a data set that has its own.

    `ValueError` says what such a row lacks. A named column is looked for as in any other row.
    """
    if "test_example" in row:
        row = row["test_example"]
        if not isinstance(row, dict):
            raise ValueError("the test_example is no object")
    if "query" in row and "chain_of_thought" in row:
        return _judged(row, columns)
    question = row.get(columns.question or "question")
    nested = isinstance(question, dict) and ("stem" in question or "choices" in question)
    if nested or "answerKey" in row or row.get("choices"):
        return _multiple_choice(row, columns)
    if "facts" in row or "decomposition" in row:
        return _yes_or_no(row, columns)
    return row, columns


def _judged(row: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], Columns]:
    """ProntoQA: the facts stand in `question`, what is to be judged in `query`."""
    if columns.question is not None:
        return row, columns
    facts, query = _text(row.get("question")), _text(row["query"])
    if not (facts and query):
        raise ValueError("the question or the query is empty")
    return row | {"question": f"{facts} {query}"}, columns


def _yes_or_no(row: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], Columns]:
    """StrategyQA: a boolean answer, its reasons in `facts` or, failing these, `decomposition`.

    A row of another data set that happens to have such a column keeps its form if its steps stand
    in a column that is named, or has a usual name; only a boolean answer becomes yes or no.
    """
    answer = _column(row, "answer", columns.answer)
    verdict = {"true": "yes", "yes": "yes", "false": "no", "no": "no"}.get(_text(answer).lower())
    if columns.steps is None and not any(name in row for name in NAMES["steps"]):
        reasons = [row.get(name) for name in ("facts", "decomposition")]
        steps = next((one for one in reasons if _has_text(one)), None)
        if verdict is None:
            raise ValueError(
                "beside facts or a decomposition, the answer is neither true nor false: name the "
                "steps if they are something else (--steps COLUMN)"
            )
        if steps is None:
            raise ValueError("facts and decomposition are empty")
        row, columns = row | {"steps": steps}, replace(columns, steps="steps")
    if verdict is not None:
        row, columns = row | {"answer": verdict}, replace(columns, answer="answer")
    return row, columns


def _multiple_choice(row: dict[str, Any], columns: Columns) -> tuple[dict[str, Any], Columns]:
    """CommonsenseQA: the choices, with their labels, follow the question; the answer is a label."""
    stem = _column(row, "question", columns.question)
    choices = row.get("choices")
    if isinstance(stem, dict):
        stem, choices = stem.get("stem"), stem.get("choices", choices)
    labels, texts = _choices(choices)
    if columns.answer is None and "answerKey" not in row:
        raise ValueError("there are choices but no answerKey: name it (--answer COLUMN)")
    key = _text(_column(row, "answer", columns.answer or "answerKey"))
    if key not in labels:
        raise ValueError(f"the answer is {'no label of' if key else 'missing beside'} the choices")
    if not _text(stem):
        raise ValueError("the question is empty")
    steps = _column(row, "steps", columns.steps, required=False)
    if not _has_text(steps):
        raise ValueError("no rationale stands beside the choices: name it (--steps COLUMN)")
    listed = " ".join(f"({label}) {text}" for label, text in zip(labels, texts, strict=True))
    found = {"question": f"{_text(stem)} {listed}", "steps": steps, "answer": key}
    return found, Columns(between=columns.between)


def _choices(choices: Any) -> tuple[list[str], list[str]]:
    """Labels and texts of a list of objects, or of an object of two lists."""
    if isinstance(choices, dict):
        labels, texts = choices.get("label"), choices.get("text")
    elif isinstance(choices, list) and all(isinstance(one, dict) for one in choices):
        labels, texts = ([one.get(name) for one in choices] for name in ("label", "text"))
    else:
        labels = texts = None
    if not (isinstance(labels, list) and isinstance(texts, list) and len(labels) == len(texts)):
        raise ValueError("the choices are no list of labels and texts")
    labels, texts = [_text(label) for label in labels], [_text(text) for text in texts]
    if len(labels) < 2 or not all(labels + texts) or len(set(labels)) < len(labels):
        raise ValueError("the choices are fewer than two, or have an empty text or equal labels")
    return labels, texts


def _has_text(steps: Any) -> bool:
    """Whether there is any step: in a text, or in a list of texts."""
    if isinstance(steps, (list, tuple, np.ndarray)):
        return any(_text(step) for step in steps)
    return bool(_text(steps))


# --- cells ---


def _text(value: Any) -> str:
    """A cell as one line of text; nothing for a missing one."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, (dict, list)):
        raise ValueError(f"a cell holds {type(value).__name__}, not text")
    text = str(value)
    if "\0" in text:
        raise ValueError("a cell holds a NUL byte")
    if not text.isascii() and text != text.encode("utf-8", "ignore").decode():
        raise ValueError("a cell holds half a character")
    return " ".join(text.split())


def _plain(text: str) -> str:
    """Numbers without the commas between their thousands."""
    return _COMMA.sub("", text)


# --- files -------------------------------------------------------------------------------------


def read_rows(path: Path, report: Report, columns: Columns = Columns()) -> None:
    """Add the examples of a file to a report; what is no example is counted with its reason.

    Raises `DataError` for a file that cannot be read at all.
    """
    reader = {
        ".txt": _text_lines,
        ".jsonl": _json_lines,
        ".json": _json,
        ".csv": _table,
        ".tsv": _table,
        ".parquet": _parquet,
    }.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: a file of unknown kind; known are {', '.join(KINDS)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    _collect(reader(path), report, columns)


def _collect(rows: Iterable[tuple[str, Any]], report: Report, columns: Columns) -> None:
    for where, row in rows:
        try:
            if isinstance(row, ValueError):
                raise row
            example = row if isinstance(row, Example) else to_example(row, columns)
        except ValueError as error:
            report.drop(str(error), where)
        else:
            report.kept.append(example)


def _raw_lines(path: Path) -> Iterator[tuple[str, str | ValueError]]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            where = f"{path.name}:{number}"
            if len(raw) > LONGEST:
                yield where, ValueError(f"the line is longer than {LONGEST:,} characters")
                continue
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                yield where, ValueError("the line is not UTF-8")
                continue
            if line:
                yield where, line


def _text_lines(path: Path) -> Iterator[tuple[str, Example | ValueError]]:
    """The authors' files, `question||chain #### answer`."""
    for where, line in _raw_lines(path):
        if isinstance(line, ValueError):
            yield where, line
            continue
        try:
            question, chain, answer = map(_text, parse_line(line))
            yield where, Example(question, _plain(chain), _plain(answer))
        except ValueError as error:
            yield where, ValueError(str(error).partition(", found")[0])


def _json_lines(path: Path) -> Iterator[tuple[str, dict | ValueError]]:
    for where, line in _raw_lines(path):
        yield where, line if isinstance(line, ValueError) else _json_row(line)


def _json_row(text: str) -> dict | ValueError:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):  # a number of thousands of digits is a ValueError, too
        return ValueError("the line is no JSON")
    return row if isinstance(row, dict) else ValueError("the line is JSON, but no object")


def _json(path: Path) -> Iterator[tuple[str, dict | ValueError]]:
    """A list of objects, or one object per line under the wrong name."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        yield from _json_lines(path)
        return
    if isinstance(rows, dict) and any(_is_pronto(value) for value in rows.values()):
        yield from _named_rows(path, rows)
        return
    if isinstance(rows, dict):  # {"data": [...]}, or an object that is the only row
        lists = [value for value in rows.values() if isinstance(value, list)]
        rows = lists[0] if len(lists) == 1 and len(rows) == 1 else [rows]
    if not isinstance(rows, list):
        raise DataError(f"{path}: holds neither a list of objects nor one object per line")
    for number, row in enumerate(rows):
        good = isinstance(row, dict)
        yield f"{path.name}:[{number}]", row if good else ValueError("an entry is no object")


def _is_pronto(value: Any) -> bool:
    return isinstance(value, dict) and "test_example" in value


def _named_rows(path: Path, rows: dict[str, Any]) -> Iterator[tuple[str, dict | ValueError]]:
    """ProntoQA's file, `{"example1": {"test_example": {...}}}`; examples in context are left."""
    for name, row in rows.items():
        good = _is_pronto(row)
        yield f"{path.name}:{name}", row if good else ValueError("an entry has no test_example")


def _table(path: Path) -> Iterator[tuple[str, dict | ValueError]]:
    # Tables with tabs do not quote; in the others a quote left open would swallow rows.
    tabs = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    dialect = tabs if path.suffix.lower() == ".tsv" else {"strict": True}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, **dialect)
            for row in reader:
                where = f"{path.name}:{reader.line_num}"
                if None in row or None in row.values():
                    yield where, ValueError("the row has not as many cells as the header")
                else:
                    yield where, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no readable table: {error}") from None


def _parquet(path: Path) -> Iterator[tuple[str, dict]]:
    from datasets import Dataset

    try:
        rows = Dataset.from_parquet(str(path))
    except Exception as error:  # pyarrow raises types of its own
        raise DataError(f"{path}: no readable parquet file: {error}") from None
    yield from ((f"{path.name}:[{number}]", row) for number, row in enumerate(rows))


# --- a whole data set --------------------------------------------------------------------------


def prepare(
    sources: dict[str, str | Path] | str | Path,
    columns: Columns = Columns(),
    held_out: int = 500,
    seed: int = 0,
) -> dict[str, Report]:
    """The three splits of a data set, no question in two of them.

    Args:
        sources: a file for each split (`train`, `valid`, `test`); or a folder whose files are
            named after the splits; or one file; or a data set of the hub by its id, `owner/name`
            or `owner/name:configuration`.
        held_out: examples drawn from the training ones for a split that the source has not.
        seed: of that draw.

    A question that stands in test is taken out of valid and train, one of valid out of train; each
    is counted, and so is one that comes twice. Raises `DataError` if a source cannot be read or a
    split is left without an example.
    """
    reports = {split: Report() for split in SPLITS}
    for split, path in _found(sources):
        if isinstance(path, Path):
            read_rows(path, reports[split], columns)
        else:
            rows = ((f"{split}:[{number}]", row) for number, row in enumerate(path))
            _collect(rows, reports[split], columns)
    _separate(reports)
    rng = np.random.default_rng([seed, 5])
    for split in ("test", "valid"):
        if not reports[split].kept and not reports[split].dropped:
            pool = reports["train"].kept
            held_out = min(held_out, len(pool) // 3)
            chosen = set(rng.permutation(len(pool))[:held_out].tolist())
            reports[split].kept = [x for i, x in enumerate(pool) if i in chosen]
            reports["train"].kept = [x for i, x in enumerate(pool) if i not in chosen]
    for split, report in reports.items():
        if not report.kept:
            reasons = "; ".join(report.lines(split))
            raise DataError(f"no example is left for {split} ({reasons})")
    return reports


def _found(sources) -> Iterable[tuple[str, Any]]:
    """Every split's file, or its rows where the hub has it."""
    if isinstance(sources, dict):
        return [(split, Path(path)) for split, path in sources.items() if path]
    path = Path(sources)
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix.lower() in KINDS)
        named = [(_split_of(one), one) for one in files]
        found = [(split, one) for split, one in named if split]
        if not any(split == "train" for split, _ in found):
            raise DataError(
                f"{path}: no file is named after the training split; train.jsonl is, for example"
            )
        return found
    if path.is_file():
        return [("train", path)]
    if path.suffix.lower() in KINDS or str(sources).count("/") != 1:
        raise DataError(f"{sources}: no such file or folder, and no hub id like owner/name")
    return _hub(str(sources))


def _split_of(path: Path) -> str | None:
    """The split a file is named after: train.jsonl, openai_test.jsonl, data-validation.csv."""
    words = re.split(r"[^a-z]+", path.stem.lower())
    return next((STEMS[word] for word in reversed(words) if word in STEMS), None)


def _hub(name: str) -> list[tuple[str, Any]]:
    from datasets import load_dataset

    try:
        found = load_dataset(*name.split(":"))  # owner/name, or owner/name:configuration
    except Exception as error:  # the hub and its file systems raise types of their own
        raise DataError(
            f"{name}: neither a file here nor a data set that the hub gives: {error}\nDownload "
            "its files by hand, put them into a folder as train.jsonl, valid.jsonl and "
            "test.jsonl (or .json, .csv, .parquet), and give that folder."
        ) from None
    unknown = sorted(set(found) - set(STEMS))
    if unknown or "train" not in found:
        raise DataError(
            f"{name}: its splits are {', '.join(found)}; download the files you want, name them "
            "train, valid and test, and give their folder"
        )
    return [(STEMS[split], rows) for split, rows in found.items()]


def _separate(reports: dict[str, Report]) -> None:
    """Leave every question once, in the first of test, valid and train that has it."""
    seen: dict[str, str] = {}
    for split in ("test", "valid", "train"):
        report, before = reports[split], dict(seen)
        examples, report.kept = report.kept, []
        for number, example in enumerate(examples):
            key = example.question.lower()
            if key in before:
                reason = f"the question stands in {before[key]}, too"
                report.drop(reason, f"{split} example {number}")
            elif key in seen:
                report.drop("the question came before", f"{split} example {number}")
            else:
                seen[key] = split
                report.kept.append(example)


def write(reports: dict[str, Report], folder: Path) -> None:
    """Write train.txt, valid.txt and test.txt. Raises `ConfigError` if one of them exists."""
    for split in SPLITS:
        if (folder / f"{split}.txt").exists():
            raise ConfigError(f"{folder / f'{split}.txt'} exists; give --out another folder")
    for split, report in reports.items():
        write_examples(folder / f"{split}.txt", report.kept)


def bring(
    source: str | Path, home: Path, columns: Columns = Columns(), held_out: int = 500
) -> tuple[Path, dict[str, Report]]:
    """Prepare a data set into a folder below `home` that is named after what it holds.

    What is there already is left as it is, so that a notebook can ask again.

    Returns:
        the folder, which `data.path` takes, and the reports of the three splits.
    """
    reports = prepare(source, columns, held_out)
    lines = (format_line(x) for split in SPLITS for x in reports[split].kept)
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:10]
    folder = home / f"{Path(source).stem}-{digest}"
    return paths.made_once(folder, partial(write, reports)), reports
