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
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from icotlib import experiments, paths
from icotlib.config import RunConfig
from icotlib.errors import ConfigError, RunError, did_you_mean
from icotlib.experiments.runs import RUNS, run_config
from icotlib.registry import METHODS
from icotlib.running import notebooks
from icotlib.running.grids import grid_cells
from icotlib.running.jobs import Job, Outcome, run_jobs, trainings, unfinished
from icotlib.runs import Run, write_json
from icotlib.settings import parse_overrides
from icotlib.system import leases

STATES = ("waiting", "running", "finished", "failed")


@dataclass(frozen=True)
class Cell:
    """One cell of a sweep: a run, or a notebook with parameters."""

    sweep: "Sweep"
    number: int
    #: What it varies: `preset`, `seed`, parameters of the notebook, and settings by dotted name.
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.number:03d}"

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Preset, seed, overrides, and the notebook's other parameters."""
        given = {"preset": "fast", "seed": 0} | self.sweep.fixed | self.settings
        own = set(given) & {"preset", "seed", *self.sweep.parameters}
        overrides = {name: value for name, value in given.items() if name not in own}
        return {name: given[name] for name in own} | {"overrides": parse_overrides(overrides)}

    @cached_property
    def configs(self) -> list[RunConfig]:
        """The runs that it consists of, or that its notebook needs."""
        given = self.parameters
        main = (given["preset"], int(given["seed"]), given["overrides"])
        target = self.sweep.target
        if not self.sweep.notebook:
            return [run_config(target, *main)]
        read = experiments.overrides_for(target, given["preset"], given["overrides"])
        unread = [name for name in given["overrides"] if name not in read]
        if unread:
            raise ConfigError(f"no run of {target} reads {', '.join(unread)}")
        return list(experiments.needed(target, *main))

    @property
    def last_job(self) -> str:
        """The name of the job with which it ends."""
        notebook = self.sweep.notebook
        return f"{self.sweep.folder.name}-{self.name}" if notebook else self.configs[0].run_name

    @property
    def copy(self) -> Path:
        """The executed copy of its notebook."""
        return self.sweep.folder / "notebooks" / f"{self.sweep.target}-{self.name}.ipynb"

    @property
    def record(self) -> dict[str, Any]:
        """How it ended, as the sweep has noted it; empty before."""
        path = self.sweep.folder / "cells" / f"{self.name}.json"
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            return json.loads(path.read_text())
        return {}

    def note(self, **record: Any) -> None:
        """Note how it ended."""
        (self.sweep.folder / "cells").mkdir(exist_ok=True)
        write_json(self.sweep.folder / "cells" / f"{self.name}.json", record)

    def forget(self) -> None:
        """Drop the note."""
        (self.sweep.folder / "cells" / f"{self.name}.json").unlink(missing_ok=True)

    @property
    def lease(self) -> Path:
        """The lease that is held while its notebook is executed."""
        return self.sweep.folder / ".locks" / self.name

    @property
    def state(self) -> str:
        """`waiting`, `running`, `finished` or `failed`."""
        record = self.record.get("state")
        done = record == "finished" if self.sweep.notebook else Run.of(self.configs[0]).done
        if done:
            return "finished"
        related = {name for config in self.configs for name in config.ancestors()}
        runs = [Run(paths.runs_root() / name) for name in related]
        runs += [Run.of(config) for config in self.configs]
        if leases.is_held(self.lease) or any(run.in_training for run in runs):
            return "running"
        return "failed" if record == "failed" else "waiting"

    def row(self) -> dict[str, Any]:
        """Its row of the table."""
        runs = [Run.of(config) for config in self.configs]
        finished = [run for run in runs if run.done]
        last = finished[0].stages if finished and not self.sweep.notebook else pd.DataFrame()
        record = self.record
        return {
            "cell": self.number,
            **self.settings,
            "state": self.state,
            "accuracy": last.accuracy.iloc[-1] if len(last) else None,
            "seconds": sum(run.totals["seconds"] for run in finished),
            "runs": " ".join(run.name for run in runs),
            "error": record.get("error", "") if record.get("state") == "failed" else "",
        }


