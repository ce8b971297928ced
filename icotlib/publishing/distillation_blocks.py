"""Blocks on distillation, drawn from the tables of two studies."""

import pandas as pd

from icotlib.publishing import published
from icotlib.publishing.blocks import block, markdown
from icotlib.publishing.study_tables import EXACT_MATCH, each, examples, with_interval
from icotlib.reporting.statistics import over_seeds

#: What the study of depth calls the states that a student reads before coupling, and what the page
#: calls them.
READ = {
    "true states": "Student, on the teacher's true states",
    "emulated states": "Student, on emulated states",
}

#: The arm of the ablations that trains answers alone in the model of the main study.
NO_COT_WIDE = "No CoT in the workbook's model"

#: Arms of the ablations, and what the page calls them.
ARMS = {
    "the whole method": "ICoT-KD, coupled",
    "neither phase": "Coupled, mind-reading and emulation skipped",
    "No CoT": "No CoT in the same model",
    NO_COT_WIDE: NO_COT_WIDE,
}


@block
def distillation() -> str:
    """The phases of distillation beside their baselines."""
    depth = published.read("depth", "layers", "coverage", "seed", "accuracy", "n")
    reads = depth[depth.coverage.notna()]
    whole = reads[(reads.layers == reads.layers.max()) & (reads.coverage == reads.coverage.max())]
    arms = published.read("ablations", "seed", "examples", "accuracy", "n")
    rows = {name: whole[whole.phase == phase] for phase, name in READ.items()}
    rows |= {name: arms[arms.arm == arm] for arm, name in ARMS.items()}
    return markdown(_row(name, own) for name, own in rows.items() if len(own))


def _row(name: str, rows: pd.DataFrame) -> dict[str, str]:
    return {
        "method": name,
        EXACT_MATCH: with_interval(over_seeds(rows)),
        "each seed": each(rows),
        "training examples": examples(rows) if "examples" in rows else "-",
    }
