"""Sweeps: a run or a notebook again and again, over a grid, a list or random draws.

A sweep is a folder under `sweeps/` in the folder of runs:

    plan.json     what is swept, and the settings of every cell
    table.csv     every cell: its settings, its state, its accuracy, its runs, its error
    cells/        how each cell ended that has no finished run to show for it
    notebooks/    the executed copies, where a notebook is swept

Runs are shared with everything else that asks for them. Asking for the same sweep again does what
is left of it; nothing that is finished is done again.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icotlib import paths
from icotlib.config import RunConfig, known_settings, parse_overrides
from icotlib.errors import ConfigError, RunError, StoppedError, did_you_mean
from icotlib.experiments.runs import RUNS
from icotlib.overrides import absolute
from icotlib.registry import METHODS
from icotlib.running import notebooks
from icotlib.running.cells import Cell, Target
from icotlib.running.grids import grid_cells
from icotlib.running.jobs import Job, Outcome, run_jobs, trainings
from icotlib.running.parameters import located
from icotlib.running.worker import stop_requested
from icotlib.runs import unfinished
from icotlib.system import leases
from icotlib.system.names import check_name
from icotlib.system.seals import write_json
from icotlib.system.spreadsheets import inert

STATES = ("waiting", "running", "finished", "failed")

#: Seconds between two writings of the table, at least.
PAUSE = 5.0


class Sweep:
    """A sweep: a folder with a plan, and what has become of its cells."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.plan = _plan(self.folder / "plan.json")
        self.target = _target(self.folder, self.plan)
        self.cells = _cells(self.target, self.plan)

    @classmethod
    def make(
        cls,
        target: str,
        cells: Sequence[Mapping[str, Any]],
        fixed: Mapping[str, Any] = {},
        name: str | None = None,
    ) -> "Sweep":
        """The sweep of a target over cells, new or begun before.

        Args:
            target: the name of a run or a method, or the number or name of a notebook.
            cells: what varies, by setting.
            fixed: what all cells have in common.
            name: of its folder; by default the target and a hash of the plan.

        Raises `ConfigError` for a setting that the target does not read, or that is both varied and
        fixed, and for a name under which there is another sweep.
        """
        if not cells:
            raise ConfigError("the sweep has no cell: give at least one value for each setting")
        if not all(isinstance(cell, Mapping) for cell in cells):
            raise ConfigError("each cell of a sweep is a mapping from settings to values")
        plan = planned(target, cells, fixed)
        text = json.dumps(plan, sort_keys=True)
        name = name and check_name(name, "the name of the sweep")
        name = name or f"{plan['target']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        folder = sweeps_root() / name
        if not (folder / "plan.json").is_file():
            planned_runs(plan)  # raises for a setting that is not read
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "plan.json", plan)
        sweep = cls(folder)
        if json.dumps(sweep.plan, sort_keys=True) != text:
            raise ConfigError(f"the sweep {name!r} has another plan: choose another --name")
        return sweep

    @classmethod
    def named(cls, name: str) -> "Sweep":
        """The sweep of a name. Raises `ConfigError` for what cannot be one, `RunError` for none."""
        check_name(name, "the name of a sweep")
        return cls(sweeps_root() / name)

    def __repr__(self) -> str:
        counts = self.counts()
        listed = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        return f"Sweep({self.folder.name}: {listed})"

    def counts(self) -> dict[str, int]:
        """The number of cells in each state."""
        found = [cell.state for cell in self.cells]
        return {state: found.count(state) for state in STATES}

    def table(self) -> pd.DataFrame:
        """One row per cell: settings, state, accuracy, seconds of training, runs, error."""
        return pd.DataFrame([cell.row() for cell in self.cells])

    def write_table(self) -> None:
        """Write `table.csv`."""
        with paths.whole_file(self.folder / "table.csv") as part:
            inert(self.table()).to_csv(part, index=False)

    def run(
        self,
        workers: int | None = None,
        retry: bool = False,
        on_change: Callable[["Sweep"], None] = lambda sweep: None,
    ) -> "Sweep":
        """Do the cells that are left; a failed one does not stop the others.

        Args:
            workers: runs side by side; by default as `icotlib.running.jobs.ensure` has it.
            retry: do failed cells again, which are left alone otherwise.
            on_change: called whenever a cell has ended.
        """
        left = []
        for cell in self.cells:
            if cell.state == "failed" and retry:
                cell.forget()
            if cell.state in ("waiting", "running"):
                left.append(cell)
        listed = trainings([config for cell in left for config in cell.configs])
        if self.target.is_notebook:
            listed += [self._execution(cell) for cell in left]
        errors: dict[str, str] = {}
        written = time.monotonic()

        def on_end(outcome: Outcome) -> None:
            nonlocal written
            if outcome.error is not None and not isinstance(outcome.error, StoppedError):
                own = f"{type(outcome.error).__name__}: {outcome.error}"
                cause = errors.get(outcome.kept_by or "")
                errors[outcome.job.name] = f"{outcome.kept_by}: {cause}" if cause else own
            for cell in left:
                if outcome.job.name == cell.last_job:
                    self._note(cell, errors.get(outcome.job.name))
            if time.monotonic() - written > PAUSE:  # the table of many cells takes a while
                with contextlib.suppress(OSError):  # a full disk
                    self.write_table()
                written = time.monotonic()
            on_change(self)

        run_jobs(listed, workers, on_end=on_end)
        self.write_table()
        on_change(self)
        return self

    def _note(self, cell: Cell, error: str | None) -> None:
        with contextlib.suppress(OSError):  # a full disk
            if error is not None:
                cell.note(state="failed", error=error, time=time.time())
            elif cell.record.get("state") == "failed":
                cell.forget()

    def _execution(self, cell: Cell) -> Job:
        needs = tuple(config.run_name for config in unfinished(cell.configs))
        arguments = {"sweep": self.folder.name, "number": cell.number}
        return Job(cell.last_job, execute_cell, arguments, needs)


