"""The one training loop, from a config to a finished run directory.

Examples and dropout masks of a step are functions of the config and the step (dropout also of the
process), and so are the removed tokens, unless accuracy drives their schedule, whose state a
checkpoint keeps. So a run that is killed starts again from its last checkpoint and ends with the
same numbers.
"""

import contextlib
import time
import warnings
from collections.abc import Callable
from functools import cached_property, partial
from itertools import chain
from typing import Any

import torch

from icotlib.asked import as_configs
from icotlib.config import RunConfig
from icotlib.data.run_data import RunData
from icotlib.errors import ConfigError, RunWarning, StoppedError
from icotlib.evaluation.scoring import Score
from icotlib.evaluation.truths import check_given_back
from icotlib.methods.base import Method
from icotlib.methods.schedule import BLOCK
from icotlib.models.precision import step_mode
from icotlib.runs import Run
from icotlib.system import memory
from icotlib.system.devices import device_name
from icotlib.system.seeding import generator_for
from icotlib.system.timing import compute_seconds, wait
from icotlib.training import checkpoints, devices, optim, stages
from icotlib.training.final_test import FinalTest
from icotlib.training.interruption import Interruption
from icotlib.training.losses import Losses, check_weights
from icotlib.training.results import Counters, earlier_scores, save_metrics, save_results
from icotlib.training.tracking import Tracking, trackers_asked_for


def train(config: RunConfig, should_stop: Callable[[], bool] = lambda: False) -> Run:
    """Train the run of a config to its end, or return it if it is finished.

    The runs that it builds on are trained first. Resumes from the last checkpoint if there is
    one. Two processes that ask for the same run train it once: the second waits. Processes that
    `accelerate launch` has started together train it together.

    Args:
        should_stop: asked after every step; once it says so, or `icot stop` asks for it, the run
            writes a checkpoint and ends.

    Raises:
        StoppedError: the run was asked to stop.
        TrainingError: the loss is no longer finite; the last good checkpoint stays.
        RunError: the checkpoint of an unfinished run is damaged.
        DataError, ConfigError: the data cannot be used.
    """
    [config] = as_configs(config)
    config = config.pinned()
    run = Run.of(config)
    if devices.agreed(run.done):
        return run
    for phase in config.phases.values():
        train(phase, should_stop)

    def waiting() -> None:
        if should_stop() or run.stop_requested:
            raise StoppedError(f"{run.name}: stopped while another process trains it")

    with devices.hold(run, waiting) as check_lease:
        if check_lease:
            Trainer(config, run, should_stop, check_lease).train()
    return run


