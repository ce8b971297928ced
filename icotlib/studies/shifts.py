"""Which methods answer questions unlike those they were trained on: other lengths, and combinations
of values that training never showed.

Learned positions beyond those of training are untrained. So two methods are trained in a model with
rotary position embeddings too, which has no parameters for positions.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.evaluation.ood import COMBINATIONS, WITHIN, shift_table
from icotlib.experiments.ood import shifted
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import about_arms, decided, percent, size
from icotlib.reporting.results import method_label
from icotlib.reporting.statistics import by_seed, over_seeds, paired_interval
from icotlib.studies.base import Member, Study, of_arm, register

#: The methods that are trained with rotary positions too, and how these arms are called.
ROTATED, ROTARY = ("explicit_cot", "icot_si"), ", rotary positions"

#: Questions of each shift, by preset.
QUESTIONS = {"smoke": 50, "fast": 2000, "paper": 2000}


@register
class Shifts(Study):
    name = "shifts"
    file = "shifts"
    notebook = "23"
    question = (
        "How many questions of other lengths, or with combinations of values that training never "
        "showed, does each method answer right?"
    )
    seeds = (10, 11, 12)
    takes_arms = True

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        made = shifted(preset, seed, overrides)
        return made | {
            name + ROTARY: shifted(preset, seed, of_arm(overrides, _rotary(made[name])))[name]
            for name in ROTATED
            if name in made and _learns_positions(made[name])
        }

    def arms_of(self, table: pd.DataFrame) -> pd.Series:
        return table.method

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        preset = members[0].config.preset
        order = list(dict.fromkeys(member.arm for member in members))
        rows = shift_table([member.run for member in members], QUESTIONS[preset])
        rows["method"] = rows.run.map({one.run.name: one.arm for one in members})
        rows = rows.sort_values("method", key=lambda names: names.map(order.index), kind="stable")
        columns = ["method", "seed", "shift", "accuracy", "ci_low", "ci_high", "n", "reason"]
        return rows[columns].reset_index(drop=True)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.shifts(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        tested = table.dropna(subset="accuracy")
        by_method = tested.groupby("method", sort=False)
        said = [_combinations(method_label(str(method)), rows) for method, rows in by_method]
        lengths = tested[~tested["shift"].isin([WITHIN, COMBINATIONS])]
        if len(lengths):
            said.append(_lengths(lengths))
        return [*filter(None, said), about_arms(table.groupby("method").seed.nunique())]


def _learns_positions(config: RunConfig) -> bool:
    """Whether a run trains GPT-2 from random weights, which others can take the place of."""
    return config.model.pretrained is None and config.model.architecture == "gpt2"


def _rotary(config: RunConfig) -> dict[str, Any]:
    """A model of a run's size with rotary positions; a gated layer has three matrices for two."""
    own = config.model
    sizes = {"intermediate_size": 8 * own.width // 3, "num_key_value_heads": own.heads}
    return {"label": "shifted-rotary", "model.architecture": "llama", "model.options": sizes}


def _combinations(method: str, rows: pd.DataFrame) -> str:
    """How many questions with unseen combinations a method answers, beside its own test's."""
    seen, unseen = (rows[rows["shift"] == name] for name in (WITHIN, COMBINATIONS))
    if unseen.empty:
        return ""
    said = (
        f"{method}: {percent(over_seeds(unseen))} of questions with unseen "
        f"combinations right, {percent(over_seeds(seen))} in distribution."
    )
    found = paired_interval(unseen, seen)
    if found is None:
        return said
    each = ", ".join(f"{100 * value:+.1f}" for value in by_seed(unseen, seen))
    said = f"{said} Unseen minus seen, by seed: {each} points."
    if not decided(found):
        return f"{said} The data do not decide whether unseen combinations cost it accuracy."
    if found.value > 0:
        return f"{said} It answers {size(found)} more of those with unseen combinations."
    return f"{said} Unseen combinations cost it {size(found)}."


def _lengths(rows: pd.DataFrame) -> str:
    """The most that any run answers at another length."""
    best = rows.loc[rows.accuracy.idxmax()]
    if best.accuracy == 0:
        return "At other lengths, no run answers any question right."
    return (
        f"At other lengths, no run answers more than {best.accuracy:.1%} right "
        f"({method_label(best.method)}, {best['shift']}, seed {best.seed})."
    )
