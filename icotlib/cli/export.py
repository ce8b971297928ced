"""`icot export`: a model as a folder for the hub."""

import argparse
from pathlib import Path

from icotlib.cli.options import add_import, load_imports
from icotlib.reporting.hub import export, push
from icotlib.runs import find_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="name of a run, or how it begins")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--removed", type=int, help="tokens or steps removed; by default all")
    parser.add_argument("--push", metavar="OWNER/NAME", help="upload it too (after hf auth login)")
    add_import(parser)


def run(options: argparse.Namespace) -> None:
    load_imports(options)
    folder = export(find_run(options.run_name), options.out, options.removed, options.push)
    print(f"{folder}: model, tokenizer and card")
    if options.push:
        print(push(folder, options.push))
