"""The one training loop, from a config to a finished run directory.

Everything that happens at a step is a pure function of the config and the step: which examples,
how many tokens go, which dropout masks. So a run that is killed starts again from its last
checkpoint and ends with the same numbers.
"""

import contextlib
import math
import shutil
from dataclasses import asdict
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel

from icotlib.config import RunConfig
from icotlib.data.run_data import RunData
from icotlib.errors import ConfigError, TrainingError
from icotlib.evaluation.scoring import Score
from icotlib.methods.base import Method
from icotlib.models import int8
from icotlib.models.loading import save_model
from icotlib.models.parameters import count_parameters
from icotlib.runs import Run, write_json
from icotlib.system import memory
from icotlib.system.devices import device_name
from icotlib.system.seeding import generator_for
from icotlib.system.timing import compute_seconds
from icotlib.training import checkpoints, devices, optim, stages
from icotlib.training.stages import Counters
from icotlib.training.tracking import Tracking, trackers_asked_for

#: Steps between two readings of the losses, which is when the device is waited for.
BLOCK = 10

#: Test questions whose answers are kept as text.
SAMPLES = 8


def train(config: RunConfig) -> Run:
    """Train the run of a config to its end, or return it if it is finished.

    The runs that it builds on are trained first. Resumes from the last checkpoint if there is
    one. Two processes that ask for the same run train it once: the second waits. Processes that
    `accelerate launch` has started together train it together.

    Raises:
        TrainingError: the loss is no longer finite; the last good checkpoint stays.
        RunError: the checkpoint of an unfinished run is damaged.
        DataError, ConfigError: the data cannot be used.
    """
    run = Run.of(config)
    if devices.agreed(run.done):
        return run
    for phase in config.phases.values():
        train(phase)
    with devices.hold(run) as missing:
        if missing:
            Trainer(config, run).train()
    return run