def planned(
    target: str, cells: Sequence[Mapping[str, Any]], fixed: Mapping[str, Any] = {}
) -> dict[str, Any]:
    """The plan of a sweep, as its file holds it. Args and errors as in `Sweep.make`."""
    target, is_notebook = resolved(target)
    known = notebooks.parameter_types(notebooks.find_notebook(target)) if is_notebook else {}
    own = [_settings(cell, known) for cell in cells]
    common = _settings(fixed, known)
    twice = sorted({name for cell in own for name in cell if name in common})
    if twice:
        raise ConfigError(
            f"{', '.join(twice)}: varied between the cells, and given for all of them too: "
            "leave one out"
        )
    return {"target": target, "notebook": is_notebook, "fixed": common, "cells": own}


def planned_cells(plan: dict[str, Any]) -> list[Cell]:
    """The cells of a plan."""
    return _cells(_target(sweeps_root(), plan), plan)


def planned_runs(plan: dict[str, Any]) -> list[RunConfig]:
    """The runs of all cells of a plan, without those that they build on.

    Raises `ConfigError` for a setting that the target does not read.
    """
    return [config for cell in planned_cells(plan) for config in cell.configs]


#: What a plan holds, each with its type.
PLAN = {"target": str, "notebook": bool, "fixed": dict, "cells": list}


def _plan(path: Path) -> dict[str, Any]:
    """The plan of a sweep. Raises `RunError` where there is none, or it is damaged."""
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sweep_names()) or "none yet"
        raise RunError(f"there is no sweep {path.parent.name!r}; sweeps here: {known}") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None
    whole = isinstance(plan, dict) and plan.keys() == PLAN.keys()
    whole = whole and all(isinstance(plan[name], kind) for name, kind in PLAN.items())
    if not whole or not all(isinstance(cell, dict) for cell in plan["cells"]):
        raise RunError(
            f"{path} is damaged: a plan holds {', '.join(PLAN)}, and the settings of every cell. "
            "Make the sweep again under another --name: finished runs are not trained again"
        )
    return plan


def _target(folder: Path, plan: dict[str, Any]) -> Target:
    return Target(folder, plan["target"], plan["notebook"], plan["fixed"])


