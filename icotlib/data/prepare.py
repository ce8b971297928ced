"""Preparing a data set: any file, folder or data set of the hub as train, valid and test files.

Every row becomes question, steps and answer (`icotlib.data.forms`). A row that cannot is left out
as a whole, and counted with the reason.
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
from icotlib.data.readers import KINDS, Report, collect, read_rows
from icotlib.errors import ConfigError, DataError

#: Words in the name of a file, or of a split on the hub, and the split that they stand for.
SPLIT_OF = {
    "train": "train",
    "valid": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
}


def prepare(
    sources: dict[str, str | Path] | str | Path,
    columns: Columns = BY_NAME,
    held_out: int = 500,
    seed: int = 0,
) -> dict[str, Report]:
    """The three splits of a data set, with no question in two of them.

    Questions of test are left out of valid and train, those of valid out of train, and repeated
    questions out of every split; the reports count them.

    Args:
        sources: a file for each split (`train`, `valid`, `test`); or a folder whose files are
            named after the splits; or one file; or a data set of the hub by its id, `owner/name`
            or `owner/name:configuration`.
        held_out: the number of training examples that become a split which the source lacks; at
            most a third of them.
        seed: the seed of their choice.

    Raises `DataError` if a source cannot be read or a split ends up without an example.
    """
    reports = {split: Report() for split in SPLITS}
    for split, source in _splits(sources):
        if isinstance(source, Path):
            read_rows(source, reports[split], columns)
        else:
            rows = ((f"{split}:[{number}]", row) for number, row in enumerate(source))
            collect(rows, reports[split], columns)
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


def _splits(sources: dict[str, str | Path] | str | Path) -> Iterable[tuple[str, Any]]:
    """Each split and its file, or its rows where the data set is the hub's."""
    if isinstance(sources, dict):
        return [(split, Path(path)) for split, path in sources.items() if path]
    path = Path(sources)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in KINDS)
        named = [(split, file) for file in files if (split := _split_of(file))]
        if not any(split == "train" for split, _ in named):
            raise DataError(
                f"{path}: no file is named after the training split, such as train.jsonl"
            )
        return named
    if path.is_file():
        return [("train", path)]
    if path.suffix.lower() in KINDS or str(sources).count("/") != 1:
        raise DataError(f"{sources}: no such file or folder, and no hub id like owner/name")
    return _hub(str(sources))


def _split_of(path: Path) -> str | None:
    """The split a file is named after: train.jsonl, openai_test.jsonl, data-validation.csv."""
    words = re.split(r"[^a-z]+", path.stem.lower())
    return next((SPLIT_OF[word] for word in reversed(words) if word in SPLIT_OF), None)


def _hub(name: str) -> list[tuple[str, Any]]:
    """Each split of a data set of the hub, and its rows."""
    from datasets import load_dataset

    try:
        rows_of = load_dataset(*name.split(":"))  # owner/name, or owner/name:configuration
    except Exception as error:  # the hub and its file systems raise types of their own
        raise DataError(
            f"{name}: not a local file, and the hub cannot load it: {error}\nDownload its files "
            "by hand, put them into a folder as train.jsonl, valid.jsonl and test.jsonl (or .json, "
            ".csv, .parquet), and give that folder."
        ) from None
    unknown = sorted(set(rows_of) - set(SPLIT_OF))
    if unknown or "train" not in rows_of:
        raise DataError(
            f"{name}: its splits are {', '.join(rows_of)}; download the files you want, name them "
            "train, valid and test, and give their folder"
        )
    return [(SPLIT_OF[split], rows) for split, rows in rows_of.items()]


def _separate(reports: dict[str, Report]) -> None:
    """Keep every question once: in test if it is there, else in valid, else in train."""
    seen: dict[str, str] = {}
    for split in ("test", "valid", "train"):
        report, before = reports[split], dict(seen)
        examples, report.kept = report.kept, []
        for number, example in enumerate(examples):
            key = example.question.lower()
            if key in before:
                reason = f"the question is in {before[key]} too"
                report.drop(reason, f"{split} example {number}")
            elif key in seen:
                report.drop("the question is repeated", f"{split} example {number}")
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
    """Prepare a data set in a folder below `home`, whose name has a hash of the examples.

    An existing folder is kept, so that a notebook can be run again.

    Returns:
        The folder, as a value for `data.path`, and the reports of the three splits.
    """
    reports = prepare(source, columns, held_out)
    lines = (format_line(x) for split in SPLITS for x in reports[split].kept)
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:10]
    folder = home / f"{Path(source).stem}-{digest}"
    return paths.create_once(folder, partial(write, reports)), reports
