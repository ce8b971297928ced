"""What the states of each method hold once its steps are removed, and whether it uses them.

Each model is probed at its last removal stage, beside a No CoT model of its shape and the other
controls of `icotlib.interp.report`; each chain token is then patched and steered where a probe
decodes it best. No model was trained on any of the questions. The No CoT model is analysed as the
others are: what its states hold too was not learned from chains. It answers few questions right, so
that a model trained with a loss on running sums stands beside it, which never saw a chain either
and is accurate.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib import interp
from icotlib.config import RunConfig
from icotlib.evaluation.stage_model import StageModel
from icotlib.experiments.distillation import icot_kd, kd_no_cot
from icotlib.experiments.interp import N_EXAMPLES, NO_COT_CONTROL
from icotlib.experiments.stepwise import icot_si, no_cot, one_model, running_sums
from icotlib.interp.report import MARGIN
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import about_seeds, capital, doubt, listed, points
from icotlib.reporting.statistics import ENOUGH_SEEDS, mean_over_seeds
from icotlib.running.progress import is_live
from icotlib.studies.base import Member, Study, measured_once, register
from icotlib.tasks.questions import QuestionSet

#: The No CoT model that each implicit model stands beside: of its shape.
CONTROL = {"ICoT-SI": "No CoT"} | NO_COT_CONTROL

#: A model without chains that answers as many questions right as those with them.
ACCURATE = "Running sums"

#: Which models are compared, each with one that never saw a chain, of its shape.
PAIRS = list(CONTROL.items())
PAIRS += [(name, ACCURATE) for name in ("ICoT-SI", "One model")]

#: Questions, 60% of which the probes are fitted to.
QUESTIONS = {"smoke": 200, "fast": 34_000, "paper": 34_000}

#: What the table calls columns of `interp.probing_table`.
RENAMED = {
    "control": "best_control",
    "control_score": "control",
    "low": "ci_low",
    "high": "ci_high",
}

#: The columns of the table.
COLUMNS = [
    *("model", "seed", "variable", "layer", "position", "probe", "control", "patching", "steering"),
    *("ci_low", "ci_high", "best_control", "selectivity"),
    *("steering_low", "steering_high", "steering_random", "decodable", "used"),
]


@register
class Inside(Study):
    name = "inside"
    file = "probing"
    question = (
        "How many chain tokens can be decoded from the states of a model that no longer writes "
        "them, beyond every control, and on how many does its answer depend?"
    )
    seeds = (10, 11, 12)
    few = 1  # probes take longer than training at `smoke`

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        return {
            "ICoT-SI": icot_si(preset, seed, overrides),
            "One model": one_model(preset, seed, overrides),
            "No CoT": no_cot(preset, seed, overrides, "examples", reference="icot_si"),
            ACCURATE: running_sums(preset, seed, overrides),
            "ICoT-KD": icot_kd(preset, seed, overrides),
            "No CoT, as ICoT-KD": kd_no_cot(preset, seed, overrides),
        }

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        found = []
        for seed in dict.fromkeys(member.seed for member in members):
            own = {one.arm: one for one in members if one.seed == seed}
            configs = [one.config for one in own.values()]
            questions = interp.draw_questions_of(configs, QUESTIONS[configs[0].preset], seed)
            tokens = [one.name for one in interp.chain_tokens_not_in_answer(questions)]
            for arm, member in own.items():
                rows = _kept(member, own.get(CONTROL.get(arm, "")), questions)
                found.append(rows[rows.variable.isin(tokens)])
        return pd.concat(found, ignore_index=True)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.decoded_and_used(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        models = dict(list(table.groupby("model", sort=False)))
        said = [_counted(name, rows) for name, rows in models.items()] + [_room(table)]
        if table.seed.nunique() < ENOUGH_SEEDS:
            return [*said, "Too few seeds to compare models.", about_seeds(table.seed.nunique())]
        for name, control in PAIRS:
            if name in models and control in models:
                said += _beside(name, models[name], control, models[control])
        return [*said, *less_accurate(self, members), about_seeds(table.seed.nunique())]


def less_accurate(study: Study, members: Sequence[Member]) -> list[str]:
    """What is left open where a control answers fewer questions right than the models beside it.

    Args:
        study: whose arms are called as those here.
    """
    right = {arm: rows.accuracy.mean() for arm, rows in study.rows_by_arm(members).items()}
    said = []
    for control in dict.fromkeys(control for _, control in PAIRS if control in right):
        names = [name for name, other in PAIRS if other == control and name in right]
        better = [f"{name} {right[name]:.1%}" for name in names]
        if any(right[name] > right[control] + MARGIN for name in names):
            said.append(
                f"{capital(control)} answers {right[control]:.1%} of its test right, "
                f"{listed(better)}: fewer of its answers can follow, whatever its states hold."
            )
    return said


def _kept(member: Member, control: Member | None, questions: QuestionSet) -> pd.DataFrame:
    """The rows of one model, which stay with its run."""
    beside = control.config.run_name if control else ""
    key = questions.questions.tobytes() + beside.encode()
    return measured_once(member.run, "inside", key, lambda: _measured(member, control, questions))


def _measured(member: Member, control: Member | None, questions: QuestionSet) -> pd.DataFrame:
    """Probes, patching and steering of one model: a row for each chain token."""
    _, pairs = N_EXAMPLES[member.config.preset]
    model = StageModel.of(member.run, name=member.arm)
    beside = StageModel.of(control.run) if control else None
    tokens = interp.chain_tokens_not_in_answer(questions)
    probed = interp.probe_with_controls(model, questions, tokens, beside, progress=is_live())
    table = interp.probing_table(model, questions, probed, pairs).assign(seed=member.seed)
    interp.discard_activations(model, questions)  # gigabytes, and the rows are kept
    return table.rename(columns=RENAMED)[COLUMNS]


def _counted(name: str, rows: pd.DataFrame) -> str:
    """How many chain tokens a model's states hold beyond every control, and how many it uses."""
    tokens, seeds = rows.variable.nunique(), list(rows.groupby("seed"))
    decodable, used, both = (
        ", ".join(str(int(count(one))) for _, one in seeds)
        for count in (
            lambda one: one.decodable.sum(),
            lambda one: one.used.sum(),
            lambda one: (one.decodable & one.used).sum(),
        )
    )
    each = "in each seed" if len(seeds) > 1 else "at its seed"
    return (
        f"{capital(name)}: of {tokens} chain tokens, {decodable} can be decoded beyond every "
        f"control ({each}), {used} are used, {both} are both."
    )


