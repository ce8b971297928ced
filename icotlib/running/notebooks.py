"""The notebooks as a series: run them through papermill, all or some."""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import nbformat
from tqdm import tqdm

from icotlib import experiments, paths
from icotlib.config import RunConfig, parse_overrides
from icotlib.errors import ConfigError, IcotError, did_you_mean

#: Notebooks whose runs take longer than those of all others together.
STUDIES = ("09", "10")


#: Those about stepwise internalization alone: data, baselines, method, removal curve, results.
SERIES = ("01", "02", "06", "08", "99")


#: Those that take minutes at `fast`, executed as soon as they can be.
LONG = ("11", "12", "14")


#: The one that shows all results, those of other notebooks among them.
LAST = "99"


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

    from icotlib.system.processes import (  # torch, which help texts can do without
        ONE_THREAD,
        environment,
    )

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
    say: Callable[[str], None] = tqdm.write,  # which leaves bars whole
) -> list[Path]:
    """Train every run the workbook needs and execute the notebooks, all of it side by side.

    Args:
        names: notebooks to execute, by number or name; all by default. With names given, one
            follows the other, and each trains what it needs itself.
        jobs: runs and notebooks side by side.
        studies: the studies, too, which take longer than all else.
        series: the notebooks about stepwise internalization alone, and their runs.
    """
    overrides = parse_overrides(overrides)
    wanted = names or (SERIES if series else ())
    chosen = [find_notebook(name) for name in wanted] or notebooks(studies)
    values = {"preset": preset, "seed": seed, "overrides": overrides}
    if names:
        if jobs is not None:
            os.environ["ICOT_JOBS"] = str(jobs)  # for the notebooks, which ask for runs themselves
        return [execute(notebook, say=say, **values) for notebook in chosen]
    part = experiments.series if series else experiments.workbook
    configs = part(preset, seed, overrides)
    configs += experiments.studies(preset, seed, overrides) if studies else []
    return _work_through(configs, chosen, jobs, say, values)


def _work_through(
    configs: Sequence[RunConfig],
    chosen: Sequence[Path],
    jobs: int | None,
    say: Callable[[str], None],
    values: dict[str, Any],
) -> list[Path]:
    """Train what is missing and execute notebooks, each once its runs are there; its copies."""
    from icotlib.running import jobs
    from icotlib.system import processes  # imports torch; help texts need none

    tasks = jobs.trainings(configs)
    say(f"training {len(tasks)} runs at preset {values['preset']}, seed {values['seed']}")
    jobs = jobs or jobs.default_jobs(configs)
    copies: dict[Path, Path] = {}

    def ended(task: jobs.Task, future: Future) -> None:
        if future.exception():
            name = task.trains.run_name if task.trains else task.args[0].stem
            say(f"{name}  failed; what does not hang on it goes on")
        elif not task.trains:
            copies[task.args[0]], lines = future.result()
            say("\n".join(lines))

    last = [path for path in chosen if path.stem.startswith(LAST)]
    others = [path for path in chosen if path not in last]
    others.sort(key=lambda path: not path.stem.startswith(LONG))
    tasks += [
        jobs.Task(_execute_quietly, (path, values), experiments.needed(path.stem, **values))
        for path in others
    ]
    share = {"ICOT_CORES": str(max(1, processes.cores() // jobs)), "ICOT_JOBS": "1"}
    with processes.environment(**share):
        jobs.work(tasks, jobs, ended=ended)
    copies |= {path: execute(path, say=say, **values) for path in last}
    return [copies[path] for path in chosen]


def _execute_quietly(notebook: Path, values: dict[str, Any]) -> tuple[Path, list[str]]:
    lines: list[str] = []
    return execute(notebook, say=lines.append, **values), lines


def manual() -> str:
    """One line per notebook: what it is about."""
    return "\n".join(f"  {path.stem:28} {title(path)}" for path in notebooks())
