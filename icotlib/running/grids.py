"""The settings of a sweep's cells: a grid, the rows of a file, or random draws."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icotlib.config import known_settings, parse_overrides
from icotlib.errors import ConfigError, DataError
from icotlib.system.spreadsheets import read_text_table
from icotlib.values import Typed, is_text, typed_yaml

#: `0..4`, both ends included; `1e-4..1e-2:log` for draws.
_RANGE = re.compile(r"\s*(-?[\d.]+(?:e-?\d+)?)\s*\.\.\s*(-?[\d.]+(?:e-?\d+)?)\s*(:log)?\s*", re.I)


#: Cells, and values of a range, at most.
MOST = 10_000


def parse_grid(pairs: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each setting from texts such as `seed=0..4` and `removal.pace=1,2`.

    Raises `ConfigError` for a text without values, and for a setting that is named twice.
    """
    grid: dict[str, list[Any]] = {}
    for pair in pairs:
        name, text = _named(pair, "--grid", "seed=0..4 or removal.pace=1,2")
        if name in grid:
            raise ConfigError(f"--grid names {name} twice: list all its values in one")
        bounds = _RANGE.fullmatch(text)
        if bounds and bounds[3]:
            raise ConfigError(f"--grid {pair}: :log belongs to --draw; list the values: a,b,c")
        if bounds:
            low, high = _whole(bounds[1], pair), _whole(bounds[2], pair)
            if high < low:
                raise ConfigError(f"--grid {pair}: the range must rise: {high}..{low}")
            if high - low >= MOST:
                raise ConfigError(
                    f"--grid {pair}: {high - low + 1:,} values, one for each whole number, and at "
                    f"most {MOST:,} are done: list single values with commas"
                )
            grid[name] = list(range(low, high + 1))
        else:
            grid[name] = _values(name, text, f"--grid {pair}")
        if not grid[name]:
            raise ConfigError(f"--grid {pair}: holds no value")
    return grid


def grid_cells(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values; the first setting varies slowest.

    Raises `ConfigError` for more than `MOST`.
    """
    cells = math.prod(map(len, grid.values()))
    if cells > MOST:
        sizes = " times ".join(f"{len(values):,} of {name}" for name, values in grid.items())
        raise ConfigError(
            f"a grid of {sizes} has {cells:,} cells, and at most {MOST:,} are done: take fewer "
            "values, or random draws (--random)"
        )
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def read_cells(path: str | Path) -> list[dict[str, Any]]:
    """Cells from a file: the rows of a CSV file, or a list of mappings in YAML or JSON.

    Columns are settings by dotted name; an empty field leaves a setting as it is.

    Raises `DataError` naming the file if it is missing, damaged or empty.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".csv":
            read = [
                parse_overrides({name: Typed(text) for name, text in row.items() if text.strip()})
                for row in read_text_table(path).to_dict("records")
            ]
        else:
            like = "write a list with the settings of each run, as [{seed: 0}, {seed: 1}]"
            read = typed_yaml(path.read_text(encoding="utf-8"), str(path), like)
            if isinstance(read, list) and all(isinstance(row, dict) for row in read):
                read = [parse_overrides(row) for row in read]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text in UTF-8: save it as UTF-8") from None
    except (ConfigError, ValueError, OSError) as error:  # also what is no text
        raise DataError(f"{path}: cannot be read as a list of cells: {error}") from None
    if not isinstance(read, list) or not all(isinstance(row, dict) for row in read):
        raise DataError(f"{path}: must hold a list of mappings from settings to values")
    if not read:
        raise DataError(f"{path}: holds no cell")
    return read


def draw_cells(pairs: Sequence[str], n: int, seed: int = 0) -> list[dict[str, Any]]:
    """n random cells from texts such as `optim.lr=1e-4..1e-2:log` and `model.width=64,128`.

    Whole bounds draw whole numbers, `:log` draws uniformly on a logarithmic scale, and a list draws
    one of its values. The same seed draws the same cells; more of them begin with the same ones.
    """
    rng = np.random.default_rng(seed)
    ranges = [_named(pair, "--draw", "optim.lr=1e-4..1e-2:log") for pair in pairs]
    twice = [name for name, count in Counter(name for name, _ in ranges).items() if count > 1]
    if twice:
        raise ConfigError(f"--draw {twice[0]} is given twice: say one range")
    return [{name: _draw(rng, name, text) for name, text in ranges} for _ in range(n)]


def _draw(rng: np.random.Generator, name: str, text: str) -> Any:
    bounds = _RANGE.fullmatch(text)
    if not bounds:
        if ".." in text:
            raise ConfigError(
                f"--draw {name}={text}: a range is low..high or low..high:log, of numbers"
            )
        values = _values(name, text, f"--draw {name}={text}")
        return values[int(rng.integers(len(values)))]
    try:
        low, high = float(bounds[1]), float(bounds[2])
    except ValueError:
        low = high = np.nan
    if not np.isfinite([low, high]).all():
        raise ConfigError(f"--draw {name}={text}: {bounds[1]} to {bounds[2]} are no two numbers")
    if high < low or (bounds[3] and low <= 0):
        raise ConfigError(f"--draw {text}: the bounds must rise, and be positive for :log")
    is_whole = not set(bounds[1] + bounds[2]) & set(".eE")
    if bounds[3]:
        value = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        if is_whole:
            return round(value)
    elif is_whole:
        return int(rng.integers(int(low), int(high) + 1))
    else:
        value = float(rng.uniform(low, high))
    return float(f"{value:.4g}")  # as people write it; run names hold a hash of it


def _values(name: str, text: str, where: str) -> list[Any]:
    """The values of a list such as `a,b,c`, which may stand in brackets, each as `--set` reads it.

    Of a text setting, the values are what stands between the commas.
    """
    if is_text(known_settings().type_of(name)):
        bracketed = text.startswith("[") and text.endswith("]")
        inner = text[1:-1] if bracketed else text
        values: list[Any] = [Typed(one.strip()) for one in inner.split(",")]
    else:
        try:
            values = typed_yaml(f"[{text}]", where)
        except ConfigError:
            raise ConfigError(
                f"{where}: cannot be read as values with commas between them"
            ) from None
        bracketed = len(values) == 1 and isinstance(values[0], list)
        values = values[0] if bracketed else values
    found = [parse_overrides({name: value}) for value in values]
    if any(set(one) != {name} for one in found):
        raise ConfigError(f"{where}: a grid takes one setting at a time, such as removal.pace=1,2")
    return [one[name] for one in found]


def _named(pair: str, option: str, example: str) -> tuple[str, str]:
    name, equals, text = pair.partition("=")
    if not equals or not name.strip() or not text.strip():
        raise ConfigError(f"{option} needs SETTING=VALUES, such as {example}; got {pair!r}")
    return name.strip(), text.strip()


def _whole(text: str, pair: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(
            f"--grid {pair}: a range in a grid counts whole numbers; list other values: a,b,c"
        ) from None
