"""What a run will take, before it starts: steps, stages, tokens, memory, time.

Operations and memory are calculated (`icotlib.running.costs`). Time is measured on a few real steps
on this machine. If phases that the run builds on are not trained yet, it cannot take a step; its
time is then calculated from its operations and the speed of the phases. If the user names a
device's speed, all times are calculated from that.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from icotlib.config import RunConfig
from icotlib.data.run_data import RunData
from icotlib.running.costs import Cost, cost_of
from icotlib.running.device_speed import read_speed
from icotlib.running.fitting import MEMORY, Fit, fit
from icotlib.running.lengths import LengthSource, NominalLengths, has_nominal_lengths
from icotlib.runs import Run, unfinished
from icotlib.training.trainer import Trainer

#: Points of a run at which steps are timed, from its first step to its last.
TIMED_POINTS = 3

#: Steps that are timed at each of these points.
TIMED_STEPS = 3

#: Stages that are listed one by one, at most.
LISTED = 16


@dataclass(frozen=True)
class Plan:
    """What one run will take."""

    name: str
    steps: int
    examples: int
    #: First step and removed units of each stage; empty where the step alone does not decide.
    stages: tuple[tuple[int, int], ...]
    #: The schedule in a sentence, where `stages` is empty.
    schedule: str
    #: The unit of removal, `tokens` or `steps`.
    unit: str
    #: Tokens, operations and memory; phases that it builds on are not included.
    cost: Cost
    #: Seconds of training, without evaluation.
    seconds: float
    #: The device that they hold for, and whether they are calculated.
    device: str
    #: Whether one device has the memory for it.
    fit: Fit

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
        yield f"  about {duration(self.seconds)} of training on {self.device}, without evaluation"

    def _less_disk(self) -> str:
        if self.cost.disk == self.cost.final_disk:
            return ""
        return f", {self.cost.final_disk / 2**30:,.1f} with train.stage_weights=last"


def plan(config: RunConfig, speed: str | None = None, memory: float = MEMORY) -> list[Plan]:
    """A plan for every run that is missing for a config, in the order in which they would train.

    Nothing is written to the folder of runs; steps are timed in a temporary folder.

    Args:
        speed: a device as `read_speed` understands it, to calculate times from; the papers' models
            and data are then not needed.
        memory: GB of the device that it should fit.
    """
    plans: list[Plan] = []
    for missing in unfinished([config]):
        plans.append(plan_run(missing, speed, plans, memory))
    return plans


def plan_run(
    config: RunConfig,
    speed: str | None = None,
    before: Sequence[Plan] = (),
    memory: float = MEMORY,
) -> Plan:
    """The plan of a single run.

    Args:
        speed, memory: as in `plan`.
        before: plans of the phases it builds on, whose speed it is assumed to reach where they are
            not trained yet.
    """
    nominal = speed and has_nominal_lengths(config)
    source: LengthSource = NominalLengths(config) if nominal else RunData(config)
    steps, schedule = config.train.steps, config.spec.make_schedule(config, source.longest_chain)
    cost = cost_of(config, source)
    if speed is not None:
        device_speed = read_speed(speed, cost.precision)
        seconds = device_speed.seconds(steps, cost.flops, cost.parameters)
        device = f"{device_speed.name} (calculated)"
    elif all(Run.of(phase).done for phase in config.phases.values()):
        seconds, device = _timed_seconds(config), "this machine"
    else:
        rate = sum(plan.cost.flops for plan in before) / sum(plan.seconds for plan in before)
        seconds = cost.flops / rate
        device = "this machine (calculated from the runs above)"
    return Plan(
        config.run_name,
        steps,
        steps * config.train.batch_size,
        tuple(schedule.stages(steps)),
        schedule.describe(config.input_format.unit),
        config.input_format.unit,
        cost,
        seconds,
        device,
        fit(config, source, cost, memory),
    )


def listed(stages: Sequence[tuple[int, int]]) -> str:
    """Stages as text; if there are more than `LISTED`, the first and the last of them."""
    words = [f"{removed} from step {step:,}" for step, removed in stages]
    if len(words) > LISTED:
        half = LISTED // 2
        words = [*words[:half], "...", *words[-half:]]
    return ", ".join(words)


def _timed_seconds(config: RunConfig) -> float:
    """Seconds of a whole run, from a few steps that are trained at some of its points."""
    with tempfile.TemporaryDirectory(prefix="icotlib-plan-") as folder:
        trainer = Trainer(config, Run(Path(folder) / config.run_name))
        trainer.model.train(trainer.method.dropout)
        trainer.step(0)  # warms up
        medians = []
        for point in np.linspace(0, config.train.steps - 1, TIMED_POINTS).astype(int):
            trainer.method.begin_step(int(point))
            seconds = []
            for _ in range(TIMED_STEPS):
                start = trainer.clock()
                trainer.step(int(point))
                trainer.losses.unread[-1].item()  # waits for a GPU
                seconds.append(trainer.clock() - start)
            medians.append(median(seconds))
        # Integrated by trapezoids, because removal makes later steps cheaper.
        return float(np.trapezoid(medians, dx=config.train.steps / (TIMED_POINTS - 1)))


def duration(seconds: float) -> str:
    """Seconds as text, rounded: `12 s`, `50 min`, `5.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{math.floor(minutes / 6) / 10:g} h"
