"""Blocks of README and guide that are drawn from the tables of studies."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd

from icotlib import paths
from icotlib.publishing import published
from icotlib.publishing.blocks import BLOCKS, block, markdown
from icotlib.publishing.distillation_blocks import NO_COT_WIDE
from icotlib.publishing.study_tables import (
    EXACT_MATCH,
    by_group,
    each,
    examples,
    on_file,
    share_of,
    with_interval,
)
from icotlib.registry import STUDIES
from icotlib.reporting.figures.style import kinds_of, schedule_label
from icotlib.reporting.results import method_label
from icotlib.reporting.statistics import (
    SUCCESS,
    better_by_a_question,
    by_seed,
    mean_over_seeds,
    over_seeds,
)
from icotlib.system.wording import counted

#: The rows of the main study as pages show them: method, budget, and what they are called.
ROWS = (
    ("explicit_cot", "own", "Explicit CoT", "all"),
    ("icot_si", "own", "ICoT-SI", "none"),
    ("one_model", "own", "One model for all k", "none"),
    ("icot_kd", "own", "ICoT-KD", "none"),
    ("no_cot", "examples of icot_si", "No CoT, equal examples", "none"),
    ("no_cot", "seconds of icot_si", "No CoT, about equal seconds", "none"),
)

#: What the study of schedules calls ICoT-SI and the one model for all k.
OURS = ("linear, smoothing and reset", "one model for all k")

#: Its controls: no stages, and chains that say nothing.
CONTROLS = ("all at once", "ICoT-SI, fillers")

#: The head of a column that counts seeds.
REACHED = f"seeds that reach {SUCCESS:.0%}"

#: What it calls No CoT with the examples of the paper's own pace.
PACED = "No CoT, examples of that pace"


def _budget() -> pd.DataFrame:
    """The table of the main study."""
    return published.read("budget", "seed", "examples", "seconds", "accuracy", "n")


def _rows_of(table: pd.DataFrame, method: str, budget: str) -> pd.DataFrame:
    rows = table[(table.method == method) & (table.budget == budget)]
    return rows.sort_values("seed")


@block
def studies() -> str:
    """Every study with its question, the notebook that shows it, and its published table."""
    shown = []
    for name in sorted(STUDIES.names()):
        study = STUDIES.get(name)
        table = f"{study.file}.csv"
        there = (paths.FIGURES / table).is_file()
        pages = sorted(paths.NOTEBOOKS.glob(f"{study.notebook}_*.ipynb")) if study.notebook else []
        shown.append(
            {
                "study": f"`{name}`",
                "question": study.question,
                "notebook": ", ".join(f"[{page.stem[:2]}](../{page.name})" for page in pages),
                "table": f"[`{table}`](../../figures/{table})" if there else "not published",
            }
        )
    return markdown(shown)


@block
def headline() -> str:
    """The phenomenon in a few sentences."""
    table = _budget()
    implicit = _rows_of(table, "icot_si", "own")
    baselines = {
        unit: _rows_of(table, "no_cot", f"{unit} of icot_si") for unit in ("examples", "seconds")
    }
    reached = " and ".join(
        f"{with_interval(over_seeds(rows))} after {share_of(rows, implicit, unit)}"
        for unit, rows in baselines.items()
        if len(rows)
    )
    # Not as many as the one model, which stands between.
    reached += f" as {method_label('icot_si')}" if reached.endswith("as many seconds") else ""
    more = [_with_more(rows, implicit) for rows in (_no_cot_longer(), _no_cot_longest())]
    if any(more):
        reached += f"; {' and '.join(filter(None, more))}"
    one = over_seeds(_rows_of(table, "one_model", "own"))
    return (
        "On 4x2-digit multiplication, a small transformer whose steps were removed one token at a "
        f"time ({method_label('icot_si')}) answers {with_interval(over_seeds(implicit))} of unseen "
        "questions right without writing any step, and one model for all numbers of removed tokens "
        f"{with_interval(one)}: mean of {len(implicit)} seeds (95% interval). "
        f"{_unchanged_settings(implicit.seed)}{_controls()}Trained on answers alone, the same "
        f"model reaches {reached}."
    )


def _with_more(rows: pd.DataFrame, reference: pd.DataFrame) -> str:
    """What runs with more examples than a reference reach; empty where there are none."""
    if rows.empty:
        return ""
    times = f"{rows.examples.mean() / reference.examples.mean():.0f} times"
    return f"{counted(len(rows), 'seeds')} with {times} as many examples {rows.accuracy.mean():.1%}"


def _unchanged_settings(seeds: pd.Series) -> str:
    """What the runs of other seeds reach, which were trained last and once."""
    table = published.read("stability", "seed", "accuracy")
    late = table[~table.seed.isin(seeds) & table.arm.isin(OURS)]
    if late.empty:
        return ""
    first, last = int(late.seed.min()), int(late.seed.max())
    means = " and ".join(f"{late[late.arm == arm].accuracy.mean():.1%}" for arm in OURS)
    return f"Seeds {first} to {last}, trained after all settings were fixed, reach {means}. "


def _controls() -> str:
    """In how many seeds the task is learned without stages, and on chains that say nothing."""
    table = published.read("stability", "seed", "accuracy")
    reached = {
        str(arm): f"{(rows.accuracy >= SUCCESS).sum()} of {len(rows)}"
        for arm, rows in table.groupby("arm")
    }
    if not {*CONTROLS} <= reached.keys():
        return ""
    at_once, fillers = (reached[arm] for arm in CONTROLS)
    return (
        "With the whole chain removed at once, when the last token would go, "
        f"{at_once} seeds reach {SUCCESS:.0%}, with fillers in place of chains {fillers}, against "
        f"{reached[OURS[0]]}. "
    )


@block
def results() -> str:
    """The methods beside each other, over seeds."""
    table = _budget()
    shown = []
    for method, budget, name, written in ROWS:
        rows = _rows_of(table, method, budget)
        if rows.empty:
            continue
        shown.append(_result(name, written, rows))
    longer = _no_cot_longer()
    name = f"No CoT, as many examples as {method_label('icot_kd')}"
    return markdown([*shown, *([_result(name, "none", longer)] if len(longer) else [])])


def _result(name: str, written: str, rows: pd.DataFrame) -> dict[str, str]:
    return {
        "method": name,
        "steps written": written,
        EXACT_MATCH: with_interval(over_seeds(rows)),
        "each seed": each(rows),
        "training examples": examples(rows),
        "training seconds": f"{rows.seconds.mean():,.0f}",
    }


def _no_cot_longer() -> pd.DataFrame:
    """No CoT in the model of the main study, at the budget of distillation."""
    table = published.read("ablations", "seed", "examples", "seconds", "accuracy", "n")
    return table[table.arm == NO_COT_WIDE]


def _no_cot_longest() -> pd.DataFrame:
    """The same at the budget of the paper's own pace."""
    table = published.read("stability", "seed", "examples", "accuracy")
    return table[table.arm == PACED]


