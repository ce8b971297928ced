"""Speed, measured beside plain loops in one run: training, evaluation, and how busy the device is.

*Reference* is how public code for these methods goes about it, written plainly: fp32, logits of
the whole vocabulary at every position, removal by slicing one example after the other with a wait
for the device each time, an optimizer that takes one tensor after the other. *Bare* is our own
optimizer step with everything around it taken away, batches made beforehand: what the loop costs.
All take turns in every round, so that a slow moment of the machine meets them alike; what counts
is the median over rounds.
"""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.flop_counter import FlopCounterMode

from icotlib import figures, int8, presets
from icotlib.anatomy import ATTENTION
from icotlib.config import RunConfig
from icotlib.costs import cost_of, fit, predicted
from icotlib.evaluation import generate, left_padded_questions, logits_of, written_as_is
from icotlib.models import best_device, build_model, count_parameters
from icotlib.objectives import length_groups, token_loss
from icotlib.removal import IGNORE, Inputs, make_schedule, remove
from icotlib.runs import Run, device_name, git_commit, provenance
from icotlib.speed import take_turns, wait
from icotlib.training import Trainer, seeded

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
#: Models (layers and width) and tasks whose steps are measured beside their calculated cost.
COSTED: dict[str, tuple[list[tuple[int, int]], list[str]]] = {
    "smoke": ([(1, 32), (2, 32), (2, 64), (3, 64)], ["mult-1x2", "mult-2x2"]),
    "fast": (
        [(2, 128), (3, 192), (4, 256), (6, 384)],
        ["mult-2x2", "mult-4x2", "mult-4x4", "mult-7x7"],
    ),
    "gpt2": (
        [(6, 512), (12, 768), (16, 1024), (24, 1024)],
        ["mult-4x4", "mult-5x5", "mult-7x7", "mult-9x9"],
    ),
}
#: What torch's counter of operations does not know by itself.
COUNTED = {
    **ATTENTION,
    torch.ops.aten._int_mm: lambda a, b, out_shape=None: 2 * a[0] * a[1] * b[1],
}
METHODS = {
    "explicit_cot": presets.explicit_cot,
    "icot_si": presets.icot_si,
    "no_cot": presets.no_cot,
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
    """Measure everything at one size; one row per method and precision, and per kind of evaluation.

    Args:
        rounds: turns, after one that warms up.
        steps: optimizer steps in a turn.

    Returns:
        columns what, method, model, parameters, device, threads, precision (the reference's is
        always fp32), rounds, commit, ours, reference, ratio (ours to reference), bare, to_bare,
        tokens_per_second, utilisation (of the device's own matrix products in fp32), peak_mib,
        reference_peak_mib. Speeds are examples per second.
    """
    if "int8" in precisions:
        int8.check(best_device())
    rows, ceiling = [], matmul_ceiling()
    for precision in precisions:
        for method, config in configs(size, precision).items():
            rows.append(_training(method, config, size, rounds, steps, ceiling))
    rows += _evaluation(configs(size)["icot_si"], size, rounds)
    return pd.DataFrame(rows)


# --- training ----------------------------------------------------------------------------------


class Reference:
    """The reference loop of one run."""

    def __init__(self, config: RunConfig, trainer: Trainer):
        self.config, self.material = config, trainer.material
        self.device = trainer.accelerator.device
        self.schedule = make_schedule(config.removal, self.material.longest_chain)
        torch.manual_seed(config.seed)
        model = build_model(config.model, self.material.layout, self.material.longest_total)
        self.model = model.to(self.device).train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.optim.lr, foreach=False, fused=False
        )

    def step(self, step: int) -> float:
        """One optimizer step on the same examples and removals as ours; the loss."""
        generator = seeded(self.config.seed, step)
        batch, k = self.schedule.cut(step, self.material.batches(step), generator)
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
        inputs = pad_sequence(rows, batch_first=True, padding_value=self.material.layout.pad)
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

    def _inputs(self, step: int) -> list[tuple[Inputs, int]]:
        config, objective = self.trainer.config, self.trainer.objective
        batch, removal = self.trainer.material.batches(step), config.removal
        batch, k = objective.schedule.cut(step, batch, seeded(config.seed, step))
        kept = batch.total - k
        learned = int((kept - batch.question).sum())
        parts = length_groups(kept, config.train)
        made = (remove(batch[r], k[r], removal.side, removal.keep_positions) for r in parts)
        return [(inputs.to(objective.device), learned) for inputs in made]

    def step(self, step: int) -> None:
        trainer = self.trainer
        with trainer.products:
            for inputs, learned in self.batches[step % len(self.batches)]:
                with trainer.accelerator.autocast():
                    loss = token_loss(logits_of(trainer.model, inputs), inputs) / learned
                loss.backward()
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.config.optim.clip)
        for optimizer in trainer.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        wait(trainer.accelerator.device)


