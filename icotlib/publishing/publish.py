"""Publishing: `figures/` and results.csv from finished runs, only when the user asks."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from icotlib import experiments, interp, paths
from icotlib.config import RunConfig
from icotlib.errors import ConfigError, RunError
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp import distillation, time_spent
from icotlib.reporting import figures
from icotlib.reporting.results import learning_table, model_name, results_table, with_ancestors
from icotlib.reporting.speed import record_speed
from icotlib.runs import Run, all_runs, runs_with_ancestors
from icotlib.system.added_rows import check_addable
from icotlib.system.spreadsheets import inert
from icotlib.tasks.questions import QuestionSet

#: The task whose figures README and guide show.
TASK = "mult-4x2"


def publishable(runs: Sequence[Run]) -> list[Run]:
    """Runs whose numbers may be shown: finished, from `fast` or `paper`, with all they build on."""
    return with_ancestors(
        run for run in runs if run.done and run.config.preset in ("fast", "paper")
    )


def select(runs: Sequence[Run], *make: Any, overrides: Any = None) -> list[Run]:
    """Those of some runs that an experiment makes at their preset and seed.

    Args:
        make: experiments, functions of preset, seed and overrides that give a config, or several.
    """
    names = set()
    for preset, seed in {(run.config.preset, run.config.seed) for run in runs}:
        made = experiments.configs_of(make, preset, seed, overrides)
        names |= {config.run_name for config in made}
    return [run for run in runs if run.name in names]


def publish(folder: Path | None = None, task: str = TASK) -> pd.DataFrame:
    """Write results.csv and every figure from the finished `fast` and `paper` runs.

    Measures the speed of runs that have none yet. Returns the table of results.

    Raises `RunError` if there is nothing to publish, `ConfigError` for the figures of another task
    in the place of those that README and guide show, and where there is no such place.
    """
    folder = folder or paths.FIGURES
    if folder.resolve() == paths.FIGURES.resolve():
        paths.check_checkout("icot publish without --out")
        if task != TASK:
            raise ConfigError(
                f"{folder} holds the figures of {TASK}, which README and guide show; those of "
                f"{task} go to another folder: --out FOLDER"
            )
    if not paths.is_published(folder):
        check_addable(folder / "results.csv", ("run", "removed", "accuracy"))
    runs = publishable(all_runs())
    if not runs:
        raise RunError(
            f"no finished fast or paper run under {paths.runs_root()}; "
            "run `icot workbook` first (smoke runs are never published)"
        )
    for group in by_task_and_model(runs):
        baselines = (run for run in group if writes_no_chain(run) and has_weights(run))
        reference = next(baselines, None)
        if reference:
            record_speed(
                [run for run in group if has_weights(run)], reference, rounds=5, examples=10
            )
    folder.mkdir(parents=True, exist_ok=True)
    table = results_table(runs)
    inert(table).to_csv(folder / "results.csv", index=False)
    on_task = [run for run in runs if run.config.task == task]
    publish_main(on_task, table, folder)
    publish_distillation(select(on_task, experiments.icot_kd, overrides=of_task(task)), folder)
    publish_interp(on_task, folder)
    ablations = [
        run for run in select(runs, experiments.schedule_ablations) if run.config.seed == 0
    ]
    if ablations:
        learning = learning_table(ablations)
        figures.save_published(
            figures.schedule_ablations(learning), "schedule_ablations", learning, ablations, folder
        )
    return table


def of_task(task: str) -> dict[str, Any]:
    """The override that makes the runs of a task."""
    return {"data.task": task}


def has_weights(run: Run) -> bool:
    """Whether a run can be asked; one from an archive may have its tables alone."""
    return (run.folder / "model").is_dir()


def writes_no_chain(run: Run) -> bool:
    """Whether a run is a baseline that answers at once: the reference of speed."""
    if run.stages.empty or not run.config.spec.baseline:
        return False
    return bool(run.stages.removed.min() == run.totals["chain_length"])


def publish_main(runs: Sequence[Run], table: pd.DataFrame, folder: Path) -> None:
    """Accuracy against tokens removed, training time and speed, of runs on one task."""
    if not runs:
        return
    own = of_task(runs[0].config.task)
    main = select(runs, experiments.compared, overrides=own)
    if not main:
        return
    coupled = select(runs, experiments.icot_kd, overrides=own)
    shown = table[table.run.isin([run.name for run in main])]
    every = table[table.run.isin([run.name for run in [*main, *coupled]])]
    origin = [*main, *runs_with_ancestors(run.config for run in coupled)]
    learning = learning_table(main)
    quick = learning_table(select(runs, experiments.series, experiments.baselines, overrides=own))
    figures.save_published(figures.headline(shown, quick), "headline", shown, main, folder)
    figures.save_published(
        figures.accuracy_vs_removed(every), "accuracy_vs_removed", every, origin, folder
    )
    drawn = figures.accuracy_vs_seconds(learning)
    figures.save_published(drawn, "accuracy_vs_seconds", learning, main, folder)
    if every.relative_speed.notna().any():
        figures.save_published(
            figures.accuracy_vs_speed(every), "accuracy_vs_speed", every, origin, folder
        )


def publish_distillation(coupled: Sequence[Run], folder: Path) -> None:
    """The figures of distillation, as far as their runs are finished.

    Args:
        coupled: finished runs of the whole method, at any seeds; the lowest seed is analysed.
    """
    if not coupled:
        return
    run = min(coupled, key=lambda run: run.config.seed)
    config = run.config

    def save(name: str, drawn: Any, table: pd.DataFrame, *configs: RunConfig) -> None:
        figures.save_published(drawn, f"kd_{name}", table, runs_with_ancestors(configs), folder)

    teacher, emulator = config.phases["teacher"], config.phases["emulator"]
    probed = distillation.probe_teacher_states(Run.of(teacher))
    save("probed_thoughts", figures.probed_teacher_states(probed), probed, teacher)
    explained = distillation.explained_table(Run.of(emulator))
    save("explained", figures.explained(explained), explained, emulator)
    phases = distillation.accuracy_by_phase(run)
    ends = [distillation.explained_at_end(one) for one in (Run.of(emulator), run)]
    save("coupling", figures.coupling(phases, *ends), phases, config)
    spent = time_spent.time_by_part(run)
    save("time_spent", figures.time_spent(spent), spent, config)


def publish_interp(runs: Sequence[Run], folder: Path) -> None:
    """Probes, patching and geometry at the lowest seed whose runs are all finished."""
    configs = _analysed(runs)
    if configs is None:
        return
    one, models = configs["One model"], StageModel.all_of(configs)
    n, pairs = experiments.N_EXAMPLES[one.preset]
    questions = interp.draw_questions_of(configs.values(), n, one.seed)
    every = runs_with_ancestors(configs.values())

    def save(name: str, drawn: Any, table: pd.DataFrame) -> None:
        figures.save_published(drawn, name, table, every, folder)

    _publish_probes(models, questions, pairs, save)
    models["One model, nothing removed"] = StageModel.of(Run.of(one), 0)
    shapes = {name: interp.digits_before(model, questions) for name, model in models.items()}
    spectra = [spectrum.assign(model=name) for name, (_, spectrum) in shapes.items()]
    save("digit_shapes", figures.digit_shapes(shapes), pd.concat(spectra))
    _publish_removal(one, questions[: n // 2], folder)


def _publish_probes(
    models: Mapping[str, StageModel],
    questions: QuestionSet,
    pairs: int,
    save: Callable[[str, Any, pd.DataFrame], None],
) -> None:
    """Probes of each model beside its control, and patching on so many pairs of questions."""
    variables, numbers = interp.variables_of(questions), {}
    for name, control in experiments.NO_COT_CONTROL.items():
        model, short = models[name], experiments.SHORT_NAMES[name]
        names = model.position_names(questions)
        read = interp.probe_with_controls(model, questions, variables, models.get(control))
        chain = read[read.kind == "chain"]
        numbers[name] = interp.best_positions(read[read.kind == "number"])
        save(f"probes_{short}", figures.probe_map(chain, names), read)
        patched = interp.patch_entries(model, questions[:pairs])
        save(f"patching_{short}", figures.patching_map(patched, names), patched)
    sums = pd.concat([t.assign(model=name) for name, t in numbers.items()], ignore_index=True)
    save("probed_numbers", figures.probe_scores(numbers), sums)


def _publish_removal(one: RunConfig, questions: QuestionSet, folder: Path) -> None:
    """Where digits are decoded at every stage of removal, of finished runs that keep them all."""
    paced = experiments.paper_pace(one.preset, one.seed, of_task(one.task))
    for name, config in {"moving_inside": one, "moving_inside_paper_pace": paced}.items():
        run = Run.of(config)
        if run.done:
            stages = (StageModel.of(run, removed) for removed in run.stages_with_weights)
            tokens = interp.not_in_answer(questions, "chain")
            moved = interp.through_removal(stages, questions, variables=tokens)
            drawn = figures.probes_through_removal(moved)
            figures.save_published(drawn, name, moved, [run], folder)


def _analysed(runs: Sequence[Run]) -> dict[str, RunConfig] | None:
    """The runs to analyse, at the lowest seed at which all that is needed is finished."""
    needed = {*experiments.NO_COT_CONTROL, "No CoT"}
    of_runs = {(run.config.seed, run.config.preset, run.config.task) for run in runs}
    for seed, preset, task in sorted(of_runs):
        configs = finished(experiments.interp_runs(preset, seed, of_task(task)))
        if needed <= set(configs):
            return configs
    return None


def finished(configs: dict[Any, RunConfig]) -> dict[Any, RunConfig]:
    """Those of some configs whose runs are finished, with all they build on."""
    runs = [run for run in map(Run.of, configs.values()) if run.done]
    whole = {run.name for run in with_ancestors(runs)}
    return {name: config for name, config in configs.items() if config.run_name in whole}


def by_task_and_model(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs in groups whose speeds compare: one task, one model."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.config.task, model_name(run)), []).append(run)
    return list(groups.values())