class Trainer:
    """One run in training. `train` is the loop; the other methods are its steps."""

    def __init__(self, config: RunConfig, run: Run):
        self.config, self.run = config, run
        # Numbers next to zero take a CPU a hundred times longer; a run that meets them late, in
        # gradients that vanish, would slow down to a quarter of its speed.
        torch.set_flush_denormal(True)
        memory.retain_freed_memory()
        self.trackers = trackers_asked_for()
        self.accelerator = devices.make_accelerator(config)
        with self.accelerator.main_process_first():  # it fills the caches that the others read
            self.run_data = RunData(config)
        torch.manual_seed(config.seed)
        self.method: Method = config.spec(config, self.run_data, self.accelerator)
        optimizers = optim.make_optimizers(config.optim, self.method.model)
        self.model, *self.optimizers = self.accelerator.prepare(self.method.model, *optimizers)
        self.counters = Counters()
        #: Losses of the steps since the last reading, still on the device, and tokens: of this
        #: process's rows.
        self.losses: list[Tensor] = []
        self.tokens = 0
        #: Sum and number of the losses since the last evaluation.
        self.total, self.steps_seen = 0.0, 0

    def clock(self) -> float:
        """Seconds of computing so far."""
        return compute_seconds(self.accelerator.device)

    # --- the loop ---

    def train(self) -> None:
        """Train, evaluate on the test set, and mark the run as finished."""
        if self.writes:
            device = device_name(self.accelerator.device)
            self.run.begin(self.config, self.run_data.corpus.digest, device)
        devices.check_shared(self.run)
        rows = self._resume()
        tracking = Tracking(self.run, self.config, rows, self.trackers if self.writes else ())
        self.model.train(self.method.dropout)
        for step in range(self.counters.step, self.steps):
            if rows and self._reached(rows[-1]):
                break
            change = self.method.begin_step(step)
            if change.ended is not None:
                self._end_stage(change.ended)
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
            if evaluating:
                rows.append(devices.agreed(self._evaluate(step)))
                self._save_checkpoint(rows)
                tracking.log(rows[-1])
        self._finish()
        tracking.finish()

    def step(self, step: int) -> None:
        """One optimizer step."""
        generator = generator_for(self.config.seed, step)
        dropout = int(torch.randint(2**62, (), generator=generator))
        torch.manual_seed(dropout + self.accelerator.process_index)
        batch = self.run_data.batches(step)
        optim.set_rate(self.optimizers, optim.rate_at(self.config.optim, step, self.steps))
        loss = torch.zeros((), device=self.accelerator.device)
        processes = self.accelerator.num_processes  # whose gradients are averaged
        with self.int8_matmuls, self.method.prepared(self.model):
            for part in self.method.micro_batches(step, batch, generator):
                self.accelerator.backward(part.loss * processes)
                loss += part.loss.detach()
                self.tokens += part.tokens
        if processes > 1 and not self.method.shares_batches:
            raise ConfigError(
                f"method {self.config.method!r} trains in one process only: to train in several, "
                "its micro_batches must take rows from self.row_groups"
            )
        if self.config.optim.clip:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.optim.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss)
        self.counters.examples += len(batch)

    @cached_property
    def int8_matmuls(self) -> contextlib.AbstractContextManager:
        """How matrices are multiplied in a step, where accelerate does not see to it."""
        return int8.int8_matmuls(self.config.train.precision, self.method.model)

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

    def _count_tokens(self) -> None:
        """Count the tokens of all processes since the last time."""
        tokens = torch.tensor(self.tokens, device=self.accelerator.device)
        self.counters.tokens += int(devices.total(tokens, self.accelerator))
        self.tokens = 0

    def _sync_losses(self) -> None:
        """Read the losses of a block. Raises `TrainingError` if one is not finite."""
        block, self.losses = torch.stack(self.losses), []
        losses = devices.total(block, self.accelerator).tolist()
        first = self.counters.step + 1 - len(losses) + 1
        for i, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"{self.run.name}: the loss at step {first + i} is {loss}. The last good "
                    f"checkpoint is kept in {self.run.folder / 'checkpoint'}. Try a lower "
                    "optim.lr or optim.muon_lr, more optim.warmup_steps, or train.precision=fp32."
                )
        self.total += sum(losses)
        self.steps_seen += len(losses)
        self._count_tokens()
        self.method.sync_metrics()
        self._report(
            step=self.counters.step + 1,
            loss=losses[-1],
            **self.method.stage(),
            seconds=self.counters.seconds,
        )

    def _evaluate(self, step: int) -> dict[str, Any]:
        """One row of metrics.csv."""
        measured = {
            "removed": self.method.stage()["removed"],
            "train_accuracy": self.method.train_accuracy(),
        }
        with devices.unsharded(self.model):
            measured |= self.method.validation_metrics()
        row = {
            "step": step + 1,
            "examples": self.counters.examples,
            "tokens": self.counters.tokens,
            "rate": optim.rate_at(self.config.optim, step, self.steps),
            "loss": self.total / self.steps_seen,
            **measured,
            "seconds": round(self.counters.seconds, 3),
        }
        self.total, self.steps_seen = 0.0, 0
        self.model.train(self.method.dropout)
        return row

    def _reached(self, row: dict[str, Any]) -> bool:
        target = self.config.train.stop_accuracy
        return target is not None and self.method.complete() and row["valid_accuracy"] >= target

    # --- checkpoints ---

    def _save_checkpoint(self, rows: list[dict[str, Any]]) -> None:
        """Write metrics, then a checkpoint."""
        if self.writes:
            pd.DataFrame(rows).to_csv(self.run.folder / ".metrics.part", index=False)
            (self.run.folder / ".metrics.part").replace(self.run.folder / "metrics.csv")
        state = {
            "counters": vars(self.counters),
            "method": self.method.state_dict(),
            "rows": rows,
        }
        tensors = checkpoints.tensors_of(self.method.model, self.optimizers, self.writes)
        if self.writes:
            checkpoints.save(self.run, self.counters.step, *tensors, state)

    def _resume(self) -> list[dict[str, Any]]:
        """Load the last checkpoint if there is one; the rows of metrics.csv up to it."""
        state = checkpoints.load(self.run, self.method.model, self.optimizers)
        if state is None:
            return []
        optim.on_device(self.optimizers, self.accelerator.device)
        self.counters = Counters(**state["counters"])
        self.method.load_state_dict(state["method"])
        return state["rows"]

    def _end_stage(self, removed: int) -> None:
        """Keep the weights that a removal stage ends with, if each stage has its own; or only what
        they score, if they are not to be kept."""
        if not self.method.has_stage_checkpoints:
            return
        folder = self.run.stage_folder(removed)
        self._count_tokens()
        if devices.agreed(folder.is_dir()):  # the same stage, from before the run was killed
            return
        part = folder.with_name(f".{folder.name}")
        if self.writes:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        if self.method.keeps_every_stage:
            self._save_model(part)
        else:
            with devices.unsharded(self.model):
                score = self.method.test_stage(removed)
            self.model.train(self.method.dropout)
            if self.writes:
                write_json(part / self.run.stage_score(removed).name, asdict(score))
        if self.writes:
            write_json(part / "counters.json", vars(self.counters))
            part.rename(folder)

    def _save_model(self, folder: Path) -> None:
        model = self.method.model
        weights = self.method.merged_weights() or checkpoints.whole_weights(model, self.writes)
        if self.writes:
            save_model(folder, cast(PreTrainedModel, model), self.run_data.layout, weights)

    # --- the end ---

    def _finish(self) -> None:
        """Save the final weights, test them, and mark the run as finished."""
        run = self.run
        model = self.method.model.eval()
        if self.method.keeps_every_stage:
            self._end_stage(self.method.stage()["removed"])
        self._save_model(run.folder / "model")
        if self.accelerator.device.type != "cpu":  # room for the weights of earlier stages
            self.optimizers = []
            self.accelerator.free_memory()
        self.accelerator.wait_for_everyone()  # others read what the main process has saved
        rows: list[dict[str, Any]] = []
        samples: list[dict[str, Any]] = []
        self._report(step=self.steps, testing=0)
        with devices.unsharded(model):
            for removed, score in chain(stages.earlier_scores(run), self.method.test(run)):
                self._report(step=self.steps, testing=len(rows) + 1)
                rows.append(stages.row(run, removed, self.method.format.unit, score, self.counters))
                samples += self._samples(removed, score)
        if not self.writes:
            return
        if rows:
            pd.DataFrame(rows).to_csv(run.folder / "stages.csv", index=False)
            path = run.folder / "samples.jsonl"
            pd.DataFrame(samples).to_json(path, orient="records", lines=True)
        run.finish(
            vars(self.counters)
            | {
                "chain_length": self.run_data.longest_chain,
                "unit": self.method.format.unit,
                "parameters": count_parameters(model),
            }
        )

    def _samples(self, removed: int, score: Score) -> list[dict[str, Any]]:
        """What the model wrote for the first test questions."""
        questions, answers = self.run_data.corpus.test["question"], self.run_data.answers
        return [
            {
                "removed": removed,
                "question": questions[i],
                "answer": answers[i],
                "written": score.written[i],
                "right": score.right[i],
            }
            for i in range(min(SAMPLES, len(score.written)))
        ]
