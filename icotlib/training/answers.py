"""What a run keeps of its final test: every question, whether it is right, and what was written."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from datasets import Dataset

from icotlib import paths
from icotlib.evaluation.scoring import Score
from icotlib.runs import Run


def save_answers(run: Run, test: Dataset, scores: Mapping[int, Score]) -> None:
    """Write `answers.parquet` (columns of `Run.answers`), whole or not at all.

    Questions and true answers repeat at every stage; as categories they are stored once.

    Args:
        test: the test set, in the order in which the scores hold its questions.
        scores: by tokens or steps removed.
    """
    parts = [_stage(removed, score, test) for removed, score in scores.items()]
    table = pd.concat(parts, ignore_index=True)
    table = table.astype({"question": "category", "answer": "category"})
    with paths.whole_file(run.folder / "answers.parquet") as part:
        table.to_parquet(part, index=False, compression="zstd")


def _stage(removed: int, score: Score, test: Dataset) -> pd.DataFrame:
    columns = {"tokens": score.tokens, "chain": score.chain, "chain_limit": score.chain_limit}
    counts = {  # a score of an older version, and a stage without a limit, have none
        name: pd.array(list(values) if values else [None] * score.n, dtype="Int32")
        for name, values in columns.items()
    }
    return pd.DataFrame(
        {
            "removed": np.int16(removed),
            "number": np.arange(score.n, dtype=np.int32),
            "question": list(test["question"])[: score.n],
            "answer": list(test["answer"])[: score.n],
            "right": np.array(score.right, dtype=bool),
            "answer_right": np.array(score.answer_right, dtype=bool),
            "written": list(score.written),
            "cut": np.array(score.cut, dtype=bool),
        }
        | counts
    )
