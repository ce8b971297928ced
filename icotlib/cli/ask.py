"""`icot ask`: a question to a trained model."""

import argparse

from icotlib.cli.options import add_import, load_imports, whole
from icotlib.errors import ConfigError
from icotlib.system.wording import counted

EXAMPLES = """\
examples:
  icot ask icot_si "3719 * 84"                  with all steps removed
  icot ask icot_si "3719 * 84" --removed 0      with every step written
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="name of a run, or how it begins")
    parser.add_argument("question", help="a question of its task")
    parser.add_argument("--removed", type=whole(0), help="tokens or steps removed; by default all")
    add_import(parser)


def run(options: argparse.Namespace) -> None:
    load_imports(options)
    from icotlib.evaluation.stage_model import load  # torch: not for --help

    model = load(options.run_name, options.removed)
    try:
        answer = model.answer(options.question)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    print(f"question  {answer.question}")
    print(f"chain     {answer.chain or '-'}")
    print(f"answer    {answer.answer or '-'}  ({answer.verdict()})")
    print(f"{counted(answer.tokens, 'tokens')} in {1000 * answer.seconds:.0f} ms, by {model.name}")
    print(f"with {counted(model.removed, model.format.unit)} removed")
