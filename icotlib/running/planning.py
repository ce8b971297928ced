"""What a run will take, before it starts: steps, stages, tokens, memory, time.

Operations and memory are calculated (`icotlib.costs`). Time is that of a few real steps on this
machine; where the runs that a run builds on are missing, it is calculated from its operations and
the speed of those timed; and where the user names a device's speed, from that.
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
from icotlib.running.jobs import unfinished
from icotlib.running.lengths import LengthSource, NominalLengths, has_nominal_lengths
from icotlib.runs import Run
from icotlib.training.trainer import Trainer

#: Points of a run at which steps are timed; steps timed at each.
TIMED, REPEATS = 3, 3


#: Stages that are listed one by one, at most.
LISTED = 16


@dataclass(frozen=True)
class Plan:
    """What one run will take."""

    name: str
    steps: int
    examples: int
    #: The step at which each number of removed tokens is reached; empty where one model serves
    #: every stage, or where accuracy decides.
    stages: tuple[tuple[int, int], ...]
    #: In words, where `stages` cannot say it.
    schedule: str
    #: What is removed, `tokens` or `steps`.
    unit: str
    #: Tokens, operations and memory; of distillation, those of its own stage.
    cost: Cost
    #: Seconds of training, evaluation aside.
    seconds: float
    #: On what, and whether that is calculated.
    device: str

    def lines(self) -> Iterator[str]:
        """The plan as text."""
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
            f"evaluate; {cost.disk / 2**30:,.1f} GiB of weights on disk (calculated)"
        )
        yield f"  about {duration(self.seconds)} of training on {self.device}, evaluation aside"


def plan(config: RunConfig, speed: str | None = None) -> list[Plan]:
    """A plan for every run that is missing for a config, in the order they would train.

    Nothing is written to the folder of runs; a few real steps are timed in a folder that vanishes.

    Args:
        speed: a device as `read_speed` knows it, to calculate time instead; the papers' models
            and data then need not be there.
    """
    plans: list[Plan] = []
    for one in unfinished([config]):
        plans.append(plan_one(one, speed, plans))
    return plans


def plan_one(config: RunConfig, speed: str | None = None, before: Sequence[Plan] = ()) -> Plan:
    """The plan of a single run; those planned before lend it their speed if it cannot be timed."""
    nominal = speed and has_nominal_lengths(config)
    source: LengthSource = NominalLengths(config) if nominal else RunData(config)
    steps, schedule = config.train.steps, config.spec.schedule(config, source.longest_chain)
    cost = cost_of(config, source)
    if speed is not None:
        given = read_speed(speed, cost.precision)
        seconds = given.seconds(steps, cost.flops, cost.parameters)
        device = f"{given.name} (calculated)"
    elif all(Run.of(phase).done for phase in config.phases.values()):
        seconds, device = _seconds(config), "this machine"
    else:
        rate = sum(one.cost.flops for one in before) / sum(one.seconds for one in before)
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
    )


def listed(stages: Sequence[tuple[int, int]]) -> str:
    """Stages as text; of many the first and the last."""
    words = [f"{removed} from step {step:,}" for step, removed in stages]
    if len(words) > LISTED:
        half = LISTED // 2
        words = [*words[:half], "...", *words[-half:]]
    return ", ".join(words)


def _seconds(config: RunConfig) -> float:
    """Seconds of the whole run by a few steps of it, for real."""
    with tempfile.TemporaryDirectory(prefix="icotlib-plan-") as folder:
        trainer = Trainer(config, Run(Path(folder) / config.run_name))
        trainer.model.train(trainer.method.dropout)
        trainer.step(0)  # warms up
        times = []
        for place in np.linspace(0, config.train.steps - 1, TIMED).astype(int):
            trainer.method.begin_step(int(place))
            found = []
            for _ in range(REPEATS):
                start = trainer.clock()
                trainer.step(int(place))
                trainer.losses[-1].item()  # a GPU is waited for
                found.append(trainer.clock() - start)
            times.append(median(found))
        # The trapezoid over the points timed: removal makes later steps cheaper.
        return float(np.trapezoid(times, dx=config.train.steps / (TIMED - 1)))


def duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{math.floor(minutes / 6) / 10:g} h"
