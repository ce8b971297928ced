"""The splits of a run, read from files or generated; no question is in two of them."""

import contextlib
import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from datasets import Dataset, load_from_disk

from icotlib import paths
from icotlib.config import NUMERICS, DataConfig
from icotlib.data.files import SPLITS, format_line, numbered_examples
from icotlib.data.hold_out import HoldOut, drawn_keys, is_in_sorted
from icotlib.data.text import same_question
from icotlib.errors import ConfigError, DataError
from icotlib.system import seals
from icotlib.system.contents import code_hash
from icotlib.tasks import Example, Task, get_task

#: Sets of at least so many questions are cached on disk.
MANY = 10_000

#: `draw_unseen` gives up after so many draws of smaller questions in a row that are all excluded.
BARREN = 200

#: No keys: nothing is held out.
NO_KEYS = np.array([], dtype=np.uint64)


def draw_unseen(
    task: Task,
    rng: np.random.Generator,
    n: int,
    excluded: np.ndarray,
    distinct: bool = False,
    in_holdout: bool | None = None,
    file_questions: HoldOut | None = None,
    smaller: Callable[[np.random.Generator, int], np.ndarray] | None = None,
) -> np.ndarray:
    """Draw n questions, `[n, entries]`.

    Args:
        excluded: sorted keys (`drawn_keys`) of questions that are not drawn.
        distinct: whether all of them differ from each other.
        in_holdout: True draws from the task's holdout alone, False from all other questions, None
            from both.
        file_questions: the questions of a file, which are excluded. Those that would be among the n
            without it are counted.
        smaller: what draws smaller questions (`Task.sample_up_to`), in the place of `Task.sample`.

    Raises `ConfigError` where smaller questions, or different forms of them, are used up.
    """
    rows: list[np.ndarray] = []
    count, asked, barren = 0, 0, 0
    while count < n:
        drawn = (smaller or task.sample)(rng, n - count + 16)
        keys = drawn_keys(task, drawn)
        fresh = ~is_in_sorted(keys, excluded)
        if in_holdout is not None:
            fresh &= task.holdout(drawn) == in_holdout
        if distinct:
            fresh &= first_of_each(keys)
        if file_questions is not None:
            held = file_questions.holds(task, drawn)
            file_questions.met += int(held[fresh][: max(0, n - asked)].sum())
            asked += int(fresh.sum())
            if distinct:
                excluded = np.sort(np.concatenate([excluded, keys[fresh & held]]))
            fresh &= ~held
        if distinct:
            excluded = np.sort(np.concatenate([excluded, keys[fresh][: n - count]]))
        rows.append(drawn[fresh][: n - count])
        count += len(rows[-1])
        barren = 0 if len(rows[-1]) else barren + 1
        if barren == BARREN and (smaller or type(task).canonical is not Task.canonical):
            raise ConfigError(_why_barren(task, bool(smaller), count, n))
    return np.concatenate(rows)


def _why_barren(task: Task, growing: bool, found: int, n: int) -> str:
    """Why no more questions are drawn."""
    if growing:
        return (
            f"data.growth_steps: every question that {task.name} begins with is held out: leave "
            "the smallest ones out of data.hold_out, or set data.growth_steps=null"
        )
    return (
        f"of {n} questions of {task.name} only {found} were found that differ by more than names "
        "and order: lower data.valid_examples, data.test_examples or data.train_examples, or take "
        "a larger task"
    )


