"""Budgets: how many steps of a method take as many seconds as a run of another.

`icot calibrate` measures them and writes `budgets.csv`, which lies beside the presets.
"""

import csv
import functools
from typing import Any

from icotlib import paths
from icotlib.config import parse_overrides

#: The measured budgets, a row for each preset, reference and precision.
FILE = paths.BUDGETS

COLUMNS = ("method", "preset", "reference", "precision", "steps", "device", "commit", "date")


@functools.cache
def rows() -> list[dict[str, str]]:
    """The rows of `budgets.csv`; none where it is missing."""
    if not FILE.is_file():
        return []
    with FILE.open(newline="") as file:
        return list(csv.DictReader(file))


def equal_seconds(
    preset: str, reference: str, precision: str, method: str = "no_cot"
) -> int | None:
    """Steps of a method that take as long as a run of a preset.

    Args:
        reference: the run, `icot_si` or `one_model`.
        precision: `train.precision` of both; where it was not measured, that of `auto` counts.

    Returns None where nothing was measured.
    """
    measured = {
        row["precision"]: int(row["steps"])
        for row in rows()
        if (row["method"], row["preset"], row["reference"]) == (method, preset, reference)
    }
    return measured.get(precision, measured.get("auto"))


def likely_equal_seconds(preset: str, reference: str, overrides: Any, method: str) -> int | None:
    """The same at the precision that overrides name, or else as measured in bf16: where passes are
    what makes a method slow, that is a better guess at another precision than none."""
    precision = parse_overrides(overrides).get("train.precision", "auto")
    measured = (equal_seconds(preset, reference, one, method) for one in (precision, "bf16"))
    return next(filter(None, measured), None)


def write(found: list[dict[str, str]]) -> None:
    """Put measured rows in the place of those of the same method, preset, reference, precision."""
    key = COLUMNS[:4]
    table = {tuple(row[name] for name in key): row for row in [*rows(), *found]}
    with FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table[one] for one in sorted(table))
    rows.cache_clear()