def _training(
    method: str, config: RunConfig, size: str, rounds: int, steps: int, ceiling: float
) -> dict[str, Any]:
    """One row: our training steps beside the reference's, and beside bare ones."""
    with tempfile.TemporaryDirectory(prefix="icotlib-benchmark-") as folder:
        ours = Trainer(config, Run(Path(folder) / "ours"))
        bare = Bare(Trainer(config, Run(Path(folder) / "bare")), steps)
        reference = Reference(config, ours)
        device = ours.accelerator.device

        def train(trainer: Trainer, step: int) -> None:
            trainer.model.train(trainer.objective.dropout)
            trainer.step(step)
            trainer.objective.look()
            wait(device)

        contestants = {
            "ours": lambda step: train(ours, step),
            "reference": reference.step,
            "bare": bare.step,
        }
        seconds, peaks = take_turns(contestants, rounds, steps, device)
        with FlopCounterMode(display=False, custom_mapping=COUNTED) as counted:
            before = ours.counters.tokens
            train(ours, 0)
        tokens = ours.counters.tokens - before
    speeds = {name: config.train.batch_size / each for name, each in seconds.items()}
    return {
        "what": "training",
        **_described(method, size, ours.model, config, device, rounds),
        "ours": speeds["ours"],
        "reference": speeds["reference"],
        "ratio": speeds["ours"] / speeds["reference"],
        "bare": speeds["bare"],
        "to_bare": speeds["ours"] / speeds["bare"],
        "tokens_per_second": tokens / seconds["ours"],
        "utilisation": counted.get_total_flops() / seconds["ours"] / ceiling,
        "peak_mib": peaks["ours"],
        "reference_peak_mib": peaks["reference"],
    }


# --- evaluation --------------------------------------------------------------------------------


def _evaluation(config: RunConfig, size: str, rounds: int) -> list[dict[str, Any]]:
    """Greedy answers with nothing removed: theirs in batches of 32, as ICoT-SI's, or one by one.

    What ours takes hangs on the model: one pass where it writes the truth, decoding beside that
    where it does not. Either is timed as if it were so of all examples; what random weights say
    does not matter, and never ends an answer, so that all write as many tokens.
    """
    with tempfile.TemporaryDirectory(prefix="icotlib-benchmark-") as folder:
        trainer = Trainer(config, Run(Path(folder) / "ours"))
    model, layout, batch = trainer.model.eval(), trainer.material.layout, trainer.material.test
    new = int((batch.total - batch.question).max())
    ids, mask, _ = left_padded_questions(batch, layout.pad)
    device = trainer.accelerator.device
    ids, mask = ids.to(device), mask.to(device)

    def theirs(count: int, size: int) -> None:
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

    few = min(8, len(batch))  # one by one is slow, and every one takes as long

    def decoding() -> None:
        written_as_is(model, batch, 0)
        generate(model, layout, batch, max_new_tokens=new)

    contestants = {
        "all right": lambda step: written_as_is(model, batch, 0),
        "all wrong": lambda step: decoding(),
        "batched": lambda step: theirs(len(batch), 32),
        "one by one": lambda step: theirs(few, 1),
    }
    seconds, peaks = take_turns(contestants, rounds, 1, device)
    examples = dict.fromkeys(contestants, len(batch)) | {"one by one": few}
    speeds = {name: examples[name] / each for name, each in seconds.items()}
    return [
        {
            "what": f"evaluation, {ours}, reference {reference}",
            **_described("explicit_cot", size, model, config, device, rounds),
            "ours": speeds[ours],
            "reference": speeds[reference],
            "ratio": speeds[ours] / speeds[reference],
            "peak_mib": peaks[ours],
            "reference_peak_mib": peaks[reference],
        }
        for ours in ("all right", "all wrong")
        for reference in ("batched", "one by one")
    ]


