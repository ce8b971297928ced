"""Data, baselines, the removal of chain tokens, and all finished runs, in sentences."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pandas as pd

from icotlib.config import RunConfig
from icotlib.data.layout import EncodedBatch
from icotlib.data.run_data import RunData
from icotlib.reporting.conclusions.sentences import (
    Conclusion,
    about_arms,
    about_seeds,
    against_first,
    capital,
    decided,
    difference,
    enough_seeds,
    listed,
    percent,
    points,
    size,
)
from icotlib.reporting.results import final_rows, method_label, results_table
from icotlib.reporting.samples import sample_of
from icotlib.reporting.statistics import (
    Interval,
    Sample,
    difference_interval,
    mean_interval,
)
from icotlib.runs import Run

#: Training batches in which the conclusion about data looks for questions of the other sets.
LOOKED_INTO = 20


def data(config: RunConfig) -> Conclusion:
    """What a model sees, and what it never sees."""
    run_data = RunData(config)
    test, corpus = run_data.test, run_data.corpus
    whole, chain, question = (
        int(one.double().median()) for one in (test.total, test.chain, test.question)
    )
    held_out = _questions(run_data.valid) | _questions(test)
    batches = [run_data.batches(step) for step in range(LOOKED_INTO)]
    seen = sum(len(one) for one in batches)
    asked = set[tuple[int, ...]]().union(*map(_questions, batches))
    met = len(asked & held_out)
    return Conclusion(
        [
            f"A model sees {whole} tokens for a question of {config.task} (median): {question} of "
            f"question and separator, then {chain} of chain and {whole - question - chain} to the "
            f"end of the answer, which carry loss.",
            f"All {chain} chain tokens can be removed, and {whole - chain} tokens are left then.",
            f"It never sees the {len(corpus.valid):,} validation and {len(corpus.test):,} test "
            f"questions: {met or 'none'} of the first {seen:,} training examples asks one of them.",
        ]
    )


def _questions(batch: EncodedBatch) -> set[tuple[int, ...]]:
    """The questions of a batch, as tokens."""
    rows = zip(batch.ids.tolist(), batch.question.tolist(), strict=True)
    return {tuple(ids[:length]) for ids, length in rows}


# --- models that lose their chain --------------------------------------------------------------


def tour(run: Run) -> Conclusion:
    """What implicit chain of thought is, on the smallest model."""
    first, last = _ends(results_table([run]))
    before, after = first.tokens_mean.mean(), last.tokens_mean.mean()
    written = (
        f"With its chain removed the same model writes {after:.1f} tokens on average instead of "
        f"{before:.1f}: what it computes between question and answer is implicit."
    )
    return Conclusion([*_kept(run), written, about_seeds(1)])


def stepwise(runs: Sequence[Run]) -> Conclusion:
    """Whether models keep their accuracy when their chain is removed: of each run, and between each
    and the next."""
    said = [sentence for run in runs for sentence in _kept(run)]
    ends = {_name(run): sample_of(final_rows(results_table([run]))) for run in runs}
    for (first, one), (second, other) in pairwise(ends.items()):
        said.append(difference(first, second, difference_interval(one, other)))
    return Conclusion([*said, about_seeds(1)])


def own(run: Run) -> Conclusion:
    """The same for a run on one's own data."""
    return Conclusion([*_kept(run), about_seeds(1)])


def _name(run: Run) -> str:
    label = method_label(run.config.method)
    return label if label[1:2].isupper() else label[0].lower() + label[1:]


