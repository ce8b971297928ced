"""`icot evaluate`: a trained model on a file of questions."""

import argparse
from pathlib import Path

from icotlib.cli.columns import add_columns, columns_of
from icotlib.cli.options import add_import, load_imports, whole

EXAMPLES = """\
examples:
  icot evaluate icot_si test.txt
        question||chain #### answer, one per line
  icot evaluate icot_si test.jsonl --removed 0
        any form that `icot prepare` reads
  icot evaluate icot_si test.csv --question problem --answer result
        columns with other names than the usual ones
  icot evaluate icot_si test.csv --out answers.csv
        a row for every answer (.csv, .jsonl or .parquet)
  icot evaluate icot_si-linear-graph-23 prosqa_test.json
        the published form of the run's own task
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="name of a run, or how it begins")
    parser.add_argument("file", type=Path, help="questions with chains and answers")
    parser.add_argument("--removed", type=whole(0), help="tokens or steps removed; by default all")
    parser.add_argument("-n", type=whole(1), help="the first n questions of the file")
    add_columns(parser)
    parser.add_argument("--out", type=Path, metavar="TABLE", help="write every answer to a file")
    add_import(parser)


def run(options: argparse.Namespace) -> None:
    from icotlib.evaluation.on_file import check_table, evaluate_file, write_table
    from icotlib.evaluation.stage_model import load

    load_imports(options)
    if options.out:
        check_table(options.out)
    model = load(options.run_name, options.removed)
    result = evaluate_file(model, options.file, options.n, columns_of(options))
    print("\n".join(result.report.lines(options.file.name)))
    stage = f"{model.name} with {model.removed} {model.format.unit} removed"
    print("\n".join(result.lines(stage)))
    if options.out:
        write_table(result, options.out)
        print(f"{options.out}: every answer")
