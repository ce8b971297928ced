"""The one training loop, from a config to a finished run directory.

Everything that happens at a step is a pure function of the config and the step: which examples,
how many tokens go, which dropout masks. So a run that is killed starts again from its last
checkpoint and ends with the same numbers.
"""

import contextlib
import json
import math
import shutil
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from icotlib.config import RunConfig
from icotlib.data.run_data import RunData
from icotlib.errors import ConfigError, TrainingError
from icotlib.evaluation.scoring import Score
from icotlib.methods.base import Method
from icotlib.models import int8
from icotlib.models.loading import save_model
from icotlib.models.parameters import count_parameters
from icotlib.models.precision import mixed_precision
from icotlib.runs import Run, write_json
from icotlib.system import memory
from icotlib.system.devices import device_name
from icotlib.system.seeding import generator_for
from icotlib.system.timing import compute_seconds
from icotlib.training import checkpoints, optim
from icotlib.training.answers import save_answers

#: Steps between two readings of the losses, which is when the device is waited for.
BLOCK = 10

#: Test questions whose answers are kept as text.
SAMPLES = 8


def train(config: RunConfig) -> Run:
    """Train the run of a config to its end, or return it if it is finished.

    The runs that it builds on are trained first. Resumes from the last checkpoint if there is
    one. Two processes that ask for the same run train it once: the second waits.

    Raises:
        TrainingError: the loss is no longer finite; the last good checkpoint stays.
        RunError: the checkpoint of an unfinished run is damaged.
        DataError, ConfigError: the data cannot be used.
    """
    run = Run.of(config)
    if run.done:
        return run
    for phase in config.phases.values():
        train(phase)
    with run.lock():
        if not run.done:
            Trainer(config, run).train()
    return run


@dataclass
class Counters:
    """What a run has used so far; part of every checkpoint."""

    step: int = 0
    examples: int = 0
    #: Tokens that went through the model, padding aside.
    tokens: int = 0
    #: Seconds of computing in training steps, evaluation aside (see `Trainer.clock`).
    seconds: float = 0.0


