"""How often stepwise internalization succeeds, by its schedule, at equal examples.

Twins that differ in their seed alone can part ways while tokens are removed. The paper smooths the
removal and clears the optimizer's moments against that (Section 3.2); here each is left out, and
other schedules stand beside them. A control removes the whole chain at once, where the others have
removed their last token: the difference is what the stages between give. Two more lose chains that
say nothing of their questions: the difference is what the chains say. The paper's own pace, which
takes seven times the examples, has fewer seeds, and beside it a No CoT model of as many examples.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.errors import ConfigError
from icotlib.experiments.stepwise import REMOVAL, icot_si, no_cot, one_model, paper_pace
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import capital, percent
from icotlib.reporting.figures.style import schedule_label
from icotlib.reporting.results import learning_table
from icotlib.reporting.statistics import ALPHA, SUCCESS, Interval, fisher, success_rate
from icotlib.runs import Run
from icotlib.studies.base import Member, Study, chain_tokens, distinct, of_arm, register
from icotlib.studies.levers import changes_of
from icotlib.studies.states import WITHOUT_CONTENT
from icotlib.system.wording import counted

#: The match that the validation set must show for `seconds_to_90`.
LEARNED = 0.9

#: The schedule that others are compared with: the paper's, with both of its remedies.
PAPERS = "linear, smoothing and reset"

#: The schedule without its remedies.
BARE = {"removal.smoothing": None, "removal.reset_optimizer": False}

#: The arms whose schedule differs from it in one setting, as that lever: both studies share their
#: runs. `longer stages` takes twice the steps for each token, and leaves fewer behind the last
#: removal.
LEVERS = {
    "linear, smoothing": ("optimizer reset", "none"),
    "linear, reset": ("smoothing", "none"),
    "longer stages": ("pace", "half"),
}

#: The control of stages: the whole chain until the others lose their last token, then none of it.
AT_ONCE = "all at once"

#: Every schedule, in the order of the figure.
SCHEDULES = (
    PAPERS,
    "linear",
    "linear, smoothing",
    "linear, reset",
    "adaptive",
    "rollback",
    "longer stages",
    AT_ONCE,
)

#: The paper's own pace, and No CoT with as many examples.
OWN_PACE, NO_COT = "the paper's own pace", "No CoT, examples of that pace"

#: The arms that see more examples than the others.
MORE = {OWN_PACE, NO_COT}

#: The share of its steps in which its rate falls: those behind the last removal.
LAST_STAGE = 0.0735

#: Those whose stages are not given by a pace.
NO_PACE = ("adaptive", "rollback", OWN_PACE)

#: Steps at a stage of the adaptive schedule at most, as multiples of a stage of the linear one.
MOST = 2


@register
class Stability(Study):
    name = "stability"
    file = "stability"
    notebook = "22"
    takes_arms = True
    question = (
        "In how many seeds does stepwise internalization answer without any step, and which "
        "schedule fails least?"
    )
    seeds = tuple(range(10, 18))
    apart = ("removal.chains",)
    fewer: ClassVar = dict.fromkeys((*WITHOUT_CONTENT, OWN_PACE, NO_COT), 3)

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        if any(name in overrides and overrides[name] == off for name, off in BARE.items()):
            raise ConfigError(
                "the study stability compares the paper's schedule, which has smoothing and "
                "optimizer reset, with others: neither can be switched off for all of them"
            )
        # Chains of data from files differ in length.
        fixed = "data.path" not in overrides
        named = [arm for arm in SCHEDULES if fixed or arm != AT_ONCE]
        changes = {arm: _changes(arm, preset, overrides) for arm in named}
        made = {
            arm: icot_si(preset, seed, of_arm(_read_by(arm, overrides), one))
            for arm, one in changes.items()
        }
        one = one_model(preset, seed, overrides)
        made = distinct(made, PAPERS) | {"one model for all k": one}
        made |= {
            arm: icot_si(preset, seed, of_arm(overrides, changes))
            for arm, changes in WITHOUT_CONTENT.items()
        }
        # `paper` has no other pace, and at `smoke` such a run would take as long as at `fast`.
        if preset != "fast":
            return made
        paced = own_pace(seed, overrides)
        return made | {OWN_PACE: paced, NO_COT: _as_many_examples(paced, seed, overrides)}

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        rows, runs = [], {member.run.name: member.run for member in members}
        for arm, table in self.rows_by_arm(members).items():
            for row in table.itertuples():
                removed_all = row.removed == row.chain_length
                rows.append(
                    {
                        "arm": arm,
                        "seed": row.seed,
                        "accuracy": row.accuracy,
                        "success": bool(removed_all and row.accuracy >= SUCCESS),
                        "examples": row.train_examples,
                        "seconds": round(row.train_seconds, 1),
                        "seconds_to_90": _seconds_to_90(runs[row.run]),
                    }
                )
        return pd.DataFrame(rows)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.success_by_arm(table, SUCCESS)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        groups = dict(list(table.groupby("arm", sort=False)))
        said = [_success(arm, rows) for arm, rows in groups.items()]
        for arm in groups:
            reference = OWN_PACE if arm in MORE else PAPERS  # of as many examples
            if reference in groups and arm != reference:
                said.append(_compared(arm, reference, groups))
        return said


def own_pace(seed: int, overrides: Mapping[str, Any]) -> RunConfig:
    """ICoT-SI at the paper's pace, with the model and the data of `fast`."""
    changes = {"label": "paper-pace-decay", "optim.decay_fraction": LAST_STAGE}
    return paper_pace("fast", seed, of_arm(_read_by(OWN_PACE, overrides), changes))