@block
def routing() -> str:
    """What routing by confidence gives at each share of questions that are asked again."""
    table = published.read("routing", "tokens", "accuracy", "n")
    kinds = table.rule.str.partition(",")[0]
    shown = []
    chosen, random = (
        table[kinds == kind].assign(point=lambda rows: rows.groupby("seed").cumcount())
        for kind in ("confidence", "random")
    )
    for point, rows in chosen.groupby("point"):
        others = random[random.point == point]
        gain = by_seed(rows, others).to_numpy(float)
        value, low, high = (100 * x for x in mean_over_seeds(gain))
        better = better_by_a_question(gain, int(rows.n.max()))
        shown.append(
            {
                "tokens a question": f"{rows.tokens.mean():.1f}",
                "by confidence": f"{rows.accuracy.mean():.2%}",
                "at random": f"{others.accuracy.mean():.2%}",
                "confidence minus random, points (95% interval over seeds)": (
                    f"{value:.2f} ({low:.2f} to {high:.2f})"
                ),
                "seeds in which confidence is better by a question or more": (
                    f"{better} of {len(gain)}"
                ),
            }
        )
    return markdown(shown)


@block
def shifts() -> str:
    """Accuracy in and out of distribution."""
    table = published.read("shifts", "accuracy", "n").dropna(subset="accuracy")
    names = list(dict.fromkeys(table["shift"]))
    shown = []
    for method, rows in table.groupby("method", sort=False):
        found = {name: with_interval(over_seeds(one)) for name, one in rows.groupby("shift")}
        own = {name: found.get(name, "-") for name in names}
        shown.append({"method": method_label(str(method))} | own)
    return markdown(shown)