def _ends(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first and the last stage of a results table."""
    stages = table.removed
    return table[stages == stages.min()], table[stages == stages.max()]


def _kept(run: Run) -> list[str]:
    """What a run answers with the least and with the most removed, and the difference."""
    table = results_table([run])
    first, last = _ends(table)
    name, sample = capital(_name(run)), sample_of(last)
    most = last.iloc[0]
    removed = f"{most.removed} of {most.chain_length} chain {most.unit} removed"
    questions = f"{most.n_test:,} unseen questions right"
    after = percent(mean_interval(sample))
    if first.removed.equals(last.removed):
        return [f"{name} answers {after} of {questions} with {removed}."]
    least = first.removed.iloc[0]
    whole = "the whole chain written" if least == 0 else f"{least} removed"
    before = percent(mean_interval(sample_of(first)))
    lost = difference_interval(sample, sample_of(first))
    went_on = most.train_examples > first.train_examples.iloc[0]
    if went_on:  # weights of its own at every stage
        whole += f" (when removal began, after {first.train_examples.iloc[0]:,} examples)"
        removed += f" (at the end, after {most.train_examples:,})"
    return [
        f"{name} answers {before} of {questions} with {whole}, and {after} with {removed}.",
        _cost(lost, went_on),
    ]


def _cost(lost: Interval, went_on: bool) -> str:
    """Whether removal cost accuracy.

    Args:
        lost: accuracy with the most removed, less that with the least removed.
        went_on: whether training went on in between.
    """
    if not decided(lost):
        return (
            f"The data do not decide whether removal costs accuracy: it changes by {points(lost)}."
        )
    if lost.value < 0:
        return f"Removal costs {size(lost)}."
    more = ", while training went on" if went_on else ""
    return f"Accuracy is higher without the steps, by {size(lost)}{more}."


def baselines(runs: Mapping[str, Run]) -> Conclusion:
    """How much written steps help: the first run beside the others."""
    rows = {name: final_rows(results_table([run])) for name, run in runs.items()}
    samples = {name: sample_of(one) for name, one in rows.items()}
    said = []
    for name, one in rows.items():
        last, found = one.iloc[0], mean_interval(samples[name])
        said.append(
            f"{name}: {percent(found)} of {last.n_test:,} unseen questions right, after "
            f"{last.train_examples:,} examples of {last.train_tokens:,} tokens."
        )
    first, *others = samples
    said += [
        difference(first, name, difference_interval(samples[first], samples[name]))
        for name in others
    ]
    return Conclusion([*said, about_seeds(1)])


def schedule(runs: Mapping[str, Run]) -> Conclusion:
    """What each part of the recipe does: the first run is the recipe, the others change a part."""
    tables = {name: results_table([run]) for name, run in runs.items()}
    samples = {name: sample_of(_ends(table)[1]) for name, table in tables.items()}
    last = _ends(next(iter(tables.values())))[1].iloc[0]
    what = f"with {last.removed} of {last.chain_length} {last.unit} removed"
    said = against_first(what, samples)
    falls: dict[str, list[str]] = {}
    for name, table in tables.items():
        falls.setdefault(_fall(table), []).append(f"“{name}”")
    said += [f"With {listed(names)}, {fall}." for fall, names in falls.items()]
    return Conclusion([*said, about_seeds(1)])


def _fall(table: pd.DataFrame) -> str:
    """What failure looks like: where accuracy falls below half of that at the start."""
    rows = table.sort_values("removed")
    start = rows.accuracy.iloc[0]
    fallen = rows[rows.accuracy < start / 2]
    if start == 0:
        return "no question was right with the whole chain, so that nothing can be lost"
    if fallen.empty:
        return "no stage ended below half of its accuracy at the start"
    first = fallen.removed.iloc[0]
    where = f"{first} removed is the first stage that ended below half of its start"
    later = rows[rows.removed > first]
    if later.empty:
        return f"{where}, and the last one"
    below = int((later.accuracy < start / 2).sum())
    if 0 < below < len(later):
        return f"{where}; of the {len(later)} later ones, {below} ended below it too"
    return f"{where}, and later ones {'did not recover' if below else 'recovered'}"


def removal_curve(run: Run, table: pd.DataFrame) -> Conclusion:
    """What a removed token costs and buys, for a run with one model for every stage.

    Args:
        table: of `results_table`, with its speed (`record_speed`).
    """
    rows = table[table.run == run.name].sort_values("removed")
    by_stage = {int(stage): sample_of(one) for stage, one in rows.groupby("removed")}
    drops = {
        stage: difference_interval(by_stage[stage], by_stage[before])
        for before, stage in pairwise(by_stage)
    }
    first, last = rows.iloc[0], rows.iloc[-1]
    said = _kept(run)
    if drops:
        said.append(_largest_drop(drops))
    if pd.notna(first.relative_speed) and pd.notna(last.relative_speed):
        faster = last.relative_speed / first.relative_speed
        said.append(
            f"It writes {last.tokens_mean:.1f} tokens a question instead of "
            f"{first.tokens_mean:.1f}, and answers {faster:.1f} times as many questions in the "
            f"same time, one after the other: {last.relative_speed:.2f} times those of No CoT "
            f"instead of {first.relative_speed:.2f} (measured once, without an interval)."
        )
    return Conclusion([*said, about_seeds(1)])


def _largest_drop(drops: Mapping[int, Interval]) -> str:
    """Which removed token costs most; the largest of many is large by chance too."""
    costly = {stage: one for stage, one in drops.items() if decided(one) and one.value < 0}
    if not costly:
        return f"None of its {len(drops)} removals by itself costs accuracy that the data can show."
    stage = min(costly, key=lambda one: costly[one].value)
    found = costly[stage]
    return (
        f"The costliest of its {len(drops)} removals is number {stage}: {size(found)}; chosen as "
        "the largest of them, that is likely too much."
    )


# --- all runs ----------------------------------------------------------------------------------


def results(table: pd.DataFrame) -> Conclusion:
    """The highest accuracy of each task, and whether the data tell it from the next.

    The highest of many is higher by chance too, and the sentences say so.

    Args:
        table: of `results_table`.
    """
    if table.empty:
        return Conclusion(["No run is finished."])
    last = final_rows(table)
    said = [_best(str(task), rows) for task, rows in last.groupby("task", sort=False)]
    over = about_arms(last.groupby("configuration").seed.nunique())
    return Conclusion([*said, over])


def _best(task: str, rows: pd.DataFrame) -> str:
    groups = [one.drop_duplicates("seed") for _, one in rows.groupby("configuration")]
    groups.sort(key=lambda one: -one.accuracy.mean())
    samples: list[Sample] = [sample_of(one) for one in groups[:2]]
    names = [_configuration(one) for one in groups[:2]]
    seeds = len(groups[0])
    which = f"the highest of {len(groups)} configurations" if len(groups) > 1 else "the only one"
    said = f"On {task}, {which} is {names[0]} with "
    said += f"{percent(mean_interval(samples[0]))} of unseen questions right "
    said += f"({seeds} seeds)" if seeds > 1 else "(one seed)"
    if len(groups) < 2:
        return f"{said}."
    found = difference_interval(samples[0], samples[1])
    if min(one.seeds for one in samples) < enough_seeds(samples):
        return f"{said}; the next is {names[1]}, with too few seeds for a comparison."
    if decided(found):
        chosen = (
            f". Chosen as the highest of {len(groups)}, it is likely too high"
            if len(groups) > 2
            else ""
        )
        return f"{said}, above the next, {names[1]}, by {points(found)}{chosen}."
    return (
        f"{said}; the data do not tell it from the next, {names[1]}: {points(found)} between them."
    )


def _configuration(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    left = f"{first.removed} of {first.chain_length} {first.unit} removed"
    return ", ".join(filter(None, [method_label(first.method), first.variant, left]))