class Sweep:
    """A sweep: a folder with a plan, and what has become of its cells."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        path = self.folder / "plan.json"
        try:
            self.plan = json.loads(path.read_text())
        except FileNotFoundError:
            known = ", ".join(sweep_names()) or "none yet"
            raise RunError(
                f"there is no sweep {self.folder.name!r}; sweeps here: {known}"
            ) from None
        except json.JSONDecodeError as error:
            raise RunError(f"{path} is damaged: {error}") from None
        #: The name of a run or a method, or the stem of a notebook.
        self.target: str = self.plan["target"]
        self.notebook: bool = self.plan["notebook"]
        #: What every cell has in common.
        self.fixed: dict[str, Any] = self.plan["fixed"]
        self.cells = [Cell(self, number, own) for number, own in enumerate(self.plan["cells"])]

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

        Raises `ConfigError` for a setting that the target does not read, and for a name under which
        there is another sweep.
        """
        target, is_notebook = _resolved(target)
        own = [dict(cell) for cell in cells]
        plan = {"target": target, "notebook": is_notebook, "fixed": dict(fixed), "cells": own}
        text = json.dumps(plan, sort_keys=True)
        name = name or f"{target}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        folder = sweeps_root() / name
        if not (folder / "plan.json").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "plan.json", plan)
            try:
                _ = [cell.configs for cell in cls(folder).cells]
            except BaseException:
                (folder / "plan.json").unlink()
                with contextlib.suppress(OSError):
                    folder.rmdir()
                raise
        sweep = cls(folder)
        if json.dumps(sweep.plan, sort_keys=True) != text:
            raise ConfigError(f"the sweep {name!r} has another plan: choose another --name")
        return sweep

    def __repr__(self) -> str:
        counts = self.counts()
        listed = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        return f"Sweep({self.folder.name}: {listed})"

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The parameters of its notebook, each with its comment."""
        if not self.notebook:
            return {}
        return notebooks.parameters(notebooks.find_notebook(self.target))

    def counts(self) -> dict[str, int]:
        """The number of cells in each state."""
        found = [cell.state for cell in self.cells]
        return {state: found.count(state) for state in STATES}

    def table(self) -> pd.DataFrame:
        """One row per cell: settings, state, accuracy, seconds of training, runs, error."""
        return pd.DataFrame([cell.row() for cell in self.cells])

    def write_table(self) -> None:
        """Write `table.csv`."""
        part = self.folder / ".table.part"
        self.table().to_csv(part, index=False)
        part.replace(self.folder / "table.csv")

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
            state = cell.state
            if state == "failed" and retry:
                cell.forget()
            elif state == "failed" or state == "finished":
                continue
            left.append(cell)
        listed = trainings([config for cell in left for config in cell.configs])
        if self.notebook:
            listed += [self._execution(cell) for cell in left]
        errors: dict[str, str] = {}

        def on_end(outcome: Outcome) -> None:
            if outcome.error is not None:
                own = f"{type(outcome.error).__name__}: {outcome.error}"
                cause = errors.get(outcome.kept_by or "")
                errors[outcome.job.name] = f"{outcome.kept_by}: {cause}" if cause else own
            for cell in left:
                if outcome.job.name == cell.last_job:
                    self._note(cell, errors.get(outcome.job.name))
            with contextlib.suppress(OSError):  # a full disk
                self.write_table()
            on_change(self)

        run_jobs(listed, workers, on_end=on_end)
        self.write_table()
        on_change(self)
        return self

    def _note(self, cell: Cell, error: str | None) -> None:
        with contextlib.suppress(OSError):  # a full disk
            if error is not None:
                cell.note(state="failed", error=error, time=time.time())
            elif self.notebook:
                cell.note(state="finished", time=time.time())
            else:
                cell.forget()

    def _execution(self, cell: Cell) -> Job:
        needs = tuple(config.run_name for config in unfinished(cell.configs))
        arguments = {"sweep": self.folder.name, "number": cell.number}
        return Job(cell.last_job, execute_cell, arguments, needs)


def _resolved(target: str) -> tuple[str, bool]:
    """The full name of a target, and whether it is a notebook.

    Raises `ConfigError` if it is neither a run nor a notebook.
    """
    runs = sorted({*RUNS, *METHODS.names()})
    if target in runs:
        return target, False
    try:
        return notebooks.find_notebook(target.removesuffix(".ipynb")).stem, True
    except ConfigError as error:
        raise ConfigError(
            f"{target!r} names no run ({', '.join(runs)}); and {error}.{did_you_mean(target, runs)}"
        ) from None


def execute_cell(sweep: str, number: int) -> str:
    """Execute the notebook of a cell, in a worker; the executed copy."""
    cell = Sweep(sweeps_root() / sweep).cells[number]
    path = notebooks.find_notebook(cell.sweep.target)
    with leases.hold(cell.lease):
        notebooks.execute(path, cell.copy, say=lambda line: None, **cell.parameters)
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
    chosen = grid_cells({key: list(values) for key, values in grid.items()}) if grid else cells
    fixed |= parse_overrides(fixed.pop("overrides", None))
    return Sweep.make(target, chosen or [], fixed, name).run(jobs, retry, on_change)
