"""The one training loop, from a config to a finished run directory.

Everything that happens at a step is a pure function of the config and the step: which examples,
how many tokens go, which dropout masks. So a run that is killed starts again from its last
checkpoint and ends with the same numbers.
"""

import json
import math
import shutil
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from icotlib import optim
from icotlib.config import RunConfig, TrainConfig, to_dict
from icotlib.data import Corpus, epochs, load_corpus, stream
from icotlib.errors import ConfigError, RunError, TrainingError
from icotlib.evaluation import evaluate, logits_of, matches, teacher_forced_match
from icotlib.models import build_layout, build_model, count_parameters, load_model, save_model
from icotlib.removal import IGNORE, Schedule, make_schedule, remove
from icotlib.runs import Run, device_name, write_json
from icotlib.tasks import Example
from icotlib.tokens import EOS, MARK, SEP, Encoded, Layout

#: Steps between two looks at the losses, which is when the device is waited for.
BLOCK = 10


def train(config: RunConfig) -> Run:
    """Train the run of a config to its end, or return it if it is finished.

    Resumes from the last checkpoint if there is one. Two processes that ask for the same run
    train it once: the second waits.

    Raises:
        TrainingError: the loss is no longer finite; the last good checkpoint stays.
        RunError: the checkpoint of an unfinished run is damaged.
        DataError, ConfigError: the data cannot be used.
    """
    run = Run.of(config)
    if run.done:
        return run
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


@dataclass
class Block:
    """What the steps since the last look have left on the device."""

    losses: list[Tensor] = field(default_factory=list)
    #: (step, whole-sequence match, match after the chain, example is at the shown stage)
    seen: list[tuple[int, Tensor, Tensor, Tensor]] = field(default_factory=list)


@dataclass
class Tally:
    """Training loss and accuracy since the last evaluation."""

    loss: float = 0.0
    steps: int = 0
    right: int = 0
    shown: int = 0


