"""Blocks of the page on hidden states, drawn from the tables of its studies."""

from icotlib.publishing import published
from icotlib.publishing.blocks import block, markdown
from icotlib.reporting.figures.inside import of_trained


@block
def probing() -> str:
    """Every chain token: whether it can be decoded, and whether it is used, over seeds."""
    shares = {name: name for name in ("probe", "control", "patching", "steering")}
    shares |= {"control": "best control", "steering_random": "random"}
    table = published.read("probing", "layer", *shares)
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
def das() -> str:
    """How many answers follow when a learned subspace is exchanged: each variable, by model."""
    table = published.read("das", "accuracy", "control")
    models = list(dict.fromkeys(table.model))
    shown = []
    for variable, rows in table.groupby("variable", sort=False):
        means = rows.groupby("model").accuracy.mean()
        followed = {model: f"{100 * means[model]:.1f}" for model in models}
        random = {"random subspaces": f"{100 * of_trained(rows).control.mean():.1f}"}
        shown.append({"variable": variable} | followed | random)
    return markdown(shown)
