"""Tables as files: CSV, Markdown and LaTeX of the same numbers, with the runs of every row."""

import json
import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from icotlib import paths
from icotlib.errors import ConfigError
from icotlib.reporting.results import check_origin, method_label, provenance_of
from icotlib.runs import Run
from icotlib.system.seals import write_json
from icotlib.system.spreadsheets import inert

KINDS = (".csv", ".md", ".tex")

#: Digits after the point where it is not one.
DECIMALS = {"relative_speed": 2}

#: Columns of shares, from 0 to 1 in every table but a summary, where those named below are in
#: percent.
SHARES = (
    *(
        "accuracy",
        "answer_accuracy",
        "lowest",
        "highest",
        "train_match",
        "valid_match",
        "explained",
        "drifted",
    ),
    "student",
    *("probe", "control_score", "selectivity", "mlp", "mlp_input", "patching"),
    *("steering", "steering_random", "steering_pattern", "steering_weights"),
)
PERCENTS = ("accuracy", "lowest", "highest", "success")

#: The ends of intervals that are not called after their value.
OTHER_ENDS = {"accuracy": [("ci_low", "ci_high")], "probe": [("low", "high")]}

#: Columns that are not called as they are named.
HEADINGS = {
    "n_test": "test questions",
    "n": "questions",
    "chain_length": "chain",
    "train_examples": "training examples",
    "train_tokens": "training tokens",
    "train_steps": "training steps",
    "train_seconds": "training seconds",
    "relative_speed": "speed, No CoT = 1",
    "A_less_B": "A minus B, points",
    "A_seeds": "seeds of A",
    "B_seeds": "seeds of B",
}

#: A number, or a number with its interval.
_NUMBER = re.compile(r"-?[\d,.]*(e-?\d+)?( \(.* to .*\))?$")

#: Columns that identify rows and are left to the file beside a table for readers.
NOT_SHOWN = ("configuration", "runs")


def write_table(
    frame: pd.DataFrame, *files: str | Path, shown: pd.DataFrame | None = None
) -> list[Path]:
    """Write a table such as `icot.summary()` as CSV, Markdown or LaTeX (booktabs), by its ending.

    Several files of one name are replaced together, also where their rows are others than before.
    CSV has every column. The others are for readers: a number and its interval share a cell.
    Where the table has a column `runs`, every row names its runs, in a comment below the table or
    in the column itself, and a JSON file beside it holds commit, device and data hash of each.

    Args:
        shown: the same rows for readers, where their columns have other names than in CSV.

    Returns the paths of the files. Raises `ConfigError` for a table without rows, for another
    ending, and where a file would be replaced that is no such table, or is the origin of another.
    """
    named = [Path(file) for file in files]
    rows = _rows_of(frame) if "runs" in frame else None
    for path in named:
        check_kind(path)
        if rows is not None:
            check_replaceable(path)
            _check_other_tables(path, rows, named)
        if not len(frame):
            raise ConfigError(f"the table has no row: {path} is not written")
    for path in named:
        path.parent.mkdir(parents=True, exist_ok=True)
    beside = [] if rows is None else list(dict.fromkeys(x.with_suffix(".json") for x in named))
    for origin in beside:  # first, so that no table stands there without its origin
        write_json(origin, _origin(frame))
    for path in named:
        kind = path.suffix
        text = as_csv(frame) if kind == ".csv" else READ[kind](frame if shown is None else shown)
        with paths.whole_file(path) as part:
            part.write_text(text)
    return [*named, *beside]


def check_kind(path: Path) -> None:
    """Raises `ConfigError` for a path whose ending is of no kind."""
    if path.suffix not in KINDS:
        raise ConfigError(f"{path}: a table ends in {', '.join(KINDS[:-1])} or {KINDS[-1]}")


def check_replaceable(path: Path) -> None:
    """Raises `ConfigError` where a file would be lost that is no table beside its origin."""
    beside = path.with_suffix(".json")
    check_origin(beside)
    if path.exists() and not beside.exists():
        raise ConfigError(
            f"{path} is there already, without the {beside.name} that is written beside such a "
            "table: choose another name, or delete it"
        )


def _check_other_tables(path: Path, rows: list[list[str]], written: Sequence[Path]) -> None:
    """Raises `ConfigError` where the origin beside a table is that of one with other rows, which
    has another ending and is not written with it."""
    beside = path.with_suffix(".json")
    others = [path.with_suffix(kind) for kind in KINDS]
    other = next((one for one in others if one.exists() and one not in written), None)
    if other and beside.exists() and json.loads(beside.read_text()).get("rows") != rows:
        raise ConfigError(
            f"{beside} says where the rows of {other.name} come from, and {path.name} would have "
            f"other rows: choose another name, delete {other.name}, or write both at once"
        )


def as_csv(frame: pd.DataFrame) -> str:
    return inert(frame).to_csv(index=False)


