"""Preparing a data set: any file, folder or data set of the hub as train, valid and test files.

Every row becomes question, steps and answer (`icotlib.data.forms`). A row that cannot is left out
as a whole, and counted with the reason.
"""

import hashlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from icotlib import paths
from icotlib.data.files import SPLITS, format_line, write_examples
from icotlib.data.formats import BY_NAME, Columns
from icotlib.data.readers import FURTHER, Report, collect
from icotlib.data.sources import by_split_column, find_sources
from icotlib.data.text import same_question
from icotlib.errors import ConfigError, DataError
from icotlib.tasks import Example

#: Words, numbers and signs, which count as tokens where no tokenizer is given.
_WORD = re.compile(r"[^\W\d_]+|\d|[^\w\s]|_")


def prepare(
    sources: dict[str, str | Path | None] | str | Path,
    columns: Columns = BY_NAME,
    held_out: int = 500,
    seed: int = 0,
    *,
    all_chains: bool = False,
    longest: tuple[int, Callable[[list[Example]], list[int]]] | None = None,
) -> dict[str, Report]:
    """The three splits of a data set, with no question in two of them.

    Questions of test are left out of valid and train, those of valid out of train, and repeated
    questions out of every split; the reports count them.

    Args:
        sources: a file, a folder whose files or folders are named after splits, a folder of
            `save_to_disk`, or a data set of the hub by its id, `owner/name` or
            `owner/name:configuration`; or a dictionary with such a source as `train`, and files
            as `valid` and `test`.
        held_out: the number of training questions that become a split which the source lacks; at
            most a third of them.
        seed: the seed of their choice.
        all_chains: keep the further chains of a training question, as examples of their own.
        longest: leave out examples of more tokens than that number, counted by that function.

    Raises `DataError` if a source cannot be read or a split ends up without an example.
    """
    reports = {split: Report() for split in SPLITS}
    if isinstance(sources, dict):
        given = {split: sources.get(split) for split in ("valid", "test")}
        train = sources.get("train")
        if not train:
            raise DataError("there is no source of the training split")
        found = find_sources(train, **given)
    else:
        found = find_sources(sources)
    single = sum(source.split == "train" for source in found.found) == 1
    for source in found.found:
        rows = source.rows()
        parts = by_split_column(rows, source.split) if single and source.split == "train" else None
        for split, part in (parts or {source.split: rows}).items():
            if split == source.split or not any(x.split == split for x in found.found):
                collect(part, reports[split], columns, source.name, all_chains)
            else:
                found.left_out.append(f"{len(part):,} rows of {source.name}: {split} is given")
    reports["train"].notes += [f"left out: {name}" for name in found.left_out]
    _separate(reports, all_chains)
    if longest is not None:
        for split, report in reports.items():
            _drop_long(report, split, *longest)
    _hold_out(reports, held_out, np.random.default_rng([seed, 5]))
    for split, report in reports.items():
        if not report.kept:
            reasons = "; ".join(line.strip() for line in report.lines(split))
            raise DataError(f"no example is left for {split} ({reasons})")
    return reports


def _separate(reports: dict[str, Report], all_chains: bool) -> None:
    """Keep every question once: in test if it is there, else in valid, else in train.

    Args:
        all_chains: keep further chains of the questions of train.
    """
    seen: dict[str, str] = {}
    for split in ("test", "valid", "train"):
        report = reports[split]
        examples, report.kept = report.kept, []
        here: dict[str, list[Example]] = {}
        for number, example in enumerate(examples):
            key = same_question(example.question)
            where, text = f"{split} example {number}", format_line(example)
            if key in seen:
                report.drop(f"the question is in {seen[key]} too", where, text)
            elif key not in here:
                here[key] = [example]
                report.kept.append(example)
            elif example.answer != here[key][0].answer:
                report.drop("the question is repeated with another answer", where, text)
            elif example.chain in [other.chain for other in here[key]]:
                report.drop("the question is repeated", where, text)
            elif all_chains and split == "train":
                here[key].append(example)
                report.kept.append(example)
            else:
                report.drop(FURTHER, where, text)
        seen |= dict.fromkeys(here, split)


