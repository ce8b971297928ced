"""Blocks of README and guide that are drawn from the tables of studies."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from icotlib.publishing import published
from icotlib.publishing.blocks import block, markdown
from icotlib.reporting.figures.style import arm_style, schedule_label
from icotlib.reporting.results import method_label
from icotlib.reporting.statistics import Interval, mean_over_seeds, over_seeds

#: The rows of the main study as pages show them: method, budget, and what they are called.
ROWS = (
    ("explicit_cot", "own", "Explicit CoT", "all"),
    ("icot_si", "own", "ICoT-SI", "none"),
    ("one_model", "own", "One model for all k", "none"),
    ("icot_kd", "own", "ICoT-KD", "none"),
    ("no_cot", "examples of icot_si", "No CoT, equal examples", "none"),
    ("no_cot", "seconds of icot_si", "No CoT, about equal seconds", "none"),
)

#: What the column of an accuracy over seeds is called.
MATCH = "exact match, mean (95% interval)"

#: Budgets are called equal if they differ by no more than this share.
EQUAL = 0.02


def _read(name: str, *numbers: str) -> pd.DataFrame:
    """A published table, with these columns as numbers."""
    table = published.read(name)
    return table.assign(**{column: pd.to_numeric(table[column]) for column in numbers})


def _budget() -> pd.DataFrame:
    """The table of the main study."""
    return _read("budget", "seed", "examples", "seconds", "accuracy", "n")


def _each(rows: pd.DataFrame) -> str:
    """The accuracy of each seed, in percent, in the order of the seeds."""
    return ", ".join(f"{100 * value:.1f}" for value in rows.sort_values("seed").accuracy)


def _by_group(table: pd.DataFrame, group: str, columns: dict[str, Callable[..., Any]]) -> str:
    """A table with a row for each group, in the order in which they occur.

    Args:
        columns: what each column is called, and its text, made of a group's rows.
    """
    return markdown(
        {name: text(rows) for name, text in columns.items()}
        for _, rows in table.groupby(group, sort=False)
    )


def _rows_of(table: pd.DataFrame, method: str, budget: str) -> pd.DataFrame:
    rows = table[(table.method == method) & (table.budget == budget)]
    return rows.sort_values("seed")


def _share(rows: pd.DataFrame, reference: pd.DataFrame, unit: str) -> str:
    """How much of a reference's examples or seconds was spent, in words."""
    share = rows[unit].mean() / reference[unit].mean()
    same = f"as many {unit}"
    return same if abs(share - 1) <= EQUAL else f"{share:.0%} of {method_label('icot_si')}'s {unit}"


def _words(found: Interval) -> str:
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


