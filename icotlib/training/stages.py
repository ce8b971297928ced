"""What is left of a removal stage when it ends: a row of stages.csv, and what goes into it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from icotlib.evaluation.scoring import Score
from icotlib.runs import Run


@dataclass
class Counters:
    """What a run has used so far; part of every checkpoint."""

    step: int = 0
    examples: int = 0
    #: Tokens that went through the model, padding aside.
    tokens: int = 0
    #: Seconds of computing in training steps, evaluation aside (see `Trainer.clock`).
    seconds: float = 0.0


def earlier_scores(run: Run) -> Iterator[tuple[int, Score]]:
    """The test scores of stages whose weights are not kept, by removal stage."""
    for path in sorted((run.folder / "stages").glob("*/score.json")):
        removed = int(path.parent.name.removeprefix("removed-"))
        saved = json.loads(path.read_text())
        for name in ("by_symbol", "written", "right"):
            saved[name] = tuple(saved[name])
        yield removed, Score(**saved)


def row(run: Run, removed: int, unit: str, score: Score, counters: Counters) -> dict[str, Any]:
    """One row of stages.csv.

    Args:
        counters: those of the end of the run, for a stage that has not stored its own.
    """
    used = vars(counters)
    saved = run.stage_folder(removed) / "counters.json"
    if saved.is_file():
        used = json.loads(saved.read_text())
    return {
        "removed": removed,
        "unit": unit,
        "accuracy": score.accuracy,
        "ci_low": score.ci_low,
        "ci_high": score.ci_high,
        "n_test": score.n,
        "by_symbol": " ".join(f"{value:.4f}" for value in score.by_symbol),
        "train_steps": used["step"],
        "train_examples": used["examples"],
        "train_tokens": used["tokens"],
        "train_seconds": round(used["seconds"], 2),
    }
