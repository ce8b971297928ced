"""Speed: candidates taking turns, models that answer, and runs beside No CoT."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel

from icotlib.data.corpus import examples_of, load_corpus
from icotlib.data.inputs import in_layout
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.errors import RunError
from icotlib.evaluation.generation import generate
from icotlib.models.loading import load_stage
from icotlib.reporting.results import speed_table
from icotlib.runs import Run, write_json
from icotlib.system.devices import best_device
from icotlib.system.timing import compute_seconds, interleave, turn

# --- greedy generation -------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """A model at a removal stage whose speed is to be measured."""

    model: PreTrainedModel
    layout: Layout
    batch: EncodedBatch
    #: As `generate` takes it.
    removed: Tensor | int = 0
    keep_positions: bool = False


def measure_speed(
    candidates: dict[Any, Candidate], batch_size: int = 1, examples: int = 20, rounds: int = 5
) -> dict[Any, float]:
    """Examples per second of `compute_seconds`, in greedy generation, measured side by side.

    The candidates take turns in every round, so that a slow moment of the machine meets all of
    them; the result is the median over rounds. The papers measure at batch size 1.
    """
    turns = {}
    for key, one in candidates.items():
        device, answer = one.model.device, partial(_answer, one, batch_size, examples)
        turns[key] = partial(turn, answer, 1, device, partial(compute_seconds, device))
    seconds, _ = interleave(turns, rounds)
    return {key: examples / each for key, each in seconds.items()}


def _answer(one: Candidate, batch_size: int, examples: int, step: int) -> None:
    removed = torch.as_tensor(one.removed).expand(len(one.batch))
    for first in range(0, examples, batch_size):
        rows = slice(first, first + batch_size)
        generate(one.model, one.layout, one.batch[rows], removed[rows], one.keep_positions)


def record_speed(
    runs: Sequence[Run], reference: Run, rounds: int = 5, examples: int = 20, again: bool = False
) -> pd.DataFrame:
    """Measure the speed of every stage of these runs beside No CoT and keep it with each run.

    All take turns in one process. Examples per second at batch 1 (the papers' measure) and
    batched, and speed relative to the reference.
    Students and emulators alone answer no questions and are left out.
    Kept in `speed.json` of each run; measured again only if asked.

    Raises `RunError` if the reference is not a No CoT run on the same task.
    """
    runs = [run for run in runs if run.config.method not in ("mind_reading", "emulation")]
    if reference.config.method != "no_cot":
        raise RunError(f"the reference of relative speed is No CoT, {reference.name} is not")
    for run in runs:
        if run.config.task != reference.config.task:
            raise RunError(f"{run.name} and the reference {reference.name} do different tasks")
    wanted = [run for run in runs if again or not (run.folder / "speed.json").is_file()]
    if not wanted:
        return pd.concat([speed_table(run).assign(run=run.name) for run in runs])
    base = (reference.name, int(reference.stages.removed.iloc[0]))
    candidates = _contestants(reference)
    for run in wanted:
        candidates |= _contestants(run)
    single = measure_speed(candidates, 1, examples, rounds)
    batch = min(256, len(next(iter(candidates.values())).batch))
    batched = measure_speed(candidates, batch, batch, rounds)
    for run in wanted:
        rows = [
            {
                "removed": removed,
                "examples_per_second": round(single[name, removed], 2),
                "examples_per_second_batched": round(batched[name, removed], 1),
                "relative_speed": round(single[name, removed] / single[base], 3),
            }
            for name, removed in candidates
            if name == run.name
        ]
        write_json(run.folder / "speed.json", rows)
    return pd.concat([speed_table(run).assign(run=run.name) for run in runs])


def _contestants(run: Run) -> dict[tuple[str, int], Candidate]:
    """A run at each of its stages; weights that serve several stages are loaded once."""
    config = run.config
    examples = examples_of(load_corpus(config.data).test)[:256]
    keep, loaded, made = config.removal.keep_positions, {}, {}
    for removed in map(int, run.stages.removed):
        folder = run.weights(removed)
        if folder not in loaded:
            model, layout = load_stage(run, removed)
            loaded[folder] = model.to(best_device()), layout
        model, layout = loaded[folder]
        batch = in_layout(layout.encode(examples), config.removal)
        gone = batch.tokens(removed, config.removal.side)
        made[run.name, removed] = Candidate(model, layout, batch, gone, keep)
    return made
