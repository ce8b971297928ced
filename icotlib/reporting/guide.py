"""TODO."""

from pathlib import Path

import pandas as pd

from icotlib import experiments, paths
from icotlib.config import RunConfig
from icotlib.experiments import papers
from icotlib.methods.stepwise.schedules import make_schedule
from icotlib.reporting.publish import MAIN_METHODS, MAIN_VARIANTS
from icotlib.reporting.results import NAMES, final_rows
from icotlib.running import costs, device_speed

# --- the README --------------------------------------------------------------------------------

#: Blocks of the README that are drawn from tables in figures/, and from which; that of the
#: papers' cells is calculated.
README_BLOCKS = {
    "headline": "results",
    "results": "results",
    "distillation": "results",
    "inside": "probing",
    "benchmark": "benchmark",
    "papers": None,
}


def readme_block(name: str, folder: Path = paths.FIGURES) -> str:
    """One block of the README, from the published table that it is drawn from."""
    if README_BLOCKS[name] is None:
        return _papers_block()
    table = pd.read_csv(folder / f"{README_BLOCKS[name]}.csv", keep_default_na=False)
    blocks = {
        "headline": _headline_block,
        "results": _results_block,
        "distillation": _distillation_block,
        "inside": _inside_block,
        "benchmark": _benchmark_block,
    }
    return blocks[name](table)


def _last_stages(table: pd.DataFrame, task: str = "mult-4x2") -> pd.DataFrame:
    """The last stage of every `fast` run on a task, numbers as numbers."""
    table = table[(table.task == task) & (table.preset == "fast")]
    numbers = ["accuracy", "relative_speed", "train_examples", "train_seconds", "removed"]
    table = table.assign(**{column: pd.to_numeric(table[column]) for column in numbers})
    return final_rows(table)


def _main_rows(table: pd.DataFrame) -> pd.DataFrame:
    rows = _last_stages(table)
    return rows[rows.method.isin(MAIN_METHODS) & rows.variant.isin(MAIN_VARIANTS)]


def _headline_block(table: pd.DataFrame) -> str:
    rows = _main_rows(table)
    stepwise = rows[(rows.method == "icot_si") & (rows.schedule == "random")]
    examples = rows[(rows.method == "no_cot") & (rows.variant == "equal-examples")]
    seconds = rows[(rows.method == "no_cot") & (rows.variant == "equal-seconds")]
    return (
        f"On {rows.task.iloc[0].removeprefix('mult-')}-digit multiplication, a 1.3-million-"
        f"parameter transformer that wrote its steps, and then had all of them taken away, answers "
        f"{_span(stepwise.accuracy)} of unseen questions right. Trained on answers alone it "
        f"reaches {_span(examples.accuracy)} after as many examples, and "
        f"{_span(seconds.accuracy)} after as many seconds."
    )


_COLUMNS = (
    "| method | chain tokens removed | exact match, each seed | speed, No CoT = 1 "
    "| training examples | training seconds |"
)


def _results_block(table: pd.DataFrame) -> str:
    rows = _main_rows(table)
    order = {"explicit_cot": 0, "icot_si": 1, "no_cot": 2}
    rows = rows.assign(order=rows.method.map(order)).sort_values(["order", "variant", "seed"])
    lines = [_COLUMNS, "|---|---|---|---|---|---|"]
    for (_, method, schedule, variant), group in rows.groupby(
        ["order", "method", "schedule", "variant"], sort=True
    ):
        name = NAMES.get(method, method)
        if method == "icot_si":
            name += ", linear at the paper's pace" if variant else f", {schedule} removal"
        elif variant:
            name += f", {variant.replace('-', ' ')}"
        lines.append(_line(name, group))
    return "\n".join(lines)


#: Rows of the README's table of distillation: how each run is made, and its name there.
_DISTILLATION = [
    (experiments.kd_teacher, "Teacher, explicit CoT"),
    (experiments.kd_student, "Student, on the teacher's true states"),
    (experiments.icot_kd, "ICoT-KD, coupled"),
    (experiments.kd_skipped, "Coupled, both stages of distillation skipped"),
    (experiments.kd_no_cot, "No CoT"),
]


def _distillation_block(table: pd.DataFrame) -> str:
    rows = _last_stages(table)
    lines = [_COLUMNS, "|---|---|---|---|---|---|"]
    seeds = sorted(set(rows.seed.astype(int)))
    for make, name in _DISTILLATION:
        group = rows[rows.run.isin([make("fast", seed).run_name for seed in seeds])]
        if len(group):
            lines.append(_line(name, group.sort_values("seed")))
    return "\n".join(lines)


