"""Figures as files: those of a user, at the width of a paper, and the published ones."""

import contextlib
import dataclasses
import json
import pickle
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

from icotlib import paths
from icotlib.errors import ConfigError
from icotlib.reporting.figures.base import COLUMN, PAGE, Look, drawn_with
from icotlib.reporting.figures.drawings import alt_text, drawing_of
from icotlib.reporting.figures.grey import make_grey
from icotlib.reporting.results import provenance_of
from icotlib.runs import Run
from icotlib.system.origin import git_commit
from icotlib.system.seals import write_json
from icotlib.system.spreadsheets import inert

FORMATS = ("pdf", "svg", "png")

#: Widths by name, in inches, and the LaTeX environment and length that fit each.
WIDTHS = {"column": COLUMN, "page": PAGE}
LENGTHS = {"column": r"\columnwidth", "page": r"\textwidth"}

#: The folder of a user's figures, in the working directory.
FOLDER = "saved_figures"

Width = Literal["column", "page"] | float | None


@dataclasses.dataclass(frozen=True)
class Export:
    """How and where a figure is saved: the arguments of `save` but figure and name."""

    width: Width = None
    height: float | None = None
    font_size: float | None = None
    grey: bool = False
    folder: str | Path | None = None
    replace: bool = False

    @property
    def look(self) -> Look:
        """Raises `ConfigError` for a width, height or type size that no figure can have."""
        width = WIDTHS.get(self.width) if isinstance(self.width, str) else self.width
        if isinstance(self.width, str) and width is None:
            raise ConfigError(
                f"width={self.width!r} is no width: say 'column' ({COLUMN} inches), 'page' ({PAGE} "
                "inches) or a number of inches"
            )
        sizes = (("width", width, 1, 30), ("height", self.height, 0.5, 40))
        for name, value, low, high in (*sizes, ("font_size", self.font_size, 3, 40)):
            unit = "points" if name == "font_size" else "inches"
            if value is not None and not (_is_number(value) and low <= value <= high):
                raise ConfigError(f"{name}={value!r} must be a number from {low} to {high} {unit}")
        return Look(width, self.height, self.font_size, self.grey)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def save(
    figure: Figure,
    name: str,
    width: Width = None,
    height: float | None = None,
    font_size: float | None = None,
    grey: bool = False,
    folder: str | Path | None = None,
    replace: bool = False,
    data: pd.DataFrame | None = None,
    runs: Iterable[Run] = (),
) -> list[Path]:
    """Write a figure for a paper: as pdf, svg and png, its data as csv, its origin as json.

    Prints the line of LaTeX that includes it. A figure of this library is drawn again at the width,
    so that its type keeps its size; one that was changed by hand, or drawn by others, is resized as
    it stands. Its description (alt text) is in the metadata and in the json.

    Args:
        width: "column" (3.35 inches), "page" (6.9 inches) or inches; by default as it is.
        height: inches. font_size: points of its labels (8 by default).
        grey: without colours.
        folder: by default `saved_figures` in the working directory.
        replace: write over a figure of this name that differs.
        data: its data; by default the tables that a figure of this library was drawn from.
        runs: runs that it comes from, beside those that its data name.

    Returns the paths of the files. Raises `ConfigError` for a name that is no file name, for a
    size that no figure can have, for the folder of published figures, and if there are files of
    this name that differ.
    """
    look, target = Export(width, height, font_size, grey).look, _target(name, folder)
    drawing = drawing_of(figure)
    if drawing:  # what is not asked for stays as it was drawn
        asked = {key: value for key, value in vars(look).items() if value}
        look = dataclasses.replace(drawing.look, **asked)
    changed = look != (drawing.look if drawing else Look())
    tables = {"": data} if data is not None else _own_tables(figure)
    about = alt_text(figure)
    if changed:
        untouched = drawing is not None and drawing.made(figure)
        figure = drawing.again(look) if drawing and untouched else _resized(figure, look)
    origin = _origin(tables, runs) | {"alt": about}
    origin |= {"figure": drawing.name} if drawing else {}
    with tempfile.TemporaryDirectory() as made:
        _write(figure, Path(made), name, origin, crop=not (look.width or look.height))
        for suffix, table in tables.items():
            inert(table).to_csv(Path(made) / f"{name}{suffix}.csv", index=False)
        written = _put(Path(made), target, replace)
    write_json(target / f"{name}.json", origin | {"commit": git_commit()})
    print(latex(target / f"{name}.pdf", width))
    return [*written, target / f"{name}.json"]


def latex(path: Path, width: Width = None) -> str:
    """The line that includes a figure in a LaTeX document; its type has its true size there where
    the column is as wide as the figure."""
    with contextlib.suppress(ValueError):
        path = path.relative_to(Path.cwd())
    length = LENGTHS.get(width) if isinstance(width, str) else None
    options = f"[width={length}]" if length else f"[width={width:g}in]" if width else ""
    return rf"\includegraphics{options}{{{path.as_posix()}}}"


