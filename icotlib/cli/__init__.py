"""The command line: `icot`.

options    options that several commands share
columns    those that say which columns hold question, steps and answer
plans      what --plan says of several runs
train      one run
workbook   the runs and notebooks of the workbook
notebook   some notebooks
lab        JupyterLab on copies of the notebooks
sweep      a run or a notebook over many settings
study      a question of the workbook over seeds
calibrate  how many steps take as many seconds
stop       end runs in training
runs       the runs that are there; export, import, clean up, ship
show       one run
compare    two configurations or two runs
ask        a question to a trained model
evaluate   a trained model on a file of questions
shifts     accuracy out of distribution
data       a generated data set as files
prepare    your own questions with steps, as files to train on
export     a model as a folder for the hub
benchmark  speed beside a reference implementation
record     seconds until a model answers without any step
publish    figures and tables from finished runs
site       README, notebooks and guide as web pages

A command is one file here, with `add_arguments(parser)` and `run(options)`, and its line in
`COMMANDS`. It is imported when it is called, so that the command line answers at once.
"""

import argparse
import contextlib
import importlib
import os
import sys
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any

from icotlib.errors import IcotError, RunWarning, did_you_mean
from icotlib.system.terminal import HELP

COMMANDS = {
    "train": "train one run, or show it if it is finished",
    "workbook": "train the runs of all notebooks but the studies, and execute these notebooks",
    "notebook": "execute some notebooks",
    "lab": "open copies of the notebooks in JupyterLab",
    "sweep": "do a run or a notebook over a grid of settings and seeds",
    "study": "answer a question over seeds: trainings, one table, one figure, sentences",
    "calibrate": "measure how many steps of a method take as many seconds as a run of another",
    "stop": "end runs in training, which write a checkpoint first",
    "runs": "list the runs, summarise them over seeds, export and import them, clean up",
    "show": "show one run: settings, provenance, accuracy by removal stage",
    "compare": "compare two configurations or runs: settings, accuracy by stage, tests",
    "ask": "ask a trained model a question",
    "evaluate": "test a trained model on a file of questions",
    "shifts": "train five methods, test them on other lengths and unseen combinations",
    "data": "write a generated data set as files",
    "prepare": "turn questions with steps (GSM8K, ProsQA, CSV, JSON, ...) into files to train on",
    "export": "write a run's model as a folder for the hub, with a card",
    "benchmark": "measure training and evaluation beside a reference implementation",
    "record": "measure the seconds until the match is 95% with all steps removed",
    "publish": "write figures/ from finished runs, and the tables of README and guide",
    "site": "build README, executed notebooks and guide as web pages that need no network",
}

EXAMPLES = """\
examples:
  icot workbook
        the runs and notebooks at the fast preset, without the studies
  icot workbook --preset smoke
        the same in a minute, to see that everything runs
  icot notebook 06 --seed 1
        one notebook, which trains what it needs
  icot train icot_si --seed 1
        one run, without a notebook
  icot train icot_si --plan
        what that will take, before anything starts
  icot train icot_si --fields
        every setting, with its meaning, type, default and range
  icot ask icot_si "3719 * 84"
        a question to a trained model
  icot runs
        what is finished and what is under way
  icot compare icot_si no_cot
        which is better, over seeds and questions
  icot COMMAND --help
        more about a command
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point: the exit status.

    0; 1 after an error that the user can mend; 2 for words that are no command; 130 after Ctrl-C;
    141 if whoever read the output has gone, as `head` does.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            return _dispatch(words)
        finally:  # what is left to print must not fail after the end, as Python would have it
            sys.stdout.flush()
    except Exception as error:
        return _failed(error)
    except KeyboardInterrupt:
        return _interrupted()


def _dispatch(words: list[str]) -> int:
    """Do what the words ask for; the exit status."""
    top = top_parser()
    if not words or words[0].startswith("-"):
        top.parse_args(words or ["--help"])
        return 0
    name = words[0]
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS)
        top.exit(2, f"icot: unknown command {name!r}.{hint} `icot --help` lists all.\n")
    command = importlib.import_module(f"icotlib.cli.{name}")
    parser = command_parser(name)
    options, unknown = parser.parse_known_args(words[1:])
    if getattr(command, "PASSES_ON", False):
        options.passed_on = unknown
    elif unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        command.run(options)
    return 0


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    *rest: Any,
    **more: Any,
) -> None:
    """One line for what the library says on purpose; any other warning as Python shows it."""
    from tqdm import tqdm  # not for --help

    text = f"icot: {message}\n"
    if not issubclass(category, RunWarning):
        text = warnings.formatwarning(message, category, filename, lineno)
    tqdm.write(text, sys.stderr, end="")  # above the progress bars


def _failed(error: Exception) -> int:
    """Say what went wrong in a line, or raise the error again where only a traceback would help."""
    from icotlib.system.failures import came_from, explained

    if came_from(error, KeyboardInterrupt):  # a library that was being imported has wrapped it
        return _interrupted()
    if came_from(error, BrokenPipeError):
        with contextlib.suppress(OSError, ValueError):  # nothing more is written there
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    text = str(error) if isinstance(error, IcotError) else explained(error)
    if text is None:
        raise error
    _say(f"icot: {text}")
    return 1


def _interrupted() -> int:
    _say("\nicot: stopped; the same command goes on from the last checkpoint, if there is one")
    return 130


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a closed terminal
        print(text, file=sys.stderr, flush=True)


def top_parser() -> argparse.ArgumentParser:
    """The parser of `icot` itself."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(
        textwrap.fill(text, HELP, initial_indent=f"  {name:{width}}  ", subsequent_indent=" " * 13)
        for name, text in COMMANDS.items()
    )
    return argparse.ArgumentParser(
        prog="icot",
        usage="icot COMMAND [options]",
        description="Implicit chain of thought: train it, remove the steps, look inside.\n\n"
        f"commands:\n{listed}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one command."""
    command = importlib.import_module(f"icotlib.cli.{name}")
    text = COMMANDS[name]
    parser = argparse.ArgumentParser(
        prog=f"icot {name}",
        description=textwrap.fill(text[0].upper() + text[1:] + ".", HELP),
        epilog=getattr(command, "EXAMPLES", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