def _hold_out(reports: dict[str, Report], held_out: int, rng: np.random.Generator) -> None:
    """Draw questions of train for splits that the source lacks.

    Raises `DataError` if there are too few.
    """
    for split in ("test", "valid"):
        report, train = reports[split], reports["train"]
        if report.kept or report.dropped:
            continue
        keys = [same_question(example.question) for example in train.kept]
        questions = list(dict.fromkeys(keys))
        if held_out and 0 < len(questions) < 3:
            raise DataError(
                f"too few training questions ({len(questions)}) to draw {split} from, which is "
                f"not given: it takes four for both valid and test. Give the file of {split}, or "
                + "; ".join(["more questions", *(line.strip() for line in train.left_out())])
            )
        most = len(questions) // 3
        drawn = {questions[i] for i in rng.permutation(len(questions))[: min(held_out, most)]}
        first = dict(zip(reversed(keys), reversed(train.kept), strict=True))
        report.kept = [first[key] for key in questions if key in drawn]
        fewer = f", a third of its questions and not {held_out:,}" if most < held_out else ""
        report.notes.append(f"drawn from train (--held-out){fewer}")
        rest = zip(keys, train.kept, strict=True)
        train.kept = [example for key, example in rest if key not in drawn]


def count_words(examples: list[Example]) -> list[int]:
    """The length of examples in words, single digits and signs, with two separators and an end."""
    return [len(_WORD.findall(f"{x.question} {x.chain} #### {x.answer}")) + 3 for x in examples]


def count_tokens(tokenizer: str, examples: list[Example]) -> list[int]:
    """The length of examples in tokens, as they are trained on.

    Args:
        tokenizer: the folder or hub id of a model whose tokenizer counts.
    """
    from icotlib.data.layout import Layout
    from icotlib.system.pretrained import load_tokenizer

    layout = Layout(load_tokenizer(tokenizer, "--tokenizer"))
    blocks = [examples[start : start + 1000] for start in range(0, len(examples), 1000)]
    return [length for block in blocks for length in layout.encode(block).total.tolist()]


def _drop_long(
    report: Report, split: str, limit: int, count: Callable[[list[Example]], list[int]]
) -> None:
    lengths = count(report.kept)
    examples, report.kept = report.kept, []
    for number, (example, length) in enumerate(zip(examples, lengths, strict=True)):
        if length <= limit:
            report.kept.append(example)
        else:
            reason = f"it is longer than {limit:,} tokens (--max-tokens)"
            report.drop(reason, f"{split} example {number}", format_line(example))


def check_new(folder: Path) -> None:
    """Raises `ConfigError` if a folder holds one of the files of splits, or is a file itself."""
    if folder.is_file():
        raise ConfigError(f"{folder} is a file; give --out another folder")
    for split in SPLITS:
        if (folder / f"{split}.txt").exists():
            raise ConfigError(f"{folder / f'{split}.txt'} exists; give --out another folder")


def write(reports: dict[str, Report], folder: Path) -> None:
    """Write train.txt, valid.txt and test.txt, all of them or none.

    Raises `ConfigError` if one of them exists, or the folder cannot be written.
    """
    check_new(folder)
    try:
        with paths.folder_beside(folder) as part:
            part.mkdir()
            for split, report in reports.items():
                write_examples(part / f"{split}.txt", report.kept)
            if not folder.exists():
                part.rename(folder)
                return
            for split in reversed(SPLITS):  # train last: without it a set is not taken for whole
                (part / f"{split}.txt").rename(folder / f"{split}.txt")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror or error}") from None


def prepare_cached(
    source: str | Path,
    home: Path,
    columns: Columns = BY_NAME,
    held_out: int = 500,
    test: str | Path | None = None,
) -> tuple[Path, dict[str, Report]]:
    """Prepare a data set in a folder below `home`, whose name has a hash of the examples.

    An existing folder is kept, so that a notebook can be run again.

    Args:
        test: a file of test questions, where the source has none.

    Returns:
        The folder, as a value for `data.path`, and the reports of the three splits.
    """
    reports = prepare({"train": source, "test": test} if test else source, columns, held_out)
    lines = (format_line(x) for split in SPLITS for x in reports[split].kept)
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:10]
    folder = home / f"{Path(source).stem}-{digest}"
    return paths.create_once(folder, partial(write, reports)), reports
