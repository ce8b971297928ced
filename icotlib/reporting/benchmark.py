"""Speed, measured beside plain loops in one run: training, evaluation, and how busy the device is.

*Reference* is how public code for these methods goes about it, written plainly: fp32, logits of
the whole vocabulary at every position, removal by slicing one example after the other with a wait
for the device each time, an optimizer that takes one tensor after the other. *Bare* is our own
optimizer step with everything around it taken away, batches made beforehand: what the loop costs.
Each is in a process of its own: ours keeps the memory that it frees (`icotlib.memory`) and takes
numbers next to zero for zero, the reference's is as torch starts it. All take turns in every round,
so that a slow moment of the machine meets them alike; what counts is the median over rounds.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from icotlib import experiments
from icotlib.config import RunConfig
from icotlib.data.inputs import IGNORE, LMBatch, remove
from icotlib.data.run_data import RunData
from icotlib.evaluation.generation import generate, left_padded_questions, logits_of, written_as_is
from icotlib.methods.causal_lm import length_groups, token_loss
from icotlib.methods.stepwise.schedules import make_schedule
from icotlib.models import int8
from icotlib.models.build import build_model
from icotlib.models.flops import ATTENTION
from icotlib.models.parameters import count_parameters
from icotlib.models.precision import training_precision
from icotlib.runs import Run, git_commit
from icotlib.system.devices import best_device, device_name
from icotlib.system.isolated import IsolatedProcess
from icotlib.system.seeding import generator_for
from icotlib.system.timing import interleave, turn, wait
from icotlib.training.trainer import Trainer

#: What is benchmarked: the papers' shape and vocabulary, or the preset's own small model.
SIZES: dict[str, dict[str, Any]] = {
    "smoke": {"data.task": "mult-1x2", "model.layers": 2, "model.width": 32, "model.heads": 2},
    "fast": {"data.task": "mult-4x2"},
    "gpt2": {
        "data.task": "mult-4x4",
        "model.layers": 12,
        "model.width": 768,
        "model.heads": 12,
        "model.options": {"vocab_size": 50_257},
        "optim.name": "adamw",
        "train.batch_size": 32,
    },
}


#: What torch's counter of operations does not know by itself.
COUNTED = {
    **ATTENTION,
    torch.ops.aten._int_mm: lambda a, b, out_shape=None: 2 * a[0] * a[1] * b[1],
}


#: Rounds before it counts: a process that keeps its memory has all it needs after two steps.
WARM_UP = 2


METHODS = {
    "explicit_cot": experiments.explicit_cot,
    "icot_si": experiments.icot_si,
    "no_cot": experiments.no_cot,
}


def configs(size: str, precision: str = "fp32", threads: int | None = None) -> dict[str, RunConfig]:
    """The runs whose steps are measured, by method."""
    threads = threads or torch.get_num_threads()
    changes = SIZES[size] | {"train.precision": precision, "train.threads": threads}
    changes |= {"data.valid_examples": 8, "data.test_examples": 64, "removal.warmup_steps": 0}
    return {name: make("fast", overrides=changes) for name, make in METHODS.items()}


def benchmark(
    size: str = "fast", rounds: int = 5, steps: int = 2, precisions: tuple[str, ...] = ("fp32",)
) -> pd.DataFrame:
    """Measure everything at one size; for each precision a row per method and kind of evaluation.

    In a script, call it below `if __name__ == "__main__":` (see `icotlib.speed.IsolatedProcess`).

    Args:
        rounds: turns, after those that warm up.
        steps: optimizer steps in a turn.

    Returns:
        columns what, method, model, parameters, device, threads, precision (the reference's is
        always fp32), rounds, commit, ours, reference, ratio (ours to reference), bare, to_bare,
        tokens_per_second, utilisation (of the device's own matrix int8_matmuls in fp32), peak_mib,
        reference_peak_mib. Speeds are examples per second.
    """
    if "int8" in precisions:
        int8.check(best_device())
    rows, ceiling = [], matmul_ceiling()
    with IsolatedProcess() as ours, IsolatedProcess() as other, IsolatedProcess() as reference:
        sides = (ours, other, reference)
        for precision in precisions:
            chosen = configs(size, precision)
            for method, config in chosen.items():
                about = _about(method, size, config, rounds)
                rows.append(_training(config, sides, about, steps, ceiling))
            about = _about("explicit_cot", size, chosen["explicit_cot"], rounds)
            rows += _evaluation(chosen["explicit_cot"], sides, about)
    return pd.DataFrame(rows)


def _about(method: str, size: str, config: RunConfig, rounds: int) -> dict[str, Any]:
    """What a row says of its circumstances."""
    return {
        "method": method,
        "model": size,
        "device": device_name(best_device()),
        "threads": config.train.threads,
        "precision": config.train.precision,
        "rounds": rounds,
        "commit": git_commit(),
    }


# --- training ----------------------------------------------------------------------------------


class Reference:
    """The reference loop of one run."""

    def __init__(self, config: RunConfig):
        torch.set_num_threads(config.train.threads)
        self.config, self.run_data, self.device = config, RunData(config), best_device()
        self.schedule = make_schedule(config.removal, self.run_data.longest_chain)
        self.model = reference_model(config, self.run_data).to(self.device).train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.optim.lr, foreach=False, fused=False
        )

    def step(self, step: int) -> float:
        """One optimizer step on the same examples and removals as ours; the loss."""
        generator = generator_for(self.config.seed, step)
        batch, k = self.schedule.cut(step, self.run_data.batches(step), generator)
        k = k.to(self.device)
        ids, question = batch.ids.to(self.device), batch.question.to(self.device)
        total = batch.total.to(self.device)
        rows, labels = [], []
        for i in range(len(batch)):
            start, cut, end = question[i].item(), k[i].item(), total[i].item()
            row = torch.cat([ids[i, :start], ids[i, start + cut : end]])
            label = row.clone()
            label[:start] = IGNORE
            rows.append(row)
            labels.append(label)
        inputs = pad_sequence(rows, batch_first=True, padding_value=self.run_data.layout.pad)
        targets = pad_sequence(labels, batch_first=True, padding_value=IGNORE)
        logits = self.model(inputs).logits
        shifted = logits[:, :-1].contiguous().flatten(0, 1)
        loss = cross_entropy(shifted, targets[:, 1:].contiguous().flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=False)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


class Bare:
    """Forward pass, backward pass and optimizers of ours, on batches made beforehand."""

    def __init__(self, trainer: Trainer, count: int):
        self.trainer = trainer
        self.batches = [self._inputs(step) for step in range(count)]

    def _inputs(self, step: int) -> list[tuple[LMBatch, int]]:
        config, objective = self.trainer.config, self.trainer.objective
        batch, removal = self.trainer.run_data.batches(step), config.removal
        batch, k = objective.schedule.cut(step, batch, generator_for(config.seed, step))
        kept = batch.total - k
        learned = int((kept - batch.question).sum())
        parts = length_groups(kept, config.train)
        made = (remove(batch[r], k[r], removal.side, removal.keep_positions) for r in parts)
        return [(inputs.to(objective.device), learned) for inputs in made]

    def step(self, step: int) -> None:
        trainer = self.trainer
        with trainer.int8_matmuls:
            for inputs, learned in self.batches[step % len(self.batches)]:
                with trainer.accelerator.autocast():
                    loss = token_loss(logits_of(trainer.model, inputs), inputs) / learned
                loss.backward()
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.config.optim.clip)
        for optimizer in trainer.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        wait(trainer.accelerator.device)


def our_training(config: RunConfig) -> dict[str, Callable]:
    """Our training steps as a contestant; `count` gives parameters, a step's tokens, operations."""
    trainer = trainer_of(config)

    def train(step: int) -> None:
        trainer.step(step)
        trainer.objective.look()

    def count() -> tuple[int, int, int]:
        before = trainer.counters.tokens
        with FlopCounterMode(display=False, custom_mapping=COUNTED) as counted:
            train(0)
        tokens = trainer.counters.tokens - before
        return count_parameters(trainer.model), tokens, counted.get_total_flops()

    return {"ours": train, "count": count}


def bare_training(config: RunConfig, steps: int) -> dict[str, Callable]:
    """The same steps with nothing around them."""
    return {"bare": Bare(trainer_of(config), steps).step}


def reference_training(config: RunConfig) -> dict[str, Callable]:
    """The reference's steps."""
    return {"reference": Reference(config).step}


def trainer_of(config: RunConfig) -> Trainer:
    """A run's trainer, its model in training; steps alone write nothing to the run's folder."""
    trainer = Trainer(config, Run.of(config))
    trainer.model.train(trainer.objective.dropout)
    return trainer


def reference_model(config: RunConfig, run_data: RunData) -> PreTrainedModel:
    """The model of a run as it begins."""
    torch.manual_seed(config.seed)
    return build_model(config.model, run_data.layout, run_data.longest_total)


def _training(
    config: RunConfig,
    sides: Sequence[IsolatedProcess],
    about: dict[str, Any],
    steps: int,
    ceiling: float,
) -> dict[str, Any]:
    """One row: our training steps beside the reference's, and beside bare ones."""
    ours, bare, reference = sides
    ours.enter(our_training, config)
    bare.enter(bare_training, config, steps)
    reference.enter(reference_training, config)
    turns = {
        "ours": partial(ours.turn, "ours", steps),
        "bare": partial(bare.turn, "bare", steps),
        "reference": partial(reference.turn, "reference", steps),
    }
    seconds, peaks = interleave(turns, about["rounds"], WARM_UP)
    parameters, tokens, operations = ours.ask("count")
    speeds = {name: config.train.batch_size / each for name, each in seconds.items()}
    return {
        "what": "training",
        **about,
        "parameters": parameters,
        "ours": speeds["ours"],
        "reference": speeds["reference"],
        "ratio": speeds["ours"] / speeds["reference"],
        "bare": speeds["bare"],
        "to_bare": speeds["ours"] / speeds["bare"],
        "tokens_per_second": tokens / seconds["ours"],
        "utilisation": operations / seconds["ours"] / ceiling,
        "peak_mib": peaks["ours"],
        "reference_peak_mib": peaks["reference"],
    }


# --- evaluation --------------------------------------------------------------------------------


#: Examples of the test set that are answered one by one: every one takes as long.
FEW = 8


def our_answers(config: RunConfig) -> dict[str, Callable]:
    """Greedy answers with nothing removed; `count` gives parameters and examples.

    What they take hangs on the model: one pass where it writes the truth, decoding beside that
    where it does not. Either is timed as if it were so of all examples; what random weights say
    does not matter, and never ends an answer, so that all write as many tokens.
    """
    trainer = trainer_of(config)
    model, layout, batch = trainer.model.eval(), trainer.run_data.layout, trainer.run_data.test
    new = int((batch.total - batch.question).max())

    def answer(right: bool) -> None:
        with training_precision(config.train.precision, model):
            written_as_is(model, batch, 0)
            if not right:
                generate(model, layout, batch, max_new_tokens=new)

    return {
        "all right": lambda step: answer(right=True),
        "all wrong": lambda step: answer(right=False),
        "count": lambda: (count_parameters(model), len(batch)),
    }


def reference_answers(config: RunConfig) -> dict[str, Callable]:
    """The same, as public code does it: in batches of 32 for ICoT-SI, one by one for ICoT-KD."""
    torch.set_num_threads(config.train.threads)
    run_data, device = RunData(config), best_device()
    model = reference_model(config, run_data).to(device).eval()
    layout, batch = run_data.layout, run_data.test
    new = int((batch.total - batch.question).max())
    ids, mask, _ = left_padded_questions(batch, layout.pad)
    ids, mask = ids.to(device), mask.to(device)

    def answer(count: int, size: int) -> None:
        for first in range(0, count, size):
            rows = slice(first, first + size)
            model.generate(
                input_ids=ids[rows],
                attention_mask=mask[rows],
                do_sample=False,
                min_new_tokens=new,
                max_new_tokens=new,
                pad_token_id=layout.pad,
            )

    return {
        "batched": lambda step: answer(len(batch), 32),
        "one by one": lambda step: answer(FEW, 1),
    }


def _evaluation(
    config: RunConfig, sides: Sequence[IsolatedProcess], about: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """A row for each of our two cases beside each of the reference's two ways."""
    ours, other, reference = sides
    ours.enter(our_answers, config)
    other.enter(our_answers, config)
    reference.enter(reference_answers, config)
    turns = {
        "all right": partial(ours.turn, "all right", 1),
        "all wrong": partial(other.turn, "all wrong", 1),
        "batched": partial(reference.turn, "batched", 1),
        "one by one": partial(reference.turn, "one by one", 1),
    }
    seconds, peaks = interleave(turns, about["rounds"], WARM_UP)
    parameters, every = ours.ask("count")
    examples = dict.fromkeys(turns, every) | {"one by one": FEW}
    speeds = {name: examples[name] / each for name, each in seconds.items()}
    for our in ("all right", "all wrong"):
        for their in ("batched", "one by one"):
            yield {
                "what": f"evaluation, {our}, reference {their}",
                **about,
                "parameters": parameters,
                "ours": speeds[our],
                "reference": speeds[their],
                "ratio": speeds[our] / speeds[their],
                "peak_mib": peaks[our],
                "reference_peak_mib": peaks[their],
            }


# --- measuring ---------------------------------------------------------------------------------


def matmul_ceiling(size: int = 1536, rounds: int = 5) -> float:
    """Floating-point operations per second of a large fp32 matrix product on this device."""
    device = best_device()
    a = torch.randn(size, size, device=device)
    seconds, _ = interleave({"product": partial(turn, lambda step: a @ a, 1, device)}, rounds)
    return 2 * size**3 / seconds["product"]
