"""Whether answers follow the thoughts of latent places, in the methods that have such.

Each model answers some questions with its thoughts replaced: by those of the same graph with
another root, which leads to the other candidate, by the mean thought, by noise of their norm, or by
zeros. If answers are computed from thoughts, the first gives the other root's answer.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib import interp
from icotlib.config import RunConfig
from icotlib.evaluation.stage_model import StageModel
from icotlib.experiments.graphs import asks_for_other_data, on_graphs
from icotlib.experiments.latent import LATENT
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import about_seeds, decided, percent, points
from icotlib.reporting.figures.style import arm_style
from icotlib.reporting.statistics import over_seeds, paired_interval
from icotlib.studies.base import Member, Study, measured_once, register
from icotlib.tasks.questions import QuestionSet

#: The methods, by the names of their runs.
METHODS = ("coconut", "sim_cot", "codi")

#: Questions, of which those count whose two answers differ.
QUESTIONS = {"smoke": 60, "fast": 1500, "paper": 1500}

#: What sentences call the thoughts that a question gets.
SAID = {"other": "those of the question with another answer", "noise": "noise of their norm"}


@register
class Thoughts(Study):
    name = "thoughts"
    file = "thoughts"
    notebook = "17"
    takes_arms = True
    said_from_table = True
    question = (
        "Does a model's answer become that of another question when its thoughts are replaced by "
        "those of that question?"
    )
    seeds = (10, 11, 12)

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        """Runs of the study of methods, which have ICoT-SI's seconds."""
        return {
            label_of(method): LATENT[method](preset, seed, overrides, "seconds")
            if asks_for_other_data(overrides)
            else on_graphs(method, preset, seed, overrides, "seconds")
            for method in METHODS
        }

    def arms_of(self, table: pd.DataFrame) -> pd.Series:
        return table.model

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        found = []
        for seed in dict.fromkeys(member.seed for member in members):
            own = [member for member in members if member.seed == seed]
            configs = [member.config for member in own]
            number = QUESTIONS[configs[0].preset]
            questions = interp.draw_questions_of(configs, number, seed)
            found += [_kept(member, questions) for member in own]
        return pd.concat(found, ignore_index=True)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.followed_thoughts(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        whole = table[(table.place == 0) & (table.answers == "other")]
        said = [_followed(str(name), rows) for name, rows in whole.groupby("model", sort=False)]
        return [*said, about_seeds(table.seed.nunique())]


def label_of(method: str) -> str:
    """What tables and figures call a method."""
    return str(arm_style(method)["label"])


def _kept(member: Member, questions: QuestionSet) -> pd.DataFrame:
    """The rows of one model, which stay with its run."""
    key = questions.questions.tobytes()
    table = measured_once(member.run, "thoughts", key, lambda: _measured(member, questions))
    answered = float(member.run.stages.accuracy.iloc[-1])
    about = {"task": member.config.task, "model": member.arm, "seed": member.seed}
    return pd.DataFrame(index=table.index).assign(**about).join(table).assign(answered=answered)


def _measured(member: Member, questions: QuestionSet) -> pd.DataFrame:
    model = StageModel.of(member.run, name=member.arm)
    table = interp.replacement_table(model, questions)
    return table.rename(columns={"effect": "accuracy", "low": "ci_low", "high": "ci_high"})


def _followed(name: str, rows: pd.DataFrame) -> str:
    """How many answers of a model follow other thoughts in all places, beside noise in them.

    Args:
        rows: of the answers that become another question's.
    """
    name = f"{name} ({rows.groupby('seed').answered.first().mean():.1%} of its test right)"
    pairs = ", ".join(f"{int(n):,}" for n in rows.groupby("seed").n.first())
    rows = rows[rows.n > 0]
    if rows.empty:
        return f"{name} answers no question otherwise than the question whose thoughts it gets."
    shares = {one: rows[rows.replacement == one] for one in SAID}
    said = f"{name}, of pairs that it answers differently ({pairs}): with {SAID['other']} in all "
    said += (
        f"places, {percent(over_seeds(shares['other']))} of answers become the other question's; "
    )
    said += f"with {SAID['noise']}, {percent(over_seeds(shares['noise']))}."
    found = paired_interval(shares["other"], shares["noise"])
    if found is None:
        return f"{said} Too few seeds to compare the two."
    more = "" if decided(found) else ", so that the data do not show that answers follow thoughts"
    return f"{said} The difference: {points(found)}{more}."
