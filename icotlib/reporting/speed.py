"""Speed of finished runs in greedy generation, relative to a run that writes no chain."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd

from icotlib.data.corpus import examples_of
from icotlib.data.layout import EncodedBatch
from icotlib.errors import ConfigError, RunError
from icotlib.evaluation.stage_model import StageModel
from icotlib.reporting.results import speed_reference, speed_table
from icotlib.runs import Run
from icotlib.system.seals import sealed, write_json
from icotlib.system.timing import compute_seconds, interleave, time_steps

#: Test examples that are answered at most.
EXAMPLES = 256

#: Of these, those that warm up on a CPU.
WARM_UP = 16


def measure_speed(
    models: dict[Any, StageModel], batch_size: int = 1, examples: int = 20, rounds: int = 5
) -> dict[Any, float]:
    """Examples per second of compute time in greedy generation, measured side by side.

    The models take turns in every round, so that a slow moment of the machine affects all of them;
    the result is the median over rounds. Some examples of each warm up beforehand; on a GPU, a
    whole batch. The papers measure at batch size 1.

    Args:
        batch_size, examples: fewer where a model's test set has fewer questions.

    Raises `ConfigError` if there is no model.
    """
    if not models:
        raise ConfigError("there is no model to time")
    turns: dict[Any, Callable[[], tuple[float, float]]] = {}
    tests = {key: examples_of(model.corpus.test)[:EXAMPLES] for key, model in models.items()}
    examples = min(examples, *map(len, tests.values()))
    for key, model in models.items():
        batch = model.encode(tests[key])
        answer, clock = partial(_answer, model, batch, batch_size, examples), compute_seconds
        turns[key] = partial(time_steps, answer, 1, model.device, partial(clock, model.device))
        warm_up = batch_size if model.device.type == "cuda" else min(batch_size, WARM_UP)
        _answer(model, batch, warm_up, warm_up, 0)
    seconds, _ = interleave(turns, rounds, warm_up=0)
    return {key: examples / each for key, each in seconds.items()}


def _answer(
    model: StageModel, batch: EncodedBatch, batch_size: int, examples: int, step: int
) -> None:
    for first in range(0, examples, batch_size):
        model.generate(batch[slice(first, min(first + batch_size, examples))])


def record_speed(
    runs: Sequence[Run], reference: Run, rounds: int = 5, examples: int = 20, again: bool = False
) -> pd.DataFrame:
    """Measure the speed of every stage of these runs relative to a reference, and keep it.

    All take turns in one process. Examples per second at batch 1 (the papers' measure) and
    batched, in half as many rounds, and speed relative to the reference, usually No CoT. Runs that
    answer no questions by themselves are left out. The result is kept in `speed.json` of each run
    (`Run.measured`); it is measured again if asked, and where it is relative to another run.

    Raises `RunError` if the reference writes a chain, or belongs to another task.
    """
    runs = [run for run in runs if run.config.spec.answers]
    if reference.scores.removed.min() < reference.totals["chain_length"]:
        raise RunError(f"the reference of relative speed writes no chain; {reference.name} does")
    for run in runs:
        if run.config.task != reference.config.task:
            raise RunError(f"{run.name} and the reference {reference.name} have different tasks")
    missing = [run for run in runs if again or speed_reference(run) != reference.name]
    if missing:
        _record(missing, reference, rounds, examples)
    return pd.concat([speed_table(run).assign(run=run.name) for run in runs])


def _record(runs: Sequence[Run], reference: Run, rounds: int, examples: int) -> None:
    base = (reference.name, int(reference.stages.removed.iloc[0]))
    models = _at_every_stage(reference)
    for run in runs:
        models |= _at_every_stage(run)
    single = measure_speed(models, 1, examples, rounds)
    batched = measure_speed(models, EXAMPLES, EXAMPLES, max(1, rounds // 2))
    for run in runs:
        rows = [
            {
                "removed": removed,
                "examples_per_second": round(single[name, removed], 2),
                "examples_per_second_batched": round(batched[name, removed], 1),
                "relative_speed": round(single[name, removed] / single[base], 3),
            }
            for name, removed in models
            if name == run.name
        ]
        run.measured.mkdir(parents=True, exist_ok=True)
        content = {"rows": rows, "reference": reference.name}
        write_json(run.measured / "speed.json", sealed(content))


def _at_every_stage(run: Run) -> dict[tuple[str, int], StageModel]:
    """A run at each of its stages; weights that serve several stages are loaded once."""
    model = StageModel.of(run)
    return {(run.name, removed): model.at(removed) for removed in model.stages}
