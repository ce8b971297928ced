"""Speed in one run beside plain loops: training, evaluation, and how busy the device is.

`icotlib.benchmarks.loops` has the loops that are compared. Each runs in a process of its own: ours
keeps the memory that it frees (`icotlib.system.memory`) and flushes denormal numbers, the
reference's is as torch starts it. They alternate in every round, so that a slow moment of the
machine affects all of them; the result is the median over rounds.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd
import torch

from icotlib import experiments
from icotlib.benchmarks.loops import (
    FEW,
    bare_training,
    our_answers,
    our_training,
    reference_answers,
    reference_training,
)
from icotlib.config import RunConfig
from icotlib.models import int8
from icotlib.system.devices import best_device, device_name
from icotlib.system.isolated import IsolatedProcess
from icotlib.system.origin import git_commit
from icotlib.system.timing import interleave, time_steps

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


#: Rounds that do not count: a process that keeps its memory has all it needs after two steps.
WARM_UP = 2


#: The experiments whose steps are measured, by method.
MEASURED = {
    "explicit_cot": experiments.explicit_cot,
    "one_model": experiments.one_model,
    "no_cot": experiments.no_cot,
}


def configs(size: str, precision: str = "fp32") -> dict[str, RunConfig]:
    """The runs whose steps are measured, by method."""
    changes = SIZES[size] | {"train.precision": precision}
    changes |= {"train.threads": torch.get_num_threads()}
    changes |= {"data.valid_examples": 8, "data.test_examples": 64, "removal.warmup_steps": 0}
    shared = experiments.SharedOverrides(changes)
    return {name: make("fast", overrides=shared) for name, make in MEASURED.items()}


def benchmark(
    size: str = "fast", rounds: int = 5, steps: int = 2, precisions: tuple[str, ...] = ("fp32",)
) -> pd.DataFrame:
    """Measure everything at one size; for each precision a row per method and kind of evaluation.

    In a script, call it below `if __name__ == "__main__":` (see
    `icotlib.system.isolated.IsolatedProcess`).

    Args:
        rounds: rounds that count, after those that warm up.
        steps: optimizer steps in a round.

    Returns:
        columns what, method, model, parameters, device, threads, precision (the reference's is
        always fp32), rounds, commit, ours, reference, ratio (ours to reference), bare, to_bare,
        tokens_per_second, utilisation (relative to a large matrix product in fp32 on the
        same device), peak_mib, reference_peak_mib. Speeds are examples per second.
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
    turns: dict[Any, Callable[[], tuple[float, float]]] = {
        "ours": partial(ours.time_steps, "ours", steps),
        "bare": partial(bare.time_steps, "bare", steps),
        "reference": partial(reference.time_steps, "reference", steps),
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


def _evaluation(
    config: RunConfig, sides: Sequence[IsolatedProcess], about: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """A row for each of our two cases beside each of the reference's two ways."""
    ours, other, reference = sides
    ours.enter(our_answers, config)
    other.enter(our_answers, config)
    reference.enter(reference_answers, config)
    turns: dict[Any, Callable[[], tuple[float, float]]] = {
        "all right": partial(ours.time_steps, "all right", 1),
        "all wrong": partial(other.time_steps, "all wrong", 1),
        "batched": partial(reference.time_steps, "batched", 1),
        "one by one": partial(reference.time_steps, "one by one", 1),
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


def matmul_ceiling() -> float:
    """Floating-point operations per second of a large fp32 matrix product on this device."""
    device, size = best_device(), 1536
    a = torch.randn(size, size, device=device)
    seconds, _ = interleave({"product": partial(time_steps, lambda step: a @ a, 1, device)}, 5)
    return 2 * size**3 / seconds["product"]
