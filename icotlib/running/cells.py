"""The cells of a sweep: what each consists of, and what has become of it."""

import contextlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from icotlib import experiments
from icotlib.config import RunConfig, parse_overrides
from icotlib.experiments.runs import run_config
from icotlib.running import notebooks
from icotlib.running.copies import is_executed
from icotlib.runs import Run, runs_with_ancestors
from icotlib.system import leases
from icotlib.system.seals import write_json
from icotlib.values import coerce


@dataclass(frozen=True)
class Target:
    """What a sweep does at every cell."""

    #: The sweep's folder.
    folder: Path
    #: The name of a run or a method, or the stem of a notebook.
    name: str
    is_notebook: bool
    #: What every cell has in common.
    fixed: dict[str, Any]

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The parameters of the notebook, each with its comment."""
        if not self.is_notebook:
            return {}
        return notebooks.parameters(notebooks.find_notebook(self.name))


@dataclass(frozen=True)
class Cell:
    """One cell of a sweep: a run, or a notebook with parameters."""

    target: Target
    number: int
    #: What it varies: `preset`, `seed`, parameters of the notebook, and settings by dotted name.
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.number:03d}"

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Preset, seed, overrides, and the notebook's other parameters."""
        given: dict[str, Any] = {"preset": "fast", "seed": 0}
        given |= self.target.fixed | self.settings
        inner = parse_overrides(given.pop("overrides", None))
        own = set(given) & {"preset", "seed", *self.target.parameters}
        overrides = {name: value for name, value in given.items() if name not in own}
        return {name: given[name] for name in own} | {
            "overrides": inner | parse_overrides(overrides)
        }

    @cached_property
    def configs(self) -> list[RunConfig]:
        """The runs that it consists of, or that its notebook needs."""
        given = self.parameters
        main = (given["preset"], coerce(given["seed"], int, "seed"), given["overrides"])
        target = self.target.name
        if not self.target.is_notebook:
            return [run_config(target, *main)]
        notebooks.overrides_read([target], given["preset"], given["overrides"])
        return list(experiments.needed(target, *main))

    @property
    def related(self) -> list[Run]:
        """Its runs and all that they build on, each once."""
        return runs_with_ancestors(self.configs)

    @property
    def last_job(self) -> str:
        """The name of the job with which it ends."""
        if self.target.is_notebook:
            return f"{self.target.folder.name}-{self.name}"
        return self.configs[0].run_name

    @property
    def copy(self) -> Path:
        """The executed copy of its notebook."""
        return self.target.folder / "notebooks" / f"{self.target.name}-{self.name}.ipynb"

    @property
    def record(self) -> dict[str, Any]:
        """How it ended, as the sweep has noted it; empty before."""
        path = self.target.folder / "cells" / f"{self.name}.json"
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            return json.loads(path.read_text())
        return {}

    def note(self, **record: Any) -> None:
        """Note how it ended."""
        (self.target.folder / "cells").mkdir(exist_ok=True)
        write_json(self.target.folder / "cells" / f"{self.name}.json", record)

    def forget(self) -> None:
        """Drop the note."""
        (self.target.folder / "cells" / f"{self.name}.json").unlink(missing_ok=True)

    @property
    def lease(self) -> Path:
        """The lease that is held while its notebook is executed."""
        return self.target.folder / ".locks" / self.name

    @property
    def state(self) -> str:
        """`waiting`, `running`, `finished` or `failed`."""
        record = self.record.get("state")
        if self.target.is_notebook:
            done = record == "finished" and is_executed(self.copy)
        else:
            done = Run.of(self.configs[0]).done
        if done:
            return "finished"
        if leases.is_beating(self.lease) or any(run.in_training for run in self.related):
            return "running"
        return "failed" if record == "failed" else "waiting"

    def row(self) -> dict[str, Any]:
        """Its row of the table."""
        runs = [Run.of(config) for config in self.configs]
        finished = [run for run in runs if run.done]
        last = finished[0].stages if finished and not self.target.is_notebook else pd.DataFrame()
        record, state = self.record, self.state
        return {
            "cell": self.number,
            **self.settings,
            "state": state,
            "accuracy": last.accuracy.iloc[-1] if len(last) else None,
            "seconds": sum(run.totals["seconds"] for run in self.related if run.done),
            "runs": " ".join(run.name for run in runs),
            "error": record.get("error", "") if state == "failed" else "",
        }
