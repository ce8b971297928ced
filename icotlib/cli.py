"""The command line: `icot`."""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from icotlib import experiments, paths
from icotlib.config import DataConfig, RunConfig, field_names, to_dict
from icotlib.errors import ConfigError, IcotError, did_you_mean
from icotlib.experiments.papers import CELLS, check_data, get_paper_result

EXAMPLES = """\
examples:
  icot workbook                         the whole series at the fast preset, on this machine
  icot workbook --preset smoke          the same in a minute, to see that everything runs
  icot notebook 06 --seed 1             one notebook, which trains what it needs
  icot train icot_si --seed 1           one run, without a notebook
  icot train icot_kd --set student.train.steps=2000
                                        distillation, one of its stages longer
  icot train icot_si --set train.steps=200 --set removal.schedule=adaptive
  icot train own_si --set data.path=mine --set model.pretrained=openai-community/gpt2
                                        your own data (icot prepare) and model
  icot train icot_kd --plan             what that will take, before anything starts
  icot train --list                     every number of the papers' tables, as a run
  icot train icot-si/9x9/gpt2 --plan --speed h100
                                        one of them: memory, and time on that device
  icot shifts                           other lengths and unseen combinations, all methods
  icot runs                             what is finished and what is under way
  icot show icot_si-random              one run: settings, provenance, accuracy by stage
  icot data mult-4x4 --out my-data      a data set as text files in the papers' format
  icot data prosqa-20x4 --format json --out my-data
                                        the same as ProsQA is published
  icot prepare train.jsonl --out mine   your own questions with steps, or GSM8K, as such files
  icot export icot_si-random --out m    a model as a folder for the hub, with its card
  icot benchmark --size gpt2            examples per second, beside plain loops in the same run
  icot benchmark --costs                measured steps beside what `--plan --speed` calculates
  icot publish                          figures/ and results.csv from the finished runs
"""


