"""Options that several commands share."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from icotlib.config import parse_overrides
from icotlib.errors import ConfigError
from icotlib.experiments.base import PRESETS
from icotlib.registry import import_file, load_plugins
from icotlib.settings import LARGEST_SEED
from icotlib.values import Typed, coerce, in_range, shown


def add_run_options(
    parser: argparse.ArgumentParser, preset: str | None = "fast", seed: int | None = 0
) -> None:
    """Preset, seed, settings, jobs and user files; the arguments are those of `add_settings`."""
    add_settings(parser, preset, seed)
    add_jobs(parser)
    add_import(parser)


def add_settings(
    parser: argparse.ArgumentParser, preset: str | None = "fast", seed: int | None = 0
) -> None:
    """Preset, seed and settings of a run.

    Args:
        preset, seed: where they are not given; None tells that.
    """
    parser.add_argument(
        "--preset",
        default=preset,
        choices=PRESETS,
        help="smoke: seconds; fast: minutes on two cores (default); paper: one GPU",
    )
    parser.add_argument(
        "--seed",
        type=whole(0, LARGEST_SEED),
        default=seed,
        help="seed of weights, batches and removal; data.seed splits the data",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SETTING=VALUE",
        help="change any setting, e.g. train.steps=200 (icot train icot_si --fields lists them)",
    )


def to_path(text: str) -> Path:
    """Argparse's type of a path; `~` is the home folder, also where the shell left it as it is.

    Raises argparse's error for an empty text.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: was a variable not set?")
    return Path(text).expanduser()


def whole(low: int, high: int = 10**9) -> Callable[[str], int]:
    """Argparse's type of a whole number in a range."""
    return partial(_ranged, int, low, high)


def number(text: str) -> float:
    """Argparse's type of a finite number that is not negative."""
    return _ranged(float, 0, None, text)


def share(text: str) -> float:
    """Argparse's type of a share, from 0 to 1."""
    return _ranged(float, 0, 1, text)


def positive(text: str) -> float:
    """Argparse's type of a finite number above zero."""
    value = number(text)
    if not value:
        raise argparse.ArgumentTypeError(f"must be more than 0, got {text}")
    return value


def _ranged(kind: type, low: float, high: float | None, text: str) -> Any:
    """A number of the command line. Raises argparse's error for one outside its range."""
    try:
        value = coerce(text, kind, "this")
        in_range(value, low, high, "this")
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("this ")) from None
    return value


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Where jobs run, and how many at a time."""
    parser.add_argument(
        "--jobs",
        type=whole(1, 4096),
        default=None,
        help="runs side by side (default: by cores or GPUs)",
    )
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="scheduler of a running Dask cluster, such as tcp://host:8786, instead of this "
        "machine (default: ICOT_CLUSTER)",
    )


def add_import(parser: argparse.ArgumentParser, dest: str = "imports") -> None:
    """User files that register tasks and methods."""
    parser.add_argument(
        "--import",
        dest=dest,
        action="append",
        default=[],
        metavar="FILE",
        help="a Python file of yours that registers a task, a method or a study",
    )


def load_imports(options: argparse.Namespace) -> None:
    """Import the user's files and choose the cluster, for every process started from here too.

    Raises `ConfigError` for a file, or a package with a plugin, that cannot be imported.
    """
    if getattr(options, "cluster", None):
        os.environ["ICOT_CLUSTER"] = options.cluster
    load_plugins()
    for path in options.imports:
        import_file(path)


def given(options: Mapping[str, Any]) -> list[str]:
    """Those of some options, by name with their values, that were given."""
    return [name for name, x in options.items() if x is not None and x is not False and x != []]


def refuse(options: Mapping[str, Any], reason: str) -> None:
    """Raises `ConfigError` that names those of some options that were given, where all are ignored.

    Args:
        options: their values by name, such as `--seed`.
        reason: why they are.
    """
    named = given(options)
    if named:
        raise ConfigError(f"{reason}: leave out {', '.join(named)}")


def check_file(path: Path | None, option: str = "--out") -> None:
    """Make the folder of a file that is written at the end, before anything is measured for it.

    Raises `ConfigError` where no file can be written.
    """
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"{option} {path} is a folder: give the name of a file")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{option} {path} is no regular file: give the name of one")
    check_folder(path.parent, option)


def check_folder(path: Path, option: str = "--out") -> None:
    """Make a folder that is written at the end, before anything is measured for it.

    Raises `ConfigError` where it cannot be one.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a file is there, or above it, or may nothing be written there
        reason = error.strerror or error
        raise ConfigError(f"{option}: {path} cannot be a folder ({reason})") from None
    if not os.access(path, os.W_OK):
        raise ConfigError(f"{option}: nothing can be written to {path}")


def overrides_of(pairs: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """The settings of `--set` or a like option, each read by its type (`values.read_text`).

    Raises `ConfigError` for one without a name or a value, and for a value of another type.
    """
    changes: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"{option} needs SETTING=VALUE, got {shown(pair)}")
        changes |= parse_overrides({name.strip(): Typed(value)})
    return changes


def seeds_of(options: argparse.Namespace) -> list[int] | None:
    """The seeds of `--seed` or of `--seeds`, such as `10..14` or `10,12`; None without either.

    Raises `ConfigError` for both, and for a text that is neither a range nor a list.
    """
    if options.seeds is None:
        return None if options.seed is None else [options.seed]
    if options.seed is not None:
        raise ConfigError("say --seed or --seeds, not both")
    from icotlib.running.grids import parse_grid  # pandas: not for --help

    hint = "say a rising range such as 10..14, or a list: 10,12"
    wrong = ConfigError(f"--seeds {options.seeds}: {hint}")
    try:
        seeds = parse_grid([f"seed={options.seeds}"])["seed"]
    except ConfigError:
        raise wrong from None
    if min(seeds) < 0:
        raise wrong
    return seeds