class Trainer:
    """One run in training. `train` is the loop; the other methods are its steps."""

    def __init__(self, config: RunConfig, run: Run):
        self.config, self.run = config, run
        torch.set_num_threads(config.train.threads)
        AcceleratorState._reset_state(reset_partial_state=True)  # another precision, perhaps
        self.accelerator = Accelerator(mixed_precision=mixed_precision(config.train.precision))
        if self.accelerator.num_processes > 1:
            raise ConfigError(
                "a run trains in one process; start several runs side by side instead (--jobs)"
            )
        self.corpus = load_corpus(config.data)
        self.layout = build_layout(config.model, self.corpus)
        self.valid = self.layout.encode(examples_of(self.corpus.valid))
        self.fixed = self.corpus.train and self.layout.encode(examples_of(self.corpus.train))
        longest_chain, longest_total = self._longest()
        torch.manual_seed(config.seed)
        model = build_model(config.model, self.layout, longest_total)
        self.model = self.accelerator.prepare(model)
        optimizers = optim.make_optimizers(config.optim, self.model)
        self.optimizers = [self.accelerator.prepare(optimizer) for optimizer in optimizers]
        self.schedule: Schedule = make_schedule(config.removal, longest_chain)
        self.counters = Counters()
        #: Whether removals still reset the optimizer, and whether the last batch held any chain.
        self.resetting, self.had_chain = config.removal.reset_optimizer, True
        self.batches = self._batches()

    def clock(self) -> float:
        """Seconds of computing so far: wall time on a GPU, CPU time per thread on a CPU.

        Runs share the cores of a laptop with each other and with their user; CPU time counts what
        a run has used, so that runs compare whatever else went on.
        """
        if self.accelerator.device.type == "cpu":
            return time.process_time() / self.config.train.threads
        return time.perf_counter()

    def _longest(self) -> tuple[int, int]:
        """Tokens of the longest chain and of the longest sequence."""
        task = self.corpus.task
        if task is not None and self.config.model.pretrained is None:
            one = task.write(task.sample(np.random.default_rng(0), 1))
            question, chain, answer = (piece.shape[1] for piece in one)
            return chain, question + chain + answer + len([SEP, SEP, MARK, EOS])
        sets = [self.valid, self.layout.encode(examples_of(self.corpus.test))]
        if self.fixed is not None:
            sets.append(self.fixed)
        return (
            max(int(encoded.chain.max()) for encoded in sets),
            max(int(encoded.total.max()) for encoded in sets),
        )

    def _batches(self) -> Callable[[int], Encoded]:
        size, seed = self.config.train.batch_size, self.config.seed
        if self.fixed is not None:
            rows = epochs(len(self.fixed), size, seed)
            return lambda step: self.fixed[rows(step)]
        pieces, task = stream(self.corpus, size, seed), self.corpus.task
        if self.config.model.pretrained is None:
            return lambda step: self.layout.encode_pieces(pieces(step), task.symbols)
        return lambda step: self.layout.encode(task.text(pieces(step)))

    # --- the loop ---

    def train(self) -> None:
        """Train, evaluate every stage on the test set, and mark the run as finished."""
        device = self.accelerator.device
        self.run.begin(self.config, self.corpus.digest, device_name(device))
        rows = self._resume()
        block, tally = Block(), Tally()
        self.model.train()
        for step in range(self.counters.step, self._steps):
            if rows and self._reached(rows[-1]):
                break
            start = self.clock()
            stage = self.schedule.removed
            if self.schedule.advance(step):
                self._save_stage(stage)
                self.resetting &= self.had_chain
                if self.resetting:
                    optim.reset(self.optimizers)
            self._step(step, block)
            last = step + 1 == self._steps
            evaluating = last or (step + 1) % self.config.train.eval_every == 0
            if evaluating or (step + 1) % BLOCK == 0:
                self._look(block, tally)
                block = Block()
            self.counters.seconds += self.clock() - start
            self.counters.step = step + 1
            if evaluating:
                rows.append(self._evaluate(step, tally))
                tally = Tally()
                self._save_checkpoint(rows)
        self._finish()

    def _step(self, step: int, block: Block) -> None:
        """One optimizer step."""
        generator = seeded(self.config.seed, step)
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))  # dropout
        batch = self.batches(step)
        k = self.schedule.draw(step, batch.chain, generator)
        k = torch.minimum(k, batch.chain)
        kept = batch.total - k
        learned = int((kept - batch.question).sum())
        optim.set_rate(self.optimizers, optim.rate_at(self.config.optim, step, self._steps))
        loss = torch.zeros((), device=self.accelerator.device)
        for rows in length_groups(kept, self.config.train):
            loss += self._forward_backward(step, batch[rows], k[rows], learned, block)
        if self.config.optim.clip:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.optim.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        block.losses.append(loss)
        self.counters.examples += len(batch)
        self.counters.tokens += int(kept.sum())
        self.had_chain = bool((batch.chain > k).any())

    @property
    def _steps(self) -> int:
        return self.config.train.steps

    def _forward_backward(
        self, step: int, batch: Encoded, k: Tensor, learned: int, block: Block
    ) -> Tensor:
        """Add a group's gradient; its share of the loss per learned token of the whole batch."""
        removal = self.config.removal
        inputs = remove(batch, k, removal.side, removal.keep_positions)
        inputs = inputs.to(self.accelerator.device)
        logits = logits_of(self.model, inputs)
        labels = inputs.labels[:, -inputs.keep :]
        loss = cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE, reduction="sum"
        )
        loss = loss / learned
        self.accelerator.backward(loss)
        shown = torch.minimum(torch.tensor(self.schedule.shown_stage), batch.chain)
        block.seen.append((step, *matches(logits.detach(), inputs), k == shown))
        return loss.detach()

    def _look(self, block: Block, tally: Tally) -> None:
        """Read a block's losses and matches. Raises `TrainingError` if a loss is not finite."""
        losses = torch.stack(block.losses).tolist()
        first = self.counters.step + 1 - len(losses) + 1
        for i, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"{self.run.name}: the loss at step {first + i} is {loss}. The last good "
                    f"checkpoint is kept in {self.run.folder / 'checkpoint'}. Try a lower "
                    "optim.lr or optim.muon_lr, more optim.warmup_steps, or train.precision=fp32."
                )
        tally.loss += sum(losses)
        tally.steps += len(losses)
        by_step: dict[int, list[tuple[Tensor, Tensor]]] = {}
        for step, whole, tail, shown in block.seen:
            whole, tail = whole.cpu(), tail.cpu()
            tally.right += int(whole[shown].sum())
            tally.shown += int(shown.sum())
            by_step.setdefault(step, []).append((tail, shown))
        for step, groups in by_step.items():
            tails, shown = (torch.cat(parts) for parts in zip(*groups, strict=True))
            self.schedule.observe(step, tails, shown)
        self.run.report(
            step=self.counters.step + 1,
            steps=self._steps,
            loss=losses[-1],
            removed=self.schedule.shown_stage,
            chain=self.schedule.longest,
            seconds=self.counters.seconds,
        )

    def _evaluate(self, step: int, tally: Tally) -> dict[str, Any]:
        """One row of metrics.csv."""
        removal = self.config.removal
        valid = teacher_forced_match(
            self.accelerator.unwrap_model(self.model),
            self.valid,
            self.schedule.shown_stage,
            removal.side,
            removal.keep_positions,
        )
        return {
            "step": step + 1,
            "examples": self.counters.examples,
            "tokens": self.counters.tokens,
            "rate": optim.rate_at(self.config.optim, step, self._steps),
            "loss": tally.loss / tally.steps,
            "removed": self.schedule.shown_stage,
            "train_accuracy": tally.right / tally.shown if tally.shown else float("nan"),
            "valid_accuracy": valid,
            "seconds": round(self.counters.seconds, 3),
        }

    def _reached(self, row: dict[str, Any]) -> bool:
        target = self.config.train.stop_accuracy
        at_end = row["removed"] == self.schedule.final_stage
        return target is not None and at_end and row["valid_accuracy"] >= target

    # --- checkpoints ---

    def _save_checkpoint(self, rows: list[dict[str, Any]]) -> None:
        """Write metrics, then a checkpoint in a folder of its own, then drop the one before."""
        pd.DataFrame(rows).to_csv(self.run.folder / ".metrics.part", index=False)
        (self.run.folder / ".metrics.part").replace(self.run.folder / "metrics.csv")
        root = self.run.folder / "checkpoint"
        folder, part = root / f"step-{self.counters.step:08d}", root / ".part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        model = self.accelerator.unwrap_model(self.model)
        save_file(unshared(model.state_dict()), part / "model.safetensors")
        states = [optimizer.state_dict() for optimizer in self.optimizers]
        torch.save(states, part / "optimizers.pt")
        state = {
            "counters": vars(self.counters),
            "schedule": self.schedule.state_dict(),
            "resetting": self.resetting,
            "had_chain": self.had_chain,
            "rows": rows,
        }
        write_json(part / "state.json", state)
        part.rename(folder)
        for older in root.glob("step-*"):
            if older != folder:
                shutil.rmtree(older)

    def _resume(self) -> list[dict[str, Any]]:
        """Load the last checkpoint if there is one; the rows of metrics.csv up to it."""
        found = sorted((self.run.folder / "checkpoint").glob("step-*"))
        if not found:
            return []
        try:
            state = json.loads((found[-1] / "state.json").read_text())
            weights = load_file(found[-1] / "model.safetensors")
            optimizers = torch.load(
                found[-1] / "optimizers.pt", weights_only=True, map_location="cpu"
            )
        except Exception as error:  # safetensors, pickle and json raise types of their own
            raise RunError(
                f"{found[-1]}: this checkpoint is damaged ({error}). Delete "
                f"{self.run.folder} to train the run from its start."
            ) from None
        model = self.accelerator.unwrap_model(self.model)
        missing, unexpected = model.load_state_dict(weights, strict=False)
        tied = set(model.state_dict()) - set(unshared(model.state_dict()))
        if unexpected or set(missing) - tied:
            raise RunError(f"{found[-1]}: its weights do not fit the model of its config")
        for optimizer, saved in zip(self.optimizers, optimizers, strict=True):
            optimizer.load_state_dict(saved)
        optim.on_device(self.optimizers, self.accelerator.device)
        self.counters = Counters(**state["counters"])
        self.schedule.load_state_dict(state["schedule"])
        self.resetting, self.had_chain = state["resetting"], state["had_chain"]
        return state["rows"]

    def _save_stage(self, removed: int) -> None:
        """Keep the weights that a removal stage ends with."""
        if not self.schedule.staged:
            return
        folder = self.run.stage_folder(removed)
        if folder.is_dir():  # the same weights, from before the run was killed
            return
        part = folder.with_name(f".{folder.name}")
        shutil.rmtree(part, ignore_errors=True)
        save_model(part, self.accelerator.unwrap_model(self.model), self.layout)
        write_json(part / "counters.json", vars(self.counters))
        part.rename(folder)

    # --- the end ---

    def _finish(self) -> None:
        """Save the final weights and evaluate every stage on the test set by generation."""
        run, last = self.run, self.schedule.removed
        model = self.accelerator.unwrap_model(self.model).eval()
        self._save_stage(last)
        save_model(run.folder / "model", model, self.layout)
        test = self.layout.encode(examples_of(self.corpus.test))
        answers = self.corpus.test["answer"]
        rows, samples = [], []
        stages = self._stages()
        for number, removed in enumerate(stages):
            run.report(step=self._steps, steps=self._steps, testing=number, stages=len(stages))
            counters = vars(self.counters)
            if self.schedule.staged:
                folder = run.stage_folder(removed)
                model = load_model(folder)[0].to(self.accelerator.device)
                counters = json.loads((folder / "counters.json").read_text())
            keep = self.config.removal.keep_positions
            result = evaluate(model, self.layout, test, answers, removed, keep)
            rows.append(
                {
                    "tokens_removed": removed,
                    "accuracy": result.accuracy,
                    "ci_low": result.ci_low,
                    "ci_high": result.ci_high,
                    "n_test": result.n,
                    "by_symbol": " ".join(f"{value:.4f}" for value in result.by_symbol),
                    "train_steps": counters["step"],
                    "train_examples": counters["examples"],
                    "train_tokens": counters["tokens"],
                    "train_seconds": round(counters["seconds"], 2),
                }
            )
            samples += [
                {
                    "tokens_removed": removed,
                    "question": self.corpus.test[i]["question"],
                    "answer": answers[i],
                    "written": result.written[i],
                    "right": result.right[i],
                }
                for i in range(min(8, result.n))
            ]
        pd.DataFrame(rows).to_csv(run.folder / "stages.csv", index=False)
        pd.DataFrame(samples).to_json(run.folder / "samples.jsonl", orient="records", lines=True)
        totals = vars(self.counters) | {
            "chain_tokens": self.schedule.longest,
            "parameters": count_parameters(model),
            "config": to_dict(self.config),
        }
        run.finish(totals)

    def _stages(self) -> list[int]:
        """The removal stages to report: those with weights, or those one model serves."""
        if self.schedule.staged:
            folders = sorted((self.run.folder / "stages").glob("removed-*"))
            return [int(folder.name.removeprefix("removed-")) for folder in folders]
        if self.schedule.removed != self.schedule.shown_stage:
            return list(range(self.schedule.longest + 1))
        return [self.schedule.shown_stage]


