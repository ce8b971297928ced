"""How methods look in every figure, by what they declare and by their variants in a table."""

from typing import Any

import pandas as pd

from icotlib.registry import METHODS
from icotlib.reporting.results import NAMED, method_label

#: Colours of a method's further variants, and line styles by the order of variants.
FURTHER = ("#CC79A7", "#BBBBBB", "#DDCC77")
LINES = ("-", "--", ":", "-.")

#: Colours for the rows of a small table, in their order.
CYCLE = ("#882255", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#666666")

UNKNOWN = "#000000"

#: Colours and markers of the settings of a method that have a name of their own.
NAMED_LOOKS = {"pause_as_thought": ("#555555", "X"), "sim_cot": ("#E377C2", "*")}

#: What figures and pages call the arms of the study `stability`.
SCHEDULES = {
    "linear, smoothing and reset": "ICoT-SI (smoothing and reset)",
    "linear": "ICoT-SI without both",
    "linear, smoothing": "ICoT-SI without reset",
    "linear, reset": "ICoT-SI without smoothing",
    "adaptive": "ICoT-SI, adaptive",
    "rollback": "rollback in place of both",
    "longer stages": "ICoT-SI with longer stages",
    "all at once": "whole chain removed at once",
    "ICoT-SI, fillers": "fillers in place of chains",
    "ICoT-SI, shuffled chains": "chains of other questions",
    "the paper's own pace": "ICoT-SI at the paper's own pace",
    "No CoT, examples of that pace": "No CoT with as many examples as at that pace",
}


def schedule_label(arm: str) -> str:
    """What figures and pages call an arm of the study `stability`."""
    return SCHEDULES.get(arm, arm)


def arm_style(arm: str) -> dict[str, Any]:
    """Label, colour and marker of a study's arm: a method, or one of `NAMED`; hollow where a comma
    and what the study changes in it follow."""
    own, _, changed = arm.partition(",")
    method, _ = NAMED.get(own, (own, ""))
    color, marker = NAMED_LOOKS.get(own) or (color_of(method), marker_of(method))
    look = {"label": method_label(arm), "color": color, "marker": marker}
    return look | ({"mfc": "white"} if changed else {})


#: Variants that are not called as they are labelled: budgets are measured, on another machine.
VARIANTS = {"equal-seconds": "about equal seconds"}


def series_name(method: str, variant: str, between: str = "") -> str:
    """What the legend calls the runs of a method's variant."""
    text = VARIANTS.get(variant, variant.replace("-", " "))
    return method_label(method) + between + (f", {text}" if text else "")


def seeds_text(rows: pd.DataFrame, each: str = "") -> str:
    """How many seeds a line or a figure stands for, in words.

    Args:
        rows: with the column seed, or with run where each is of a seed.
        each: a column whose values may have unequal numbers of seeds: `3 to 5 seeds`.
    """
    if each:
        counts = rows.groupby(each).seed.nunique()
        if counts.nunique() > 1:
            return f"{counts.min()} to {counts.max()} seeds"
    n = rows["seed" if "seed" in rows else "run"].nunique()
    return f"{n} seeds" if n > 1 else "one seed"


#: What the budgets of the study `anytime` are called, beside that of its one model.
SPENT = {"whole": "as many examples", "fifth": "a fifth of the examples"}


def kinds_of(table: pd.DataFrame) -> pd.Series:
    """What each row of the study `anytime` is called: its kind, and its budget where a kind has
    several."""
    several = table.groupby("kind").budget.transform("nunique") > 1
    return table.kind.mask(several, table.kind + ", " + table.budget.replace(SPENT))


def color_of(method: str) -> str:
    """A method's colour; black for an unknown one."""
    known = METHODS.items()
    return known[method].color if method in known else UNKNOWN


def marker_of(method: str) -> str:
    """The shape of a method's points; a dot for an unknown one."""
    known = METHODS.items()
    return known[method].marker if method in known else "."


def is_baseline(method: str) -> bool:
    """Whether a method is drawn as a reference line."""
    known = METHODS.items()
    return method in known and known[method].baseline


def style_of(table: pd.DataFrame, method: str, variant: str) -> dict[str, Any]:
    """Colour, line style and marker of a method's variant beside the others in a table.

    Args:
        table: with columns method and variant.
    """
    variants = sorted(table[table.method == method].variant.unique())
    number = variants.index(variant)
    color = color_of(method)
    if number and not is_baseline(method):
        color = FURTHER[(number - 1) % len(FURTHER)]
    return {"color": color, "ls": LINES[number % len(LINES)], "marker": marker_of(method)}
