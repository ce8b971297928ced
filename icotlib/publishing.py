"""Publishing: from finished runs to `figures/`, on the user's word only."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from icotlib import anatomy, costs, figures, inside, paths, presets
from icotlib.config import RunConfig
from icotlib.errors import RunError
from icotlib.presets import LEVERS, papers
from icotlib.removal import make_schedule
from icotlib.results import (
    NAMES,
    ancestors,
    final_rows,
    learning_table,
    model_name,
    results_table,
)
from icotlib.runs import Run, all_runs
from icotlib.shifts import shift_table
from icotlib.speed import record_speed


def publishable(runs: Sequence[Run]) -> list[Run]:
    """Runs whose numbers may be shown: finished, from `fast` or `paper`, of a known commit."""
    return [run for run in runs if run.done and run.config.preset in ("fast", "paper")]


def is_lever(run: Run) -> bool:
    """Whether a run belongs to the levers notebook."""
    return run.config.label in {name.replace(" ", "-") for name in LEVERS}


def is_distilled_preset(run: Run) -> bool:
    """Whether a run is distillation as its preset does it, at some seed, nothing changed."""
    config = run.config
    return run.name == presets.icot_kd(config.preset, config.seed).run_name


#: What the headline compares, by method and variant.
MAIN_METHODS = ("explicit_cot", "icot_si", "no_cot")
MAIN_VARIANTS = ("", "equal-examples", "equal-seconds", "paper-pace")


def main_runs(runs: Sequence[Run], task: str) -> list[Run]:
    """The runs that the headline compares on a task."""
    return [
        run
        for run in runs
        if run.config.task == task
        and run.config.method in MAIN_METHODS
        and run.config.label in MAIN_VARIANTS
    ]


def publish(folder: Path | None = None, task: str = "mult-4x2") -> pd.DataFrame:
    """Write results.csv and every figure from the finished `fast` and `paper` runs.

    Measures the speed of runs that have none yet. Returns the table of results. Raises `RunError`
    if there is nothing to publish.
    """
    folder = folder or paths.FIGURES
    runs = publishable(all_runs())
    if not runs:
        raise RunError(
            f"no finished fast or paper run under {paths.runs_root()}; "
            "run `icot workbook` first (smoke runs are never published)"
        )
    main = main_runs(runs, task)
    for group in by_task_and_model(runs):
        references = [run for run in group if run.config.method == "no_cot"]
        if references:
            record_speed(group, references[0], rounds=5, examples=10)
    folder.mkdir(parents=True, exist_ok=True)
    table = results_table(runs)
    table.to_csv(folder / "results.csv", index=False)
    distilled = [run for run in runs if is_distilled_preset(run) and run.config.task == task]
    shown = table[table.run.isin([run.name for run in main])]
    every = table[table.run.isin([run.name for run in [*main, *distilled]])]
    origin = [*main, *family(run.config for run in distilled)]
    learning = learning_table(main)
    figures.save(figures.headline(shown, learning), "headline", shown, main, folder)
    figures.save(figures.accuracy_vs_removed(every), "accuracy_vs_removed", every, origin, folder)
    figures.save(
        figures.accuracy_vs_seconds(learning), "accuracy_vs_seconds", learning, main, folder
    )
    if every.relative_speed.notna().any():
        figures.save(figures.accuracy_vs_speed(every), "accuracy_vs_speed", every, origin, folder)
    publish_distillation(distilled, folder)
    publish_inside(main, folder, task)
    publish_shifts(runs, folder, task)
    lever_runs = [run for run in runs if is_lever(run) and run.config.seed == 0]
    if lever_runs:
        learning = learning_table(lever_runs)
        figures.save(figures.levers(learning), "levers", learning, lever_runs, folder)
    return table


def publish_distillation(coupled: Sequence[Run], folder: Path) -> None:
    """The figures of distillation, as far as their runs are finished.

    Args:
        coupled: finished runs of the method as it is, at any seeds; the lowest seed is dissected.
    """
    if not coupled:
        return
    run = min(coupled, key=lambda run: run.config.seed)
    config = run.config
    preset, seed = config.preset, config.seed

    def save(name: str, drawn: Figure, table: pd.DataFrame, *configs: RunConfig) -> None:
        figures.save(drawn, f"kd_{name}", table, family(configs), folder)

    probed = anatomy.probe_thoughts(Run.of(config.teacher))
    save("probed_thoughts", figures.probed_thoughts(probed), probed, config.teacher)
    emulated = Run.of(config.emulator)
    explained = anatomy.explained_table(emulated)
    save("explained", figures.explained(explained), explained, config.emulator)
    ladder = anatomy.ladder(run)
    ends = [anatomy.explained_at_end(one) for one in (emulated, run)]
    save("coupling", figures.coupling(ladder, *ends), ladder, config)
    spent = anatomy.costs(run)
    save("time_spent", figures.time_spent(spent), spent, config)
    if len(rows := finished(presets.ablations(preset, seed))) > 1:
        table = anatomy.compared(rows)
        save("ablations", figures.ablations(table), table, *rows.values())
    if len(hard := finished(presets.harder(preset, seed))) > 1:
        table = anatomy.compared(hard)
        save("harder", figures.ablations(table), table, *hard.values())
    if deep := finished(presets.depths(preset, seed)):
        deep |= {config.model.layers: config}
        table = anatomy.depth_table(deep)
        save("depth", figures.depth(table), table, *deep.values())
    if few := finished(presets.limited(preset, seed)):
        table = anatomy.coupling_curves(few)
        save("overfitting", figures.overfitting(table), table, *few.values())
    mixed = [finished(presets.mixtures(preset, one)) for one in (seed, seed + 1, seed + 2)]
    if all(mixed):
        table, learning = anatomy.mixture_tables(mixed)
        every = [config for rows in mixed for config in rows.values()]
        save("mixture", figures.mixture(table, learning), table, *every)


def publish_inside(runs: Sequence[Run], folder: Path, task: str) -> None:
    """What is inside the models of a task at the lowest seed that has all, with `probing.csv`."""
    kinds = sorted({(run.config.seed, run.config.preset) for run in runs})
    choices = [finished(presets.examined(preset, seed)) for seed, preset in kinds]
    choices = [found for found in choices if {one.task for one in found.values()} <= {task}]
    whole = [configs for configs in choices if {*presets.BARE, "No CoT"} <= set(configs)]
    if not whole:
        return
    configs = whole[0]
    preset = configs["ICoT-SI"].preset
    models = inside.Subject.all_of(configs)
    n, pairs = presets.LOOKED_AT[preset]
    examples = inside.draw_examples(configs["ICoT-SI"], n, configs["ICoT-SI"].seed)
    wanted, tables, numbers = inside.variables(examples), {}, {}
    every = family(configs.values())

    def save(name: str, drawn: Figure, table: pd.DataFrame, origin: Sequence[Run] = every) -> None:
        figures.save(drawn, name, table, origin, folder)

    for name, bare in presets.BARE.items():
        model, short = models[name], name.rpartition("-")[2].lower()
        places = model.places(examples)
        read = inside.control_grid(model, examples, wanted, models.get(bare))
        chain = read[read.kind == "chain"]
        numbers[name] = inside.best_places(read[read.kind == "number"])
        tables[name] = inside.probing_table(model, examples, chain, pairs)
        save(f"probes_{short}", figures.probe_map(chain, places), read)
        patched = inside.patching(model, examples[:pairs])
        save(f"patching_{short}", figures.patching_map(patched, places), patched)
    models["ICoT-SI, nothing removed"] = inside.Subject.of(Run.of(configs["ICoT-SI"]), 0)
    shapes = {name: digits_before(model, examples) for name, model in models.items()}
    spectra = [spectrum.assign(model=name) for name, (_, spectrum) in shapes.items()]
    save("digit_shapes", figures.digit_shapes(shapes), pd.concat(spectra))
    table = pd.concat(tables.values(), ignore_index=True)
    save("probing", figures.used(tables), table)
    sums = pd.concat([t.assign(model=name) for name, t in numbers.items()], ignore_index=True)
    save("probed_numbers", figures.readings(numbers), sums)
    for name, config in {
        "moving_inside": configs["ICoT-SI"],
        "moving_inside_paper_pace": presets.paper_pace(preset, configs["ICoT-SI"].seed),
    }.items():
        run = Run.of(config)
        if run.done:
            stages = (inside.Subject.of(run, removed) for removed in run.stages.tokens_removed)
            moved = inside.through_removal(stages, examples[: n // 2])
            save(name, figures.moving_inside(moved), moved, [run])


def publish_shifts(runs: Sequence[Run], folder: Path, task: str) -> None:
    """In- against out-of-distribution accuracy on a task, with `shifts.csv`, if there are runs."""
    tested = shifted_runs(runs, task)
    if tested:
        table = shift_table(tested)
        origin = family(run.config for run in tested)
        figures.save(figures.shifts(table), "shifts", table, origin, folder)


def shifted_runs(runs: Sequence[Run], task: str) -> list[Run]:
    """Those of some runs that are tested out of distribution.

    The study on other than the reserved questions; where none of it is finished, the main runs
    of its methods, of which only other lengths can be asked.
    """
    kinds = sorted({(run.config.preset, run.config.seed) for run in runs})
    study = [config for kind in kinds for config in presets.shifted(*kind).values()]
    plain = [make(*kind) for kind in kinds for make in presets.COMPARED.values()]
    for configs in (study, plain):
        names = {config.run_name for config in configs if config.task == task}
        if found := [run for run in runs if run.name in names]:
            return found
    return []


def digits_before(model: inside.Subject, examples: inside.Examples, symbol: int = 1):
    """`digit_geometry` of a symbol of the answer, in the last state of the place that writes it."""
    states = inside.activations(model, examples)[-1, int(model.answer_places(examples)[symbol])]
    digits = examples.task.write(examples.questions).answer[:, symbol]
    return inside.digit_geometry(torch.from_numpy(np.array(states)), digits)


def finished(configs: dict[Any, RunConfig]) -> dict[Any, RunConfig]:
    """Those of some configs whose runs are finished."""
    return {name: config for name, config in configs.items() if Run.of(config).done}


def family(configs: Iterable[RunConfig]) -> list[Run]:
    """The runs of these configs and all they build on, each once."""
    found: dict[str, RunConfig] = {}
    for config in configs:
        found |= {config.run_name: config} | ancestors(config)
    return [Run.of(config) for config in found.values()]


def by_task_and_model(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs in groups whose speeds compare: one task, one model."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.config.task, model_name(run)), []).append(run)
    return list(groups.values())


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
    numbers = ["accuracy", "relative_speed", "train_examples", "train_seconds", "tokens_removed"]
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
    (presets.kd_teacher, "Teacher, explicit CoT"),
    (presets.kd_student, "Student, on the teacher's true states"),
    (presets.icot_kd, "ICoT-KD, coupled"),
    (presets.kd_skipped, "Coupled, both stages of distillation skipped"),
    (presets.kd_no_cot, "No CoT"),
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
        f"| {name} | {group.tokens_removed.iloc[0]:.0f} of {group.chain_tokens.iloc[0]} "
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
    runs = [*config.parents.values(), config]
    counted = [costs.cost_of(one, costs.Typical(one)) for one in runs]
    memory = max(cost.state + cost.activations for cost in counted) / 2**30
    disk = sum(cost.disk for cost in counted) / 2**30
    return memory, disk, _hours_of_removal(config), sum(map(_hours, counted))


def _hours_of_removal(config: RunConfig) -> float | None:
    """Hours until the last chain token goes; None where none goes step by step, or not all do."""
    source = costs.Typical(config)
    schedule = make_schedule(config.removal, source.longest_chain)
    stages = costs.stages_of(config, schedule, config.train.steps)
    if not stages or stages[-1][1] < source.longest_chain:
        return None
    return _hours(costs.cost_of(config, source, stages[-1][0]))


def _hours(cost: costs.Cost) -> float:
    return costs.h100(cost.precision).seconds(cost.steps, cost.flops, cost.parameters) / 3600


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
