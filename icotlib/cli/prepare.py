"""`icot prepare`: your own questions with steps, as files to train on."""

import argparse
import textwrap
from functools import partial
from pathlib import Path

from icotlib.data.formats import FORMATS, NAMES, Columns
from icotlib.data.prepare import check_new, count_tokens, count_words, prepare, write
from icotlib.errors import ConfigError

_FORMATS = "\n".join(
    textwrap.fill(form.about, 80, initial_indent=f"  {form.name:14}", subsequent_indent=" " * 16)
    for form in FORMATS
    if form.about
)

EXAMPLES = f"""\
formats (--as NAME; without it, the columns of a row decide):
{_FORMATS}

examples:
  icot prepare gsm8k/train.jsonl --test gsm8k/test.jsonl --out gsm8k-text
  icot prepare whynlp/gsm8k-aug --out gsm8k-aug
  icot prepare prosqa_train.json --test prosqa_test.json --out prosqa
  icot prepare commonsense.jsonl --steps why --out commonsense
  icot prepare svamp-folder --as svamp --test other.csv --out svamp \\
      --max-tokens 256
  icot prepare problems.csv --question problem --steps working \\
      --answer result --out mine
then:
  icot train own_si --set data.path=gsm8k-text \\
      --set model.pretrained=FOLDER-OR-HUB-ID
  icot train own_kd --set data.path=gsm8k-text \\
      --set model.pretrained=FOLDER-OR-HUB-ID
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        help="a file, a folder with files or folders named after splits, a folder of save_to_disk, "
        "or owner/name[:config] on the hub",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    for split in ("valid", "test"):
        parser.add_argument(f"--{split}", type=Path, help=f"the file of the {split} split")
    for part in ("question", "steps", "answer"):
        text = f"the column with the {part}"
        more = ", or several joined by +" if part == "question" else ""
        parser.add_argument(f"--{part}", metavar="COLUMN", help=text + more)
    parser.add_argument(
        "--as", dest="form", choices=NAMES, metavar="NAME", help="the format of the rows; see below"
    )
    parser.add_argument(
        "--between",
        default=" ",
        metavar="TEXT",
        help="text between steps, of a list or on lines of one cell; with ' ; ' for example "
        "removal.step_end=';' can tell them apart (default: a space)",
    )
    parser.add_argument(
        "--all-chains",
        action="store_true",
        help="keep all chains of a training question, for the mixture of distillation",
    )
    parser.add_argument(
        "--max-tokens", type=int, metavar="N", help="leave out examples of more tokens than that"
    )
    parser.add_argument(
        "--tokenizer",
        metavar="MODEL",
        help="folder or hub id whose tokenizer counts them (default: words, digits and signs)",
    )
    parser.add_argument(
        "--held-out", type=int, default=500, help="examples for a split that the source lacks"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of that draw")


def run(options: argparse.Namespace) -> None:
    columns = Columns(
        options.question, options.steps, options.answer, options.between, options.form
    )
    for name, least in (("held_out", 0), ("seed", 0), ("max_tokens", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ConfigError(f"--{name.replace('_', '-')} {value}: must be at least {least}")
    check_new(options.out)
    sources = {"train": options.source, "valid": options.valid, "test": options.test}
    longest = None
    if options.tokenizer is not None and options.max_tokens is None:
        raise ConfigError("--tokenizer counts for --max-tokens N, which is missing")
    if options.max_tokens is not None:
        counter = partial(count_tokens, options.tokenizer) if options.tokenizer else count_words
        longest = (options.max_tokens, counter)
    reports = prepare(
        sources,
        columns,
        options.held_out,
        options.seed,
        all_chains=options.all_chains,
        longest=longest,
    )
    write(reports, options.out)
    for split, report in reports.items():
        print("\n".join(report.lines(split)))
    print(f"no question is in two splits; train with --set data.path={options.out}")
