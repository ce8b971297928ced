"""Data: the authors' file format, splits that cannot overlap, fixed sets and endless streams."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset, load_from_disk

from icotlib import paths
from icotlib.config import DataConfig
from icotlib.data.files import SPLITS, format_line, read_examples
from icotlib.errors import ConfigError, DataError
from icotlib.tasks import Example, Task, get_task

# --- splits ------------------------------------------------------------------------------------


def question_keys(questions: np.ndarray) -> np.ndarray:
    """A 64-bit key for each row of `[n, entries]`, equal for equal rows.

    Two different rows share a key once in 2^64 pairs; a draw is then refused without need, which
    does no harm. Entries of -1 at the end of a row do not change its key.
    """
    rng = np.random.default_rng(0x1C07)
    factors = rng.integers(0, 2**63, questions.shape[1], dtype=np.uint64) * 2 + 1
    keys = ((questions.astype(np.uint64) + 1) * factors).sum(axis=1, dtype=np.uint64)
    return keys ^ (keys >> np.uint64(29))


def draw_unseen(
    task: Task,
    rng: np.random.Generator,
    n: int,
    held_out: np.ndarray,
    distinct: bool = False,
    holdout: bool | None = None,
) -> np.ndarray:
    """n questions, none with a key among `held_out` (sorted); all different if `distinct`.

    Args:
        holdout: whether they are of the questions that the task reserves; None takes any.
    """
    rows: list[np.ndarray] = []
    have = 0
    while have < n:
        drawn = task.sample(rng, n - have + 16)
        keys = question_keys(drawn)
        fresh = ~is_in_sorted(keys, held_out)
        if holdout is not None:
            fresh &= task.holdout(drawn) == holdout
        if distinct:
            fresh &= first_of_each(keys)
            held_out = np.sort(np.concatenate([held_out, keys[fresh][: n - have]]))
        rows.append(drawn[fresh][: n - have])
        have += len(rows[-1])
    return np.concatenate(rows)


def is_in_sorted(values: np.ndarray, sorted_values: np.ndarray) -> np.ndarray:
    """Which values occur in a sorted array."""
    if not len(sorted_values):
        return np.zeros(len(values), dtype=bool)
    at = np.searchsorted(sorted_values, values).clip(max=len(sorted_values) - 1)
    return sorted_values[at] == values


def first_of_each(values: np.ndarray) -> np.ndarray:
    """Which entries are the first with their value."""
    first = np.zeros(len(values), dtype=bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


@dataclass(frozen=True)
class Corpus:
    """Everything a run may look at: its held-out sets and where training examples come from."""

    valid: Dataset
    test: Dataset
    #: A fixed training set, or None where training draws from `task` without end.
    train: Dataset | None
    #: The generated task, or None for data from files.
    task: Task | None
    #: Sorted keys of held-out questions (empty for data from files).
    held_out: np.ndarray
    #: Hash of all of it: what stands in the sets, or the rule by which the stream is drawn.
    digest: str
    #: All symbols for a symbol-level tokenizer: the task's, or those of the whole files, however
    #: few of their lines are used, so that runs on more or fewer lines share a vocabulary.
    symbols: tuple[str, ...]
    #: What training examples are drawn with: False leaves out the task's holdout questions.
    holdout: bool | None = None


def load_corpus(config: DataConfig) -> Corpus:
    """The corpus of a config: generated (fixed sets are cached under `data/cache`), or read.

    Raises `DataError` for bad files or overlapping splits, `ConfigError` if the task has too few
    questions for the sizes asked for.
    """
    return _read_corpus(config) if config.path else _generate_corpus(config)


def _generate_corpus(config: DataConfig) -> Corpus:
    task = get_task(config.task)
    held = config.valid_examples + config.test_examples
    wanted = held + (config.train_examples or held)
    there = task.n_questions - config.holdout * task.n_holdout
    if wanted > there:
        aside = " that are not holdout" if config.holdout else ""
        raise ConfigError(
            f"{task.name} has only {there} questions{aside}, {wanted} are needed "
            f"({config.valid_examples} valid, {config.test_examples} test, the rest to train on): "
            "lower data.valid_examples, data.test_examples or data.train_examples"
        )
    rng = np.random.default_rng([config.seed, 0])
    nothing = np.array([], dtype=np.uint64)
    holdout = False if config.holdout else None
    questions = draw_unseen(task, rng, held, nothing, distinct=True, holdout=holdout)
    held_out = np.sort(question_keys(questions))
    valid = _cached(config, "valid", task, questions[: config.valid_examples])
    test = _cached(config, "test", task, questions[config.valid_examples :])
    train = None
    if config.train_examples:
        rng = np.random.default_rng([config.seed, 1])
        n = config.train_examples
        rows = draw_unseen(task, rng, n, held_out, distinct=True, holdout=holdout)
        train = _cached(config, "train", task, rows)
    digest = _digest(valid, test, train, task.name + " holdout" * config.holdout)
    return Corpus(valid, test, train, task, held_out, digest, task.symbols, holdout)


def _read_corpus(config: DataConfig) -> Corpus:
    folder = Path(config.path)
    check_folder(folder)
    sets, symbols = {}, set()
    for split in SPLITS:
        examples, _ = read_examples(folder / f"{split}.txt")
        symbols.update(*(part.split() for example in examples for part in example))
        limit = getattr(config, f"{split}_examples")
        sets[split] = examples[:limit]
        if not examples:
            raise DataError(f"{folder / f'{split}.txt'}: holds no example")
    train_questions = {example.question for example in sets["train"]}
    for split in ("valid", "test"):
        shared = train_questions & {example.question for example in sets[split]}
        if shared:
            raise DataError(
                f"{folder / f'{split}.txt'}: {len(shared)} of its questions stand in train.txt "
                f"too, for example {min(shared)!r}"
            )
    datasets = {split: _dataset(examples) for split, examples in sets.items()}
    digest = _digest(datasets["valid"], datasets["test"], datasets["train"], "")
    nothing = np.array([], dtype=np.uint64)
    return Corpus(
        **datasets, task=None, held_out=nothing, digest=digest, symbols=tuple(sorted(symbols))
    )


def examples_of(dataset: Dataset, rows: slice = slice(None)) -> list[Example]:
    """The rows of a dataset as examples, or some of them."""
    columns = dataset[rows]
    return [Example(*row) for row in zip(*(columns[c] for c in Example._fields), strict=True)]


def check_folder(folder: str | Path) -> None:
    """Raises `DataError` if a folder of data lacks one of its three files."""
    for split in SPLITS:
        path = Path(folder) / f"{split}.txt"
        if not path.is_file():
            raise DataError(
                f"{path}: no such file. `icot prepare SOURCE --out {folder}` makes train.txt, "
                "valid.txt and test.txt from questions with steps in any usual form"
            )


def _dataset(examples: list[Example]) -> Dataset:
    columns = zip(*examples, strict=True)
    return Dataset.from_dict(dict(zip(Example._fields, map(list, columns), strict=True)))


def _cached(config: DataConfig, split: str, task: Task, questions: np.ndarray) -> Dataset:
    """The written-out questions, kept on disk once they are many."""
    if len(questions) < 10_000:
        return _dataset(_text(config, task, questions))
    digest = hashlib.sha256(questions.astype(np.int8).tobytes()).hexdigest()[:10]
    folder = paths.data_cache() / f"{task.name}-{split}-{len(questions)}-{digest}"

    def make(part: Path) -> None:
        _dataset(_text(config, task, questions)).save_to_disk(part)

    return load_from_disk(str(paths.create_once(folder, make)))


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