def _as_many_examples(paced: RunConfig, seed: int, overrides: Mapping[str, Any]) -> RunConfig:
    """No CoT with the examples of a run at the paper's pace."""
    examples = paced.train.steps * paced.train.batch_size
    batch = no_cot("fast", seed, overrides).train.batch_size
    same = of_arm(overrides, {"label": "paper-pace-examples", "train.steps": examples // batch})
    return no_cot("fast", seed, same)


def _read_by(arm: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides that an arm reads: some schedules have no pace."""
    pace = ("removal.pace", "removal.steps_per_epoch") if arm in NO_PACE else ()
    return {name: value for name, value in overrides.items() if name not in pace}


def _changes(arm: str, preset: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the paper's schedule, and the label that names the arm's runs."""
    if arm in LEVERS:
        return changes_of(LEVERS[arm], preset, overrides)
    if arm == "linear":
        return {"label": "bare"} | BARE
    recipe = {**REMOVAL[preset], **overrides}
    stage = recipe["removal.steps_per_epoch"] / recipe["removal.pace"]
    if arm == AT_ONCE:
        chain = chain_tokens(icot_si(preset, 0, overrides))
        last = round(recipe["removal.warmup_steps"] + chain * stage)
        return {"label": "at-once", "removal.remove_all_at": 0, "removal.warmup_steps": last}
    if arm == "rollback":
        # In the place of both of the paper's remedies: is going back one?
        steps = {"removal.stage_steps": max(1, round(stage))}
        return {"label": "rollback", "removal.schedule": "rollback"} | BARE | steps
    if arm == "adaptive":
        most = {"removal.max_steps_per_stage": max(1, round(MOST * stage))}
        # Behind a true chain nearly every answer is right, whatever the model could write itself.
        schedule = {"removal.schedule": "adaptive", "removal.measure": "all"}
        return {"label": "adaptive"} | schedule | most
    return {}


def _seconds_to_90(run: Run) -> float:
    """Training seconds until so many validation answers were right with everything removed; NaN
    where they never were."""
    seen = learning_table([run])
    learned = seen[(seen.removed == seen.chain_length) & (seen.valid_match >= LEARNED)]
    return round(float(learned.seconds.min()), 1) if len(learned) else float("nan")


def _success(arm: str, rows: pd.DataFrame) -> str:
    reached, rate = f"{rows.success.sum()} of {counted(len(rows), 'seeds')}", percent(_rate(rows))
    return (
        f"{capital(schedule_label(arm))}: {reached} reach {SUCCESS:.0%} with every step removed "
        f"({rate}); the lowest is {rows.accuracy.min():.1%}."
    )


def _rate(rows: pd.DataFrame) -> Interval:
    return success_rate(rows.success.to_numpy(float), 1.0)


def _compared(arm: str, reference: str, groups: Mapping[str, pd.DataFrame]) -> str:
    """Fisher's exact test of an arm's successes beside those of another."""
    first, second = (np.asarray(groups[one].success, dtype=float) for one in (reference, arm))
    _, _, p, least = fisher(first, second, 1.0)
    both = f"{schedule_label(arm)} and {schedule_label(reference)}"
    if least > ALPHA:
        return f"Too few seeds to compare {both}."
    tested = f"(Fisher's exact test, p = {p:.2g})."
    if p < ALPHA:
        return f"{capital(both)} succeed in different numbers of seeds {tested}"
    return f"Undecided between {both} {tested}"
