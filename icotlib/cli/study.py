"""`icot study`: a question answered over seeds."""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icotlib import paths
from icotlib.cli.options import (
    add_run_options,
    given,
    load_imports,
    overrides_of,
    refuse,
    seeds_of,
    to_path,
)
from icotlib.cli.plans import add_plan, check_plan, print_outlook
from icotlib.errors import ConfigError

if TYPE_CHECKING:
    from icotlib.studies.base import Member, Study

EXAMPLES = """\
examples:
  icot study
        every study with its question
  icot study main
        train its runs, write table and figure, say what is found
  icot study main --seeds 20..22
        the same with other seeds
  icot study main --plan
        how many runs are missing, and how long they will take
  icot study main --status
        which of its runs are finished
  icot study stability --arms linear --arms "linear, reset"
        some arms of it; one whose name has a comma needs an --arms of its own
  icot study routing --publish
        write to figures/, for README and guide
  icot study stability --publish --arms adaptive
        add an arm to the published table
  icot study stability --publish --arms adaptive --seeds 17
        add one seed of an arm
  icot study main --preset smoke
        a minute, to see that it works
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="the study; without it, all are listed")
    parser.add_argument(
        "--seeds", metavar="SEEDS", help="such as 10..14 or 10,12 (default: those of the study)"
    )
    parser.add_argument(
        "--arms",
        action="append",
        metavar="ARMS",
        help="only these, such as icot_si,one_model; for names with commas, once for each",
    )
    parser.add_argument("--status", action="store_true", help="say what is finished, and stop")
    parser.add_argument(
        "--out", type=to_path, help="folder to write (default: in the folder of runs)"
    )
    parser.add_argument("--publish", action="store_true", help="write to figures/ of the project")
    add_plan(parser)
    add_run_options(parser, seed=None)


def run(options: argparse.Namespace) -> None:
    from icotlib.publishing.guide import update_pages  # torch: not for --help
    from icotlib.reporting.figures.export import check_replaceable
    from icotlib.running.jobs import ensure
    from icotlib.studies import get_study, study_names
    from icotlib.studies.additions import with_published

    load_imports(options)
    check_plan(options)
    if options.name is None:
        ignored = {"--seeds": options.seeds, "--arms": options.arms, "--status": options.status}
        ignored |= {"--publish": options.publish, "--plan": options.plan, "--out": options.out}
        refuse(ignored, "icot study without a name lists the studies")
        for name in study_names():
            print(f"{name:13}{get_study(name).question}")
        return
    asked = get_study(options.name)
    check_publishable(options, asked)
    members = _members(asked, options)
    if options.status:
        _print_status(members)
        return
    if options.publish:
        check_own(asked, members)
    configs = [member.config for member in members]
    if options.plan:
        print_outlook(options, configs)
        return
    folder = paths.FIGURES if options.publish else options.out or _folder(options)
    check_replaceable(folder, asked.file)
    ensure(configs, options.jobs)
    answer = asked.answer(members)
    if options.publish and _added(options):
        answer = with_published(answer, folder)
    answer.save(folder)
    print(asked.question)
    for sentence in answer.words:
        print(f"- {sentence}")
    if options.publish:
        update_pages()
    print(f"\nwritten to {folder}: {asked.file}.csv, its figure and its provenance")


def check_publishable(options: argparse.Namespace, study: "Study") -> None:
    """Raises `ConfigError` for what may not be published: other seeds or settings, and some arms
    of a study that cannot be added to; and where there is nothing to publish to."""
    if options.out and paths.is_published(options.out):
        raise ConfigError(
            f"--out {options.out} is the folder of published figures: say --publish, which writes "
            "the whole study there, or name another folder"
        )
    if options.publish:
        from icotlib.studies.additions import check_takes_arms  # torch: not for --help

        paths.check_checkout("icot study --publish")
        other = {"--out": options.out, f"--preset {options.preset}": options.preset != "fast"}
        if _added(options):
            check_takes_arms(study)
        refuse({"--set": options.set} | other, "--publish writes the study as it is")


def check_own(study: "Study", members: "Sequence[Member]") -> None:
    """Raises `ConfigError` for a run that is none of a study as it is published."""
    own = {(member.arm, member.seed) for member in study.members()}
    for member in members:
        if (member.arm, member.seed) not in own:
            seeds = ", ".join(str(seed) for arm, seed in sorted(own) if arm == member.arm)
            raise ConfigError(
                f"--publish writes the study as it is: seed {member.seed} of {member.arm!r} is no "
                f"run of {study.name}, which has seeds {seeds}"
            )


def _added(options: argparse.Namespace) -> bool:
    """Whether arms or seeds are added to what is published."""
    narrowed = _narrowed(options)
    return bool(given({name: x for name, x in narrowed.items() if name != "--set"}))


def _narrowed(options: argparse.Namespace) -> dict[str, Any]:
    """The options that make another study of one."""
    return {f"--{name}": getattr(options, name) for name in ("arms", "seeds", "seed", "set")}


def _folder(options: argparse.Namespace) -> Path:
    """Where table and figure go by default: a narrower study does not replace those of the whole
    one."""
    from icotlib.studies.base import default_folder

    parts = [options.name] + [options.preset] * (options.preset != "fast")
    narrowed = _narrowed(options)
    if given(narrowed):
        parts.append(hashlib.sha256(repr(narrowed).encode()).hexdigest()[:6])
    return default_folder("-".join(parts))


def _members(asked: "Study", options: argparse.Namespace) -> "list[Member]":
    """The runs that the options ask for."""
    members = asked.members(options.preset, seeds_of(options), overrides_of(options.set))
    if options.arms is None:
        return members
    known = list(dict.fromkeys(member.arm for member in members))
    wanted = {arm for text in options.arms for arm in arms_of(text, known)}
    unknown = sorted(wanted - set(known))
    if unknown:
        listed = ", ".join(map(repr, known))
        raise ConfigError(f"{asked.name} has no arm {unknown[0]!r}; it has {listed}")
    return [member for member in members if member.arm in wanted]


def arms_of(text: str, known: Sequence[str]) -> list[str]:
    """The arms that one `--arms` names: the arm of this name, which may have commas in it, or
    else several with commas between them."""
    return [text] if text in known else [arm.strip() for arm in text.split(",")]


def _print_status(members: "Sequence[Member]") -> None:
    import pandas as pd

    rows = []
    for member in members:
        run = member.run
        state = "finished" if run.done else "running" if run.in_training else "waiting"
        accuracy = f"{run.stages.accuracy.iloc[-1]:.1%}" if run.done and len(run.stages) else ""
        rows.append(
            {
                "arm": member.arm,
                "seed": member.seed,
                "state": state,
                "accuracy": accuracy,
                "run": run.name,
            }
        )
    print(pd.DataFrame(rows).to_string(index=False))
