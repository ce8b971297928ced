"""Other people's data, brought into the papers' format: GSM8K in its shapes, tables, JSON, parquet.

ProsQA, ProntoQA, StrategyQA and multiple choice as in CommonsenseQA are known by their fields
(`_known_form`).

A source is a file, a folder, or a data set of the hub. Every row becomes `question, steps,
answer`; what cannot is counted with its reason, never dropped silently and never half read.
"""

import hashlib
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from icotlib import paths
from icotlib.data.files import SPLITS, format_line, write_examples
from icotlib.data.forms import BY_NAME, Columns
from icotlib.data.readers import KINDS, Report, _collect, read_rows
from icotlib.errors import ConfigError, DataError

STEMS = {"train": "train", "valid": "valid", "validation": "valid", "dev": "valid", "test": "test"}


# --- a whole data set --------------------------------------------------------------------------


def prepare(
    sources: dict[str, str | Path] | str | Path,
    columns: Columns = BY_NAME,
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


def prepare_cached(
    source: str | Path, home: Path, columns: Columns = BY_NAME, held_out: int = 500
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
    return paths.create_once(folder, partial(write, reports)), reports