def _described(
    method: str, size: str, model, config: RunConfig, device: torch.device, rounds: int
) -> dict[str, Any]:
    return {
        "method": method,
        "model": size,
        "parameters": count_parameters(model),
        "device": device_name(device),
        "threads": config.train.threads,
        "precision": config.train.precision,
        "rounds": rounds,
        "commit": git_commit(),
    }


# --- beside what is calculated -----------------------------------------------------------------


def costs(
    size: str = "fast",
    rounds: int = 5,
    steps: int = 2,
    precision: str = "fp32",
    folder: Path | None = None,
) -> pd.DataFrame:
    """Time explicit CoT's steps on several models and chain lengths, and fit a `Speed` to them.

    Writes costs.csv with the figure of the same name and its provenance.

    Returns:
        one row per model and task: model, layers, width, parameters, task, chain_tokens, batch,
        tokens and flops (of a step, calculated), seconds (of a step: median over rounds), fitted,
        predicted (by a fit that has not seen the model), precision, threads, rounds, device,
        commit. All tasks of a model take turns.
    """
    shapes, tasks = COSTED[size]
    rows = [
        row for shape in shapes for row in _costed(size, shape, tasks, rounds, steps, precision)
    ]
    table = pd.DataFrame(rows)
    table["fitted"] = predicted(table, fit(table))
    for model, own in table.groupby("model"):
        others = fit(table[table.model != model])
        table.loc[own.index, "predicted"] = predicted(own, others)
    origin = provenance("", device_name(best_device()))
    table["commit"] = origin["commit"]
    del origin["data"]
    figures.save(figures.costs(table), "costs", table, [], folder, measured=origin)
    return table


def _costed(
    size: str, shape: tuple[int, int], tasks: list[str], rounds: int, steps: int, precision: str
) -> list[dict[str, Any]]:
    """The rows of one model."""
    layers, width = shape
    base = configs(size, precision)["explicit_cot"]
    changes = {"model.layers": layers, "model.width": width, "model.heads": width // 32}
    changes |= {"optim.name": "adamw", "train.batch_size": 32}
    made, device = {}, best_device()
    with tempfile.TemporaryDirectory(prefix="icotlib-benchmark-") as folder:
        for task in tasks:
            config = base.override(changes | {"data.task": task})
            made[task] = Trainer(config, Run(Path(folder) / task))
            made[task].model.train()
        contestants = {task: trainer.step for task, trainer in made.items()}
        seconds, _ = take_turns(contestants, rounds, steps, device)
    rows = []
    for task, trainer in made.items():
        config, material = trainer.config, trainer.material
        cost = cost_of(config, material, steps)
        rows.append(
            {
                "model": f"{layers} x {width}",
                "layers": layers,
                "width": width,
                "parameters": cost.parameters,
                "task": task,
                "chain_tokens": material.longest_chain,
                "batch": config.train.batch_size,
                "tokens": cost.tokens // steps,
                "flops": cost.flops / steps,
                "seconds": seconds[task],
                "precision": precision,
                "threads": config.train.threads,
                "rounds": rounds,
                "device": device_name(device),
            }
        )
    return rows


# --- measuring ---------------------------------------------------------------------------------


def matmul_ceiling(size: int = 1536, rounds: int = 5) -> float:
    """Floating-point operations per second of a large fp32 matrix product on this device."""
    device = best_device()
    a = torch.randn(size, size, device=device)
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        a @ a
        wait(device)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / median(times[1:])
