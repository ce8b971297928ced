"""What a run will take in time, from a few of its steps, and a part of its evaluations, done here.

Seconds are those of computing (`icotlib.system.timing.compute_seconds`), so that other programs do
not lengthen them. Saving is calculated from the bytes written.
"""

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from icotlib.config import RunConfig
from icotlib.costs.cost import Cost
from icotlib.data.layout import EncodedBatch
from icotlib.evaluation.bounded import examples_at_once
from icotlib.methods.base import Method
from icotlib.runs import Run
from icotlib.system.devices import best_device
from icotlib.system.processes import torch_threads
from icotlib.system.timing import compute_seconds
from icotlib.system.wording import duration
from icotlib.training.trainer import Trainer

#: Points of a run at which steps are timed, from its first step to its last.
TIMED_POINTS = 3

#: Steps that are timed at each of these points, at most.
TIMED_STEPS = 3

#: Seconds after which nothing more is timed of the same kind.
ENOUGH = 2.0

#: Examples that an evaluation is timed on at first; then on four times as many at least once, and
#: again as `ENOUGH` allows.
FIRST = 2

#: Seconds to import the libraries, and to write a byte of weights; measured on one CPU.
IMPORTS, WRITTEN = 5.0, 2.8e-9


@dataclass(frozen=True)
class Seconds:
    """Seconds of the parts of a run."""

    start: float
    training: float
    validation: float
    saving: float
    #: Of the final test, if the model writes every answer as it should, and if it writes none.
    test: float
    longest_test: float

    @property
    def least(self) -> float:
        return sum(getattr(self, one.name) for one in fields(self)) - self.longest_test

    @property
    def most(self) -> float:
        return self.least - self.test + self.longest_test

    def line(self) -> str:
        """The seconds as text."""
        parts = {"start": self.start, "training": self.training, "validation": self.validation}
        parts |= {"saving": self.saving, "the test": self.test}
        listed = ", ".join(f"{duration(x)} {name}" for name, x in parts.items())
        if duration(self.longest_test) != duration(self.test):
            listed += f" ({duration(self.longest_test)} if no answer is right)"
        return f"about {duration(self.least)} ({listed})"


def timed(config: RunConfig, cost: Cost) -> Seconds:
    """The seconds of a run whose phases are finished, or have stand-ins.

    Args:
        cost: of this run.
    """
    with (
        tempfile.TemporaryDirectory(prefix="icotlib-plan-") as folder,
        torch_threads(config.train.threads),  # the clock divides by them
    ):
        before = compute_seconds(best_device())
        trainer = Trainer(config, Run(Path(folder) / config.run_name))
        start = trainer.clock() - before
        training = _training_seconds(trainer)
        evaluations = -(-config.train.steps // config.train.eval_every)
        validation = _validation_seconds(trainer)
        test, longest_test = _test_seconds(trainer, validation)
        return Seconds(
            IMPORTS + start,
            training,
            evaluations * validation,
            saving_seconds(config, cost),
            test,
            longest_test,
        )


def saving_seconds(config: RunConfig, cost: Cost) -> float:
    """Seconds to write the checkpoints of a run, and its weights."""
    checkpoint = cost.state - cost.frozen - 4 * cost.parameters  # weights and moments, no gradients
    evaluations = -(-config.train.steps // config.train.eval_every)
    return WRITTEN * (evaluations * checkpoint + cost.disk)


def _training_seconds(trainer: Trainer) -> float:
    trainer.model.train(trainer.method.dropout)
    trainer.step(0)  # warms up
    medians, steps = [], trainer.steps
    for point in np.linspace(0, steps - 1, TIMED_POINTS).astype(int):
        trainer.method.begin_step(int(point))
        seconds: list[float] = []
        while len(seconds) < TIMED_STEPS and sum(seconds) < ENOUGH:
            start = trainer.clock()
            trainer.step(int(point))
            trainer.losses.unread[-1].item()  # waits for a GPU
            seconds.append(trainer.clock() - start)
        medians.append(median(seconds))
    # Integrated by trapezoids, because removal makes later steps cheaper.
    return float(np.trapezoid(medians, dx=steps / (TIMED_POINTS - 1)))


def _validation_seconds(trainer: Trainer) -> float:
    """Seconds of one validation."""

    def validate(examples: int) -> None:
        _sampled(trainer, examples).validation_metrics()

    return _of_all(trainer, validate, len(trainer.run_data.valid), 0)


def _test_seconds(trainer: Trainer, validation: float) -> tuple[float, float]:
    """Seconds of the final test if every answer is right, and if none is.

    An untrained model writes to the limit, as if it had learned nothing. A right answer takes one
    pass, as in validation.
    """
    config, run_data = trainer.config, trainer.run_data
    longest, steps = run_data.longest_chain, config.train.steps
    stages = config.spec.planned_test_stages(config, longest, steps)
    if not stages:
        return 0.0, 0.0

    def test(stage: int, examples: int) -> None:
        _sampled(trainer, examples).test_stage(stage)

    ends = sorted({min(stages), max(stages)})
    number, new = len(run_data.test), int((run_data.test.total - run_data.test.question).max())
    seconds = [_of_all(trainer, partial(test, stage), number, new) for stage in ends]
    least = validation * len(run_data.test) / len(run_data.valid)
    most = float(np.mean(seconds))
    return len(stages) * min(least, most), len(stages) * most


def _of_all(trainer: Trainer, evaluate: Callable[[int], None], examples: int, new: int) -> float:
    """Seconds that an evaluation takes on so many examples, from some of them.

    A pass takes so long for itself, and so long for each example in it.

    Args:
        new: tokens that it generates.
    """
    tried, found = min(FIRST, examples), []
    while True:
        start = trainer.clock()
        evaluate(tried)
        found.append((tried, trainer.clock() - start))
        if tried == examples or (len(found) > 1 and found[-1][1] > ENOUGH):
            break
        tried = min(4 * tried, examples)
    last, seconds = found[-1]
    if last == examples:
        return seconds
    fewer, less = found[-2]
    each = max(0.0, seconds - less) / (last - fewer)
    test = trainer.run_data.test
    longest, read = int(test.total.max()), int((test.total - test.question).max())
    text = cast(PreTrainedModel, trainer.method.model).config
    passes = -(-examples // examples_at_once(text, longest, 1 if new else read, new))
    return passes * max(0.0, seconds - each * last) + each * examples


def _sampled(trainer: Trainer, examples: int) -> Method:
    """A copy of the method, to be evaluated on so many examples of its sets, the longest
    included; whatever it keeps of them goes with the copy."""
    run_data = trainer.run_data
    sampled = copy.copy(run_data)
    sampled.valid = run_data.valid[_rows(run_data.valid, examples)]
    rows = _rows(run_data.test, examples)
    sampled.test = run_data.test[rows]
    sampled.corpus = replace(run_data.corpus, test=run_data.corpus.test.select(rows.tolist()))
    method = copy.copy(trainer.method)
    method.run_data = sampled
    return method


def _rows(batch: EncodedBatch, examples: int) -> Tensor:
    """Rows of a set, evenly spaced, with its longest."""
    spaced = torch.linspace(0, len(batch) - 1, min(examples, len(batch))).long()
    if examples < len(batch):
        spaced[0] = int(batch.total.argmax())
    return spaced