@block
def headline() -> str:
    """The phenomenon in two sentences."""
    table = _budget()
    implicit = _rows_of(table, "icot_si", "own")
    baselines = {
        unit: _rows_of(table, "no_cot", f"{unit} of icot_si") for unit in ("examples", "seconds")
    }
    reached = " and ".join(
        f"{_words(over_seeds(rows))} after {_share(rows, implicit, unit)}"
        for unit, rows in baselines.items()
        if len(rows)
    )
    one = over_seeds(_rows_of(table, "one_model", "own"))
    return (
        "On 4x2-digit multiplication, a small transformer whose steps were removed one token at a "
        f"time ({method_label('icot_si')}) answers {_words(over_seeds(implicit))} of unseen "
        "questions right without writing any step, and one model for all numbers of removed tokens "
        f"{_words(one)}: mean of {len(implicit)} seeds (95% interval). Trained on "
        f"answers alone, the same model reaches {reached}."
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
        shown.append(
            {
                "method": name,
                "steps written": written,
                MATCH: _words(over_seeds(rows)),
                "each seed": _each(rows),
                "training examples": _examples(rows),
                "training seconds": f"{rows.seconds.mean():,.0f}",
            }
        )
    return markdown(shown)


@block
def routing() -> str:
    """What routing by confidence gives at each share of questions that are asked again."""
    table = _read("routing", "tokens", "accuracy", "n")
    kinds = table.rule.str.partition(",")[0]
    shown = []
    chosen, random = (
        table[kinds == kind].assign(point=lambda rows: rows.groupby("seed").cumcount())
        for kind in ("confidence", "random")
    )
    for point, rows in chosen.groupby("point"):
        other = random[random.point == point].set_index("seed").accuracy
        mine = rows.set_index("seed").accuracy
        gain, question = mine - other, 1 / rows.n.max()
        value, low, high = (100 * x for x in mean_over_seeds(gain.to_numpy(float)))
        better = int((gain > 0.999 * question).sum())
        shown.append(
            {
                "tokens a question": f"{rows.tokens.mean():.1f}",
                "by confidence": f"{mine.mean():.2%}",
                "at random": f"{other.mean():.2%}",
                "confidence less random, points (95% interval)": (
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
    table = _read("shifts", "accuracy", "n").dropna(subset="accuracy")
    names = list(dict.fromkeys(table["shift"]))
    shown = []
    for method, rows in table.groupby("method", sort=False):
        found = {name: _words(over_seeds(one)) for name, one in rows.groupby("shift")}
        own = {name: found.get(name, "-") for name in names}
        shown.append({"method": method_label(str(method))} | own)
    return markdown(shown)


@block
def probing() -> str:
    """Every chain token: whether it can be decoded, and whether it is used, over seeds."""
    shares = {name: name for name in ("probe", "control", "patching", "steering")}
    shares |= {"control": "best control", "steering_random": "random"}
    table = _read("probing", "layer", *shares)
    shown = []
    for (model, token), rows in table.groupby(["model", "variable"], sort=False):
        cells = zip(rows.layer.astype(int), rows.position, strict=True)
        where = ", ".join(f"{layer} `{position}`" for layer, position in cells)
        what = {"model": model, "token": token, "decoded best at": where}
        percents = {name: f"{100 * rows[column].mean():.0f}" for column, name in shares.items()}
        often = {
            f"{name} in": f"{(rows[name].astype(str) == 'True').sum()} of {len(rows)}"
            for name in ("decodable", "used")
        }
        shown.append(what | percents | often)
    return markdown(shown)


@block
def probing_summary() -> str:
    """What the study of hidden states found, in sentences."""
    return _listed("probing")


@block
def das() -> str:
    """How many answers follow when a learned subspace is exchanged: each variable, by model."""
    table = _read("das", "accuracy", "control")
    models = list(dict.fromkeys(table.model))
    shown = []
    for variable, rows in table.groupby("variable", sort=False):
        means = rows.groupby("model").accuracy.mean()
        followed = {model: f"{100 * means[model]:.1f}" for model in models}
        random = {"random subspaces": f"{100 * rows.control.mean():.1f}"}
        shown.append({"variable": variable} | followed | random)
    return markdown(shown)


@block
def das_summary() -> str:
    """What the study of exchanged subspaces found, in sentences."""
    return _listed("das")


@block
def shifts_summary() -> str:
    """What the study of shifts found, in sentences."""
    return _listed("shifts")


@block
def quarrel() -> str:
    """What one curriculum gives with different contents of the latent places."""
    table = _read("quarrel", "seed", "accuracy", "n")
    table = table[table.split == "in distribution"].sort_values("seed", kind="stable")
    recycled = table[table.content == "recycled"].set_index("seed").accuracy

    def less(rows: pd.DataFrame) -> str:
        apart = (recycled - rows.set_index("seed").accuracy).dropna()
        return ", ".join(f"{100 * value:+.1f}" for value in apart) if apart.any() else ""

    columns: dict[str, Callable[..., Any]] = {
        "places hold": lambda rows: rows.content.iloc[0],
        "forward passes": lambda rows: rows.passes.iloc[0],
        MATCH: lambda rows: _words(over_seeds(rows)),
        "each seed": _each,
        "accuracy with recycled states less this row's, points by seed": less,
    }
    return _by_group(table, "content", columns)


@block
def methods() -> str:
    """The methods of the field beside each other, the most accurate one of a budget first."""
    table = _read(
        "methods", "seed", "examples", "seconds", "milliseconds", "tokens", "accuracy", "n"
    )
    order = ["task", "budget", "seed"]
    table = table.sort_values(order, ascending=[False, False, True], kind="stable")
    shown = []
    for (task, budget), rows in table.groupby(["task", "budget"], sort=False):
        best = rows.groupby("method").accuracy.mean().sort_values(ascending=False, kind="stable")
        for method in best.index:
            own = rows[rows.method == method]
            first, unit = own.iloc[0], str(budget).partition(" ")[0]
            shown.append(
                {
                    "task": task,
                    "budget": unit if unit == "own" else f"equal {unit}",
                    "method": arm_style(method)["label"],
                    "latent places": first.latents,
                    "passes before the answer": first.passes,
                    "tokens written": f"{own.tokens.mean():.1f}",
                    "ms an answer": f"{first.milliseconds:.1f}",
                    "training examples": _examples(own),
                    "training seconds": f"{own.seconds.mean():,.0f}",
                    MATCH: _words(over_seeds(own)),
                    "each seed": _each(own),
                }
            )
    return markdown(shown)


@block
def auxiliary() -> str:
    """What a loss on running sums gives, beside none and its control."""
    columns: dict[str, Callable[..., Any]] = {
        "loss on": lambda rows: rows.loss.iloc[0],
        "weight": lambda rows: rows.weight.iloc[0],
        "training examples": _examples,
        MATCH: lambda rows: _words(over_seeds(rows)),
        "each seed": _each,
    }
    return _by_group(_read("auxiliary", "seed", "examples", "accuracy", "n"), "loss", columns)


@block
def stability() -> str:
    """In how many seeds each schedule answers without any step."""
    table = _read("stability", "seed", "examples", "accuracy")
    seeds = sorted(table.seed.unique().astype(int))
    columns: dict[str, Callable[..., Any]] = {
        "schedule": lambda rows: schedule_label(rows.arm.iloc[0]),
        "seeds that reach 95%": lambda rows: f"{(rows.success == 'True').sum()} of {len(rows)}",
        "lowest": lambda rows: f"{rows.accuracy.min():.1%}",
        f"each seed, {seeds[0]} to {seeds[-1]}": _each,
        "training examples": _examples,
    }
    return _by_group(table.assign(success=table.success.astype(str)), "arm", columns)


@block
def levers() -> str:
    """Accuracy with one setting of the recipe changed at a time."""
    table = _read("levers", "seed", "accuracy", "n")
    seeds = sorted(table.seed.unique().astype(int))
    columns: dict[str, Callable[..., Any]] = {
        "setting": lambda rows: rows.lever.iloc[0],
        "value": lambda rows: rows.value.iloc[0],
        MATCH: lambda rows: _words(over_seeds(rows)),
        f"each seed, {seeds[0]} to {seeds[-1]}": _each,
        "seeds that reach 95%": lambda rows: f"{(rows.accuracy >= 0.95).sum()} of {len(rows)}",
    }
    return _by_group(table.assign(arm=table.lever + table.value), "arm", columns)


@block
def levers_summary() -> str:
    """What the study of these settings says."""
    return _listed("levers")


def _listed(name: str) -> str:
    """The sentences of a published table's study."""
    return "\n".join(f"- {one}" for one in published.words(name))


def _examples(rows: pd.DataFrame) -> str:
    return f"{rows.examples.mean():,.0f}"