def _room(table: pd.DataFrame) -> str:
    """How much room the best controls leave for a probe to exceed them by the margin."""
    lowest = table.groupby("variable").control.min()
    full = int((lowest > 1 - MARGIN).sum())
    return (
        f"The best control decodes every token in at least {lowest.min():.1%} of questions; on "
        f"{full} of {len(lowest)} tokens it decodes more than {1 - MARGIN:.0%} in every model and "
        f"seed, so that no probe can lie {100 * MARGIN:.0f} points above it."
    )


def _beside(name: str, rows: pd.DataFrame, control: str, others: pd.DataFrame) -> list[str]:
    """A model's selectivity and steering less those of No CoT, means over tokens, by seed."""
    said = []
    for column, what in (("selectivity", "selectivity of probes"), ("steering", "steered answers")):
        apart = (_by_seed(rows, column) - _by_seed(others, column)).dropna().to_numpy(float)
        if len(apart) < ENOUGH_SEEDS:  # the two may have fewer seeds in common
            continue
        found = mean_over_seeds(apart)
        said.append(
            f"{capital(name)} less {control}, {what}, mean over tokens: "
            f"{points(found)}{doubt(found)}."
        )
    return said


def _by_seed(rows: pd.DataFrame, column: str) -> "pd.Series[float]":
    return rows.groupby("seed")[column].mean()