def as_markdown(frame: pd.DataFrame) -> str:
    """A table of Markdown, with a comment that names the runs of every row."""
    shown, comment = presented(frame), _comment(frame)
    lines = [markdown(list(shown), shown.to_numpy().tolist())]
    return "\n".join([*lines, *(["", "<!--", *comment, "-->"] if comment else [])]) + "\n"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells below the names of their columns as a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def as_latex(frame: pd.DataFrame) -> str:
    """A tabular for the package booktabs, below comments that name the runs of every row; columns
    of numbers are flush right."""
    shown = presented(frame)
    sides = "".join(side_of(shown[name])[0] for name in shown)
    text = shown.to_latex(index=False, escape=True, column_format=sides)
    return "\n".join([*(f"% {line}" for line in _comment(frame)), text])


#: How tables for readers are written, by their ending.
READ = {".md": as_markdown, ".tex": as_latex}


def side_of(texts: pd.Series) -> str:
    """On which side the cells of a column stand: `right` for numbers."""
    return "right" if texts.map(lambda text: bool(_NUMBER.match(text))).all() else "left"


def as_text(frame: pd.DataFrame, width: int | None = None) -> str:
    """A table for a terminal: what all rows share stands in a line above it.

    Args:
        width: characters of a line. A wider table continues below, its rows with their numbers;
            None has no limit.
    """
    shown = presented(frame)
    shared = [name for name in shown if len(shown) > 1 and shown[name].nunique() == 1]
    above = "; ".join(f"{name} {shown[name].iloc[0]}" for name in shared if shown[name].iloc[0])
    lines = [f"all rows: {above}"] if above else []
    rows = shown.drop(columns=shared)
    text = rows.to_string(index=False)
    if width is not None and max(map(len, text.splitlines())) > width:
        rows.index += 1
        text = rows.to_string(line_width=width)
    return "\n".join([*lines, text])


def presented(frame: pd.DataFrame) -> pd.DataFrame:
    """A table as text for readers, rounded alike in a notebook, in Markdown and in LaTeX.

    A value and the ends of its interval are one cell, shares are in percent, methods have their
    names, and columns that are empty everywhere are left out.
    """
    ends = {end for name in frame for end in _ends(frame, name)}
    cells = {}
    for name in frame:
        if name in ends or name in NOT_SHOWN:
            continue
        factor = 100 if _is_share(frame, name) else 1
        write = _digits if _is_small(frame, name) else partial(shown, column=name)
        if pd.api.types.is_object_dtype(frame[name]):  # a quantity in each row
            write = _shown_alone
        texts = [write(_scaled(value, factor)) for value in frame[name]]
        if name == "method":
            texts = [method_label(text) for text in texts]
        if _ends(frame, name):
            low, high = (
                [write(_scaled(value, factor)) for value in frame[end]]
                for end in _ends(frame, name)
            )
            texts = [
                value if value == "-" else f"{value} ({a} to {b})"
                for value, a, b in zip(texts, low, high, strict=True)
            ]
        if any(text not in ("", "-") for text in texts):
            cells[heading(frame, name)] = texts
    return pd.DataFrame(cells)


def heading(frame: pd.DataFrame, name: str) -> str:
    """What a column is called in a table for readers."""
    words = HEADINGS.get(name, str(name).replace("_", " "))
    percent = _is_share(frame, name) or (name in PERCENTS and f"{PERCENTS[0]}_low" in frame)
    return f"{words} (%)" if percent else words


def _is_share(frame: pd.DataFrame, name: str) -> bool:
    """Whether a column holds shares from 0 to 1; a summary's are in percent already."""
    if name in PERCENTS and f"{PERCENTS[0]}_low" in frame:
        return False
    return name in SHARES and pd.api.types.is_numeric_dtype(frame[name])


def _ends(frame: pd.DataFrame, name: str) -> tuple[str, ...]:
    """The columns that hold the ends of a value's interval, if there are any."""
    pairs = [(f"{name}_low", f"{name}_high"), *OTHER_ENDS.get(name, ())]
    return next((pair for pair in pairs if set(pair) <= set(frame)), ())


def _is_small(frame: pd.DataFrame, name: str) -> bool:
    """Whether a column holds numbers of which one decimal would say too little: losses, rates."""
    column = frame[name]
    percent = _is_share(frame, name) or f"{name}_low" in frame
    if percent or name in (*PERCENTS, *DECIMALS):
        return False
    return pd.api.types.is_float_dtype(column) and bool(column.abs().max() < 10)


def _digits(value: Any) -> str:
    """A number with three digits that count; whole ones as they are."""
    return shown(value) if pd.isna(value) or float(value).is_integer() else f"{value:.3g}"


def _shown_alone(value: Any) -> str:
    """A value that shares no unit with others of its column: a small number keeps its digits."""
    small = isinstance(value, float) and abs(value) < 10
    return _digits(value) if small else shown(value)


def _scaled(value: Any, factor: int) -> Any:
    return value if factor == 1 or value is None else factor * value


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


def _rows_of(frame: pd.DataFrame) -> list[list[str]]:
    """The names of the runs of every row."""
    return [names.split() for names in frame["runs"]]


def _origin(frame: pd.DataFrame) -> dict[str, Any]:
    """The runs of every row, and where each comes from as far as its folder is here."""
    rows = _rows_of(frame)
    names = sorted({name for row in rows for name in row})
    runs = [Run(paths.runs_root() / name) for name in names]
    return {"rows": rows} | provenance_of(run for run in runs if run.started)
