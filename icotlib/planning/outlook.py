"""What several runs will take together, before they start: those of a study, a sweep, the workbook.

Runs that differ in seeds, labels and learning rates alone take as long as each other, so that one
of them is planned for all.
"""

import heapq
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from icotlib.asked import as_configs
from icotlib.config import RunConfig, to_dict
from icotlib.data.run_data import check_sources
from icotlib.planning.plan import Plan, plan_run
from icotlib.planning.stand_ins import StandIns
from icotlib.running.cluster import default_workers
from icotlib.running.progress import is_live
from icotlib.runs import unfinished
from icotlib.system import memory
from icotlib.system.wording import counted, duration, gib

#: Settings that change neither the time of a run nor its size.
NEUTRAL = ("seed", "label", "preset", "lr")

#: How many times as long it must take, if no answer is right, to be said.
NOTICED = 1.1


@dataclass(frozen=True, repr=False)
class Outlook:
    """What some runs will take together; shown as text."""

    #: The runs that are missing, in the order in which they would train.
    runs: Sequence[RunConfig]
    #: For each of them, by name, the plan of one that takes as long.
    plans: Mapping[str, Plan]
    #: Runs side by side.
    workers: int

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each plan: method, task, label, runs, steps of each, `seconds` of each and
        `together`."""
        rows = [
            {
                "method": config.method,
                "task": config.task,
                "label": config.label,
                "plan": self.plans[config.run_name].name,
                "steps": config.train.steps,
                "seconds": self.plans[config.run_name].times.least,
            }
            for config in self.runs
        ]
        table = pd.DataFrame(rows, columns=["method", "task", "label", "plan", "steps", "seconds"])
        grouped = table.groupby("plan", sort=False, as_index=False)
        counted = grouped.first().assign(runs=grouped.size()["size"])
        counted["together"] = counted.runs * counted.seconds
        return counted[["method", "task", "label", "runs", "steps", "seconds", "together"]]

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    @property
    def seconds(self) -> float:
        """Seconds of computing, if every answer of the tests is right."""
        return sum(self.plans[config.run_name].times.least for config in self.runs)

    @property
    def most(self) -> float:
        """The same if no answer is right: wrong ones are longer."""
        return sum(self.plans[config.run_name].times.most for config in self.runs)

    def wall_seconds(self) -> float:
        """Seconds until the last run ends, where a free worker takes the first that can begin."""
        left = {config.run_name: config for config in self.runs}
        running: list[tuple[float, str]] = []
        unended, now = set(left), 0.0
        while unended:
            for name, config in list(left.items()):
                if len(running) < self.workers and unended.isdisjoint(config.ancestors()):
                    heapq.heappush(running, (now + self.plans[name].times.least, name))
                    del left[name]
            now, ended = heapq.heappop(running)
            unended.remove(ended)
        return now

    def lines(self) -> Iterator[str]:
        """The outlook as text."""
        if not self.runs:
            yield "every run is finished"
            return
        shown = self.table.assign(
            steps=self.table.steps.map("{:,}".format),
            seconds=self.table.seconds.map(duration),
            together=self.table.together.map(duration),
        )
        yield shown.rename(columns={"seconds": "each"}).to_string(index=False)
        device = next(iter(self.plans.values())).device
        longer = ""
        if self.most > NOTICED * self.seconds:
            longer = f", {duration(self.most)} if no answer is right"
        number, took = counted(len(self.runs), "runs"), duration(self.seconds)
        yield f"{number} to train: {took} of computing on {device}{longer}"
        if self.workers > 1:
            yield f"about {duration(self.wall_seconds())} with {self.workers} runs side by side"
        yield f"{self._disk() / 2**30:,.1f} GiB of weights on disk (calculated)"
        if not torch.cuda.is_available():
            yield (
                f"{gib(self._memory())} of memory at most (calculated); "
                f"{gib(memory.available())} are available here"
            )

    def _disk(self) -> float:
        return sum(self.plans[config.run_name].cost.disk for config in self.runs)

    def _memory(self) -> float:
        """Bytes that the largest runs take side by side."""
        peaks = (self.plans[config.run_name].peaks.largest for config in self.runs)
        return sum(heapq.nlargest(self.workers, peaks))


def outlook(
    configs: RunConfig | Sequence[RunConfig], speed: str | None = None, jobs: int | None = None
) -> Outlook:
    """What the runs that are missing for some configs will take together.

    Steps are timed for each configuration, which takes seconds; nothing is written to the folder of
    runs. A run that is under way counts as a whole one.

    Args:
        speed: a device to calculate times for, as in `icotlib.planning.plan.plan`; its runs are
            taken to train one after the other.
        jobs: runs side by side; by default as `icotlib.running.jobs.ensure` has it.

    Raises `DataError` or `ConfigError` if a model or data cannot be found, which times that are
    calculated need not have.
    """
    runs = unfinished([config.pinned() for config in as_configs(configs)])
    if speed is None:
        check_sources(runs)
    plans: dict[str, Plan] = {}
    like: dict[str, Plan] = {}
    with tempfile.TemporaryDirectory(prefix="icotlib-plan-") as folder:
        stand_ins = StandIns(Path(folder))
        for config in tqdm(runs, desc="planning", unit="run", leave=False, disable=not is_live()):
            if (key := _key(config)) not in like:
                like[key] = plan_run(config, stand_ins, speed)
            plans[config.run_name] = like[key]
    threads = max((config.train.threads for config in runs), default=1)
    workers = jobs or (1 if speed else default_workers(threads))
    return Outlook(runs, plans, workers)


def _key(config: RunConfig) -> str:
    """What runs that take as long as each other share."""
    return json.dumps(_without_neutral(to_dict(config)), sort_keys=True, default=str)


def _without_neutral(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    return {name: _without_neutral(x) for name, x in values.items() if name not in NEUTRAL}
