"""`icot evaluate`: trained models on a file of questions."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from icotlib.cli.columns import add_columns, columns_of
from icotlib.cli.options import add_import, load_imports, whole
from icotlib.system.terminal import table_width

if TYPE_CHECKING:
    from icotlib.evaluation.on_file import FileResult
    from icotlib.evaluation.stage_model import StageModel

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
  icot evaluate icot_si-mult-4x2-s10 icot_si-mult-4x2-s11 test.txt
        several runs; each configuration with its interval over seeds
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="name of a run, or how it begins")
    parser.add_argument("file", type=Path, help="questions with chains and answers")
    parser.add_argument("--removed", type=whole(0), help="tokens or steps removed; by default all")
    parser.add_argument("-n", type=whole(1), help="the first n questions of the file")
    add_columns(parser)
    parser.add_argument("--out", type=Path, metavar="TABLE", help="write every answer to a file")
    add_import(parser)


def run(options: argparse.Namespace) -> None:
    from icotlib.evaluation.on_file import check_table, evaluate_file, write_table
    from icotlib.evaluation.stage_model import load
    from icotlib.reporting.on_file import over_seeds_on_file
    from icotlib.reporting.tables import as_text

    load_imports(options)
    if options.out:
        check_table(options.out)
    columns, read = columns_of(options), ""
    tested: dict[str, tuple[StageModel, FileResult]] = {}
    for model in [load(name, options.removed) for name in options.runs]:
        if model.name in tested:
            continue
        result = evaluate_file(model, options.file, options.n, columns)
        report = "\n".join(result.report.lines(options.file.name))
        if report != read:  # that of the next run, if it can be asked the same questions
            print(report)
        read = report
        stage = f"{model.name} with {model.removed} {model.format.unit} removed"
        print("\n".join(result.lines(stage)), flush=True)
        tested[model.name] = model, result
    if len(tested) > 1:
        found = over_seeds_on_file(list(tested.values())).drop(columns="runs")
        print(f"\n{as_text(found, table_width())}")
    if options.out:
        write_table({name: result for name, (_, result) in tested.items()}, options.out)
        print(f"{options.out}: every answer")
