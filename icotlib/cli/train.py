"""`icot train`: one run."""

import argparse
import os
import shlex
import textwrap
from typing import TYPE_CHECKING

from icotlib.cli.options import add_run_options, load_imports, overrides_of, positive
from icotlib.cli.plans import add_plan, check_plan
from icotlib.config import RunConfig, settings_of
from icotlib.errors import ConfigError, RunError
from icotlib.experiments import RUNS, run_config
from icotlib.experiments.drafts import as_text
from icotlib.experiments.papers import check_data
from icotlib.experiments.published import PUBLISHED_RESULTS, get_paper_result
from icotlib.registry import METHODS
from icotlib.system.launch import is_main, launched
from icotlib.system.terminal import text_width

if TYPE_CHECKING:
    from icotlib.runs import Run

EXAMPLES = """\
examples:
  icot train icot_si --seed 1
  icot train icot_si --set train.steps=200 --set removal.schedule=adaptive
  icot train icot_kd --set student.train.steps=2000
        one phase of distillation longer
  icot train own_si --set data.path=mine \\
      --set model.pretrained=openai-community/gpt2
        your own data (icot prepare) and model
  icot train icot_kd --plan
        steps, memory and time, before anything starts
  icot train icot_si --fields
        every setting of a method
  icot train --list
        every run, every method, every result in the papers' tables
  icot train icot-si/9x9/gpt2 --plan --speed h100
        a result of a paper: memory, and time on that device
  icot train icot_si --hold-out test.txt
        none of a file's questions is trained on
  icot train icot_si --track tensorboard
        curves in TensorBoard: tensorboard --logdir runs/tracking
  icot train my_method --import my_method.py
        a method of your own
  accelerate launch --multi_gpu --num_processes 4 -m icotlib train \\
      icot-si/9x9/gpt2
        one run on four devices (notebooks/guide/devices.md)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        help="a run or a method by name (--list), or a result in a paper's table such as "
        "icot-si/9x9/gpt2",
    )
    add_run_options(parser, preset=None)
    parser.add_argument(
        "--track",
        metavar="TRACKER",
        help="send config and metrics to a tracker that accelerate knows, such as tensorboard, "
        "trackio or wandb (default: $ICOT_TRACK)",
    )
    parser.add_argument(
        "--hold-out",
        metavar="FILE",
        help="keep the questions of a file out of a generated task's examples "
        "(--set data.hold_out=FILE)",
    )
    parser.add_argument("--list", action="store_true", help="list the names, and stop")
    add_plan(parser)
    parser.add_argument(
        "--memory",
        type=positive,
        metavar="GB",
        help="with --plan: memory of one device (default: 80); a run that needs more is planned "
        "over several devices, or with adapters",
    )
    parser.add_argument(
        "--fields", action="store_true", help="explain every setting of the run, and stop"
    )


def run(options: argparse.Namespace) -> None:
    load_imports(options)
    if not is_main() and (options.list or options.fields or options.plan):
        return
    if options.list:
        print(names())
        return
    if options.fields and not options.name:
        raise ConfigError("--fields needs the name of a run: icot train icot_si --fields")
    if not options.name:
        raise ConfigError("say which run: icot train icot_si, for example (icot train --list)")
    config = config_of(options)
    if options.fields:
        print(fields(config))
        return
    check_plan(options)
    if options.memory and not options.plan:
        raise ConfigError("--memory says what a run would have to fit: add --plan")
    if not options.speed or not _is_known_without_data(config):
        check_data(config)
    if options.plan:
        print_plan(options, config)
        return
    if options.track:
        os.environ["ICOT_TRACK"] = options.track  # worker processes read it too
        from icotlib.training.tracking import trackers_asked_for

        trackers_asked_for()  # a wrong name is an error before anything starts
    finished = finish(config, options.jobs)
    if is_main():
        from icotlib.cli.show import print_run  # pandas: not for --help

        print(f"finished: {finished.folder}\n")
        print_run(finished)
        print_lost_weights(finished)
        if finished.config.data.hold_out:
            from icotlib.data.training_questions import held_out_in_training

            print(held_out_in_training(finished))


def print_lost_weights(run: "Run") -> None:
    """Say so if the weights of a finished run are no longer those that it was saved with."""
    from icotlib.system import seals

    remedy = f"put it back from a copy, or delete {run.folder} and train it again"
    try:
        seals.check_seal(run.folder / "model", remedy)
    except RunError as error:
        print(f"\n{error}")


def _is_known_without_data(config: RunConfig) -> bool:
    from icotlib.costs.lengths import has_nominal_lengths  # torch: not for --help

    return has_nominal_lengths(config)


def finish(config: RunConfig, jobs: int | None) -> "Run":
    """Train a run: in worker processes, or in those that were launched together with this one."""
    if launched():
        from icotlib.running.launched import train_launched  # not for --fields, --list and --help

        return train_launched(config)
    from icotlib.running.jobs import ensure

    return ensure(config, jobs)[0]


def names() -> str:
    """Everything that can be trained by name."""
    methods = [f"  {name:12} {spec.label}" for name, spec in METHODS.items().items()]
    results = [line for result in PUBLISHED_RESULTS.values() for line in result.lines()]
    indent = "  "
    listed, width = ", ".join(sorted(RUNS)), text_width()
    runs = textwrap.wrap(listed, width, initial_indent=indent, subsequent_indent=indent)
    parts = [
        "runs of the workbook:",
        *runs,
        "methods:",
        *methods,
        "results of the papers:",
        *results,
    ]
    return "\n".join(parts)


def config_of(options: argparse.Namespace) -> RunConfig:
    """The config that is asked for: a run of a preset, or of a result in a paper's table."""
    name, overrides = options.name or "", overrides_of(options.set)
    if options.hold_out and "data.hold_out" in overrides:
        raise ConfigError("--hold-out and --set data.hold_out are one setting: leave one out")
    if options.hold_out:
        overrides["data.hold_out"] = options.hold_out
    if "/" in name:
        if options.preset not in (None, "paper"):
            raise ConfigError(f"{name} has settings of its own: leave out --preset")
        return get_paper_result(name).config(options.seed, overrides)
    return run_config(name, options.preset or "fast", options.seed, overrides)