# --- small parts -------------------------------------------------------------------------------


def examples_of(dataset: Any) -> list[Example]:
    """The rows of a dataset as examples."""
    columns = dataset[:]
    return [Example(*row) for row in zip(*(columns[c] for c in Example._fields), strict=True)]


def seeded(*numbers: int) -> torch.Generator:
    """A generator whose seed mixes all the numbers."""
    mixed = zlib.crc32(repr(numbers).encode())
    return torch.Generator().manual_seed(mixed * 2**20 + numbers[-1])


def length_groups(lengths: Tensor, config: TrainConfig) -> list[Tensor]:
    """Row numbers in groups of like length, so that each is padded only to its own longest.

    Each group is then cut into `accumulation` parts, whose gradients add up.
    """
    order = torch.arange(len(lengths))
    groups = config.length_groups
    if int(lengths.min()) == int(lengths.max()):
        groups = 1  # nothing to gain
    if groups > 1:
        order = lengths.argsort(stable=True)
    parts = [part for group in order.chunk(groups) for part in group.chunk(config.accumulation)]
    return [part for part in parts if len(part)]


def mixed_precision(precision: str) -> str:
    """The precision as accelerate names it; `auto` is bf16 on a GPU that has it."""
    if precision == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
    return {"fp32": "no"}.get(precision, precision)


def unshared(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in which tied tensors stand once, as safetensors wants it."""
    seen: set[int] = set()
    once = {}
    for name, tensor in state.items():
        if tensor.data_ptr() not in seen or not tensor.numel():
            seen.add(tensor.data_ptr())
            once[name] = tensor.contiguous()
    return once


def load_run(run: Run, removed: int | None = None) -> tuple[Any, Layout, Corpus]:
    """A run's model (final, or at the end of a removal stage), its layout and its corpus."""
    config = run.config
    model, layout = load_model(run.weights(removed), config.model.spaced_separators)
    return model, layout, load_corpus(config.data)
