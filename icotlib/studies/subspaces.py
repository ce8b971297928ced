"""Whether answers are computed from what a subspace of a hidden state holds (DAS).

For each chain token, column sum, carry and product of digits that is no symbol of the answer, a
subspace is learned whose exchange with another question makes the answer follow (arXiv 2303.02536,
`icotlib.interp.subspaces`). It is learned at the state in which a linear probe decodes the variable
best. Random subspaces of the same rank, the same model with random weights, and models that never
saw a chain stand beside it.
"""

import re
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from icotlib import interp
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.probes import SETTINGS
from icotlib.interp.variables import Variable
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import about_seeds, capital, decided, points
from icotlib.reporting.figures.inside import UNTRAINED, of_trained
from icotlib.reporting.statistics import less_by_seed
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

#: Questions: three fifths give pairs to learn from, one fifth selects, one fifth is reported.
QUESTIONS = {"smoke": 60, "fast": 4000, "paper": 4000}
#: Steps in which a subspace is learned, and its dimensions.
STEPS, RANK = {"smoke": 2, "fast": 100, "paper": 400}, 8

#: The kinds of variables, in the order of the figure, by the beginning of their names.
KINDS = {
    "chain tokens": r"t\d",
    "sums of columns": r"c\d",
    "carries": r"carry",
    "products of digits": r"a\d+ b",
}


@register
class Subspaces(OfStates):
    name = "das"
    file = "das"
    notebook = "20"
    question = (
        "Does the answer follow when a learned subspace of a hidden state, which holds a chain "
        "token, a column's sum, a carry or a product, is exchanged with another question's?"
    )

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        kept = (
            _kept(member, questions)
            for own, questions in asked(members, QUESTIONS)
            for member in own.values()
        )
        return self.answered(members, pd.concat(kept, ignore_index=True))

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.exchanged(table, table.variable.map(kind_of))

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        table = table.assign(kind=table.variable.map(kind_of))
        seeds = table.seed.nunique()
        models = list(dict.fromkeys(of_trained(table).model))
        said = [_followed(name, table) for name in models]
        compared = [one for pair in pairs_among(models) if (one := _beside(*pair, table))]
        if compared:
            number = sum(one.count("95% interval") for one in compared)
            compared.append(
                f"These {number} intervals are not corrected for multiple comparisons: about one "
                "in twenty excludes zero by chance."
            )
        said += [*compared, *less_accurate(of_trained(table))]
        return [*said, OWN_STATES, about_seeds(seeds)]


def kind_of(variable: str) -> str:
    """The kind of a variable, by its name; empty for those that are not looked at."""
    return next((kind for kind, start in KINDS.items() if re.match(start, variable)), "")


def _kept(member: Member, questions: QuestionSet) -> pd.DataFrame:
    """The rows of one model, which stay with its run."""
    variables = interp.not_in_answer(questions, "chain", "number")
    what = [STEPS[member.config.preset], RANK, *SETTINGS, *(one.name for one in variables)]
    key = questions.questions.tobytes() + repr(what).encode()
    return measured_once(member.run, "das", key, lambda: _measured(member, questions, variables))


def _measured(
    member: Member, questions: QuestionSet, variables: Sequence[Variable]
) -> pd.DataFrame:
    """Interchange interventions of one model: a row for each variable, and where the model is
    implicit one for its untrained twin."""
    model = StageModel.of(member.run, name=member.arm)
    rank = min(RANK, interp.stored_activations(model, questions).shape[-1])
    twins = [model.untrained()] if member.arm in CONTROL else []
    where, steps = _states(model, questions, variables), STEPS[member.config.preset]
    table = interp.interchanges(
        model, questions, where, rank, twins, member.seed, steps, progress=is_live()
    )
    interp.discard_activations(model, questions)
    names = {"untrained": f"{member.arm}{UNTRAINED}"}
    return table.assign(seed=member.seed, model=table.model.replace(names))


def _states(
    model: StageModel, questions: QuestionSet, variables: Sequence[Variable]
) -> list[tuple[Variable, int, int]]:
    """Each variable with the layer and position at which a linear probe decodes it best, among the
    states that have seen what it depends on and can still influence the answer."""
    probed = interp.probe_grid(interp.stored_activations(model, questions), variables)
    names = model.position_names(questions)
    probed = probed.assign(seen=interp.has_seen(probed, variables, names))
    able = interp.able_to_matter(model, questions, variables, probed)
    best = interp.best_positions(able).set_index("variable")
    where = {name: (int(row.layer), int(row.position)) for name, row in best.iterrows()}
    return [(one, *where[one.name]) for one in variables]


def _followed(name: str, table: pd.DataFrame) -> str:
    """How many answers of a model follow an exchange, by kind of variable."""
    own, twin = table[table.model == name], table[table.model == f"{name}{UNTRAINED}"]
    parts = []
    for kind in KINDS:
        rows = own[own.kind == kind]
        if len(rows):
            best = rows.groupby("variable").accuracy.mean()
            parts.append(
                f"{kind} {rows.accuracy.mean():.1%} (highest {best.idxmax()}, {best.max():.1%})"
            )
    beside = f"random subspaces {own.control.mean():.1%}"
    if len(twin):
        right = twin.accuracy.mean()
        beside += f", the untrained model {right:.1%}"
        beside += "" if right else " (it answers nothing right, so that no answer can follow)"
    return f"{capital(name)}, answers that follow: {', '.join(parts)}; {beside}."


def _beside(name: str, control: str, table: pd.DataFrame) -> str:
    """A model less one that never saw a chain, by kind of variable, means by seed."""
    parts = []
    for kind in KINDS:
        one, other = (
            table[(table.model == model) & (table.kind == kind)] for model in (name, control)
        )
        found = less_by_seed(one, other, "accuracy")
        if found is not None:
            parts.append(f"{kind} {points(found)}{'' if decided(found) else ', undecided'}")
    return f"{capital(name)} minus {control}: {'; '.join(parts)}." if parts else ""
