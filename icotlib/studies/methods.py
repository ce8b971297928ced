"""The methods of the field beside each other, on the same data, model, budget and evaluation: on
digits, and on graphs."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.evaluation.stage_model import StageModel
from icotlib.experiments.distillation import icot_kd
from icotlib.experiments.graphs import (
    ON_GRAPHS,
    OWN,
    TASKS,
    asks_for_graphs,
    asks_for_other_data,
    on_graphs,
)
from icotlib.experiments.latent import LATENT, REFERENCE
from icotlib.experiments.stepwise import explicit_cot, icot_si, no_cot, one_model
from icotlib.methods.latent.method import LatentMethod
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import about_arms, against_first, percent
from icotlib.reporting.figures.style import arm_style
from icotlib.reporting.speed import measure_speed
from icotlib.reporting.statistics import Sample, mean_interval, spent
from icotlib.studies.base import Member, Study, all_removed, register, still_writes
from icotlib.system.processes import torch_threads

#: The methods that get the reference's budget.
MATCHED: dict[str, Callable[..., RunConfig]] = {
    "no_cot": partial(no_cot, reference=REFERENCE),
    **LATENT,
}

#: What an arm is called that has the reference's examples, where the others have its seconds (on
#: digits), and that has its seconds, where the others have its examples (on graphs).
EXAMPLES, SECONDS = ", equal examples", ", equal seconds"

#: Methods are compared if their budgets differ by no more than this share.
NEAR = 0.05

#: Methods are compared if the tokens that they write for an answer differ by no more than this: of
#: published rows nothing else says whether they write steps.
AS_SHORT = 0.5

#: Milliseconds an answer are the median of so many rounds of so many questions, one at a time.
ROUNDS, QUESTIONS = 3, 20


@register
class Methods(Study):
    name = "methods"
    file = "methods"
    notebook = "18"
    question = (
        "How many unseen questions does each method of the field answer right after as many "
        "seconds of training, and after as many examples, and how long does an answer take?"
    )
    takes_arms = True
    seeds = (10, 11, 12)

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        on_digits = {} if asks_for_graphs(overrides) else _on_digits(preset, seed, overrides)
        if asks_for_other_data(overrides):
            return on_digits
        return on_digits | _on_graphs(preset, seed, overrides)

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        milliseconds = _milliseconds(members)
        of_run = {member.config.run_name: member for member in members}
        return pd.DataFrame(
            [
                _row(of_run[row.run], row, milliseconds)
                for rows in self.rows_by_arm(members).values()
                for row in rows.sort_values("seed").itertuples()
            ]
        )

    def arms_of(self, table: pd.DataFrame) -> pd.Series:
        graphs = table.task.str.startswith(TASKS)
        unit = table.budget.str.partition(" of ")[0]
        named = table.method.where(~graphs, table.method + ON_GRAPHS)
        named = named.where(graphs | (unit != "examples"), named + EXAMPLES)
        return named.where(~graphs | (unit != "seconds"), named + SECONDS)

    def joined(self, published: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        # All times of a method on a task are of one moment, whatever was measured when.
        of = table.set_index(["task", "method"]).milliseconds.groupby(level=[0, 1]).first()
        now = [of.get(key) for key in zip(published.task, published.method, strict=True)]
        times = pd.Series(now, published.index, dtype=float).fillna(published.milliseconds)
        return super().joined(published.assign(milliseconds=times), table)

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.accuracy_vs_milliseconds(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        last = self.rows_by_arm(members)
        samples, said = self.samples(last, table), []
        writes = {
            arm: still_writes(_label(arm), rows)
            for arm, rows in last.items()
            if not all_removed(rows)
        }
        for _, rows in table.groupby("task", sort=False):
            arms = dict(list(rows.groupby(self.arms_of(rows), sort=False)))
            said += _beside_reference(arms, samples, writes)
        return [*said, about_arms(table.groupby(self.arms_of(table)).seed.nunique())]


def _on_digits(preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
    """The arms on digits; where `train.steps` is set for all runs, each once."""
    seconds, examples = (
        {arm: make(preset, seed, overrides, budget) for arm, make in MATCHED.items()}
        for budget in ("seconds", "examples")
    )
    return {
        REFERENCE: icot_si(preset, seed, overrides),
        "one_model": one_model(preset, seed, overrides),
        "explicit_cot": explicit_cot(preset, seed, overrides),
        **_with_other_steps(seconds, examples),
        "icot_kd": icot_kd(preset, seed, overrides),
        **{arm + EXAMPLES: one for arm, one in examples.items()},
    }


def _on_graphs(preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
    """The arms on graphs: all with as many examples, and those to which the reference's seconds
    give more or fewer."""
    examples = {method: on_graphs(method, preset, seed, overrides) for method in OWN}
    seconds = {method: on_graphs(method, preset, seed, overrides, "seconds") for method in MATCHED}
    return {
        **{method + ON_GRAPHS: one for method, one in examples.items()},
        **{
            method + ON_GRAPHS + SECONDS: one
            for method, one in _with_other_steps(seconds, examples).items()
        },
    }


def _with_other_steps(
    configs: Mapping[str, RunConfig], than: Mapping[str, RunConfig]
) -> dict[str, RunConfig]:
    """The runs of one budget that another budget does not give as many steps."""
    return {name: one for name, one in configs.items() if one.train.steps != than[name].train.steps}


def without_budget(arm: str) -> str:
    """What an arm does, method and task, whatever its budget."""
    return arm.removesuffix(EXAMPLES).removesuffix(SECONDS)


def method_of(arm: str) -> str:
    """The method of an arm, whatever its budget and its task."""
    return without_budget(arm).removesuffix(ON_GRAPHS)


def budget_of(arm: str) -> str:
    """What an arm may spend: `own`, or the `seconds` or `examples` of the reference."""
    graphs = ON_GRAPHS in arm
    if method_of(arm) == REFERENCE or not (graphs or method_of(arm) in MATCHED):
        return "own"
    in_seconds = arm.endswith(SECONDS) if graphs else not arm.endswith(EXAMPLES)
    return f"{'seconds' if in_seconds else 'examples'} of {REFERENCE}"


def _beside_reference(
    groups: Mapping[str, pd.DataFrame], samples: Mapping[str, Sample], writes: Mapping[str, str]
) -> list[str]:
    """What each method has right on one task, and how its reference compares where budgets are
    equal and both answer without any step.

    Args:
        groups: rows of the table by arm; samples: of these arms and others.
        writes: of arms that still write steps, the sentence that says so.
    """
    first = next((arm for arm in groups if method_of(arm) == REFERENCE), None)
    said = _shares({arm: samples[arm] for arm in groups if budget_of(arm) == "own"})
    if first is not None and first in writes:
        said.append(writes[first])
        first = None
    for unit in ("seconds", "examples"):
        alone = {arm: samples[arm] for arm in groups if budget_of(arm) == f"{unit} of {REFERENCE}"}
        why = {}
        if first is not None:
            why = {
                arm: _not_compared(arm, groups[arm], groups[first], unit) or writes.get(arm, "")
                for arm in alone
            }
            equal = {_label(arm): alone.pop(arm) for arm, reason in why.items() if not reason}
            if equal:
                both = {_label(first): samples[first]} | equal
                said += against_first(f"with as many {unit}", both)
        said += [*_shares(alone), *filter(None, why.values())]
    return said


def _not_compared(arm: str, rows: pd.DataFrame, reference: pd.DataFrame, unit: str) -> str:
    """Why an arm is not compared with the reference; empty if it is."""
    share = spent(rows, reference, unit)
    if abs(share - 1) > NEAR:
        return f"{_label(arm)} took {share:.0%} of {_label(REFERENCE)}'s {unit}."
    written = rows.tokens.mean(), reference.tokens.mean()
    if abs(written[0] - written[1]) > AS_SHORT:
        return (
            f"{_label(arm)}: {written[0]:.1f} tokens written for an answer, {_label(REFERENCE)}: "
            f"{written[1]:.1f}; they are not compared."
        )
    return ""


def _label(arm: str) -> str:
    """What people call the method of an arm; on graphs it says so."""
    return str(arm_style(method_of(arm))["label"]) + (ON_GRAPHS if ON_GRAPHS in arm else "")


def _shares(samples: Mapping[str, Sample]) -> list[str]:
    """How much each of some arms has right."""
    return [
        f"{_label(arm)}: {percent(mean_interval(sample))} of unseen questions right."
        for arm, sample in samples.items()
    ]


def _milliseconds(members: Sequence[Member]) -> dict[str, float]:
    """Milliseconds an answer by arm, whatever its budget, measured side by side on one seed's
    models at their last stage: the time depends on method and task, and hardly on the weights."""
    runs = {without_budget(one.arm): one.run for one in reversed(members)}
    first = {method: StageModel.of(run) for method, run in runs.items()}
    with torch_threads(1):  # models this small lose by sharing their work
        speeds = measure_speed(first, examples=QUESTIONS, rounds=ROUNDS)
    return {arm: round(1000 / speed, 2) for arm, speed in speeds.items()}


def _row(member: Member, row: Any, milliseconds: dict[str, float]) -> dict[str, Any]:
    config, spec, places, passes = member.config, member.config.spec, 0, 1
    if issubclass(spec, LatentMethod):
        places = int(spec.places(config, row.chain_length, row.removed))
        passes = spec.passes(config, places)
    return {
        "task": config.task,
        "method": method_of(member.arm),
        "budget": budget_of(member.arm),
        "seed": member.seed,
        "rate": config.optim.matrix_rate,
        "examples": row.train_examples,
        "seconds": round(row.train_seconds, 1),
        "passes": passes,
        "latents": places,
        "tokens": row.tokens_mean,
        "milliseconds": milliseconds[without_budget(member.arm)],
        "accuracy": row.accuracy,
        "ci_low": row.ci_low,
        "ci_high": row.ci_high,
        "n": row.n_test,
    }
