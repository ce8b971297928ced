"""Figures as files: those of a user, at the width of a paper, and the published ones."""

import contextlib
import dataclasses
import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from icotlib import paths
from icotlib.errors import ConfigError, did_you_mean
from icotlib.reporting.figures.base import (
    COLUMN,
    CONTROL,
    FONTS,
    PAGE,
    Look,
    saved,
    small_type,
)
from icotlib.reporting.figures.drawings import alt_text, drawing_of
from icotlib.reporting.figures.replacing import FORMATS, files_of, of_another, put
from icotlib.reporting.figures.resized import resized
from icotlib.reporting.results import check_origin, provenance_of
from icotlib.runs import Run
from icotlib.system.origin import git_commit
from icotlib.system.seals import write_json
from icotlib.system.spreadsheets import inert

#: The format that a line of LaTeX includes: the first of these that is written.
INCLUDED = ("pdf", "png", "svg")

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
    font: str | None = None
    formats: Sequence[str] = FORMATS

    @property
    def look(self) -> Look:
        """Raises `ConfigError` for a width, height or type size that no figure can have, and for a
        font that is not there."""
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
        return Look(width, self.height, self.font_size, self.grey, self._family())

    def _family(self) -> str | None:
        if self.font is None or self.font in FONTS:
            return FONTS.get(self.font or "")
        known = font_manager.get_font_names()
        if self.font not in known:
            raise ConfigError(
                f"font={self.font!r}: say 'sans', 'serif' or a font that is installed here."
                f"{did_you_mean(self.font, known)}"
            )
        return self.font

    def check_formats(self) -> None:
        """Raises `ConfigError` for a format that figures are not written in, and for none."""
        wrong = [kind for kind in self.formats if kind not in FORMATS]
        if isinstance(self.formats, str) or wrong or not self.formats:
            raise ConfigError(
                f"formats={self.formats!r}: say some of {', '.join(FORMATS)}, as a list"
            )


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
    font: str | None = None,
    formats: Sequence[str] = FORMATS,
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
        replace: write over a figure of this name that differs; its files of other formats go.
        font: "sans" (as figures are drawn), "serif" (like Times) or an installed font.
        formats: those of pdf, svg and png to write.
        data: its data; by default the tables that a figure of this library was drawn from.
        runs: runs that it comes from, beside those that its data name.

    Returns the paths of the files. Raises `ConfigError` for a name that is no file name, for a
    size that no figure can have, for the folder of published figures, if there are files of this
    name that differ, and where the JSON file would replace another one than of a figure.
    """
    export = Export(width, height, font_size, grey, folder, replace, font, formats)
    look, target = export.look, _target(name, folder)
    export.check_formats()
    check_origin(target / f"{name}.json")
    tables = {"": data} if data is not None else _own_tables(figure)
    drawing = drawing_of(figure)
    origin = _origin(tables, runs) | {"alt": alt_text(figure)}
    origin |= {"figure": drawing.name} if drawing else {}
    figure, crop = prepared(figure, look)
    with tempfile.TemporaryDirectory() as made:
        _write(figure, Path(made), name, origin, crop, formats)
        for suffix, table in tables.items():
            inert(table).to_csv(Path(made) / f"{name}{suffix}.csv", index=False)
        written = put(Path(made), target, replace, of_another(name, target, origin))
    write_json(target / f"{name}.json", origin | {"commit": git_commit()})
    included = next(kind for kind in INCLUDED if kind in formats)
    print(latex(target / f"{name}.{included}", width))
    return [*written, target / f"{name}.json"]


def prepared(figure: Figure, look: Look) -> tuple[Figure, bool]:
    """A figure in the look that is asked for, and whether its margins are left out in files.

    Args:
        look: what it does not name stays as the figure was drawn.
    """
    drawing = drawing_of(figure)
    before = drawing.look if drawing else Look()
    look = dataclasses.replace(before, **{key: x for key, x in vars(look).items() if x})
    if look != before:
        untouched = drawing is not None and drawing.made(figure)
        figure = drawing.again(look) if drawing and untouched else resized(figure, look)
    return figure, not (look.width or look.height)


def latex(path: Path, width: Width = None) -> str:
    """The line that includes a figure in a LaTeX document (svg by the package of this name); its
    type has its true size there where the column is as wide as the figure."""
    with contextlib.suppress(ValueError):
        path = path.relative_to(Path.cwd())
    length = LENGTHS.get(width) if isinstance(width, str) else None
    options = f"[width={length}]" if length else f"[width={width:g}in]" if width else ""
    command = "svg" if path.suffix == ".svg" else "graphics"
    return rf"\include{command}{options}{{{path.as_posix()}}}"


def save_published(
    figure: Figure,
    name: str,
    table: pd.DataFrame,
    runs: Iterable[Run],
    folder: Path | None = None,
    measured: dict[str, Any] | None = None,
    words: Sequence[str] = (),
    earlier: Sequence[dict[str, Any]] = (),
) -> list[Path]:
    """Write a figure of `figures/` as pdf, svg and png, its table as csv, its provenance as json.

    Files of the same name are replaced in `figures/`, where earlier ones are in git, and elsewhere
    if they were written so. Equal input gives equal bytes.

    Args:
        runs: the runs that the table comes from.
        folder: by default the repository's `figures/`.
        measured: commit, device and versions of numbers that no run holds.
        words: what the table says, in sentences, which its provenance holds.
        earlier: the origin of rows that were published before, run by run.

    Returns the paths of the files. Raises `ConfigError` where it would replace others.
    """
    folder = folder or paths.FIGURES
    check_replaceable(folder, name)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [*provenance_of(runs)["runs"], *earlier]
    origin: dict[str, Any] = {"runs": sorted(rows, key=lambda row: row["run"])}
    origin |= {"measured": measured} if measured else {}
    origin |= {"words": list(words)} if words else {}
    origin |= {"alt": alt_text(figure)}
    _say_one_seed(figure, origin["runs"])
    written = _write(figure, folder, name, origin, crop=True)
    inert(table).to_csv(folder / f"{name}.csv", index=False)
    write_json(folder / f"{name}.json", origin)
    return [*written, folder / f"{name}.csv", folder / f"{name}.json"]


def replace_published(
    figure: Figure, name: str, folder: Path | None = None, words: Sequence[str] = ()
) -> None:
    """Write a published figure anew, beside its table, which stays; of its provenance the
    description of the figure alone is new, and the sentences where there are any."""
    folder = folder or paths.FIGURES
    check_replaceable(folder, name)
    file = folder / f"{name}.json"
    origin = json.loads(file.read_text(encoding="utf-8")) | {"alt": alt_text(figure)}
    origin |= {"words": list(words)} if words else {}
    _say_one_seed(figure, origin["runs"])
    _write(figure, folder, name, origin, crop=True)
    write_json(file, origin)


def _say_one_seed(figure: Figure, runs: Sequence[Mapping[str, Any]]) -> None:
    """Write `one seed` into the corner of a figure whose runs have one, unless it says so."""
    said = any("seed" in text.get_text() for text in figure.findobj(Text))
    if len({run["seed"] for run in runs}) == 1 and not said:
        figure.text(1, 0, "one seed", ha="right", va="top", fontsize=small_type(), color=CONTROL)


def check_replaceable(folder: Path, name: str) -> None:
    """Raises `ConfigError` where a folder other than `figures/` holds files of this name that
    `save_published` did not write."""
    if paths.is_published(folder):
        return
    origin = folder / f"{name}.json"
    check_origin(origin)
    there = files_of(name, folder)
    if there and not origin.exists():
        raise ConfigError(
            f"{there[0]} is there already, without the {origin.name} that `icot` writes beside "
            "such a file: choose another folder"
        )


# --- files -------------------------------------------------------------------------------------


def _target(name: str, folder: str | Path | None) -> Path:
    """The folder for a figure of this name, which may not be that of the published ones."""
    if not re.fullmatch(r"[\w][\w.-]*", name) or Path(name).suffix[1:] in (*FORMATS, "csv"):
        raise ConfigError(
            f"{name!r} cannot name a figure's files: use letters, digits, -, _ and ., and no ending"
        )
    target = Path.cwd() / FOLDER if folder is None else Path(folder).expanduser()
    if paths.is_published(target):
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


def _write(
    figure: Figure,
    folder: Path,
    name: str,
    origin: dict[str, Any],
    crop: bool,
    formats: Sequence[str] = FORMATS,
) -> list:
    """Write a figure in some formats.

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
    with saved():
        for kind in formats:
            written.append(folder / f"{name}.{kind}")
            box = "tight" if crop else figure.bbox_inches
            figure.savefig(written[-1], format=kind, metadata=metadata[kind], bbox_inches=box)
    return written
