"""Blocks on distillation, drawn from the tables of two studies."""

import pandas as pd

from icotlib.publishing import published
from icotlib.publishing.blocks import block, markdown
from icotlib.publishing.study_tables import EXACT_MATCH, each, examples, with_interval
from icotlib.reporting.statistics import over_seeds
from icotlib.studies.ablations import FULL, NO_COT, NO_COT_WIDE

#: What the study of depth calls the states that a student reads before coupling, and what the page
#: calls them.
READ = {
    "true states": "Student, on the teacher's true states",
    "emulated states": "Student, on emulated states",
}

#: Arms of the ablations, and what the page calls them.
ARMS = {
    FULL: "ICoT-KD, coupled",
    "neither phase": "Coupled, mind-reading and emulation skipped",
    NO_COT: "No CoT in the same model",
    NO_COT_WIDE: "No CoT in the workbook's model",
}


@block
def distillation() -> str:
    """The phases of distillation beside their baselines."""
    depth = published.read("depth", "layers", "coverage", "seed", "accuracy", "n")
    deepest = depth[(depth.method == "icot_kd") & (depth.layers == depth.layers.max())]
    whole = deepest[deepest.coverage == deepest.coverage.max()]
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
