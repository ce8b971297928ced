"""Speed: contestants taking turns, models that answer, and runs beside No CoT."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel

from icotlib import memory
from icotlib.data import load_corpus
from icotlib.errors import RunError
from icotlib.evaluation import generate
from icotlib.launch import end_with_parent, stop
from icotlib.material import examples_of
from icotlib.models import best_device, load_stage
from icotlib.removal import in_layout
from icotlib.results import speed_table
from icotlib.runs import Run, write_json
from icotlib.tokens import Encoded, Layout

# --- taking turns ------------------------------------------------------------------------------


def take_turns(
    turns: dict[Any, Callable[[], tuple[float, float]]], rounds: int, warm_up: int = 1
) -> tuple[dict[Any, float], dict[Any, float]]:
    """Median seconds of one step, and peak memory in MiB, of contestants taking turns.

    Args:
        turns: what a contestant's turn is, seconds and MiB, by its name; see `turn`.
        warm_up: rounds beforehand, whose seconds do not count.
    """
    seconds: dict[Any, list[float]] = {name: [] for name in turns}
    peaks = dict.fromkeys(turns, 0.0)
    for number in range(warm_up + rounds):
        for name, take in turns.items():
            each, used = take()
            if number >= warm_up:
                seconds[name].append(each)
            peaks[name] = max(peaks[name], used)
    return {name: median(found) for name, found in seconds.items()}, peaks


def turn(
    work: Callable[[int], Any],
    steps: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Do some steps: the seconds of one, and the peak memory of this process in MiB."""
    memory.reset_peak(device)
    start = clock()
    for step in range(steps):
        work(step)
    wait(device)
    return (clock() - start) / steps, memory.peak(device)


def computing(device: torch.device) -> float:
    """Seconds that this process has computed: CPU time of each thread, wall time on a GPU.

    Runs and notebooks share the cores of a laptop with each other and with their user; CPU time
    counts what one has used, so that they compare whatever else went on.
    """
    if device.type == "cpu":
        return time.process_time() / torch.get_num_threads()
    return time.perf_counter()


class Apart:
    """Contestants in a process of their own: what memory it keeps, and its peak, are theirs.

    In a script, use it below `if __name__ == "__main__":`, because the process imports the script.
    Raises what is raised in there, and `RunError` if the process is ended from outside.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent)
        self.pool.submit(memory.give_back)  # to start up while the next one does

    def enter(self, make: Callable[..., dict[str, Callable]], *args: Any) -> None:
        """In there, make contestants and forget those before: what each does, by its name."""
        self._in_there(_enter, make, args)

    def ask(self, name: str, *args: Any) -> Any:
        """What one of them gives for these arguments."""
        return self._in_there(_ask, name, args)

    def turn(self, name: str, steps: int) -> tuple[float, float]:
        """`turn` of one of them, timed in there."""
        return self._in_there(_turn, name, steps)

    def _in_there(self, function: Callable, *args: Any) -> Any:
        try:
            return self.pool.submit(function, *args).result()
        except BrokenProcessPool:
            raise RunError(
                "a process of the benchmark was ended from outside, for lack of memory perhaps"
            ) from None

    def __enter__(self) -> "Apart":
        return self

    def __exit__(self, *raised: Any) -> None:
        stop(self.pool)


#: The contestants of this process.
_entered: dict[str, Callable] = {}


def _enter(make: Callable[..., dict[str, Callable]], args: tuple) -> None:
    _entered.clear()
    memory.give_back()
    _entered.update(make(*args))


def _ask(name: str, args: tuple) -> Any:
    return _entered[name](*args)


def _turn(name: str, steps: int) -> tuple[float, float]:
    return turn(_entered[name], steps, best_device())


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# --- greedy generation -------------------------------------------------------------------------


@dataclass(frozen=True)
class Contestant:
    """A model at a removal stage whose speed is to be measured."""

    model: PreTrainedModel
    layout: Layout
    batch: Encoded
    #: As `generate` takes it.
    removed: Tensor | int = 0
    keep_positions: bool = False


def measure_speed(
    contestants: dict[Any, Contestant], batch_size: int = 1, examples: int = 20, rounds: int = 5
) -> dict[Any, float]:
    """Examples per second of `computing`, in greedy generation, measured side by side.

    The contestants take turns in every round, so that a slow moment of the machine meets all of
    them; the result is the median over rounds. The papers measure at batch size 1.
    """
    turns = {}
    for key, one in contestants.items():
        device, answer = one.model.device, partial(_answer, one, batch_size, examples)
        turns[key] = partial(turn, answer, 1, device, partial(computing, device))
    seconds, _ = take_turns(turns, rounds)
    return {key: examples / each for key, each in seconds.items()}


def _answer(one: Contestant, batch_size: int, examples: int, step: int) -> None:
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
    base = (reference.name, int(reference.stages.tokens_removed.iloc[0]))
    contestants = _contestants(reference)
    for run in wanted:
        contestants |= _contestants(run)
    single = measure_speed(contestants, 1, examples, rounds)
    batch = min(256, len(next(iter(contestants.values())).batch))
    batched = measure_speed(contestants, batch, batch, rounds)
    for run in wanted:
        rows = [
            {
                "tokens_removed": removed,
                "examples_per_second": round(single[name, removed], 2),
                "examples_per_second_batched": round(batched[name, removed], 1),
                "relative_speed": round(single[name, removed] / single[base], 3),
            }
            for name, removed in contestants
            if name == run.name
        ]
        write_json(run.folder / "speed.json", rows)
    return pd.concat([speed_table(run).assign(run=run.name) for run in runs])


def _contestants(run: Run) -> dict[tuple[str, int], Contestant]:
    """A run at each of its stages; weights that serve several stages are loaded once."""
    config = run.config
    examples = examples_of(load_corpus(config.data).test)[:256]
    keep, loaded, made = config.removal.keep_positions, {}, {}
    for removed in map(int, run.stages.tokens_removed):
        folder = run.weights(removed)
        if folder not in loaded:
            model, layout = load_stage(run, removed)
            loaded[folder] = model.to(best_device()), layout
        model, layout = loaded[folder]
        batch = in_layout(layout.encode(examples), config.removal)
        gone = batch.tokens(removed, config.removal.side)
        made[run.name, removed] = Contestant(model, layout, batch, gone, keep)
    return made
