"""`icot prepare`: your own questions with steps, as files to train on."""

import argparse
from functools import partial

from icotlib.cli.columns import FORMATS_LISTED, add_columns, columns_of
from icotlib.cli.options import to_path
from icotlib.data.prepare import check_new, count_tokens, count_words, prepare, write
from icotlib.errors import ConfigError

EXAMPLES = f"""\
formats (--as NAME; without it, the columns of a row decide):
{FORMATS_LISTED}

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
    parser.add_argument("--out", type=to_path, required=True, help="folder to write")
    for split in ("valid", "test"):
        parser.add_argument(f"--{split}", type=to_path, help=f"the file of the {split} split")
    add_columns(parser)
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
        "--held-out",
        type=int,
        default=500,
        help="examples for a split that the source lacks (500, at most a third of its questions)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of that draw")


def run(options: argparse.Namespace) -> None:
    columns = columns_of(options)
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