class Trainer:
    """One run in training. `train` is the loop; the other methods are its steps."""

    def __init__(
        self,
        config: RunConfig,
        run: Run,
        should_stop: Callable[[], bool] = lambda: False,
        check_lease: Callable[[], None] = lambda: None,
    ):
        self.config, self.run, self.check_lease = config, run, check_lease
        # Numbers next to zero take a CPU a hundred times longer; a run that meets them late, in
        # gradients that vanish, would slow down to a quarter of its speed.
        torch.set_flush_denormal(True)
        memory.retain_freed_memory()
        self.trackers = trackers_asked_for()
        self.accelerator = devices.make_accelerator(config)
        with self.accelerator.main_process_first():  # it fills the caches that the others read
            self.run_data = RunData(config)
        check_given_back(self.run_data.layout, self.run_data.all_answers)
        torch.manual_seed(config.seed)
        self.method: Method = config.spec(config, self.run_data, self.accelerator)
        optimizers = optim.make_optimizers(config, self.method.model)
        self.model, *self.optimizers = self.accelerator.prepare(self.method.model, *optimizers)
        self.counters = Counters()
        self.losses = Losses(run, self.accelerator)
        left = self.method.schedule.left_by(self.steps, config.input_format.unit)
        if left and self.writes:
            warnings.warn(RunWarning(f"{config.run_name}: {left}"), stacklevel=2)
        #: What must stay as it is while the run is interrupted.
        self.origin = checkpoints.origin_of(self.method)
        #: Tokens of this process's rows since they were last counted.
        self.tokens = 0
        self.interruption = Interruption(run, self.accelerator, should_stop)

    def clock(self) -> float:
        """Seconds of computing so far."""
        return compute_seconds(self.accelerator.device)

    def train(self) -> None:
        """Train, evaluate on the test set, and mark the run as finished."""
        if self.writes:
            self.run.begin(self.config, device_name(self.accelerator.device), self.origin)
            self.run.forget_progress()
        devices.check_shared(self.run)
        rows = self._resume()
        if self.writes:
            self.run.log("resumed" if self.counters.step else "started", self.counters.step)
        self.model.train(self.method.dropout)
        with Tracking(
            self.run, self.config, rows, self.trackers if self.writes else ()
        ) as tracking:
            for step in range(self.counters.step, self.steps):
                if rows and self._reached(rows[-1]):
                    break
                evaluating = self._train_step(step)
                if evaluating:
                    rows.append(devices.agreed(self._evaluate(step)))
                    tracking.log(rows[-1])
                stopping, due = self.interruption.after_step(not self.losses.unread)
                if evaluating or stopping or due:
                    self._save_checkpoint(rows)
                if stopping:
                    self._stop(f"at step {step + 1} of {self.steps}")
            self._finish(rows)

    def _train_step(self, step: int) -> bool:
        """A step and what belongs to it; whether an evaluation is due."""
        change = self.method.begin_step(step)
        if change.ended is not None or change.is_good or change.back_to is not None:
            start = self.clock()
            wait(self.accelerator.device)  # for steps in the queue, whose seconds are training's
            self.counters.seconds += self.clock() - start
        if change.ended is not None or change.is_good:
            self._check_weights()
        if change.ended is not None:
            stages.end(self, change.ended)
        if change.is_good:
            stages.keep(self)
        if change.back_to is not None:
            stages.go_back(self, change.back_to)
        start = self.clock()
        if change.reset_optimizer:
            optim.reset(self.optimizers)
        self.step(step)
        last = step + 1 == self.steps
        evaluating = last or (step + 1) % self.config.train.eval_every == 0
        if evaluating or (step + 1) % BLOCK == 0:
            self._sync_losses()
        self.counters.seconds += self.clock() - start
        self.counters.step = step + 1
        return evaluating

    def _stop(self, where: str) -> None:
        """Raises `StoppedError`: the run has written its checkpoint."""
        if self.writes:
            self.run.log("stopped", self.counters.step)
        raise StoppedError(
            f"{self.run.name}: stopped {where}; ask for the same again, and it goes on from there"
        )

    def step(self, step: int) -> None:
        """One optimizer step."""
        generator = generator_for(self.config.seed, step)
        dropout = int(torch.randint(2**62, (), generator=generator))
        torch.manual_seed(dropout + self.accelerator.process_index)
        batch = self.run_data.batches(step)
        optim.set_rate(self.optimizers, optim.rate_at(self.config.optim, step, self.steps))
        loss = torch.zeros((), device=self.accelerator.device)
        processes = self.accelerator.num_processes  # whose gradients are averaged
        with self.step_mode, self.method.prepared(self.model):
            for part in self.method.micro_batches(step, batch, generator):
                self.accelerator.backward(part.loss * processes)
                loss += part.loss.detach()
                self.tokens += part.tokens
        if processes > 1 and not self.method.shares_batches:
            raise ConfigError(
                f"method {self.config.method!r} trains in one process only: to train in several, "
                "its micro_batches must take rows from self.row_groups"
            )
        parameters, clip = self.model.parameters(), self.config.optim.clip
        optim.step(self.optimizers, self.accelerator, parameters, clip)
        self.losses.unread.append(loss)
        self.counters.examples += len(batch)

    @cached_property
    def step_mode(self) -> contextlib.AbstractContextManager:
        """How a step multiplies and attends, where accelerate does not see to it."""
        recomputed = self.config.train.gradient_checkpointing
        return step_mode(self.config.train.precision, self.method.model, recomputed)

    @property
    def steps(self) -> int:
        return self.config.train.steps

    @property
    def writes(self) -> bool:
        """Whether this process writes the run's files."""
        return self.accelerator.is_main_process

    def _report(self, **state: Any) -> None:
        if self.writes:
            self.run.report(steps=self.steps, **state)

    def count_tokens(self) -> None:
        """Count the tokens of all processes since the last time."""
        tokens = torch.tensor(self.tokens, device=self.accelerator.device)
        self.counters.tokens += int(devices.total(tokens, self.accelerator))
        self.tokens = 0

    def _sync_losses(self) -> None:
        """Read the losses of a block. Raises `TrainingError` if one is not finite."""
        loss = self.losses.read(self.counters.step + 1)
        self.count_tokens()
        self.method.sync_metrics()
        self._report(
            step=self.counters.step + 1,
            loss=loss,
            **self.method.stage(),
            seconds=self.counters.seconds,
        )

    def _evaluate(self, step: int) -> dict[str, Any]:
        """One row of metrics.csv."""
        measured = {
            "removed": self.method.stage()["removed"],
            "train_match": self.method.train_match(),
        }
        memory.trim()
        with devices.unsharded(self.model):
            measured |= self.method.validation_metrics()
        row = {
            "step": step + 1,
            "examples": self.counters.examples,
            "tokens": self.counters.tokens,
            "rate": optim.rate_at(self.config.optim, step, self.steps),
            "loss": self.losses.mean(),
            **measured,
            "seconds": round(self.counters.seconds, 3),
        }
        self.model.train(self.method.dropout)
        return row

    def _reached(self, row: dict[str, Any]) -> bool:
        """Whether the accuracy to stop at was measured, at the last stage."""
        target = self.config.train.stop_accuracy
        if target is None or not self.method.complete():
            return False
        return row["removed"] == self.method.stage()["removed"] and row["valid_match"] >= target

    # --- checkpoints ---

    def _save_checkpoint(self, rows: list[dict[str, Any]]) -> None:
        """Write metrics, then a checkpoint, from which the run goes on to the same numbers."""
        self.check_lease()
        self.count_tokens()
        losses = self.losses.state_dict(self.counters.step)
        self._check_weights()
        self.interruption.saved = time.monotonic()
        if self.writes:
            save_metrics(self.run, rows)
        state = {
            "counters": vars(self.counters),
            "method": self.method.state_dict(),
            "rows": rows,
            "losses": losses,
            "scale": optim.scale(self.accelerator),
            "settings": self.config.digest,
        } | self.origin
        tensors = checkpoints.tensors_of(self.method.model, self.optimizers, self.writes)
        if self.writes:
            checkpoints.save(self.run, self.counters.step, *tensors, state)
            stages.forget_others(self)

    def _check_weights(self) -> None:
        check_weights(self.run, self.method.model, self.accelerator, self.counters.step)

    def _resume(self) -> list[dict[str, Any]]:
        """Load the last checkpoint if there is one; the rows of metrics.csv up to it."""
        state = checkpoints.load(self.run, self.method.model, self.optimizers, self.origin)
        if state is None:
            return []
        optim.on_device(self.optimizers, self.accelerator.device)
        self.counters = Counters(**state["counters"])
        self.method.load_state_dict(state["method"])
        self.losses.load_state_dict(state["losses"])
        optim.set_scale(self.accelerator, state.get("scale"))
        if self.writes:
            save_metrics(self.run, state["rows"])
        return state["rows"]

    # --- the end ---

    def _finish(self, rows: list[dict[str, Any]]) -> None:
        """Save the final weights, test them, and mark the run as finished.

        Args:
            rows: of metrics.csv.
        """
        self._check_weights()
        run, model = self.run, self.method.model.eval()
        if self.method.keeps_every_stage:
            stages.end(self, self.method.stage()["removed"])
        checkpoints.save_trained(run.folder / "model", self.method, self.writes)
        self.optimizers = []  # room for the weights of earlier stages
        self.accelerator.free_memory()
        memory.trim()
        self.accelerator.wait_for_everyone()  # others read what the main process has saved
        scores: dict[int, Score] = {}
        number = len(self.method.stages_to_test(run)) * len(self.run_data.test)
        told = {"loss": rows[-1]["loss"], "seconds": self.counters.seconds}
        report = partial(self._report, step=self.steps, **told, **self.method.stage())
        progress = FinalTest(report, number)
        self.method.on_answers = progress.add_answers
        with devices.unsharded(model):
            for removed, score in chain(earlier_scores(run), self.method.test(run)):
                if devices.in_any(self.interruption.requested()):
                    self._stop("in its test")
                scores[removed] = score
                progress.end_stage()
        if not self.writes:
            return
        self.check_lease()  # the test may have taken long
        save_results(run, self.run_data, self.method.format.unit, scores, self.counters)
        run.log("finished", self.counters.step)
        run.finish(
            vars(self.counters)
            | {
                "chain_length": self.run_data.longest_chain,
                "unit": self.method.format.unit,
                "parameters": self.method.parameters(),
            }
        )
