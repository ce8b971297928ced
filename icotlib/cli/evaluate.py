"""`icot evaluate`: trained models on a file of questions."""

import argparse

from icotlib.cli.columns import add_columns, columns_of
from icotlib.cli.options import add_import, check_file, load_imports, to_path, whole
from icotlib.system.terminal import table_width

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
  icot evaluate icot_si-mult-4x2-s12 test.txt --scores scores.csv
        add the run to a table with a row for each run; scores.json holds the
        hash of the file and the origin of each run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="name of a run, or how it begins")
    parser.add_argument("file", type=to_path, help="questions with chains and answers")
    parser.add_argument("--removed", type=whole(0), help="tokens or steps removed; by default all")
    parser.add_argument("-n", type=whole(1), help="the first n questions of the file")
    add_columns(parser)
    parser.add_argument("--out", type=to_path, metavar="TABLE", help="write every answer to a file")
    parser.add_argument(
        "--scores", type=to_path, metavar="TABLE", help="add a row for each run to a table (.csv)"
    )
    add_import(parser)


def run(options: argparse.Namespace) -> None:
    from icotlib.evaluation.askable import stage_of
    from icotlib.evaluation.on_file import check_table, evaluate_file, write_table
    from icotlib.evaluation.stage_model import load
    from icotlib.reporting.on_file import add_scores, check_scores, over_seeds_on_file
    from icotlib.reporting.tables import as_text
    from icotlib.runs import find_run

    load_imports(options)
    for table, option in ((options.out, "--out"), (options.scores, "--scores")):
        check_file(table, option)
    if options.out:
        check_table(options.out)
    if options.scores:
        check_scores(options.scores, options.file)
    runs = list({run.name: run for run in map(find_run, options.runs)}.values())
    for run in runs:  # before the first is asked
        stage_of(run, options.removed)
    columns, results, read = columns_of(options), [], ""
    try:
        for run in runs:
            result = evaluate_file(load(run, options.removed), options.file, options.n, columns)
            report = "\n".join(result.report.lines(options.file.name))
            if report != read:  # that of the next run, if it can be asked the same questions
                print(report)
            read = report
            print("\n".join(result.lines()), flush=True)
            results.append(result)
        if len(results) > 1:
            found = over_seeds_on_file(results).drop(columns="runs")
            print(f"\n{as_text(found, table_width())}")
    finally:  # what was answered is kept, whatever became of the next run
        if options.out and results:
            write_table(results, options.out)
            print(f"{options.out}: every answer")
        if options.scores and results:
            add_scores(results, options.file, options.scores)
            print(f"{options.scores}: a row for each run")
