"""What a run keeps of its final test: by stage, accuracy and tokens written; what was written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from icotlib import paths
from icotlib.data.run_data import RunData
from icotlib.evaluation.scoring import Score
from icotlib.run_files import removed_at
from icotlib.runs import Run
from icotlib.system import seals
from icotlib.training.answers import save_answers

#: Test questions whose answers are kept as plain text.
SAMPLES = 8


@dataclass
class Counters:
    """What a run has used so far; part of every checkpoint."""

    step: int = 0
    examples: int = 0
    #: Tokens of the sequences, padding aside: question, remaining chain, answer and marks. What
    #: SIM-CoT's decoder and a frozen teacher read is not counted.
    tokens: int = 0
    #: Seconds of computing in training steps, evaluation aside (see `Trainer.clock`).
    seconds: float = 0.0


def save_metrics(run: Run, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write metrics.csv, whole or not at all; nothing before the first evaluation."""
    if rows:
        with paths.whole_file(run.folder / "metrics.csv") as part:
            pd.DataFrame(rows).to_csv(part, index=False)


def save_results(
    run: Run, run_data: RunData, unit: str, scores: Mapping[int, Score], counters: Counters
) -> None:
    """Write stages.csv, samples.jsonl and answers.parquet; nothing for a run without a test.

    Args:
        unit: what removal counts, tokens or steps.
        scores: by tokens or steps removed.
        counters: those of the end of the run.
    """
    if not scores:
        return
    rows = [_row(run, removed, unit, score, counters) for removed, score in scores.items()]
    with paths.whole_file(run.folder / "stages.csv") as part:
        pd.DataFrame(rows).to_csv(part, index=False)
    samples = [
        sample for removed, score in scores.items() for sample in _samples(run_data, removed, score)
    ]
    with paths.whole_file(run.folder / "samples.jsonl") as part:
        pd.DataFrame(samples).to_json(part, orient="records", lines=True)
    save_answers(run, run_data.corpus.test, scores)


def earlier_scores(run: Run) -> Iterator[tuple[int, Score]]:
    """The test scores of stages whose weights are not kept, by removal stage."""
    for path in sorted(run.folder.glob("stages/*/score.json"), key=lambda x: removed_at(x.parent)):
        removed = removed_at(path.parent)
        saved = seals.opened(path, run.remedy)
        for name in ("by_symbol", "written", "right", "cut", "answer_right", "tokens", "chain"):
            saved[name] = tuple(saved.get(name, ()))
        if saved.get("chain_limit") is not None:
            saved["chain_limit"] = tuple(saved["chain_limit"])
        yield removed, Score(**saved)


def _row(run: Run, removed: int, unit: str, score: Score, counters: Counters) -> dict[str, Any]:
    """One row of stages.csv; a stage that has stored its own counters is charged with them."""
    used = vars(counters)
    saved = run.stage_folder(removed) / "counters.json"
    if saved.is_file():
        used = seals.opened(saved, run.remedy)
    return {
        "removed": removed,
        "unit": unit,
        "accuracy": score.accuracy,
        "ci_low": score.ci_low,
        "ci_high": score.ci_high,
        "n_test": score.n,
        "answer_accuracy": score.answer_accuracy,
        "tokens_mean": score.tokens_mean,
        "tokens_max": score.tokens_max,
        "by_symbol": " ".join(f"{value:.4f}" for value in score.by_symbol),
        "train_steps": used["step"],
        "train_examples": used["examples"],
        "train_tokens": used["tokens"],
        "train_seconds": round(used["seconds"], 2),
        "max_new_tokens": score.max_new_tokens,
        "cut": sum(score.cut),
    }


def _samples(run_data: RunData, removed: int, score: Score) -> Iterator[dict[str, Any]]:
    """What the model wrote for the first test questions."""
    questions, answers = run_data.corpus.test["question"], run_data.answers
    for number in range(min(SAMPLES, len(score.written))):
        yield {
            "removed": removed,
            "question": questions[number],
            "answer": answers[number],
            "written": score.written[number],
            "right": score.right[number],
            "answer_right": score.answer_right[number],
            "cut": score.cut[number],
        }
