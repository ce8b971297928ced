"""`icot record`: seconds until a model answers without writing any step, on this machine."""

import argparse

from icotlib.cli.options import (
    add_run_options,
    check_file,
    load_imports,
    overrides_of,
    refuse,
    to_path,
)

EXAMPLES = """\
examples:
  icot record
        4x2 digits: minutes until 95% with all 12 tokens removed
  icot record mult-4x4
        4x4 digits: over an hour until 95% with all 46 tokens removed
  icot record --seed 3 --out mine.csv
        add the line to a table of your own
  icot record --of RUN --out mine.csv
        the line of a finished run, which may have trained on after 95%
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", nargs="?", help="mult-4x2 (default) or mult-4x4")
    parser.add_argument(
        "--of", nargs="+", metavar="RUN", help="finished runs, instead of training one"
    )
    parser.add_argument("--out", type=to_path, help="a CSV file to add the line to")
    add_run_options(parser, seed=None)


def run(options: argparse.Namespace) -> None:
    from icotlib.benchmarks.records import record_line, sentence
    from icotlib.experiments import record  # torch and pandas are not for --help
    from icotlib.running.jobs import ensure
    from icotlib.runs import find_run
    from icotlib.system.added_rows import add_rows, check_addable

    load_imports(options)
    check_file(options.out)
    if options.out:
        check_addable(options.out, ("task", "target", "seconds"))
    if options.of:
        other = {f"--preset {options.preset}": options.preset != "fast", "--seed": options.seed}
        other |= {"the task": options.task, "--set": options.set, "--jobs": options.jobs}
        refuse(other, "--of takes runs as they are")
        runs = [find_run(name) for name in options.of]
    else:
        asked = options.task or "mult-4x2", options.preset, options.seed or 0
        config = record(*asked, overrides_of(options.set))
        runs = ensure(config, options.jobs)
    lines = [record_line(run) for run in runs]
    for line in lines:
        print(sentence(line))
    if options.out:
        import pandas as pd

        add_rows(options.out, pd.DataFrame(lines))