def _line(name: str, group: pd.DataFrame) -> str:
    """One row of a table: a method over its seeds; of seconds, which outliers have, the median."""
    accuracies = ", ".join(f"{100 * value:.1f}" for value in group.accuracy)
    speed = group.relative_speed.mean()
    return (
        f"| {name} | {group.removed.iloc[0]:.0f} of {group.chain_tokens.iloc[0]} "
        f"| {accuracies} | {'-' if pd.isna(speed) else f'{speed:.2f}'} "
        f"| {group.train_examples.mean():,.0f} | {group.train_seconds.median():,.0f} |"
    )


def _inside_block(table: pd.DataFrame) -> str:
    lines = [
        "| model | token | read best at | probe | best control | MLP | MLP on the input "
        "| patching | steering: means | pattern | weights | random | readable | used |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    shares = ("probe", "control_score", "mlp", "mlp_input", "patching", "steering")
    shares += ("steering_pattern", "steering_weights", "steering_random")
    for row in table.to_dict("records"):
        numbers = " | ".join(f"{100 * float(row[name]):.0f}" for name in shares)
        verdicts = " | ".join("yes" if row[name] else "no" for name in ("readable", "used"))
        where = f"layer {row['layer']}, `{row['place']}`"
        lines.append(f"| {row['model']} | {row['variable']} | {where} | {numbers} | {verdicts} |")
    return "\n".join(lines)


#: Columns of the README's table of speed: of what is measured in examples per second.
SPEEDS = ("ours", "reference", "ratio", "to_bare")


def _benchmark_block(table: pd.DataFrame) -> str:
    """Examples per second beside plain loops, all rows of the benchmark."""
    lines = [
        "| | method | model | threads | precision | ours | reference | ratio | ours to bare |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table.to_dict("records"):
        speeds = ["-" if row[x] == "" else f"{float(row[x]):,.2f}" for x in SPEEDS]
        method = NAMES[row["method"]] if row["what"] == "training" else "any"
        cells = [row["what"], method, f"`{row['model']}`", str(row["threads"]), row["precision"]]
        cells += speeds
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _papers_block() -> str:
    """Every cell of the papers' tables: its command, its number, and what it costs, calculated."""
    lines = [
        "| `icot train` | published | speed there | GPU memory, GiB | disk, GiB "
        "| GPU hours until all is removed | in all |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in papers.CELLS.values():
        memory, disk, removed, hours = _cost_of_cell(cell.config())
        doubt = " †" if cell.doubtful else ""
        lines.append(
            f"| `{cell.name}` | {100 * cell.published:.1f}%{doubt} | {cell.speed or '-'} "
            f"| {memory:.0f} | {disk:.1f} | {'-' if removed is None else f'{removed:.1f}'} "
            f"| {hours:.1f} |"
        )
    return "\n".join(lines)


def _cost_of_cell(config: RunConfig) -> tuple[float, float, float | None, float]:
    """GiB of memory and of disk; hours on an H100 until the last removal, and in all.

    Distillation is all its stages: the most memory, and the sum of disk and hours.
    """
    runs = [*config.phases.values(), config]
    counted = [costs.cost_of(one, costs.NominalLengths(one)) for one in runs]
    memory = max(cost.state + cost.activations for cost in counted) / 2**30
    disk = sum(cost.disk for cost in counted) / 2**30
    return memory, disk, _hours_of_removal(config), sum(map(_hours, counted))


def _hours_of_removal(config: RunConfig) -> float | None:
    """Hours until the last chain token goes; None where none goes step by step, or not all do."""
    source = costs.NominalLengths(config)
    schedule = make_schedule(config.removal, source.longest_chain)
    stages = costs.stages_of(config, schedule, config.train.steps)
    if not stages or stages[-1][1] < source.longest_chain:
        return None
    return _hours(costs.cost_of(config, source, stages[-1][0]))


def _hours(cost: costs.Cost) -> float:
    return device_speed.h100(cost.precision).seconds(cost.steps, cost.flops, cost.parameters) / 3600


def _span(values: pd.Series) -> str:
    low, high = (f"{100 * value:.1f}" for value in (values.min(), values.max()))
    return f"{low}%" if low == high else f"{low} to {high}%"


def update_readme() -> None:
    """Rewrite the blocks of the README from the tables in `figures/`, between their markers."""
    path = paths.PROJECT / "README.md"
    text = path.read_text()
    for name in README_BLOCKS:
        start, end = f"<!-- {name} -->\n", f"\n<!-- end {name} -->"
        before, rest = text.split(start)
        after = rest.split(end.strip("\n"))[1]
        text = before + start + readme_block(name) + end + after
    path.write_text(text)
