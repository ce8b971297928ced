"""What latent thoughts hold, and whether answers follow them, in sentences."""

import pandas as pd

from icotlib.reporting.conclusions.sentences import Conclusion, percent
from icotlib.reporting.statistics import Interval

#: What sentences call replacements of thoughts.
SAID = {
    "other": "the thoughts of another question",
    "mean": "the mean thought",
    "noise": "noise of the thoughts' norm",
}


def thoughts(read: pd.DataFrame, probed: pd.DataFrame, replaced: pd.DataFrame) -> Conclusion:
    """What stands in the thoughts of one model, and what replacing them does.

    Args:
        read: of `interp.head_table`; probed: of `interp.best_thoughts`; replaced: of
            `interp.replacement_table`.
    """
    best = read.loc[(read.share - read.control).idxmax()]
    share = percent(Interval(best.share, best.low, best.high))
    said = [
        f"The output head reads a chain token best in thought {best.place}: {best.token}, in "
        f"{share} of questions, and {best.control:.1%} for the chains of other questions (the best "
        f"of {len(read)} pairs, chosen on these questions)."
    ]
    if best.low <= best.control:
        said.append("The data do not decide whether it reads the question's own chain.")
    said.append(_decoded(probed))
    whole = replaced[replaced.place == 0].set_index(["replacement", "answers"])
    for name, label in SAID.items():
        own, other = (_share(whole.loc[(name, answers)]) for answers in ("own", "other"))
        said.append(
            f"With {label} in all places, {own} of the answer symbols in which the two questions "
            f"differ stay as they were, and {other} become the other question's."
        )
    return Conclusion([*said, "This is one model: it says nothing about other seeds."])


def _decoded(probed: pd.DataFrame) -> str:
    """What probes find in the thoughts, beyond their controls."""
    found = probed[probed.decodable]
    said = f"A linear probe decodes {len(found)} of {len(probed)} symbols of chain and answer "
    said += "from a thought beyond every control"
    if found.empty:
        return f"{said}."
    top = found.loc[found.selectivity.idxmax()]
    score = percent(Interval(top.score, top.low, top.high))
    return (
        f"{said}, most clearly {top.variable} from thought {top.position + 1}: right in {score}, "
        f"the best control in {top.control_score:.1%}."
    )


def _share(row: pd.Series) -> str:
    return percent(Interval(row.effect, row.low, row.high))
