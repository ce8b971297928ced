"""Several runs on one file of questions: each configuration over its seeds, and a table that grows
run by run, its origin beside it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icotlib import paths
from icotlib.errors import ConfigError, DataError
from icotlib.evaluation.on_file import FileResult
from icotlib.evaluation.scoring import wilson_interval
from icotlib.reporting.groups import configuration
from icotlib.reporting.results import method_label, provenance_of
from icotlib.reporting.statistics import Sample, mean_interval
from icotlib.reporting.tables import check_replaceable
from icotlib.system import leases
from icotlib.system.contents import file_hash
from icotlib.system.seals import write_json

#: Columns that are text, whatever it looks like.
TEXTS = dict.fromkeys(("run", "method", "label"), str)

#: What tells a row of a table of runs from the others.
KEY = ["run", "removed"]


def over_seeds_on_file(results: Sequence[FileResult]) -> pd.DataFrame:
    """Accuracy on a file by configuration and stage, in the order of their first runs.

    Columns: method, label, removed, seeds, accuracy with its 95% interval over seeds and questions
    (of one seed: over questions alone), lowest and highest seed, n, tokens written, runs.

    Args:
        results: of different models on the same file (`evaluate_file`).
    """
    groups: dict[tuple[str, int], dict[int, FileResult]] = {}
    for result in results:
        own = configuration(result.run) if result.run else result.name
        seeds, seed = groups.setdefault((own, result.removed), {}), result.config.seed
        # One seed that was trained under two labels is one seed.
        seeds[seed] = min(seeds.get(seed, result), result, key=lambda one: one.config.label)
    return pd.DataFrame([_row(list(seeds.values())) for seeds in groups.values()])


def _row(group: Sequence[FileResult]) -> dict[str, Any]:
    first, tables = group[0], [result.table for result in group]
    sample = _sample(tables)
    found = mean_interval(sample)
    return {
        "method": method_label(first.config.method),
        "label": first.config.label,
        "removed": first.removed,
        "seeds": sample.seeds,
        "accuracy": found.value,
        "ci_low": found.low,
        "ci_high": found.high,
        "lowest": sample.accuracy.min(),
        "highest": sample.accuracy.max(),
        "n": int(sample.n.min()),
        "tokens": float(np.mean([table.tokens.mean() for table in tables])),
        "runs": " ".join(result.name for result in group),
    }


def _sample(tables: Sequence[pd.DataFrame]) -> Sample:
    """The answers of some seeds; one by one if all were asked the same questions."""
    first = tables[0].question
    if all(table.question.equals(first) for table in tables):
        return Sample.of(np.stack([table.right.to_numpy(bool) for table in tables]))
    return Sample(
        np.array([table.right.mean() for table in tables]), np.array([len(one) for one in tables])
    )


def check_scores(path: Path, file: Path) -> None:
    """Raises `ConfigError` for a table of runs that could not be written or is about another file
    of questions, and for files that are no such table; `DataError` if it is damaged."""
    _earlier(path, file)


def add_scores(results: Sequence[FileResult], file: Path, path: Path) -> None:
    """Write a row for each run to a table, and where file and runs come from beside it.

    Rows of other runs stay; those of the same run and stage are replaced. Columns: run, method,
    label, seed, removed, accuracy with the 95% interval of one run, n, in_training (questions
    that stood in training; empty where that is unknown).

    Args:
        results: of finished runs (`evaluate_file`).
        file: the questions; path: the table, a .csv, its origin the .json of the same name.

    Raises `ConfigError` and `DataError` as `check_scores`, and `ConfigError` for a model that is no
    finished run, and for a run that the table has with another number of questions.
    """
    if not results:
        raise ConfigError("there is no result to write: evaluate a run on the file first")
    unknown = [result.name for result in results if result.run is None]
    if unknown:
        raise ConfigError(f"--scores: {unknown[0]} is no finished run, and has no origin")
    table = pd.DataFrame([_scores(result) for result in results])
    runs = provenance_of(result.run for result in results if result.run)["runs"]
    path = path.resolve()  # a link stays one, and its lock is that of the file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with leases.hold(path.with_name(f".{path.name}.lock")):
            earlier, origins = _earlier(path, file)
            table = _with_earlier(earlier, table, path)
            of_run = {row["run"]: row for row in [*origins, *runs]}
            about = {"file": _about(file), "runs": [of_run[name] for name in sorted(of_run)]}
            # The origin first: it may know of more runs than the table, and not of fewer.
            write_json(path.with_suffix(".json"), about)
            with paths.whole_file(path) as part:
                table.to_csv(part, index=False)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None


def _with_earlier(earlier: pd.DataFrame, table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The rows of a table that is there and those that are added, which replace theirs.

    Raises `ConfigError` for a run that was asked another number of questions before.
    """
    if len(earlier):
        before = earlier.set_index(KEY)
        both = table.set_index(KEY).join(before.n.rename("before"), how="inner")
        for (run, _), row in both[both.n != both.before].iterrows():
            raise ConfigError(
                f"{path} has {run} with {row.before} questions of this file, and now {row.n} were "
                "asked: choose another name"
            )
        others = before.drop(both.index).reset_index()
        table = pd.concat([others, table])[list(table)]
    return table.sort_values(["method", "label", "removed", "seed", "run"], kind="stable")


def _scores(result: FileResult) -> dict[str, Any]:
    right, n = int(result.table.right.sum()), len(result.table)
    low, high = wilson_interval(right, n)
    return {
        "run": result.name,
        "method": result.config.method,
        "label": result.config.label,
        "seed": result.config.seed,
        "removed": result.removed,
        "accuracy": right / n,
        "ci_low": low,
        "ci_high": high,
        "n": n,
        "in_training": None if result.unknown else int(result.table.in_training.sum()),
    }


def _about(file: Path) -> dict[str, str]:
    """What tells a file of questions from others. Raises `DataError` if it cannot be read."""
    try:
        return {"name": file.name, "sha256": file_hash(file)}
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from None


def _earlier(path: Path, file: Path) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """The table of runs that is there already, and the origin of its runs; none if there is none.

    Raises as `check_scores`.
    """
    if path.suffix.lower() != ".csv":
        raise ConfigError(f"--scores {path}: give a file that ends in .csv")
    check_replaceable(path)
    origin = path.with_suffix(".json")
    if not origin.exists():
        return pd.DataFrame(), []
    try:
        known = json.loads(origin.read_text(encoding="utf-8"))
        if "file" not in known:
            raise ConfigError(
                f"{path} is no table of `icot evaluate --scores`: choose another name"
            )
        about = known["file"]["sha256"]
        if not path.exists():  # its first writing was interrupted
            return pd.DataFrame(), []
        table = pd.read_csv(
            path, keep_default_na=False, na_values={"in_training": [""]}, dtype=TEXTS
        )
        nowhere = set(table.run) - {row["run"] for row in known["runs"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}, or {origin.name} beside it, is damaged: {error}") from None
    if nowhere:
        raise DataError(f"{origin} does not say where {min(nowhere)} of {path.name} comes from")
    if about != _about(file)["sha256"]:
        raise ConfigError(
            f"{path} is about other questions than those of {file}: choose another name"
        )
    return table, known["runs"]