@block
def auxiliary() -> str:
    """What a loss on running sums gives, beside none and its control."""
    columns: dict[str, Callable[..., Any]] = {
        "loss on": lambda rows: rows.loss.iloc[0],
        "weight": lambda rows: rows.weight.iloc[0],
        "training examples": examples,
        EXACT_MATCH: lambda rows: with_interval(over_seeds(rows)),
        "each seed": each,
    }
    return by_group(
        published.read("auxiliary", "seed", "examples", "accuracy", "n"), "loss", columns
    )


@block
def stability() -> str:
    """In how many seeds each schedule answers without any step."""
    table = published.read("stability", "seed", "examples", "accuracy")
    seeds = sorted(table.seed.unique().astype(int))
    columns: dict[str, Callable[..., Any]] = {
        "schedule": lambda rows: schedule_label(rows.arm.iloc[0]),
        REACHED: lambda rows: f"{(rows.success == 'True').sum()} of {len(rows)}",
        "lowest": lambda rows: f"{rows.accuracy.min():.1%}",
        f"each seed, from {seeds[0]}": each,
        "training examples": examples,
    }
    return by_group(table.assign(success=table.success.astype(str)), "arm", columns)


@block
def stages() -> str:
    """Accuracy at the end of each stage, a row for each arm and seed."""
    table = published.read("stages", "removed", "seed", "accuracy")
    shown = []
    for (arm, seed), rows in table.groupby(["arm", "seed"], sort=False):
        ends = {f"{row.removed:.0f}": f"{100 * row.accuracy:.1f}" for row in rows.itertuples()}
        shown.append({"removed": schedule_label(str(arm)), "seed": f"{seed:.0f}"} | ends)
    return markdown(shown)


@block
def levers() -> str:
    """Accuracy with one setting of the recipe changed at a time."""
    table = published.read("levers", "seed", "accuracy", "n")
    seeds = sorted(table.seed.unique().astype(int))
    columns: dict[str, Callable[..., Any]] = {
        "setting": lambda rows: rows.lever.iloc[0],
        "value": lambda rows: rows.value.iloc[0],
        EXACT_MATCH: lambda rows: with_interval(over_seeds(rows)),
        f"each seed, {seeds[0]} to {seeds[-1]}": each,
        REACHED: lambda rows: f"{(rows.accuracy >= SUCCESS).sum()} of {len(rows)}",
    }
    return by_group(table.assign(arm=table.lever + table.value), "arm", columns)


@block
def anytime() -> str:
    """Accuracy of one model for all k beside specialists, by the number of removed tokens."""
    table = published.read("anytime", "removed", "seed", "examples", "accuracy", "n")
    shown = []
    for removed, rows in table.groupby("removed"):
        found: dict[str, Any] = {"tokens removed": removed}
        for kind, own in rows.groupby(kinds_of(table)):
            found[f"{kind} ({examples(own)} examples)"] = with_interval(over_seeds(own))
        shown.append(found)
    return markdown(shown)


@block
def four_digits_file() -> str:
    """What each method answers of the published file of 4x4 digits."""
    return on_file("four_digits_file")


#: Studies whose sentences stand on a page, by the names of their files, each in the block
#: `NAME_summary`.
SAID = (
    "ablations",
    "anytime",
    "auxiliary",
    "budget",
    "das",
    "depth",
    "four_digits",
    "levers",
    "probing",
    "quarrel",
    "routing",
    "shifts",
    "stability",
    "stages",
    "thoughts",
)


def _said(name: str) -> str:
    """The sentences of a published study."""
    return "\n".join(f"- {one}" for one in published.words(name))


BLOCKS.update({f"{name}_summary": partial(_said, name) for name in SAID})
