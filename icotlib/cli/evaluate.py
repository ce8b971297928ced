"""`icot evaluate`: a trained model on a file of questions."""

import argparse
from pathlib import Path

from icotlib.cli.options import add_import, load_imports
from icotlib.data.readers import read_file
from icotlib.evaluation.stage_model import load

EXAMPLES = """\
examples:
  icot evaluate icot_si test.txt                question||chain #### answer, one per line
  icot evaluate icot_si test.jsonl --removed 0  any form that `icot prepare` reads
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="name of a run, or how it begins")
    parser.add_argument("file", type=Path, help="questions with chains and answers")
    parser.add_argument("--removed", type=int, help="tokens or steps removed; by default all")
    parser.add_argument("-n", type=int, help="the first n questions of the file")
    add_import(parser)


def run(options: argparse.Namespace) -> None:
    load_imports(options)
    model = load(options.run_name, options.removed)
    report = read_file(options.file)
    print("\n".join(report.lines(options.file.name)))
    score = model.evaluate(report.kept, options.n)
    print(
        f"{score.accuracy:.1%} of {score.n} answers right (95% interval {score.ci_low:.1%} to "
        f"{score.ci_high:.1%}), {model.name} with {model.removed} {model.format.unit} removed"
    )
