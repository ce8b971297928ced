"""Tables as files: CSV, Markdown and LaTeX of the same numbers, with the runs of every row."""

from pathlib import Path
from typing import Any

import pandas as pd

from icotlib import paths
from icotlib.errors import ConfigError
from icotlib.reporting.results import provenance_of
from icotlib.runs import Run
from icotlib.system.seals import write_json
from icotlib.system.spreadsheets import inert

KINDS = (".csv", ".md", ".tex")

#: Digits after the point where it is not one.
DECIMALS = {"relative_speed": 2}

#: What the names of an interval's ends add to that of its value.
ENDS = ("_low", "_high")

#: Columns that identify rows and are left to the file beside a table for readers.
NOT_SHOWN = ("configuration", "runs")


def write_table(frame: pd.DataFrame, path: str | Path) -> list[Path]:
    """Write a table such as `icot.summary()` as CSV, Markdown or LaTeX (booktabs), by its ending.

    CSV has every column. The others are for readers: a number and its interval share a cell.
    Where the table has a column `runs`, every row names its runs, in a comment below the table or
    in the column itself, and a JSON file beside it holds commit, device and data hash of each.

    Returns the paths of the files. Raises `ConfigError` for another ending.
    """
    path = Path(path)
    if path.suffix not in KINDS:
        raise ConfigError(f"{path}: a table ends in {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    text = {".csv": as_csv, ".md": as_markdown, ".tex": as_latex}[path.suffix](frame)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if "runs" not in frame:
        return [path]
    beside = path.with_suffix(".json")
    write_json(beside, _origin(frame))
    return [path, beside]


def as_csv(frame: pd.DataFrame) -> str:
    return inert(frame).to_csv(index=False)


def as_markdown(frame: pd.DataFrame) -> str:
    """A table of Markdown, with a comment that names the runs of every row."""
    shown = presented(frame)
    rows = [list(shown), ["---"] * shown.shape[1], *shown.to_numpy().tolist()]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    comment = _comment(frame)
    return "\n".join([*lines, *(["", "<!--", *comment, "-->"] if comment else [])]) + "\n"


def as_latex(frame: pd.DataFrame) -> str:
    """A tabular for the package booktabs, below comments that name the runs of every row."""
    shown = presented(frame)
    shown.columns = pd.Index([str(name).replace("_", " ") for name in shown])
    text = shown.to_latex(index=False, escape=True)
    return "\n".join([*(f"% {line}" for line in _comment(frame)), text])


def presented(frame: pd.DataFrame) -> pd.DataFrame:
    """A table as text for readers: a value with its `_low` and `_high` as one cell, columns that
    are empty everywhere left out."""
    ends = {f"{name}{end}" for name in frame for end in ENDS}
    cells = {}
    for name in frame:
        if name in ends or name in NOT_SHOWN:
            continue
        column = [shown(value, name) for value in frame[name]]
        if f"{name}_low" in frame:
            low, high = (
                [shown(x, name) for x in frame[f"{name}{end}"]] for end in ("_low", "_high")
            )
            column = [
                value if value == "-" else f"{value} ({a} to {b})"
                for value, a, b in zip(column, low, high, strict=True)
            ]
        if any(text not in ("", "-") for text in column):
            cells[name] = column
    return pd.DataFrame(cells)


def shown(value: Any, column: str = "") -> str:
    """One value as every table for readers shows it."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:,.{DECIMALS.get(column, 1)}f}"
    return f"{value:,}" if pd.api.types.is_integer(value) else str(value)


def _comment(frame: pd.DataFrame) -> list[str]:
    if "runs" not in frame:
        return []
    return [f"row {number}: {names}" for number, names in enumerate(frame["runs"], 1)]


def _origin(frame: pd.DataFrame) -> dict[str, Any]:
    """The runs of every row, and where each comes from as far as its folder is here."""
    rows = [names.split() for names in frame["runs"]]
    names = sorted({name for row in rows for name in row})
    runs = [Run(paths.runs_root() / name) for name in names]
    return {"rows": rows} | provenance_of(run for run in runs if run.started)