SOURCES = """\
examples:
  icot prepare gsm8k/train.jsonl --test gsm8k/test.jsonl --out gsm8k-text
  icot prepare whynlp/gsm8k-aug --out gsm8k-aug
  icot prepare prosqa_train.json --test prosqa_test.json --out prosqa
  icot prepare commonsense.jsonl --steps why --out commonsense
  icot prepare problems.csv --question problem --steps working --answer result --out mine
then:
  icot train own_si --set data.path=gsm8k-text --set model.pretrained=FOLDER-OR-HUB-ID
  icot train own_kd --set data.path=gsm8k-text --set model.pretrained=FOLDER-OR-HUB-ID
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit status is 0, 1 after an error that is the user's to mend, or 130."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except IcotError as error:
        print(f"icot: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nicot: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="icot",
        description="Implicit chain of thought: train it, take the steps away, look inside.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run, text: str, **kwargs) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,
        )
        made.set_defaults(run=run)
        return made

    workbook = command("workbook", _workbook, "train every run and execute every notebook")
    _common(workbook)
    part = workbook.add_mutually_exclusive_group()
    part.add_argument(
        "--studies", action="store_true", help="ablations, mixture and shifts, too (hours)"
    )
    part.add_argument(
        "--series",
        action="store_true",
        help="stepwise internalization alone (ten minutes at fast)",
    )
    single = command("notebook", _notebook, "execute some notebooks", epilog=_notebook_list())
    single.add_argument("names", nargs="+", metavar="NAME", help="number or name of a notebook")
    _common(single)
    train = command("train", _train, "train one run, or show it if it is finished")
    train.add_argument(
        "name",
        nargs="?",
        help=f"a run of the preset ({', '.join(sorted(RUNS))}), or a cell of the papers' tables, "
        "such as icot-si/9x9/gpt2",
    )
    _common(train, preset=None)
    train.add_argument("--list", action="store_true", help="list the papers' cells, and stop")
    train.add_argument(
        "--plan", action="store_true", help="say what it will take (steps, memory, time), and stop"
    )
    train.add_argument(
        "--speed",
        metavar="DEVICE",
        help="with --plan: calculate time for h100 (as assumed), for so many TFLOP/s, or for the "
        "device of a table of `icot benchmark --costs`",
    )
    train.add_argument("--fields", action="store_true", help="list every setting, and stop")
    shifts = command(
        "shifts", _shifts, "train every method, test it on other lengths and unseen combinations"
    )
    _common(shifts)
    shifts.add_argument("--questions", type=int, default=1000, help="of each shift")
    runs = command("runs", _runs, "list the runs")
    runs.add_argument("--csv", action="store_true", help="print the results table as CSV instead")
    show = command("show", _show, "show one run")
    show.add_argument("name", help="name of a run, or how it begins")
    data = command("data", _data, "write a generated data set as files")
    data.add_argument("task", help="mult-4x4, parity-8, prosqa-20x4, prontoqa-5, ...")
    data.add_argument("--out", type=Path, required=True, help="folder to write")
    data.add_argument("--train", type=int, default=10_000, help="training examples")
    data.add_argument("--valid", type=int, default=1000, help="validation examples")
    data.add_argument("--test", type=int, default=1000, help="test examples")
    data.add_argument("--seed", type=int, default=0, help="seed of the splits")
    data.add_argument(
        "--format",
        choices=("txt", "json"),
        default="txt",
        help="txt: the papers' format, to train on (default); json: as the data are published",
    )
    prepare = command(
        "prepare",
        _prepare,
        "bring questions with steps (GSM8K, ProsQA, CSV, JSON, ...) into text files to train on",
        epilog=SOURCES,
    )
    prepare.add_argument(
        "source", help="a file, a folder with a file per split, or owner/name[:config] on the hub"
    )
    prepare.add_argument("--out", type=Path, required=True, help="folder to write")
    for split in ("valid", "test"):
        prepare.add_argument(f"--{split}", type=Path, help=f"the file of the {split} split")
    for part in ("question", "steps", "answer"):
        prepare.add_argument(f"--{part}", metavar="COLUMN", help=f"the column with the {part}")
    prepare.add_argument(
        "--between",
        default=" ",
        metavar="TEXT",
        help="written between the steps of a list, ' ; ' for example, which removal.step_end=';' "
        "then finds (default: a space)",
    )
    prepare.add_argument(
        "--held-out", type=int, default=500, help="examples for a split that the source has not"
    )
    prepare.add_argument("--seed", type=int, default=0, help="seed of that draw")
    export = command("export", _export, "write a run's model as a folder for the hub, with a card")
    export.add_argument("run_name", metavar="RUN", help="a run by its name or a part of it")
    export.add_argument("--out", type=Path, required=True, help="folder to write")
    export.add_argument("--removed", type=int, help="tokens or steps removed; by default all")
    export.add_argument("--push", metavar="OWNER/NAME", help="upload it, too (after hf auth login)")
    bench = command(
        "benchmark",
        _benchmark,
        "measure training and evaluation beside plain loops, on this machine",
    )
    bench.add_argument(
        "--size", choices=("smoke", "fast", "gpt2"), default="fast", help="which model and task"
    )
    bench.add_argument("--rounds", type=int, default=5, help="turns; the median counts")
    bench.add_argument("--steps", type=int, default=2, help="optimizer steps in a turn")
    bench.add_argument(
        "--precision",
        nargs="+",
        default=["fp32"],
        choices=("fp32", "bf16", "int8"),
        help="one or several; int8 on a CPU",
    )
    bench.add_argument(
        "--costs",
        action="store_true",
        help="steps of several models and chain lengths instead, beside their calculated cost: "
        "costs.csv and a figure",
    )
    bench.add_argument(
        "--out",
        type=Path,
        help="a CSV file to add the rows to; with --costs a folder (default: figures/)",
    )
    publish = command("publish", _publish, "write figures/ and results.csv from finished runs")
    publish.add_argument("--out", type=Path, default=paths.FIGURES, help="folder to write")
    publish.add_argument("--task", default="mult-4x2", help="the task of the headline figures")
    return top


RUNS = {
    "explicit_cot": experiments.explicit_cot,
    "no_cot": experiments.no_cot,
    "no_cot_examples": functools.partial(experiments.no_cot, budget="examples"),
    "icot_si": experiments.icot_si,
    "icot_kd": experiments.icot_kd,
    "kd_emulator": experiments.kd_emulator,
    "kd_no_cot": experiments.kd_no_cot,
    "kd_skipped": experiments.kd_skipped,
    "kd_student": experiments.kd_student,
    "kd_teacher": experiments.kd_teacher,
    "own_kd": experiments.own_kd,
    "own_si": experiments.own_si,
    "paper_pace": experiments.paper_pace,
    "tour": experiments.tour,
}


def _common(command: argparse.ArgumentParser, preset: str | None = "fast") -> None:
    command.add_argument(
        "--preset",
        default=preset,
        choices=experiments.PRESETS,
        help="smoke: seconds; fast: minutes on two cores (default); paper: one GPU",
    )
    command.add_argument("--seed", type=int, default=0, help="seed of everything random")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change any setting, e.g. train.steps=200 (icot train icot_si --fields lists them)",
    )
    command.add_argument(
        "--jobs", type=int, default=None, help="runs side by side (default: by cores)"
    )


def _overrides(pairs: Sequence[str]) -> dict:
    changes = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set needs FIELD=VALUE, got {pair!r}")
        changes[name.strip()] = yaml.safe_load(value)
    return changes


def _notebook_list() -> str:
    from icotlib.running.notebooks import manual

    return "notebooks:\n" + manual()


def _workbook(options: argparse.Namespace) -> None:
    from icotlib.running.notebooks import run_all

    overrides = _overrides(options.set)
    parts = {"studies": options.studies, "series": options.series}
    run_all(options.preset, options.seed, overrides, jobs=options.jobs, **parts)


def _notebook(options: argparse.Namespace) -> None:
    from icotlib.running.notebooks import run_all

    run_all(options.preset, options.seed, _overrides(options.set), options.names, options.jobs)


def _train(options: argparse.Namespace) -> None:
    if options.fields:
        print("\n".join(field_names()))
        return
    if options.list:
        print("\n".join(line for cell in CELLS.values() for line in cell.lines()))
        return
    from icotlib.running.jobs import ensure

    config = _config(options)
    if options.speed and not options.plan:
        raise ConfigError("--speed says how long a run would take: add --plan")
    if not options.speed:
        check_data(config)
    if options.plan:
        from icotlib.running.planning import plan

        if "/" in options.name:
            print("\n".join(get_paper_result(options.name).lines()))
        plans = plan(config, options.speed)
        print("\n".join(line for one in plans for line in one.lines()) or "finished already")
        return
    run = ensure(config, options.jobs)[0]
    print(f"finished: {run.folder}\n")
    _print_run(run)


def _config(options: argparse.Namespace) -> RunConfig:
    """The config that `icot train` is asked for: a preset's run, or a cell of a paper's table."""
    name, overrides = options.name or "", _overrides(options.set)
    if "/" in name:
        if options.preset not in (None, "paper"):
            raise ConfigError(f"{name} has settings of its own: leave out --preset")
        return get_paper_result(name).config(options.seed, overrides)
    if name not in RUNS:
        known = [*RUNS, *CELLS]
        raise ConfigError(
            f"icot train needs the name of a run, got {name!r}: one of {', '.join(sorted(RUNS))}, "
            f"or a cell of the papers' tables (--list).{did_you_mean(name, known)}"
        )
    return RUNS[name](options.preset or "fast", options.seed, overrides)


def _shifts(options: argparse.Namespace) -> None:
    from icotlib.evaluation.ood import shift_table
    from icotlib.running.jobs import ensure

    configs = experiments.shifted(options.preset, options.seed, _overrides(options.set))
    if not configs:
        raise ConfigError("nothing to test: choose by --set data.task a task that has shifts")
    runs = ensure(list(configs.values()), options.jobs)
    print(shift_table(runs, options.questions).drop(columns="run").to_string(index=False))


def _runs(options: argparse.Namespace) -> None:
    from icotlib.reporting.results import results_table
    from icotlib.runs import all_runs

    runs = all_runs(finished=False)
    if options.csv:
        results_table(run for run in runs if run.done).to_csv(sys.stdout, index=False)
        return
    if not runs:
        print(f"no runs under {paths.runs_root()}; `icot workbook` makes some")
    for run in runs:
        if run.done:
            stages = run.stages
            accuracy = f"{stages.accuracy.iloc[-1]:6.1%}" if len(stages) else f"{'-':>6}"
            state = f"{accuracy}  {run.totals['seconds']:6.0f} s"
        else:
            step = run.progress.get("step", 0)
            state = f"unfinished at step {step} of {run.config.train.steps}"
        print(f"{run.name:60} {state}")


def _show(options: argparse.Namespace) -> None:
    from icotlib.runs import find_run

    run = find_run(options.name)
    print(yaml.safe_dump({"config": to_dict(run.config), "from": run.provenance}, sort_keys=False))
    _print_run(run)


def _print_run(run) -> None:
    columns = ["removed", "accuracy", "ci_low", "ci_high", "n_test", "train_examples"]
    if run.done and len(run.stages):
        print(run.stages[columns].to_string(index=False))
    else:
        print(run.metrics.tail().to_string(index=False))


def _data(options: argparse.Namespace) -> None:
    from icotlib.data.corpus import examples_of, load_corpus
    from icotlib.data.files import write_examples, write_json

    config = DataConfig(
        task=options.task,
        train_examples=options.train,
        valid_examples=options.valid,
        test_examples=options.test,
        seed=options.seed,
    )
    corpus = load_corpus(config)
    files = {s: options.out / f"{s}.{options.format}" for s in ("train", "valid", "test")}
    for path in files.values():
        if path.exists():
            raise ConfigError(f"{path} exists; give --out another folder")
    for split, path in files.items():
        examples = examples_of(getattr(corpus, split))
        if options.format == "json":
            write_json(path, examples, corpus.task)
        else:
            write_examples(path, examples)
        print(f"{path}: {len(examples)} examples")
    print(f"content hash {corpus.digest}; no question stands in two files")


def _prepare(options: argparse.Namespace) -> None:
    from icotlib.data import forms, prepare

    columns = forms.Columns(options.question, options.steps, options.answer, options.between)
    source: str | dict = options.source
    if options.valid or options.test:
        source = {"train": options.source, "valid": options.valid, "test": options.test}
    reports = prepare.prepare(source, columns, options.held_out, options.seed)
    prepare.write(reports, options.out)
    for split, report in reports.items():
        print("\n".join(report.lines(split)))
    print(f"no question stands in two splits; train with --set data.path={options.out}")


def _export(options: argparse.Namespace) -> None:
    from icotlib.reporting.hub import export, push
    from icotlib.runs import find_run

    folder = export(find_run(options.run_name), options.out, options.removed, options.push)
    print(f"{folder}: model, tokenizer and card")
    if options.push:
        print(push(folder, options.push))


def _benchmark(options: argparse.Namespace) -> None:
    import pandas as pd

    from icotlib.reporting.benchmark import benchmark
    from icotlib.reporting.cost_benchmark import costs

    if options.costs:
        folder = options.out or paths.FIGURES
        table = costs(options.size, options.rounds, options.steps, options.precision[0], folder)
        print(table.drop(columns=["device", "commit"]).to_string(index=False))
        print(f"\nwritten to {folder}")
        return
    table = benchmark(options.size, options.rounds, options.steps, tuple(options.precision))
    print(table.drop(columns=["device", "commit"]).round(3).to_string(index=False))
    if options.out:
        if options.out.is_file():
            table = pd.concat([pd.read_csv(options.out), table], ignore_index=True)
        table.to_csv(options.out, index=False)


def _publish(options: argparse.Namespace) -> None:
    from icotlib.reporting.guide import update_readme
    from icotlib.reporting.publish import publish
    from icotlib.reporting.results import summary

    table = publish(options.out, options.task)
    if options.out == paths.FIGURES:
        update_readme()
    print(summary(table).to_string(index=False))
    print(f"\nwritten to {options.out}")


if __name__ == "__main__":
    sys.exit(main())