class Trainer:
    """One run in training. `train` is the loop; the other methods are its steps."""

    def __init__(self, config: RunConfig, run: Run):
        self.config, self.run = config, run
        torch.set_num_threads(config.train.threads)
        # Numbers next to zero take a CPU a hundred times longer; a run that meets them late, in
        # gradients that vanish, would slow down to a quarter of its speed.
        torch.set_flush_denormal(True)
        memory.retain_freed_memory()
        AcceleratorState._reset_state(reset_partial_state=True)  # another precision, perhaps
        self.accelerator = Accelerator(mixed_precision=mixed_precision(config.train.precision))
        if config.train.precision == "int8":
            int8.check(self.accelerator.device)
        if self.accelerator.num_processes > 1:
            raise ConfigError(
                "a run trains in one process; start several runs side by side instead (--jobs)"
            )
        self.run_data = RunData(config)
        torch.manual_seed(config.seed)
        self.method: Method = config.spec(config, self.run_data, self.accelerator)
        self.model = self.accelerator.prepare(self.method.model)
        optimizers = optim.make_optimizers(config.optim, self.model)
        self.optimizers = [self.accelerator.prepare(optimizer) for optimizer in optimizers]
        self.counters = Counters()
        #: Losses of the steps since the last reading, still on the device.
        self.losses: list[Tensor] = []
        #: Sum and number of the losses since the last evaluation.
        self.total, self.steps_seen = 0.0, 0

    def clock(self) -> float:
        """Seconds of computing so far."""
        return compute_seconds(self.accelerator.device)

    # --- the loop ---

    def train(self) -> None:
        """Train, evaluate on the test set, and mark the run as finished."""
        device = self.accelerator.device
        self.run.begin(self.config, self.run_data.corpus.digest, device_name(device))
        rows = self._resume()
        self.model.train(self.method.dropout)
        for step in range(self.counters.step, self.steps):
            if rows and self._reached(rows[-1]):
                break
            start = self.clock()
            change = self.method.begin_step(step)
            if change.ended is not None:
                self._save_stage(change.ended)
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
                rows.append(self._evaluate(step))
                self._save_checkpoint(rows)
        self._finish()

    def step(self, step: int) -> None:
        """One optimizer step."""
        generator = generator_for(self.config.seed, step)
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))  # dropout
        batch = self.run_data.batches(step)
        optim.set_rate(self.optimizers, optim.rate_at(self.config.optim, step, self.steps))
        loss = torch.zeros((), device=self.accelerator.device)
        with self.int8_matmuls:
            for part in self.method.micro_batches(step, batch, generator):
                self.accelerator.backward(part.loss)
                loss += part.loss.detach()
                self.counters.tokens += part.tokens
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
        return int8.int8_matmuls(self.config.train.precision, self.model)

    @property
    def steps(self) -> int:
        return self.config.train.steps

    def _sync_losses(self) -> None:
        """Read the losses of a block. Raises `TrainingError` if one is not finite."""
        losses, self.losses = torch.stack(self.losses).tolist(), []
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
        self.method.sync_metrics()
        self.run.report(
            step=self.counters.step + 1,
            steps=self.steps,
            loss=losses[-1],
            **self.method.stage(),
            seconds=self.counters.seconds,
        )

    def _evaluate(self, step: int) -> dict[str, Any]:
        """One row of metrics.csv."""
        measured = {
            "removed": self.method.stage()["removed"],
            "train_accuracy": self.method.train_accuracy(),
            **self.method.validation_metrics(),
        }
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
        pd.DataFrame(rows).to_csv(self.run.folder / ".metrics.part", index=False)
        (self.run.folder / ".metrics.part").replace(self.run.folder / "metrics.csv")
        state = {
            "counters": vars(self.counters),
            "method": self.method.state_dict(),
            "rows": rows,
        }
        model = self.accelerator.unwrap_model(self.model)
        checkpoints.save(self.run, self.counters.step, model, self.optimizers, state)

    def _resume(self) -> list[dict[str, Any]]:
        """Load the last checkpoint if there is one; the rows of metrics.csv up to it."""
        model = self.accelerator.unwrap_model(self.model)
        state = checkpoints.load(self.run, model, self.optimizers)
        if state is None:
            return []
        optim.on_device(self.optimizers, self.accelerator.device)
        self.counters = Counters(**state["counters"])
        self.method.load_state_dict(state["method"])
        return state["rows"]

    def _save_stage(self, removed: int) -> None:
        """Keep the weights that a removal stage ends with, if each stage has its own."""
        if not self.method.has_stage_checkpoints:
            return
        folder = self.run.stage_folder(removed)
        if folder.is_dir():  # the same weights, from before the run was killed
            return
        part = folder.with_name(f".{folder.name}")
        shutil.rmtree(part, ignore_errors=True)
        save_model(part, self.accelerator.unwrap_model(self.model), self.run_data.layout)
        write_json(part / "counters.json", vars(self.counters))
        part.rename(folder)

    # --- the end ---

    def _finish(self) -> None:
        """Save the final weights, test them, and mark the run as finished."""
        run = self.run
        model = self.accelerator.unwrap_model(self.model).eval()
        self._save_stage(self.method.stage()["removed"])
        save_model(run.folder / "model", model, self.run_data.layout)
        rows: list[dict[str, Any]] = []
        samples: list[dict[str, Any]] = []
        scores: dict[int, Score] = {}
        run.report(step=self.steps, steps=self.steps, testing=0)
        for removed, score in self.method.test(run):
            run.report(step=self.steps, steps=self.steps, testing=len(rows) + 1)
            rows.append(self._stage_row(removed, score))
            samples += self._samples(removed, score)
            scores[removed] = score
        if rows:
            pd.DataFrame(rows).to_csv(run.folder / "stages.csv", index=False)
            path = run.folder / "samples.jsonl"
            pd.DataFrame(samples).to_json(path, orient="records", lines=True)
            save_answers(run, self.run_data.corpus.test, scores)
        run.finish(
            vars(self.counters)
            | {
                "chain_length": self.run_data.longest_chain,
                "unit": self.method.format.unit,
                "parameters": count_parameters(model),
            }
        )

    def _stage_row(self, removed: int, score: Score) -> dict[str, Any]:
        """One row of stages.csv."""
        counters = vars(self.counters)
        saved = self.run.stage_folder(removed) / "counters.json"
        if saved.is_file():
            counters = json.loads(saved.read_text())
        return {
            "removed": removed,
            "unit": self.method.format.unit,
            "accuracy": score.accuracy,
            "ci_low": score.ci_low,
            "ci_high": score.ci_high,
            "n_test": score.n,
            "by_symbol": " ".join(f"{value:.4f}" for value in score.by_symbol),
            "train_steps": counters["step"],
            "train_examples": counters["examples"],
            "train_tokens": counters["tokens"],
            "train_seconds": round(counters["seconds"], 2),
        }

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
