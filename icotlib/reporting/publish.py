"""Publishing: from finished runs to `figures/`, on the user's word only."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from icotlib import experiments, interp, paths
from icotlib.config import RunConfig
from icotlib.errors import RunError
from icotlib.evaluation.ood import shift_table
from icotlib.experiments import LEVERS
from icotlib.interp import ablation_tables, distillation, time_spent
from icotlib.reporting import figures
from icotlib.reporting.results import learning_table, model_name, results_table
from icotlib.reporting.speed import record_speed
from icotlib.runs import Run, all_runs, ancestors


def publishable(runs: Sequence[Run]) -> list[Run]:
    """Runs whose numbers may be shown: finished, from `fast` or `paper`, of a known commit."""
    return [run for run in runs if run.done and run.config.preset in ("fast", "paper")]


def is_lever(run: Run) -> bool:
    """Whether a run belongs to the levers notebook."""
    return run.config.label in {name.replace(" ", "-") for name in LEVERS}


def is_distilled_preset(run: Run) -> bool:
    """Whether a run is distillation as its preset does it, at some seed, nothing changed."""
    config = run.config
    return run.name == experiments.icot_kd(config.preset, config.seed).run_name


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

    probed = distillation.probe_teacher_states(Run.of(config.teacher))
    save("probed_teacher_states", figures.probed_teacher_states(probed), probed, config.teacher)
    emulated = Run.of(config.emulator)
    explained = distillation.explained_table(emulated)
    save("explained", figures.explained(explained), explained, config.emulator)
    accuracy_by_phase = distillation.accuracy_by_phase(run)
    ends = [distillation.explained_at_end(one) for one in (emulated, run)]
    save("coupling", figures.coupling(accuracy_by_phase, *ends), accuracy_by_phase, config)
    spent = time_spent.costs(run)
    save("time_spent", figures.time_spent(spent), spent, config)
    if len(rows := finished(experiments.ablations(preset, seed))) > 1:
        table = ablation_tables.ablation_table(rows)
        save("ablations", figures.ablations(table), table, *rows.values())
    if len(hard := finished(experiments.weak_model(preset, seed))) > 1:
        table = ablation_tables.ablation_table(hard)
        save("weak_model", figures.ablations(table), table, *hard.values())
    if deep := finished(experiments.depths(preset, seed)):
        deep |= {config.model.layers: config}
        table = ablation_tables.depth_table(deep)
        save("depth", figures.depth(table), table, *deep.values())
    if few := finished(experiments.few_examples(preset, seed)):
        table = ablation_tables.coupling_curves(few)
        save("overfitting", figures.overfitting(table), table, *few.values())
    mixed = [finished(experiments.mixtures(preset, one)) for one in (seed, seed + 1, seed + 2)]
    if all(mixed):
        table, learning = ablation_tables.mixture_tables(mixed)
        every = [config for rows in mixed for config in rows.values()]
        save("mixture", figures.mixture(table, learning), table, *every)


def publish_inside(runs: Sequence[Run], folder: Path, task: str) -> None:
    """What is inside the models of a task at the lowest seed that has all, with `probing.csv`."""
    kinds = sorted({(run.config.seed, run.config.preset) for run in runs})
    choices = [finished(experiments.interp_runs(preset, seed)) for seed, preset in kinds]
    choices = [found for found in choices if {one.task for one in found.values()} <= {task}]
    whole = [
        configs for configs in choices if {*experiments.NO_COT_CONTROL, "No CoT"} <= set(configs)
    ]
    if not whole:
        return
    configs = whole[0]
    preset = configs["ICoT-SI"].preset
    models = interp.Subject.all_of(configs)
    n, pairs = experiments.N_EXAMPLES[preset]
    examples = interp.draw_examples(configs["ICoT-SI"], n, configs["ICoT-SI"].seed)
    wanted, tables, numbers = interp.variables(examples), {}, {}
    every = family(configs.values())

    def save(name: str, drawn: Figure, table: pd.DataFrame, origin: Sequence[Run] = every) -> None:
        figures.save(drawn, name, table, origin, folder)

    for name, no_cot_control in experiments.NO_COT_CONTROL.items():
        model, short = models[name], name.rpartition("-")[2].lower()
        positions = model.positions(examples)
        read = interp.probe_with_controls(model, examples, wanted, models.get(no_cot_control))
        chain = read[read.kind == "chain"]
        numbers[name] = interp.best_positions(read[read.kind == "number"])
        tables[name] = interp.probing_table(model, examples, chain, pairs)
        save(f"probes_{short}", figures.probe_map(chain, positions), read)
        patched = interp.patching(model, examples[:pairs])
        save(f"patching_{short}", figures.patching_map(patched, positions), patched)
    models["ICoT-SI, nothing removed"] = interp.Subject.of(Run.of(configs["ICoT-SI"]), 0)
    shapes = {name: digits_before(model, examples) for name, model in models.items()}
    spectra = [spectrum.assign(model=name) for name, (_, spectrum) in shapes.items()]
    save("digit_shapes", figures.digit_shapes(shapes), pd.concat(spectra))
    table = pd.concat(tables.values(), ignore_index=True)
    save("probing", figures.used(tables), table)
    sums = pd.concat([t.assign(model=name) for name, t in numbers.items()], ignore_index=True)
    save("probed_numbers", figures.probe_scores(numbers), sums)
    for name, config in {
        "probes_through_removal": configs["ICoT-SI"],
        "moving_inside_paper_pace": experiments.paper_pace(preset, configs["ICoT-SI"].seed),
    }.items():
        run = Run.of(config)
        if run.done:
            stages = (interp.Subject.of(run, removed) for removed in run.stages.removed)
            moved = interp.through_removal(stages, examples[: n // 2])
            save(name, figures.probes_through_removal(moved), moved, [run])


def publish_shifts(runs: Sequence[Run], folder: Path, task: str) -> None:
    """In- against out-of-distribution accuracy on a task, with `shifts.csv`, if there are runs."""
    tested = shifted_runs(runs, task)
    if tested:
        table = shift_table(tested)
        origin = family(run.config for run in tested)
        figures.save(figures.shifts(table), "shifts", table, origin, folder)


def shifted_runs(runs: Sequence[Run], task: str) -> list[Run]:
    """Those of some runs that are tested out of distribution.

    The study on other than the holdout questions; where none of it is finished, the main runs
    of its methods, of which only other lengths can be asked.
    """
    kinds = sorted({(run.config.preset, run.config.seed) for run in runs})
    study = [config for kind in kinds for config in experiments.shifted(*kind).values()]
    plain = [make(*kind) for kind in kinds for make in experiments.COMPARED.values()]
    for configs in (study, plain):
        names = {config.run_name for config in configs if config.task == task}
        if found := [run for run in runs if run.name in names]:
            return found
    return []


def digits_before(model: interp.Subject, examples: interp.Examples, symbol: int = 1):
    """`digit_geometry` of a symbol of the answer, in the last state of the position that writes it."""
    states = interp.activations(model, examples)[-1, int(model.answer_positions(examples)[symbol])]
    digits = examples.task.render(examples.questions).answer[:, symbol]
    return interp.digit_geometry(torch.from_numpy(np.array(states)), digits)


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
