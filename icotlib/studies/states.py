"""What the studies of hidden states share: their models, controls and questions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from icotlib import interp
from icotlib.config import RunConfig
from icotlib.experiments.distillation import icot_kd, kd_no_cot
from icotlib.experiments.interp import NO_COT_CONTROL
from icotlib.experiments.stepwise import icot_si, no_cot, one_model, running_sums
from icotlib.interp.report import MARGIN
from icotlib.reporting.conclusions.sentences import capital, listed
from icotlib.reporting.figures.inside import UNTRAINED
from icotlib.studies.base import Member, Study, of_arm
from icotlib.tasks.questions import QuestionSet

#: The No CoT model that each implicit model stands beside: of its shape.
CONTROL = {"ICoT-SI": "No CoT"} | NO_COT_CONTROL

#: A model without chains that answers as many questions right as those with them.
ACCURATE = "Running sums"

#: Models that lost chains which say nothing of their questions, by the curriculum of ICoT-SI.
WITHOUT_CONTENT = {
    "ICoT-SI, fillers": {"label": "fillers", "removal.chains": "filler"},
    "ICoT-SI, shuffled chains": {"label": "shuffled-chains", "removal.chains": "shuffled"},
}

#: What a difference between two models may come from, beside the models.
OWN_STATES = (
    "Each model and seed is probed and changed at the hidden state at which its own probe is most "
    "accurate. Layers and positions differ between models, so that a difference between models may "
    "be one between positions."
)

#: Which models are compared, each with one of its shape that saw no chain of its questions.
PAIRS = [
    *CONTROL.items(),
    *((name, ACCURATE) for name in ("ICoT-SI", "One model")),
    *(("ICoT-SI", name) for name in WITHOUT_CONTENT),
]


class OfStates(Study):
    """A study of what the states of each method hold once its steps are removed.

    Its table names in `answered` the share of test questions that a row's model answers.
    """

    seeds = (10, 11, 12)
    few = 1  # analyses take longer than training at `smoke`
    takes_arms = True
    said_from_table = True
    apart = ("removal.chains",)

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        return {
            "ICoT-SI": icot_si(preset, seed, overrides),
            "One model": one_model(preset, seed, overrides),
            "No CoT": no_cot(preset, seed, overrides, "examples", reference="icot_si"),
            ACCURATE: running_sums(preset, seed, overrides),
            "ICoT-KD": icot_kd(preset, seed, overrides),
            "No CoT, as ICoT-KD": kd_no_cot(preset, seed, overrides),
        } | {
            name: icot_si(preset, seed, of_arm(overrides, changes))
            for name, changes in WITHOUT_CONTENT.items()
        }

    def arms_of(self, table: pd.DataFrame) -> pd.Series:
        return table.model.str.removesuffix(UNTRAINED)

    def answered(self, members: Sequence[Member], table: pd.DataFrame) -> pd.DataFrame:
        """A table with the column `answered`, from the runs of its models; NaN for untrained ones,
        which were not tested."""
        rows = pd.concat(self.rows_by_arm(members).values()).set_index(["arm", "seed"]).accuracy
        models = pd.MultiIndex.from_frame(table[["model", "seed"]])
        return table.assign(answered=rows.reindex(models).to_numpy())


def asked(
    members: Sequence[Member], numbers: Mapping[str, int]
) -> Iterator[tuple[dict[str, Member], QuestionSet]]:
    """The members of each seed, by arm, and questions that none of them learned from.

    Args:
        numbers: of questions, by preset.
    """
    for seed in dict.fromkeys(member.seed for member in members):
        own = {one.arm: one for one in members if one.seed == seed}
        configs = [one.config for one in own.values()]
        yield own, interp.draw_questions_of(configs, numbers[configs[0].preset], seed)


def pairs_among(names: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs to compare of which both models are there."""
    return [(name, control) for name, control in PAIRS if name in names and control in names]


def less_accurate(table: pd.DataFrame) -> list[str]:
    """What is left open where a control answers fewer questions right than the models beside it.

    Args:
        table: of a study of states, without its untrained models.
    """
    right = table.groupby("model", sort=False).answered.mean()
    beside: dict[str, list[str]] = {}
    for name, control in pairs_among(list(right.index)):
        beside.setdefault(control, []).append(name)
    return [
        f"{capital(control)} answers {right[control]:.1%} of its test right, "
        f"{listed(f'{name} {right[name]:.1%}' for name in names)}: fewer of its answers can "
        "follow, whatever its states hold."
        for control, names in beside.items()
        if any(right[name] > right[control] + MARGIN for name in names)
    ]
