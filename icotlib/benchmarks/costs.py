"""Measured training steps beside their calculated cost."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from icotlib.benchmarks.loops import trainer_of
from icotlib.benchmarks.speed import configs
from icotlib.costs.cost import cost_of
from icotlib.costs.device_speed import fit_speed, predicted
from icotlib.reporting import figures
from icotlib.runs import provenance
from icotlib.system.devices import best_device, device_name
from icotlib.system.timing import interleave, time_steps

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


def costs(
    size: str = "fast",
    rounds: int = 5,
    steps: int = 2,
    precision: str = "fp32",
    folder: Path | None = None,
) -> pd.DataFrame:
    """Time explicit CoT's steps on several models and chain lengths; fit a `DeviceSpeed` to them.

    Writes costs.csv with the figure of the same name and its provenance.

    Returns:
        one row per model and task: model, layers, width, parameters, task, chain_length, batch,
        tokens and flops (of a step, calculated), seconds (of a step: median over rounds), fitted,
        predicted (by a fit that has not seen the model), precision, threads, rounds, device,
        commit. All tasks of a model alternate.
    """
    shapes, tasks = COSTED[size]
    rows = [
        row for shape in shapes for row in _costed(size, shape, tasks, rounds, steps, precision)
    ]
    table = pd.DataFrame(rows)
    table["fitted"] = predicted(table, fit_speed(table))
    for model, own in table.groupby("model"):
        others = fit_speed(table[table.model != model])
        table.loc[own.index, "predicted"] = predicted(own, others)
    origin = provenance("", device_name(best_device()))
    table["commit"] = origin["commit"]
    del origin["data"]
    figures.save_published(figures.costs(table), "costs", table, [], folder, measured=origin)
    return table


def _costed(
    size: str, shape: tuple[int, int], tasks: list[str], rounds: int, steps: int, precision: str
) -> list[dict[str, Any]]:
    """The rows of one model."""
    layers, width = shape
    base = configs(size, precision)["explicit_cot"]
    changes: dict[str, Any] = {
        "model.layers": layers,
        "model.width": width,
        "model.heads": width // 32,
    }
    changes |= {"optim.name": "adamw", "train.batch_size": 32}
    made = {task: trainer_of(base.override(changes | {"data.task": task})) for task in tasks}
    device = best_device()
    turns: dict[Any, Callable[[], tuple[float, float]]] = {
        task: partial(time_steps, trainer.step, steps, device) for task, trainer in made.items()
    }
    seconds, _ = interleave(turns, rounds)
    rows: list[dict[str, Any]] = []
    for task, trainer in made.items():
        config, run_data = trainer.config, trainer.run_data
        cost = cost_of(config, run_data, steps)
        rows.append(
            {
                "model": f"{layers} x {width}",
                "layers": layers,
                "width": width,
                "parameters": cost.parameters,
                "task": task,
                "chain_length": run_data.longest_chain,
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