def fields(config: RunConfig) -> str:
    """Every setting of a run's method: meaning, type, default, value in this run, range."""
    lines = []
    for one in settings_of(config.method):
        about = [one.type, f"default {_shown(one.default)}"]
        section, _, last = one.name.rpartition(".")
        here = getattr(getattr(config, section) if section else config, last, one.default)
        about += [f"here {_shown(here)}"] if here != one.default else []
        about += [one.range] if one.range else []
        about += [f"read by {one.only}"] if one.only else []
        lines.append(f"{one.name}  ({'; '.join(about)})")
        indent = "    "
        width = text_width()
        lines += textwrap.wrap(one.help, width, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(lines)


def _shown(value: object) -> str:
    """A value as `--set` takes it."""
    return repr(value) if value == "" or isinstance(value, dict) else as_text(value)


def print_plan(options: argparse.Namespace, config: RunConfig) -> None:
    from icotlib.planning.plan import MEMORY, memory_lines, plan

    if "/" in options.name:
        print("\n".join(get_paper_result(options.name).lines()))
    plans = plan(config, options.speed, options.memory or MEMORY)
    lines = [line for one in plans for line in one.lines(arguments_of(options))]
    if not options.speed:
        lines += memory_lines(plans, options.jobs)
    print("\n".join(lines) or "finished already")


def arguments_of(options: argparse.Namespace) -> str:
    """The words after `icot train` that name the run."""
    words = [options.name]
    words += ["--preset", options.preset] if options.preset else []
    words += ["--seed", str(options.seed)] if options.seed else []
    words += ["--hold-out", options.hold_out] if options.hold_out else []
    for flag, values in (("--set", options.set), ("--import", options.imports)):
        words += [word for value in values for word in (flag, value)]
    return shlex.join(words)
