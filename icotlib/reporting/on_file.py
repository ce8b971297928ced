"""Several runs on one file of questions: each configuration over its seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from icotlib.evaluation.on_file import FileResult
from icotlib.reporting.figures.style import method_label
from icotlib.reporting.groups import configuration
from icotlib.reporting.statistics import Sample, mean_interval


def over_seeds_on_file(results: Sequence[FileResult]) -> pd.DataFrame:
    """Accuracy on a file by configuration and stage, in the order of their first runs.

    Columns: method, label, removed, seeds, accuracy with its 95% interval over seeds and questions
    (of one seed: over questions alone), lowest and highest seed, n, tokens written, runs.

    Args:
        results: of different models on the same file (`evaluate_file`).
    """
    groups: dict[tuple[str, int], list[FileResult]] = {}
    for result in results:
        own = configuration(result.run) if result.run else result.name
        groups.setdefault((own, result.removed), []).append(result)
    return pd.DataFrame([_row(group) for group in groups.values()])


def _row(group: Sequence[FileResult]) -> dict[str, Any]:
    first, tables = group[0], [result.table for result in group]
    sample = _sample(tables)
    found = mean_interval(sample)
    return {
        "method": method_label(first.config.method),
        "label": first.config.label,
        "removed": first.removed,
        "seeds": sample.seeds,
        "accuracy": found.value,
        "ci_low": found.low,
        "ci_high": found.high,
        "lowest": sample.accuracy.min(),
        "highest": sample.accuracy.max(),
        "n": int(sample.n.min()),
        "tokens": float(np.mean([table.tokens.mean() for table in tables])),
        "runs": " ".join(result.name for result in group),
    }


def _sample(tables: Sequence[pd.DataFrame]) -> Sample:
    """The answers of some seeds; one by one if all were asked the same questions."""
    first = tables[0].question
    if all(table.question.equals(first) for table in tables):
        return Sample.of(np.stack([table.right.to_numpy(bool) for table in tables]))
    return Sample(
        np.array([table.right.mean() for table in tables]), np.array([len(one) for one in tables])
    )
