"""Where the splits of a data set are: a file, a folder, a saved data set, or one of the hub."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icotlib.data.formats import Row
from icotlib.data.json_rows import UnreadableError
from icotlib.data.readers import COMPRESSED, KINDS, file_rows, kind_of
from icotlib.data.splits import split_of
from icotlib.data.tables import arrow_rows
from icotlib.errors import DataError

#: At most so many names of files are listed in a message.
LISTED = 8

#: Names of a column that says to which split a row belongs.
SPLIT_COLUMNS = ("split", "data_split", "partition")


@dataclass(frozen=True)
class Source:
    """Rows of one split."""

    split: str
    #: What reports call it.
    name: str
    #: Reads its rows: where each stands, and the row or why it cannot be read.
    rows: Callable[[], list[tuple[str, Any]]]


@dataclass
class Sources:
    """The sources of a data set, and what belongs to no split."""

    found: list[Source] = field(default_factory=list)
    #: Files and splits that are not read, with the reason.
    left_out: list[str] = field(default_factory=list)


def find_sources(source: str | Path, **given: str | Path | None) -> Sources:
    """The splits of a data set.

    Args:
        source: a file, a folder, a folder of `save_to_disk`, or an id of the hub.
        given: files that take the place of a split, by its name.

    Raises `DataError` if there is no such source, or a split could be in several places.
    """
    try:
        sources = _main_sources(source)
    except OSError as error:
        raise DataError(f"{source}: {error.strerror or error}") from None
    for split, path in given.items():
        if path is None:
            continue
        path = Path(path)
        if path.is_dir():
            raise DataError(f"{path}: is a folder; give the file of the {split} split")
        for other in sources.found:
            if other.split == split:
                sources.left_out.append(f"{other.name}: {path.name} is given for {split}")
        sources.found = [other for other in sources.found if other.split != split]
        sources.found.append(_file(split, path))
    return sources


def _main_sources(source: str | Path) -> Sources:
    path = Path(source).expanduser()
    if path.is_dir():
        return _saved(path) or _folder(path)
    if path.is_file():
        return Sources([_file("train", path)])
    if kind_of(path) or str(source).count("/") != 1:
        raise DataError(f"{source}: no such file or folder, and no hub id like owner/name")
    return _hub(str(source))


def _file(split: str, path: Path, name: str | None = None) -> Source:
    return Source(split, name or path.name, lambda: file_rows(path))


def _folder(folder: Path) -> Sources:
    """The files of a folder that are named after splits, or stand in folders that are."""
    files = sorted(x for x in folder.rglob("*") if x.is_file() and not _is_hidden(x, folder))
    saved = sorted({x.parent for x in files if x.name in ("dataset_dict.json", "state.json")})
    if saved:
        raise DataError(f"{folder}: holds saved data sets; give one of them, such as {saved[0]}")
    data = [path for path in files if kind_of(path)]
    homes: dict[Path, dict[str, list[Path]]] = {}
    for path in data:
        split, home = _split_and_home(path.relative_to(folder))
        if split is not None:
            homes.setdefault(home, {}).setdefault(split, []).append(path)
    whole = [home for home, splits in homes.items() if "train" in splits]
    if not whole and len(data) == 1:
        return Sources([_file("train", data[0])], _names(files, data, folder))
    if not whole:
        raise DataError(
            f"{folder}: no file is named after the training split, such as train.jsonl (there are: "
            f"{_listed([str(x.relative_to(folder)) for x in files]) or 'no files'})"
        )
    preferred = [home for home in (Path(), Path("data")) if home in whole]
    if not preferred and len(whole) > 1:
        names = _listed([str(home) for home in sorted(whole)])
        raise DataError(
            f"{folder}: several folders have a training split; give one of them: {names}"
        )
    splits = homes[(preferred or whole)[0]]
    sources = Sources()
    for split, paths in splits.items():
        for path in _of_one_data_set(folder, split, paths):
            sources.found.append(_file(split, path, str(path.relative_to(folder))))
    read = [folder / source.name for source in sources.found]
    sources.left_out = _names(files, read, folder)
    return sources


def _split_and_home(path: Path) -> tuple[str | None, Path]:
    """The split of a file, and the folder to whose data set it belongs.

    Folders that are named after a split belong to the data set of the folder above them.
    """
    folders = list(path.parts[:-1])
    split = split_of(_stem(path))
    at = next((i for i, name in enumerate(folders) if _is_split_folder(name)), None)
    if at is not None:
        split = split or split_of(folders[at])
        folders = folders[:at]
    return split, Path(*folders)


def _stem(path: Path) -> str:
    """The name of a file without the endings of its kind."""
    name = path.name
    for ending in (*COMPRESSED, *KINDS):
        name = name[: -len(ending)] if name.lower().endswith(ending) else name
    return name


def _is_split_folder(name: str) -> bool:
    return split_of(name) is not None and re.fullmatch(r"[a-zA-Z]+", name) is not None


def _of_one_data_set(folder: Path, split: str, paths: list[Path]) -> list[Path]:
    """The files of a split: shards, files of one folder, or the one that is named as the split is.

    Raises `DataError` for several files, of which it is unknown whether they belong together.
    """
    if len(paths) == 1 or len({_without_numbers(path, folder) for path in paths}) == 1:
        return _whole(folder, split, paths)
    within = {path.relative_to(folder).parts[:-1] for path in paths}
    if all(any(map(_is_split_folder, parts)) for parts in within):  # MATH: train/algebra/1.json
        return paths
    exact = [path for path in paths if _stem(path).lower() == split]
    exact = exact or [path for path in paths if _is_split_folder(_stem(path))]
    if len(exact) > 1:  # of train.json and train.tok.json the shorter name
        shortest = min(len(path.suffixes) for path in exact)
        exact = [path for path in exact if len(path.suffixes) == shortest]
    if len(exact) == 1:
        return exact
    names = _listed([str(path.relative_to(folder)) for path in exact or paths])
    raise DataError(
        f"{folder}: several files may be the {split} split: {names}. "
        + (
            "Give the file of the training split in place of the folder"
            if split == "train"
            else f"Choose one by --{split} FILE"
        )
    )


def _without_numbers(path: Path, folder: Path) -> str:
    return re.sub(
        r"[-_.]?(?:part|shard)?[-_.]?\d+(?:-?of-?\d+)?", "", str(path.relative_to(folder))
    )


def _whole(folder: Path, split: str, paths: list[Path]) -> list[Path]:
    """Raises `DataError` if shards say how many they are, and one is missing."""
    counts = {int(match[1]) for x in paths if (match := re.search(r"-of-(\d+)", x.name))}
    if counts and counts != {len(paths)}:
        names = _listed([path.name for path in paths])
        raise DataError(
            f"{folder}: {len(paths)} of {max(counts)} shards of {split} are there ({names})"
        )
    return paths


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)


def _names(files: list[Path], read: list[Path], folder: Path) -> list[str]:
    """The files of a folder that are not read, named; the rest of many is counted."""
    others = [str(path.relative_to(folder)) for path in files if path not in read]
    return [f"{_listed(others)}: not read"] if others else []


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _saved(folder: Path) -> Sources | None:
    """A data set that `save_to_disk` wrote; None if the folder is none.

    Raises `DataError` if it cannot be loaded.
    """
    whole = (folder / "dataset_dict.json").is_file()
    if not whole and not (folder / "state.json").is_file():
        return None
    from datasets import load_from_disk

    try:
        loaded = load_from_disk(str(folder))
    except Exception as error:  # pyarrow raises types of its own
        raise DataError(f"{folder}: the saved data set cannot be loaded: {error}") from None
    return _of_splits(folder.name, dict(loaded) if whole else {"train": loaded})


def _hub(name: str) -> Sources:
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
    return _of_splits(name, dict(rows_of))


def _of_splits(name: str, rows_of: dict[str, Any]) -> Sources:
    """The sources of splits of loaded rows; splits of one name after the other are shards.

    Raises `DataError` if none is the training split, or two stand for one.
    """
    sources = Sources()
    taken: dict[str, str] = {}
    for split, rows in rows_of.items():
        known = split_of(split)
        if known is None:
            sources.left_out.append(f"{name}, split {split}: no usual name of a split")
        elif known in taken:
            raise DataError(
                f"{name}: the splits {taken[known]} and {split} may both be {known}; save the one "
                "that you want as a file, and give the files of the splits"
            )
        else:
            taken[known] = split
            sources.found.append(Source(known, f"{name}, split {split}", _reader(split, rows)))
    if "train" not in taken:
        raise DataError(
            f"{name}: its splits are {', '.join(rows_of)}; download the files you want, name them "
            "train, valid and test, and give their folder"
        )
    return sources


def _reader(split: str, rows: Any) -> Callable[[], list[tuple[str, Any]]]:
    def read() -> list[tuple[str, Any]]:
        return [(f"{split}:[{number}]", row) for number, row in enumerate(_plain_rows(rows))]

    return read


def _plain_rows(rows: Any) -> Iterator[dict[str, Any]]:
    if not hasattr(rows, "with_format"):
        yield from rows
        return
    for batch in rows.with_format("arrow").iter(batch_size=1000):
        yield from arrow_rows(batch)


def by_split_column(
    rows: list[tuple[str, Any]], split: str
) -> dict[str, list[tuple[str, Any]]] | None:
    """Rows by the split that a column of theirs names; None if they have none.

    Args:
        split: that of rows that cannot be read.
    """
    dictionaries = [row for _, row in rows if isinstance(row, dict)]
    column = next(iter(Row(dictionaries[0]).columns(SPLIT_COLUMNS)), None) if dictionaries else None
    named = [split_of(str(row.get(column))) for row in dictionaries] if column else []
    if column is None or split not in named or set(named) == {split}:
        return None
    parts: dict[str, list[tuple[str, Any]]] = {}
    for where, row in rows:
        known = split_of(str(row.get(column))) if isinstance(row, dict) else split
        if known is None:
            reason = f"its {column} is no usual name of a split"
            row, known = UnreadableError(reason, str(row)), split
        parts.setdefault(known, []).append((where, row))
    return parts
