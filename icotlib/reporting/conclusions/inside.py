"""Probes, interventions, attention and geometry, in sentences."""

from collections.abc import Mapping, Sequence

import pandas as pd

from icotlib.reporting.conclusions.sentences import (
    Conclusion,
    about_seeds,
    capital,
    listed,
    percent,
)
from icotlib.reporting.statistics import Interval

#: Accuracy that a state may cost and still count as one that can be replaced.
IDLE = 0.02


def probing(tables: Mapping[str, pd.DataFrame], numbers: Mapping[str, pd.DataFrame]) -> Conclusion:
    """Whether steps that are no longer written can be decoded, and what can be decoded anyway.

    Args:
        tables: of `interp.probing_table`, by model.
        numbers: of `interp.best_positions` for intermediate numbers, by model.
    """
    said = []
    for name, rows in tables.items():
        said += _decoded(name, rows)
        best = numbers.get(name)
        if best is not None and len(best):
            said.append(
                f"Intermediate numbers of {name}: median R² {best.score.median():.2f} at the best "
                f"state, and {best.control_score.median():.2f} from the best control there."
            )
    return Conclusion([*said, about_seeds(1)])


def _decoded(name: str, rows: pd.DataFrame) -> list[str]:
    """What probes read in one model, beside the best control, and what is used of it."""
    total, both = len(rows), int((rows.decodable & rows.used).sum())
    top = rows.loc[rows.selectivity.idxmax()]
    often = rows.control.value_counts().index[0]
    return [
        f"{name}: of {total} chain tokens, {rows.decodable.sum()} can "
        f"be decoded beyond every control (the whole interval lies 5 points above the best one), "
        f"{int(rows.used.sum())} are used by the answer, and {both} both.",
        f"The clearest is {top.variable}, in layer {top.layer} at {top.position}: the probe is "
        f"right in {percent(Interval(top.probe, top.low, top.high))}, the best control "
        f"({top.control}) in {top.control_score:.1%}; chosen as the clearest of {total}, that is "
        "likely too much.",
        f"What can be decoded anyway: the best control is right in "
        f"{rows.control_score.median():.1%} (median over tokens), most often “{often}”; the probe "
        f"in {rows.probe.median():.1%}.",
    ]


def causal(
    patched: Mapping[str, pd.DataFrame],
    ablated: Mapping[str, pd.DataFrame],
    names: Mapping[str, Sequence[str]],
) -> Conclusion:
    """Which states carry which digit to which symbol, and what happens without them.

    Args:
        patched: of `interp.patch_entries`, by model.
        ablated: of `interp.ablate`, by model.
        names: names of the positions, by model.
    """
    said = []
    for model, table in patched.items():
        said += _carried(model, table, names[model])
        said += _without(model, ablated[model], names[model])
    return Conclusion([*said, about_seeds(1)])


def _carried(model: str, table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The state that carries most, elsewhere than at the changed digit itself."""
    known = table.dropna(subset=["effect"])
    known = known.assign(position_name=known.position.map(dict(enumerate(names))))
    known = known[known.position_name != known.changed]
    if known.empty:
        return [f"{capital(model)}: no pair of questions has answers that differ."]
    top = known.loc[known.sort_values(["low", "effect"]).index[-1]]
    pairs = known[["layer", "position"]].drop_duplicates()
    undecided = known.low.max() <= 0
    strongest = (
        f"{capital(model)}: of the {len(pairs)} states elsewhere than at the changed digit, the "
        f"one in layer {top.layer} at {top.position_name} carries most: with it, s{top.symbol} "
        f"follows {top.changed} in {percent(Interval(top.effect, top.low, top.high))} of {top.n} "
        f"pairs (the best of {len(known):,} states, changed digits and symbols)."
    )
    if undecided:
        strongest += " The pairs do not tell this from no effect."
    return [strongest]


def _without(model: str, table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The state whose loss costs most, and how many cost nothing."""
    rows = table[table.symbol == -1]
    worst = rows.loc[rows.accuracy.idxmin()]
    if (rows.intact == 0).all():
        return [f"{capital(model)} answers no question right, so that no state can be missed."]
    idle = float((rows.accuracy > rows.intact - IDLE).mean())
    found = percent(Interval(worst.accuracy, worst.low, worst.high))
    if worst.high >= worst.intact:
        said = f"In {model}, the data show no single state without which it answers worse"
        said += f" (at worst {found} of answers are right, {worst.intact:.1%} with all states)."
    else:
        said = f"Without the state of {model} in layer {int(worst.layer)} at "
        said += f"{names[int(worst.position)]}, {found} of its answers are right instead of "
        said += f"{worst.intact:.1%} (the worst of {len(rows)} states)."
    return [
        said,
        f"{idle:.0%} of its states can be replaced by their mean at a cost below 2 points.",
    ]


def geometry(
    trees: Mapping[str, pd.DataFrame],
    similar: Mapping[tuple[str, str], pd.DataFrame],
    shapes: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    layers: int,
) -> Conclusion:
    """Which positions attend to which, what is similar, and how digits are represented.

    Args:
        trees: of `interp.attention_tree`, by what is written.
        similar: of `interp.cka_table`, by the names of the two models.
        shapes: of `interp.digit_geometry`, by what is looked at.
        layers: of the model whose attention it is.
    """
    said = []
    for name, tree in trees.items():
        top = tree[tree.layer == layers - 1].sort_values("weight", ascending=False)
        sources = listed(dict.fromkeys(top.source_name)) or "no single position"
        share = "a quarter of their attention or more"
        said.append(f"{capital(name)}, heads of the last layer give {share} to {sources}.")
    means = {}
    for (_, other), table in similar.items():
        same = table[(table["first"] == table["second"]) & (table["first"] > 0)]
        means[other] = float(same.cka.mean())
    first = next(iter(similar))[0]
    order = sorted(means, key=lambda one: -means[one])
    shown = listed(f"{means[one]:.2f} with “{one}”" for one in order)
    said.append(f"Similarity (CKA) of {first}, mean over equal layers from 1 up: {shown}.")
    prisms = {
        name: float(spectrum[spectrum.frequency.isin([1, 2, 5])].share.sum())
        for name, (_, spectrum) in shapes.items()
    }
    shares = listed(f"{share:.0%} ({name})" for name, share in prisms.items())
    said.append(
        f"Frequencies 1, 2 and 5 hold {shares} of the variance of the ten digits; in random order "
        f"they would hold 56% on average (5 of 9 dimensions)."
    )
    described = "These are descriptions of one model and one set of questions, without intervals: "
    return Conclusion([*said, f"{described}they say nothing about other seeds."])
