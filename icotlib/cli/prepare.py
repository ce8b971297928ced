"""`icot prepare`: your own questions with steps, as files to train on."""

import argparse
from pathlib import Path

from icotlib.data.forms import Columns
from icotlib.data.prepare import prepare, write

EXAMPLES = """\
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", help="a file, a folder with a file per split, or owner/name[:config] on the hub"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    for split in ("valid", "test"):
        parser.add_argument(f"--{split}", type=Path, help=f"the file of the {split} split")
    for part in ("question", "steps", "answer"):
        parser.add_argument(f"--{part}", metavar="COLUMN", help=f"the column with the {part}")
    parser.add_argument(
        "--between",
        default=" ",
        metavar="TEXT",
        help="text between the steps of a list; with ' ; ' for example removal.step_end=';' can "
        "tell them apart (default: a space)",
    )
    parser.add_argument(
        "--held-out", type=int, default=500, help="examples for a split that the source lacks"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of that draw")


def run(options: argparse.Namespace) -> None:
    columns = Columns(options.question, options.steps, options.answer, options.between)
    source: str | dict = options.source
    if options.valid or options.test:
        source = {"train": options.source, "valid": options.valid, "test": options.test}
    reports = prepare(source, columns, options.held_out, options.seed)
    write(reports, options.out)
    for split, report in reports.items():
        print("\n".join(report.lines(split)))
    print(f"no question is in two splits; train with --set data.path={options.out}")
