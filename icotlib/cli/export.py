"""`icot export`: a model as a folder for the hub."""

import argparse
from typing import TYPE_CHECKING

from icotlib.cli.options import add_import, load_imports, to_path, whole
from icotlib.errors import ConfigError

if TYPE_CHECKING:
    from icotlib.runs import Run

EXAMPLES = """\
examples:
  icot export icot_si --out my-model
        model, tokenizer, card and example.py
  python my-model/example.py
        an answer, with transformers alone
  icot export icot_si --out my-model --push me/my-model --license apache-2.0
        upload it too, as a private repository
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="name of a run, or how it begins")
    parser.add_argument("--out", type=to_path, required=True, help="folder to write")
    parser.add_argument("--removed", type=whole(0), help="tokens or steps removed; by default all")
    parser.add_argument(
        "--license", metavar="ID", help="licence in the card (default: that of the base model)"
    )
    parser.add_argument(
        "--auto-map",
        action="store_true",
        help="name the class of icotlib in the config of a distilled model, for "
        "trust_remote_code=True; icotlib is needed all the same",
    )
    parser.add_argument(
        "--push", metavar="OWNER/NAME", help="upload it, as a private repository (hf auth login)"
    )
    parser.add_argument("--public", action="store_true", help="with --push: a public repository")
    parser.add_argument(
        "--update", action="store_true", help="with --push: into a repository that exists"
    )
    add_import(parser)


def run(options: argparse.Namespace) -> None:
    from icotlib.runs import find_run
    from icotlib.sharing import hub, push

    load_imports(options)
    if not options.push and (options.public or options.update):
        raise ConfigError("--public and --update say how to upload: add --push OWNER/NAME")
    found = find_run(options.run_name)
    if options.push:
        push.check_login(options.push)  # before a long export
    if options.push and _is_there(options, found):
        folder = options.out
    else:
        folder = hub.export(
            found, options.out, options.removed, options.push, options.license, options.auto_map
        )
    print(f"{folder}: model, tokenizer, card and example.py")
    if options.push:
        print(push.push(folder, options.push, options.public, options.update))


def _is_there(options: argparse.Namespace, run: "Run") -> bool:
    """Whether an earlier command has made this export, and only its upload is left to do."""
    from icotlib.sharing import hub

    if not (options.out / hub.RECORD).is_file():
        return False
    last = int(run.stages.removed.iloc[-1]) if run.done else None
    removed = last if options.removed is None else options.removed
    asked = {"run": run.name, "removed": removed, "name": options.push}
    asked |= {"licence": options.license, "auto_map": options.auto_map}
    return asked.items() <= hub.record(options.out).items()
