"""What a run will take, before it starts: steps, stages, tokens, memory, time.

Operations and memory are calculated (`icotlib.costs.cost`). Time is measured on a few real steps
on this machine; phases that the run builds on and that are not trained yet have stand-ins with
untrained weights for that (`icotlib.planning.stand_ins`). If the user names a device's speed, all
times are calculated from that; without times, a plan takes a moment.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path

import torch

from icotlib.asked import as_configs
from icotlib.config import RunConfig
from icotlib.costs.cost import Cost, cost_of
from icotlib.costs.device_speed import precision_at, read_speed
from icotlib.costs.fitting import LESS_MEMORY, MEMORY, Fit, fit
from icotlib.costs.lengths import LengthSource, NominalLengths, has_nominal_lengths
from icotlib.costs.peaks import Peaks, peaks_of
from icotlib.data.run_data import RunData
from icotlib.planning.stand_ins import StandIns
from icotlib.planning.timed import IMPORTS, Seconds, saving_seconds, timed
from icotlib.running.cluster import default_workers
from icotlib.runs import unfinished
from icotlib.system import memory
from icotlib.system.wording import gib

#: The seconds of a plan without times.
UNTIMED = Seconds(*(math.nan for _ in fields(Seconds)))

#: Stages that are listed one by one, at most.
LISTED = 16


@dataclass(frozen=True)
class Plan:
    """What one run will take."""

    config: RunConfig
    steps: int
    examples: int
    #: First step and removed units of each stage; empty where the step alone does not decide.
    stages: tuple[tuple[int, int], ...]
    #: The schedule in a sentence, where `stages` is empty.
    schedule: str
    #: What of the chain is never removed, in a sentence; empty where nothing is.
    left: str
    #: The unit of removal, `tokens` or `steps`.
    unit: str
    #: Tokens, operations and memory; phases that it builds on are not included.
    cost: Cost
    #: The most memory that its process takes.
    peaks: Peaks
    #: Seconds of its parts; not numbers in a plan without times.
    times: Seconds
    #: The device that they hold for, and whether they are calculated; empty without times.
    device: str
    #: Whether one device has the memory for it.
    fit: Fit

    @property
    def name(self) -> str:
        return self.config.run_name

    @property
    def seconds(self) -> float:
        """Seconds of training, without evaluation."""
        return self.times.training

    def lines(self, arguments: str = "...") -> Iterator[str]:
        """The plan as text.

        Args:
            arguments: those of `icot train` that name the run, for the commands in it.
        """
        cost = self.cost
        yield self.name
        yield f"  {self.steps:,} steps, {self.examples:,} examples, {cost.tokens:,} tokens"
        if self.stages:
            yield f"  {self.unit} removed: {listed(self.stages)}"
        else:
            yield f"  {self.schedule}"
        if self.left:
            yield f"  {self.left}"
        yield (
            f"  {cost.parameters:,} parameters; {cost.state / 2**20:,.0f} MiB for weights, "
            f"gradients and optimizer, about {cost.activations / 2**20:,.0f} MiB for activations "
            "(calculated)"
        )
        yield (
            f"  {cost.flops:.2g} floating-point operations, {cost.evaluation:.2g} more to "
            f"evaluate; {cost.disk / 2**30:,.1f} GiB of weights on disk{self._less_disk()} "
            "(calculated)"
        )
        yield from self.fit.lines(arguments)
        yield (
            f"  memory of its process on a CPU: about {gib(self.peaks.training)} while it trains, "
            f"{gib(self.peaks.testing)} in its test (calculated)"
        )
        if self.device:
            yield f"  {self.times.line()} on {self.device}"

    def _less_disk(self) -> str:
        if self.cost.disk == self.cost.final_disk:
            return ""
        return f", {self.cost.final_disk / 2**30:,.1f} with train.stage_weights=last"


def plan(
    config: RunConfig,
    speed: str | None = None,
    device_memory: float = MEMORY,
    with_times: bool = True,
) -> list[Plan]:
    """A plan for every run that is missing for a config, in the order in which they would train.

    Nothing is written to the folder of runs; steps are timed in a temporary folder.

    Args:
        speed: a device as `read_speed` understands it, to calculate times from; the papers' models
            and data are then not needed.
        device_memory: GB of the device that it should fit.
        with_times: time steps here where no speed is named; else plans say nothing of seconds.
    """
    with tempfile.TemporaryDirectory(prefix="icotlib-plan-") as folder:
        stand_ins = StandIns(Path(folder))
        return [
            plan_run(missing, stand_ins, speed, device_memory, with_times)
            for missing in unfinished(as_configs(config))
        ]


def plan_run(
    config: RunConfig,
    stand_ins: StandIns,
    speed: str | None = None,
    device_memory: float = MEMORY,
    with_times: bool = True,
) -> Plan:
    """The plan of a single run.

    Args:
        stand_ins: for phases that it builds on and that are not trained yet.
        speed, device_memory, with_times: as in `plan`.
    """
    own = config
    if speed is not None:  # of the device that is named, and not of this one
        config = config.override({"train.precision": precision_at(speed, config.train.precision)})
    nominal = (speed is not None or not with_times) and has_nominal_lengths(config)
    source: LengthSource = NominalLengths(config) if nominal else RunData(config)
    steps, schedule = config.train.steps, config.spec.make_schedule(config, source.longest_chain)
    cost = cost_of(config, source)
    peaks = peaks_of(config, source, cost)
    if speed is not None:
        device_speed = read_speed(speed, cost.precision)
        seconds = device_speed.seconds(steps, cost.flops, cost.parameters)
        times = _calculated(config, cost, seconds)
        device = f"{device_speed.name} (calculated)"
    elif not with_times:
        times, device = UNTIMED, ""
    else:
        with stand_ins.for_phases_of(config):
            times, device = timed(config, cost), "this machine"
    return Plan(
        own,
        steps,
        steps * config.train.batch_size,
        tuple(schedule.stages(steps)),
        schedule.describe(config.input_format.unit),
        schedule.left_by(steps, config.input_format.unit),
        config.input_format.unit,
        cost,
        peaks,
        times,
        device,
        fit(config, source, cost, device_memory),
    )


def listed(stages: Sequence[tuple[int, int]]) -> str:
    """Stages as text; if there are more than `LISTED`, the first and the last of them."""
    words = [f"{removed} from step {step:,}" for step, removed in stages]
    if len(words) > LISTED:
        half = LISTED // 2
        words = [*words[:half], "...", *words[-half:]]
    return ", ".join(words)


def _calculated(config: RunConfig, cost: Cost, training: float) -> Seconds:
    """The seconds of a run, if evaluation takes as long for an operation as training does."""
    each = training / cost.flops
    validation, test = each * cost.validation, each * (cost.evaluation - cost.validation)
    saving = saving_seconds(config, cost)
    return Seconds(IMPORTS, training, validation, saving, test, test)


def memory_lines(plans: Sequence[Plan], jobs: int | None = None) -> Iterator[str]:
    """Whether this machine has the memory for runs that train side by side, as text.

    Args:
        jobs: runs side by side; by default as `icotlib.running.jobs.ensure` has it.
    """
    if torch.cuda.is_available() or not plans:
        return
    free = f"{gib(memory.available())} are available here"
    threads = max(plan.config.train.threads for plan in plans)
    side_by_side = together(plans, jobs or default_workers(threads))
    if side_by_side:
        size = sum(plan.peaks.largest for plan in side_by_side)
        names = " and ".join(plan.name for plan in side_by_side)
        yield f"{names} side by side: {gib(size)}; {free}, and what does not fit waits"
    for plan in plans:
        if plan.peaks.largest > memory.available():
            yield f"{plan.name} needs {gib(plan.peaks.largest)}, and {free}: {LESS_MEMORY}"


def together(plans: Sequence[Plan], workers: int) -> list[Plan]:
    """The runs that take the most memory of all that may train side by side.

    Args:
        workers: runs side by side.
    """
    groups = [
        group
        for size in range(2, min(workers, len(plans)) + 1)
        for group in combinations(plans, size)
        if not any(
            one.config.run_name in other.config.ancestors() for one in group for other in group
        )
    ]
    found = max(groups, key=lambda group: sum(one.peaks.largest for one in group), default=())
    return list(found)