def first_of_each(values: np.ndarray) -> np.ndarray:
    """Which entries are the first with their value, `[n]`."""
    first = np.zeros(len(values), dtype=bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


@dataclass(frozen=True)
class Corpus:
    """All data that a run may use: its held-out sets, and the source of its training examples."""

    valid: Dataset
    test: Dataset
    #: A fixed training set, or None where every batch is drawn from `task`.
    train: Dataset | None
    #: The generated task, or None for data from files.
    task: Task | None
    #: Sorted keys of held-out questions (empty for data from files).
    held_out: np.ndarray
    #: Hash of the sets and of the rule by which training examples are drawn.
    digest: str
    #: All symbols for a symbol tokenizer: the task's, or those of the whole files. Lines that are
    #: not used count too, so that runs on more or fewer of them share a vocabulary.
    symbols: tuple[str, ...]
    #: The argument of `draw_unseen` for training examples: False excludes the task's holdout.
    in_holdout: bool | None = None
    #: The questions of a file that are never drawn (`data.hold_out`).
    file_questions: HoldOut | None = None
    #: Steps over which training questions grow to the task's size; None: they have it at once.
    growth_steps: int | None = None


def load_corpus(config: DataConfig) -> Corpus:
    """The corpus of a config: read from files, or generated (large sets are cached on disk).

    Raises `DataError` for malformed files or overlapping splits, `ConfigError` if the task has
    fewer questions than the sizes need.
    """
    return _read_corpus(Path(config.path), config) if config.path else _generate_corpus(config)


def _generate_corpus(config: DataConfig) -> Corpus:
    task = get_task(config.task)
    config.check_content()
    file_questions = None if config.hold_out is None else HoldOut(config.hold_out, task)
    _check_size(config, task, file_questions)
    rng = np.random.default_rng([config.seed, 0])
    n_held_out = config.valid_examples + config.test_examples
    in_holdout = False if config.holdout else None
    draw = partial(draw_unseen, distinct=True, in_holdout=in_holdout, file_questions=file_questions)
    questions = draw(task, rng, n_held_out, NO_KEYS)
    held_out = np.sort(drawn_keys(task, questions))
    valid = _cached(config, "valid", task, questions[: config.valid_examples])
    test = _cached(config, "test", task, questions[config.valid_examples :])
    if file_questions:
        file_questions.met = 0  # nothing was trained on so far
    train = None
    if config.train_examples:
        rows = _fixed_set(config, task, held_out, file_questions)
        train = _cached(config, "train", task, rows)
    rule = f"{task.name} holdout" if config.holdout else task.name
    rule += f" without {file_questions.digest}" if file_questions else ""
    rule += f" growing over {config.growth_steps} steps" if config.growth_steps else ""
    digest = _digest(valid, test, train, rule)
    more = (in_holdout, file_questions, config.growth_steps)
    return Corpus(valid, test, train, task, held_out, digest, task.symbols, *more)


def _fixed_set(
    config: DataConfig, task: Task, held_out: np.ndarray, file_questions: HoldOut | None
) -> np.ndarray:
    """The questions of the fixed training set of a generated task, `[n, entries]`."""
    rng, in_holdout = np.random.default_rng([config.seed, 1]), False if config.holdout else None
    n = config.train_examples or 0
    return draw_unseen(task, rng, n, held_out, True, in_holdout, file_questions)


def training_set(config: DataConfig, corpus: Corpus) -> np.ndarray:
    """The questions of the fixed training set of a generated task, `[n, entries]`."""
    assert corpus.task is not None, "files are read, not generated"
    return _fixed_set(config, corpus.task, corpus.held_out, corpus.file_questions)


def _check_size(config: DataConfig, task: Task, file_questions: HoldOut | None = None) -> None:
    """Raises `ConfigError` if a task has fewer questions than the sizes of the sets need."""
    held_out = config.valid_examples + config.test_examples
    needed = held_out + (config.train_examples or held_out)
    available = task.n_questions - (task.n_holdout if config.holdout else 0)
    available -= len(file_questions.keys) if file_questions else 0
    if needed > available:
        kind = " that are not holdout" if config.holdout else ""
        kind += " that are not in data.hold_out" if file_questions else ""
        raise ConfigError(
            f"{task.name} has only {available} questions{kind}, {needed} are needed "
            f"({config.valid_examples} valid, {config.test_examples} test, the rest to train on): "
            "lower data.valid_examples, data.test_examples or data.train_examples"
        )


def _read_corpus(folder: Path, config: DataConfig) -> Corpus:
    check_folder(folder)
    config.check_content()
    sets: dict[str, dict[int, Example]] = {}
    symbols: set[str] = set()
    for split in SPLITS:
        path = folder / f"{split}.txt"
        examples: dict[int, Example] = {}
        for number, found in numbered_examples(path):
            if not isinstance(found, Example):
                raise DataError(f"{path}:{number}: {found}")
            examples[number] = found
        if not examples:
            raise DataError(f"{path}: holds no example")
        symbols.update(*(part.split() for example in examples.values() for part in example))
        limit = getattr(config, f"{split}_examples")
        sets[split] = dict(itertools.islice(examples.items(), limit))
    keys = {
        split: {number: same_question(example.question) for number, example in examples.items()}
        for split, examples in sets.items()
    }
    _check_repeats(folder, sets, keys)
    _check_disjoint(folder, sets, keys)
    datasets = {split: _dataset(list(examples.values())) for split, examples in sets.items()}
    digest = _digest(datasets["valid"], datasets["test"], datasets["train"], "")
    return Corpus(
        **datasets, task=None, held_out=NO_KEYS, digest=digest, symbols=tuple(sorted(symbols))
    )


def _check_repeats(
    folder: Path, sets: dict[str, dict[int, Example]], keys: dict[str, dict[int, str]]
) -> None:
    """Raises `DataError` for a question that a split asks again: in training with another answer,
    in a held-out split at all, whose interval counts every question once.

    Args:
        sets: by split, the examples by the number of their line; keys: of `same_question`, alike.
    """
    for split, examples in sets.items():
        first: dict[str, int] = {}
        for number, example in examples.items():
            line = first.setdefault(keys[split][number], number)
            other = examples[line].answer != example.answer
            if line != number and (other or split != "train"):
                how = "has another answer" if other else "is asked again"
                raise DataError(
                    f"{folder / split}.txt:{number}: the question of line {line} {how}, "
                    f"{example.question!r}; `icot prepare {folder} --out FOLDER` leaves it out"
                )


def _check_disjoint(
    folder: Path, sets: dict[str, dict[int, Example]], keys: dict[str, dict[int, str]]
) -> None:
    """Raises `DataError` if two splits share a question, by the key of `same_question`.

    Args:
        sets, keys: as of `_check_repeats`.
    """
    lines = {split: {key: number for number, key in own.items()} for split, own in keys.items()}
    for split, other in (("valid", "train"), ("test", "train"), ("test", "valid")):
        shared = [key for key in lines[split] if key in lines[other]]
        if shared:
            number = lines[split][shared[0]]
            raise DataError(
                f"{folder / split}.txt:{number}: {len(shared)} of its questions are in {other}.txt "
                f"too, for example {sets[split][number].question!r} in line "
                f"{lines[other][shared[0]]} (case, spaces and typography make no difference); "
                f"`icot prepare {folder} --out FOLDER` leaves them out"
            )


def examples_of(dataset: Dataset, rows: slice = slice(None)) -> list[Example]:
    """The rows of a dataset as examples; by default all of them."""
    columns = dataset[rows]
    return [Example(*row) for row in zip(*(columns[c] for c in Example._fields), strict=True)]


def held_out_examples(config: DataConfig) -> list[Example]:
    """Validation and test examples of data from files; none of a generated task, and where the
    files are not there any more."""
    if config.path is None:
        return []
    found: list[Example] = []
    for split in ("valid", "test"):  # not those of training, which may be many
        with contextlib.suppress(DataError):
            lines = numbered_examples(Path(config.path) / f"{split}.txt")
            found += [example for _, example in lines if isinstance(example, Example)]
    return found


def check_folder(folder: str | Path) -> None:
    """Raises `DataError` if a folder lacks train.txt, valid.txt or test.txt, or is a file."""
    if Path(folder).is_file():
        raise DataError(
            f"{folder} is a file, and data.path a folder: `icot prepare {folder} --out FOLDER` "
            "makes one of it, then set data.path=FOLDER"
        )
    for split in SPLITS:
        path = Path(folder) / f"{split}.txt"
        if not path.is_file():
            raise DataError(
                f"{path}: no such file. `icot prepare SOURCE --out {folder}` makes train.txt, "
                "valid.txt and test.txt from data in any usual form"
            )


def _dataset(examples: list[Example]) -> Dataset:
    columns = zip(*examples, strict=True)
    return Dataset.from_dict(dict(zip(Example._fields, map(list, columns), strict=True)))


def _cached(config: DataConfig, split: str, task: Task, questions: np.ndarray) -> Dataset:
    """The written-out questions; from `MANY` on they are cached on disk."""
    if len(questions) < MANY:
        return _dataset(_text(config, task, questions))
    digest = hashlib.sha256(questions.astype(np.int8).tobytes()).hexdigest()[:10]
    code = code_hash(type(task)) or f"v{NUMERICS}"
    parts = [task.name, split, str(len(questions)), digest, code]
    folder = paths.data_cache() / "-".join(parts)

    def make(part: Path) -> None:
        _dataset(_text(config, task, questions)).save_to_disk(part)

    return load_from_disk(str(seals.cached(folder, make)))


def _text(config: DataConfig, task: Task, questions: np.ndarray) -> list[Example]:
    return task.text(task.render(questions, np.random.default_rng([config.seed, 4])))


def _digest(valid: Dataset, test: Dataset, train: Dataset | None, rule: str) -> str:
    sha = hashlib.sha256(rule.encode())
    for dataset in (valid, test, train):
        columns = dataset[:] if dataset else dict.fromkeys(Example._fields, ())
        for row in zip(*(columns[name] for name in Example._fields), strict=True):
            sha.update(format_line(Example(*row)).encode())
        sha.update(b"\0")
    return sha.hexdigest()[:16]