def save_published(
    figure: Figure,
    name: str,
    table: pd.DataFrame,
    runs: Iterable[Run],
    folder: Path | None = None,
    measured: dict[str, Any] | None = None,
) -> list[Path]:
    """Write a figure of `figures/` as pdf, svg and png, its table as csv, its provenance as json.

    Files of the same name are replaced; earlier ones are in git. Equal input gives equal bytes.

    Args:
        runs: the runs that the table comes from.
        folder: by default the repository's `figures/`.
        measured: commit, device and versions of numbers that no run holds.

    Returns the paths of the files.
    """
    folder = folder or paths.FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    origin = provenance_of(runs) | ({"measured": measured} if measured else {})
    origin |= {"alt": alt_text(figure)}
    written = _write(figure, folder, name, origin, crop=True)
    inert(table).to_csv(folder / f"{name}.csv", index=False)
    write_json(folder / f"{name}.json", origin)
    return [*written, folder / f"{name}.csv", folder / f"{name}.json"]


# --- files -------------------------------------------------------------------------------------


def _target(name: str, folder: str | Path | None) -> Path:
    """The folder for a figure of this name, which may not be that of the published ones."""
    if not re.fullmatch(r"[\w][\w.-]*", name) or Path(name).suffix[1:] in (*FORMATS, "csv"):
        raise ConfigError(
            f"{name!r} cannot name a figure's files: use letters, digits, -, _ and ., and no ending"
        )
    target = Path.cwd() / FOLDER if folder is None else Path(folder).expanduser()
    published = paths.FIGURES.resolve()
    if published in (target.resolve(), *target.resolve().parents):
        raise ConfigError(
            f"{target} holds the published figures, which only `icot publish` writes; name another "
            "folder"
        )
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{target} is a file; name a folder, which may be a new one")
    return target


def _own_tables(figure: Figure) -> dict[str, pd.DataFrame]:
    """The tables of a figure of this library, by what follows its name in that of their file."""
    drawing = drawing_of(figure)
    tables = drawing.tables() if drawing else {}
    return {f"-{key}" if i else "": table for i, (key, table) in enumerate(tables.items())}


def _origin(tables: dict[str, pd.DataFrame], runs: Iterable[Run]) -> dict[str, Any]:
    """The runs that tables name, and others, each with what is known of its origin."""
    names = {run.name for run in runs}
    for table in tables.values():
        for column in ("run", "runs"):
            if column in table:
                names |= {name for text in table[column].dropna() for name in str(text).split()}
    found = [Run(paths.runs_root() / name) for name in sorted(names)]
    known = [run for run in found if run.started]
    missing = [run.name for run in found if run not in known]
    return provenance_of(known) | ({"runs not here": missing} if missing else {})


def _write(figure: Figure, folder: Path, name: str, origin: dict[str, Any], crop: bool) -> list:
    """Write a figure in every format.

    Args:
        crop: leave out margins; else the files have exactly the figure's size.
    """
    source, about = json.dumps(origin, sort_keys=True), origin["alt"]
    metadata = {
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Subject": source},
        "svg": {"Date": None, "Creator": None, "Source": source, "Title": about},
        "png": {"Software": None, "Source": source, "Title": name, "Description": about},
    }
    metadata["pdf"]["Title"] = about
    written = []
    with drawn_with(Look()):
        for kind in FORMATS:
            written.append(folder / f"{name}.{kind}")
            box = "tight" if crop else figure.bbox_inches
            figure.savefig(written[-1], format=kind, metadata=metadata[kind], bbox_inches=box)
    return written


def _put(made: Path, target: Path, replace: bool) -> list[Path]:
    """Move files into a folder, unless others of the same names are there and may not go.

    Raises `ConfigError` naming the first one that differs.
    """
    files = sorted(made.iterdir())
    for path in files:
        other = target / path.name
        if not replace and other.exists() and other.read_bytes() != path.read_bytes():
            raise ConfigError(
                f"{other} is there already, and differs: choose another name or folder, or pass "
                "replace=True"
            )
    target.mkdir(parents=True, exist_ok=True)
    for path in files:
        with paths.whole_file(target / path.name, durable=False) as part:
            shutil.copyfile(path, part)
    return [target / path.name for path in files]


# --- figures as they stand ---------------------------------------------------------------------


def _resized(figure: Figure, look: Look) -> Figure:
    """A copy of a figure in another size, its type larger or smaller, without its colours."""
    try:
        copy = pickle.loads(pickle.dumps(figure))
    except Exception as error:
        raise ConfigError(
            f"this figure cannot be copied to change its size ({error}): draw it at the size that "
            "it is to have, and save it without width, height, font_size and grey"
        ) from None
    with _not_shown(copy):
        width, height = copy.get_size_inches()
        copy.set_size_inches(look.width or width, look.height or height)
        if look.font_size:
            _scale_type(copy, look.font_size)
        if look.grey:
            make_grey(copy)
    return copy


@contextlib.contextmanager
def _not_shown(figure: Figure) -> Iterator[None]:
    """Keep pyplot, if it is in use, from showing a copy of a figure."""
    try:
        yield
    finally:
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            pyplot.close(figure)


def _scale_type(figure: Figure, font_size: float) -> None:
    """Have the labels of a figure's axes this size in points, and all other type in proportion."""
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    factor = font_size / (_size(axes[0].label) if axes else 8)
    ticks = {label for axis in axes for label in axis.get_ticklabels()}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text not in ticks:
            text.set_fontsize(_size(text) * factor)
    for axis in axes:
        for label in axis.get_ticklabels()[:1]:
            axis.set_tick_params(labelsize=_size(label) * factor)


def _size(text: Text) -> float:
    return float(text.get_fontsize())
