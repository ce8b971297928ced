"""`icot data`: a generated data set as files."""

import argparse
import re

from icotlib.cli.options import add_import, load_imports, to_path
from icotlib.errors import ConfigError
from icotlib.system.wording import counted

EXAMPLES = """\
examples:
  icot data mult-4x4 --out my-data
  icot data mult-4x4 --out my-data --hold-out benchmark.txt
        without the questions of a file
  icot data prosqa-23 --format json --out my-data
        in the form in which ProsQA is published
"""

SPLITS = ("train", "valid", "test")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", help="mult-4x4, parity-8, prosqa-23, graph-23, prontoqa-5, ...")
    parser.add_argument("--out", type=to_path, required=True, help="folder to write")
    parser.add_argument("--train", type=int, default=10_000, help="training examples (10,000)")
    parser.add_argument("--valid", type=int, default=1000, help="validation examples (1,000)")
    parser.add_argument("--test", type=int, default=1000, help="test examples (1,000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the splits (0)")
    parser.add_argument(
        "--hold-out",
        metavar="FILE",
        help="keep the questions of a file, in any form that `icot prepare` reads, out of the data",
    )
    parser.add_argument(
        "--format",
        choices=("txt", "json"),
        default="txt",
        help="txt: the papers' format, to train on (default); json: as the data are published",
    )
    add_import(parser)


def run(options: argparse.Namespace) -> None:
    from icotlib.config import DataConfig
    from icotlib.data.corpus import examples_of, load_corpus
    from icotlib.data.files import write_examples, write_json
    from icotlib.tasks import get_task

    load_imports(options)
    try:
        config = DataConfig(
            task=options.task,
            train_examples=options.train,
            valid_examples=options.valid,
            test_examples=options.test,
            seed=options.seed,
            hold_out=options.hold_out,
        )
        corpus = load_corpus(config)
    except ConfigError as error:  # it names settings, which are options here
        raise ConfigError(
            re.sub(r"data\.(?:(valid|test|train)_examples|(seed))", r"--\1\2", str(error))
        ) from None
    files = {split: options.out / f"{split}.{options.format}" for split in SPLITS}
    for split in SPLITS:
        for path in options.out.glob(f"{split}.*"):
            raise ConfigError(f"{path} exists; give --out another folder")
    for split, path in files.items():
        examples = examples_of(getattr(corpus, split))
        if options.format == "json":
            write_json(path, examples, get_task(options.task))
        else:
            write_examples(path, examples)
        print(f"{path}: {counted(len(examples), 'examples')}")
    if corpus.file_questions:
        print(f"{corpus.file_questions}, met {corpus.file_questions.met:,} times and left out")
    print(f"content hash {corpus.digest}; no question is in two files")
