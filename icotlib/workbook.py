"""The notebooks as a series: run them through papermill, all or some."""

import hashlib
import json
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import nbformat

from icotlib import paths, presets
from icotlib.config import parse_overrides
from icotlib.errors import ConfigError, IcotError, did_you_mean

#: Notebooks whose runs take longer than those of all others together.
STUDIES = ("09", "10")

#: Those about stepwise internalization alone: data, baselines, method, removal curve, results.
SERIES = ("01", "02", "06", "08", "99")

#: Notebooks executed at the same time, each with its share of the cores; one on a GPU.
SIDE_BY_SIDE = 2

#: Those that take minutes at `fast`, executed first.
LONG = ("11", "12", "14")

#: Those that measure speed, and the one that shows all results, are executed alone, at the end.
ALONE = ("05", "08", "99")


def notebooks(studies: bool = True) -> list[Path]:
    """The notebooks of the workbook in the order of the work, with or without the studies."""
    found = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    return [path for path in found if studies or not path.stem.startswith(STUDIES)]


def find_notebook(name: str) -> Path:
    """A notebook by its number, its name or a part of it. Raises `ConfigError` if none fits."""
    found = [path for path in notebooks() if path.stem == name or path.stem.startswith(name)]
    found = found or [path for path in notebooks() if name in path.stem]
    if len(found) != 1:
        known = ", ".join(path.stem for path in notebooks())
        raise ConfigError(f"{name!r} names no single notebook; there are {known}")
    return found[0]


def parameters(notebook: Path) -> dict[str, str]:
    """The parameters of a notebook with their one-line helps."""
    cells = nbformat.read(notebook, as_version=4).cells
    source = next(c.source for c in cells if "parameters" in c.metadata.get("tags", []))
    found = re.findall(r"^(\w+) = .*?#\s*(.*)$", source, re.MULTILINE)
    return dict(found)


def title(notebook: Path) -> str:
    """The first heading of a notebook."""
    source = nbformat.read(notebook, as_version=4).cells[0].source
    return source.splitlines()[0].lstrip("# ")


def executed_folder(
    preset: str = "fast", seed: int = 0, overrides: dict[str, Any] | None = None, **_: Any
) -> Path:
    """Where the executed copies of these parameters go: other parameters, another folder."""
    parts = [preset, f"s{seed}"]
    if overrides:
        text = json.dumps(overrides, sort_keys=True)
        parts.append(hashlib.sha256(text.encode()).hexdigest()[:8])
    return paths.executed_root() / "-".join(parts)


def execute(
    notebook: Path,
    output: Path | None = None,
    say: Callable[[str], None] = print,
    **values: Any,
) -> Path:
    """Execute a notebook with parameters; the executed copy goes to the run directory.

    Raises `ConfigError` for a parameter the notebook lacks, `IcotError` if one of its cells
    fails, naming the copy that shows where.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from icotlib.launch import ONE_THREAD, environment  # torch, which help texts can do without

    known = parameters(notebook)
    for name in values:
        if name not in known:
            raise ConfigError(
                f"{notebook.stem} has no parameter {name!r}; it has {', '.join(known)}."
                f"{did_you_mean(name, known)}"
            )
    output = output or executed_folder(**values) / notebook.name
    output.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    try:
        with environment(**ONE_THREAD):
            papermill.execute_notebook(
                str(notebook),
                str(output),
                parameters=values,
                kernel_name="python3",
                progress_bar=False,
                cwd=str(paths.PROJECT),
                extra_arguments=["--log-level=CRITICAL"],
            )
    except PapermillExecutionError as error:
        raise IcotError(
            f"{notebook.name} failed: {error.ename}: {error.evalue}\n"
            f"The executed copy shows where: {output}"
        ) from None
    say(f"{notebook.stem}  done in {time.perf_counter() - start:.0f} s  ->  {output}")
    return output


def run_all(
    preset: str = "fast",
    seed: int = 0,
    overrides: Any = None,
    names: Sequence[str] = (),
    jobs: int | None = None,
    studies: bool = False,
    series: bool = False,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Train every run the workbook needs, side by side, then execute the notebooks.

    Args:
        names: notebooks to execute, by number or name; all by default. With names given, one
            follows the other, and each trains what it needs itself.
        jobs: runs trained side by side, and notebooks executed.
        studies: the studies, too, which take longer than all else.
        series: the notebooks about stepwise internalization alone, and their runs.
    """
    overrides = parse_overrides(overrides)
    wanted = names or (SERIES if series else ())
    chosen = [find_notebook(name) for name in wanted] or notebooks(studies)
    if jobs is not None:
        os.environ["ICOT_JOBS"] = str(jobs)  # for the notebooks, which ask for runs themselves
    if not names:
        from icotlib.launch import ensure, unfinished  # imports torch; help texts need none

        part = presets.series if series else presets.workbook
        configs = part(preset, seed, overrides)
        configs += presets.studies(preset, seed, overrides) if studies else []
        say(f"training {len(unfinished(configs))} runs at preset {preset}, seed {seed}")
        ensure(configs)
    values = {"preset": preset, "seed": seed, "overrides": overrides}
    if names:
        return [execute(notebook, say=say, **values) for notebook in chosen]
    return _execute_all(chosen, jobs, say, values)


def _execute_all(
    chosen: Sequence[Path], jobs: int | None, say: Callable[[str], None], values: dict[str, Any]
) -> list[Path]:
    """The copies of the notebooks, in order."""
    import torch

    from icotlib.launch import cores, end_with_parent, environment, stop

    jobs = jobs or (1 if torch.cuda.is_available() else SIDE_BY_SIDE)
    alone = [path for path in chosen if path.stem.startswith(ALONE)]
    others = [path for path in chosen if path not in alone]
    others.sort(key=lambda path: not path.stem.startswith(LONG))
    share = {"ICOT_CORES": str(max(1, cores() // jobs)), "ICOT_JOBS": "1"}
    context, copies = multiprocessing.get_context("spawn"), {}
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=end_with_parent)
    with environment(**share):
        running = {pool.submit(_execute_quietly, path, values): path for path in others}
        try:
            for future in as_completed(running):
                copies[running[future]], lines = future.result()
                say("\n".join(lines))
        except BaseException:
            stop(pool)
            raise
    pool.shutdown()
    copies |= {path: execute(path, say=say, **values) for path in alone}
    return [copies[path] for path in chosen]


def _execute_quietly(notebook: Path, values: dict[str, Any]) -> tuple[Path, list[str]]:
    lines: list[str] = []
    return execute(notebook, say=lines.append, **values), lines


def manual() -> str:
    """One line per notebook: what it is about."""
    return "\n".join(f"  {path.stem:28} {title(path)}" for path in notebooks())