def _cells(target: Target, plan: dict[str, Any]) -> list[Cell]:
    return [Cell(target, number, settings) for number, settings in enumerate(plan["cells"])]


def _settings(given: Mapping[str, Any], known: Mapping[str, type]) -> dict[str, Any]:
    """The settings of a cell as the plan keeps them, with whole paths: it is gone on with from
    anywhere.

    Args:
        known: the parameters of the notebook that is swept, each with its type.
    """
    plain = {name: _plain(value, name) for name, value in given.items()}
    return {
        name: absolute(value) if known_settings().is_path(name) else value
        for name, value in located(plain, known).items()
    }


def _plain(value: Any, name: str) -> Any:
    """A value as JSON holds it; numpy's numbers become Python's, and paths become text."""
    value = value.item() if isinstance(value, np.generic) else value
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{name}: a cell cannot hold a {type(value).__name__}") from None
    return value


def resolved(target: str) -> tuple[str, bool]:
    """The full name of a target, and whether it is a notebook.

    Raises `ConfigError` if it is neither a run nor a notebook.
    """
    runs = sorted({*RUNS, *METHODS.names()})
    if target in runs:
        return target, False
    try:
        return notebooks.find_notebook(target).stem, True
    except ConfigError as error:
        if target.endswith(".ipynb"):
            raise
        raise ConfigError(
            f"{target!r} names no run (icot train --list) and no single notebook (icot notebook "
            f"--help).{did_you_mean(target, runs)}"
        ) from error


def execute_cell(sweep: str, number: int) -> str:
    """Execute the notebook of a cell, in a worker; the executed copy."""
    cell = Sweep(sweeps_root() / sweep).cells[number]
    path = notebooks.find_notebook(cell.target.name)

    def waiting() -> None:
        if stop_requested():
            raise StoppedError(f"{cell.copy.name}: stopped while another process executes it")

    with leases.hold(cell.lease, waiting):
        if cell.state != "finished":  # by the process that held the lease before
            notebooks.execute(path, cell.copy, say=lambda line: None, **cell.parameters)
            cell.note(state="finished", time=time.time())
    return str(cell.copy)


def sweeps_root() -> Path:
    """The folder of all sweeps."""
    return paths.runs_root() / "sweeps"


def sweep_names() -> list[str]:
    """The names of all sweeps."""
    return sorted(path.parent.name for path in sweeps_root().glob("*/plan.json"))


def sweep(
    target: str,
    grid: Mapping[str, Sequence[Any]] | None = None,
    cells: Sequence[Mapping[str, Any]] | None = None,
    *,
    name: str | None = None,
    jobs: int | None = None,
    retry: bool = False,
    on_change: Callable[[Sweep], None] = lambda sweep: None,
    **fixed: Any,
) -> Sweep:
    """Do a run or a notebook at every point of a grid, or for every cell of a list.

        icot.sweep("icot_si", {"seed": range(5), "removal.pace": [1, 2]}, preset="smoke").table()

    Args:
        target: the name of a run or a method, or the number or name of a notebook.
        grid: values by setting: `preset`, `seed`, a parameter of the notebook, or a dotted name.
        cells: instead of a grid, the settings of each cell (`icotlib.running.grids`).
        name: of the sweep's folder; by default the target and a hash of the plan.
        jobs: runs side by side, as in `icot.ensure`.
        retry: do failed cells again.
        on_change: called with the sweep whenever a cell has ended.
        fixed: what all cells have in common: `preset`, `seed`, `overrides`.

    Raises `ConfigError` before anything starts for a setting that the target does not read. The
    errors of failed cells stand in the table.
    """
    if (grid is None) == (cells is None):
        raise ConfigError("a sweep needs either a grid or a list of cells")
    chosen = cells
    if grid:
        chosen = grid_cells({key: several(values) for key, values in grid.items()})
    fixed |= parse_overrides(fixed.pop("overrides", None))
    return Sweep.make(target, chosen or [], fixed, name).run(jobs, retry, on_change)


def several(values: Any) -> list[Any]:
    """The values of one setting of a grid: several, or one alone, which text is."""
    is_many = isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping))
    return list(values) if is_many else [values]
