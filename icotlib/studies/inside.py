"""What the states of each method hold once its steps are removed, and whether it uses them.

Each model is probed at its last removal stage, beside a No CoT model of its shape and the other
controls of `icotlib.interp.report`; each chain token is then patched and steered where a probe
decodes it best. No model was trained on any of the questions. The No CoT model is analysed as the
others are: what its states hold too was not learned from chains. It answers few questions right, so
that a model trained with a loss on running sums stands beside it, which never saw a chain either
and is accurate.
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from icotlib import interp
from icotlib.evaluation.stage_model import StageModel
from icotlib.experiments.interp import N_EXAMPLES
from icotlib.interp.probes import SETTINGS
from icotlib.interp.report import MARGIN
from icotlib.interp.variables import Variable
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import about_seeds, capital, doubt, points
from icotlib.reporting.figures.inside import above_chance
from icotlib.reporting.statistics import ENOUGH_SEEDS, less_by_seed
from icotlib.running.progress import is_live
from icotlib.studies.base import Member, measured_once, register
from icotlib.studies.states import (
    CONTROL,
    OWN_STATES,
    OfStates,
    asked,
    less_accurate,
    pairs_among,
)
from icotlib.tasks.questions import QuestionSet

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
    *("steering_low", "steering_high", "steering_random", "steering_chance", "decodable", "used"),
]


@register
class Inside(OfStates):
    name = "inside"
    file = "probing"
    notebook = "20"
    question = (
        "How many chain tokens can be decoded from the states of a model that no longer writes "
        "them, beyond every control, and on how many does its answer depend?"
    )

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        kept = (
            _kept(member, own.get(CONTROL.get(arm, "")), questions)
            for own, questions in asked(members, QUESTIONS)
            for arm, member in own.items()
        )
        return self.answered(members, pd.concat(kept, ignore_index=True))

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.decoded_and_used(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        table = table.assign(above_chance=above_chance(table))
        models = dict(list(table.groupby("model", sort=False)))
        said = [_counted(name, rows) for name, rows in models.items()] + [_room(table)]
        if table.seed.nunique() < ENOUGH_SEEDS:
            return [*said, "Too few seeds to compare models.", about_seeds(table.seed.nunique())]
        for name, control in pairs_among(list(models)):
            said += _beside(name, models[name], control, models[control])
        said += [*less_accurate(table), OWN_STATES]
        return [*said, about_seeds(table.seed.nunique())]


def _kept(member: Member, control: Member | None, questions: QuestionSet) -> pd.DataFrame:
    """The rows of one model, which stay with its run."""
    tokens = interp.not_in_answer(questions, "chain")
    beside = control.config.run_name if control else ""
    _, pairs = N_EXAMPLES[member.config.preset]
    what = [beside, pairs, *SETTINGS, *COLUMNS, *(one.name for one in tokens)]
    key = questions.questions.tobytes() + repr(what).encode()
    return measured_once(
        member.run, "inside", key, lambda: _measured(member, control, questions, tokens)
    )


def _measured(
    member: Member, control: Member | None, questions: QuestionSet, tokens: Sequence[Variable]
) -> pd.DataFrame:
    """Probes, patching and steering of one model: a row for each chain token."""
    _, pairs = N_EXAMPLES[member.config.preset]
    model = StageModel.of(member.run, name=member.arm)
    beside = StageModel.of(control.run) if control else None
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
    """A model's selectivity and steering less those of its control, means over tokens, by seed.

    Of steered answers, those that follow a random direction as well, or a digit drawn at random,
    are taken off first: what a token must exceed to be used.
    """
    said = []
    columns = {
        "selectivity": "selectivity of probes",
        "above_chance": "steered answers minus those of a random direction or digit",
    }
    for column, what in columns.items():
        found = less_by_seed(rows, others, column)
        if found is None:
            continue
        said.append(
            f"{capital(name)} minus {control}, {what}, mean over tokens: "
            f"{points(found)}{doubt(found)}."
        )
    return said
