"""`icot runs`: the runs that are there; export, import, clean up, ship."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from icotlib import paths
from icotlib.cli.options import (
    add_import,
    check_file,
    given,
    load_imports,
    number,
    overrides_of,
    refuse,
    to_path,
)
from icotlib.errors import ConfigError, IcotError, RunError
from icotlib.experiments.base import PRESETS
from icotlib.reporting.orders import ORDERS
from icotlib.system.added_rows import check_addable
from icotlib.system.terminal import table_width
from icotlib.system.wording import counted

if TYPE_CHECKING:
    from icotlib.runs import Run

EXAMPLES = """\
examples:
  icot runs
        all of them, with the key of their configuration
  icot runs --method icot_si --where removal.pace=8 --finished --sort accuracy
  icot runs --task mult-4x2 --summary
        one row per configuration, over its seeds
  icot runs --summary --md table.md
        the same as a file (or --csv FILE, --tex FILE)
  icot runs --csv > results.csv
        one row per run and removal stage
  icot runs export runs.tar.gz --task mult-4x2
        what tables and figures need, in one file
  icot runs import runs.tar.gz
  icot runs clean
        what could be deleted; --yes deletes it
  icot runs ship one_model
        as a model that comes with the workbook
  icot compare A B
        two of them, or two configurations
"""

#: The filters that are settings of their own.
FILTERS = ("method", "task", "preset", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_filters(parser)
    parser.add_argument("--sort", choices=list(ORDERS), help="the order of the list (name)")
    parser.add_argument(
        "--summary", action="store_true", help="one row per configuration, over its seeds"
    )
    parser.add_argument(
        "--csv",
        nargs="?",
        type=to_path,
        const=True,
        metavar="FILE",
        help="the results table as CSV, printed or written to FILE; with --summary, that table",
    )
    for kind in ("md", "tex"):
        parser.add_argument(
            f"--{kind}",
            type=to_path,
            metavar="FILE",
            help=f"write the summary to a file that ends in .{kind}",
        )
    add_actions(parser)


#: What names of options begin with that stand after an action.
OF_ACTION = "action_"


def add_filters(parser: argparse.ArgumentParser, prefix: str = "") -> None:
    """Which runs are meant.

    Args:
        prefix: of the names under which options that can be given again are kept: an action has
            lists of its own, as argparse would put them in the place of those before it.
    """
    parser.add_argument("--method", help="only runs of this method, such as icot_si")
    parser.add_argument("--task", help="only runs on this task, such as mult-4x2")
    parser.add_argument("--preset", help="only runs of this preset")
    parser.add_argument("--seed", type=int, help="only runs with this seed")
    parser.add_argument(
        "--where",
        dest=f"{prefix}where",
        action="append",
        metavar="SETTING=VALUE",
        help="only runs with this setting, e.g. removal.pace=8; can be given again",
    )
    state = parser.add_mutually_exclusive_group()
    state.add_argument("--finished", action="store_const", const=True, help="only finished runs")
    state.add_argument(
        "--unfinished",
        action="store_const",
        dest="finished",
        const=False,
        help="only unfinished runs",
    )
    add_import(parser, f"{prefix}imports")


def add_actions(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions on these runs")

    def action(name: str, help: str) -> argparse.ArgumentParser:
        # Filters work before and after the action: its own stay unset unless they are given.
        return actions.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}.",
            argument_default=argparse.SUPPRESS,
        )

    export = action("export", "write finished runs into one archive")
    export.add_argument("file", type=to_path, help="ends in .tar.gz")
    export.add_argument("--weights", action="store_true", default=False, help="with their weights")
    add_filters(export, OF_ACTION)
    read = action("import", "put the runs of an archive into the folder of runs")
    read.add_argument("file", type=to_path, help="what `icot runs export` wrote")
    add_import(read, f"{OF_ACTION}imports")
    clean = action("clean", "list what no result needs, and delete it with --yes")
    clean.add_argument("--yes", action="store_true", default=False, help="delete it")
    clean.add_argument(
        "--days",
        type=number,
        default=7,
        help="unfinished runs that were not touched for so many days are deleted too (7)",
    )
    clean.add_argument(
        "--stage-weights",
        action="store_true",
        default=False,
        help="weights of earlier removal stages too: the run then answers only at its last one",
    )
    add_filters(clean, OF_ACTION)
    ship = action("ship", "write a finished run to data/models/, which comes with the workbook")
    ship.add_argument("run_name", metavar="RUN", help="name of a run, or how it begins")
    add_import(ship, f"{OF_ACTION}imports")


def run(options: argparse.Namespace) -> None:
    for name in ("where", "imports"):
        own = getattr(options, f"{OF_ACTION}{name}", None) or []
        setattr(options, name, [*(getattr(options, name) or []), *own])
    check(options)
    load_imports(options)
    if options.action == "import":
        import_archive(options.file)
    elif options.action == "export":
        export_archive(options)
    elif options.action == "clean":
        clean_up(options)
    elif options.action == "ship":
        ship_run(options.run_name)
    elif options.summary or options.md or options.tex:
        print_summary(options)
    elif options.csv:
        write_results(options)
    else:
        print_list(options)


def check(options: argparse.Namespace) -> None:
    """Raises `ConfigError` for options that this action or table does not read, and for files that
    could not be written."""
    from icotlib.reporting.results import COLUMNS as RESULTS  # pandas: not for --help
    from icotlib.reporting.tables import check_replaceable

    names = ("summary", "csv", "md", "tex")
    tables = {f"--{name}": getattr(options, name) for name in names}
    if options.action:
        refuse({"--sort": options.sort} | tables, f"icot runs {options.action} prints no list")
    if options.action in ("import", "ship"):
        filters = {f"--{name}": getattr(options, name) for name in (*FILTERS, "where", "finished")}
        if filters["--finished"] is False:
            filters["--unfinished"] = True
        refuse(filters, f"icot runs {options.action} does not choose runs by filters")
    if given(tables):
        refuse({"--sort": options.sort}, f"{given(tables)[0]} has an order of its own")
    for name in names[1:]:
        file = tables[f"--{name}"]
        if isinstance(file, Path):
            check_file(file, f"--{name}")
            if file.suffix != f".{name}":
                raise ConfigError(f"--{name} {file}: give a name that ends in .{name}")
            if name == "csv" and not options.summary:
                check_addable(file, RESULTS, "--csv")
            else:
                check_replaceable(file)


def chosen(options: argparse.Namespace) -> "list[Run]":
    """The runs that the filters leave. Raises `ConfigError` for an unknown setting."""
    from icotlib.runs import all_runs

    return filtered(options, all_runs(finished=False))


def filtered(options: argparse.Namespace, runs: "list[Run]") -> "list[Run]":
    """Those of some runs that the filters leave. Raises as `chosen` does."""
    from icotlib.reporting.selection import check_names, matching

    where = overrides_of(options.where or [], "--where")
    for name in FILTERS:
        value = getattr(options, name)
        if value is not None and where.setdefault(name, value) != value:
            raise ConfigError(
                f"--{name} {value} and --where {name}={where[name]} leave no run: leave one out"
            )
    check_names(where, runs, PRESETS)
    return matching(runs, where, options.finished)


def finished(options: argparse.Namespace) -> "list[Run]":
    return [one for one in chosen(options) if one.done]


# --- lists and tables --------------------------------------------------------------------------


def print_list(options: argparse.Namespace) -> None:
    from icotlib.reporting.selection import ordered
    from icotlib.runs import all_runs

    every = all_runs(finished=False)
    runs = ordered(filtered(options, every), options.sort or "name")
    if not runs:
        which = f"no such run among the {len(every)}" if every else "no run"
        print(f"{which} under {paths.runs_root()}; `icot train NAME` makes one")
        return
    width = max(len(one.name) for one in runs)
    print(f"{'run':{width}} {'key':10} {'right':>6} {'trained':>9}")
    for one in runs:
        print(f"{one.name:{width}} {key_of(one):10} {state(one)}")


def key_of(run: "Run") -> str:
    """The key of its configuration, where its provenance is there already."""
    from icotlib.reporting.groups import configuration

    try:
        return configuration(run)
    except IcotError:
        return f"{'-':10}"


def state(run: "Run") -> str:
    """How far a run is, and how good."""
    if not run.done:
        state = "in training" if run.in_training else "unfinished"
        return f"{state}, step {run.progress.get('step', 0)} of {run.config.train.steps}"
    from icotlib.reporting.selection import last_accuracy

    accuracy = last_accuracy(run)
    shown = f"{'-':>6}" if accuracy is None else f"{accuracy:6.1%}"
    return f"{shown}  {run.totals['seconds']:6.0f} s"


def write_results(options: argparse.Namespace) -> None:
    from icotlib.reporting.results import results_table
    from icotlib.system.spreadsheets import inert

    table = inert(results_table(finished(options)))
    if options.csv is True:
        table.to_csv(sys.stdout, index=False)
        return
    if not len(table):
        raise RunError(f"no finished run is left by these filters: {options.csv} is not written")
    with paths.whole_file(options.csv) as part:
        table.to_csv(part, index=False)
    print(f"written to {options.csv}")


def print_summary(options: argparse.Namespace) -> None:
    from icotlib.reporting.summary import summary  # scipy takes a moment to load
    from icotlib.reporting.tables import as_csv, as_text, write_table

    table = summary(finished(options))
    files = [name for name in (options.csv, options.md, options.tex) if isinstance(name, Path)]
    if files:
        print("written to " + " and ".join(map(str, write_table(table, *files))))
    if options.csv is True:
        print(as_csv(table), end="")
    elif not files:
        print(as_text(table, table_width()) if len(table) else "no finished run")


# --- actions -----------------------------------------------------------------------------------


def export_archive(options: argparse.Namespace) -> None:
    from icotlib.sharing.archive import export_runs

    runs = export_runs(finished(options), options.file, options.weights)
    size = megabytes(options.file.stat().st_size)
    print(f"{options.file}: {counted(len(runs), 'runs')}, with those that they build on, {size}")


def import_archive(file: Path) -> None:
    from icotlib.sharing.archive import import_runs

    imported, present = import_runs(file)
    for one in imported:
        print(f"imported  {one.name}")
    for one in present:
        print(f"was here  {one.name} ({'finished' if one.done else 'unfinished'}; left as it is)")


def clean_up(options: argparse.Namespace) -> None:
    from icotlib.reporting.cleanup import delete, removable
    from icotlib.runs import all_runs

    every = all_runs(finished=False)
    runs = filtered(options, every)
    found = removable(runs, options.days, options.stage_weights, len(runs) == len(every))
    for item in found:
        name = item.path.relative_to(paths.runs_root())
        print(f"{megabytes(item.bytes):>10}  {name}: {item.reason}")
    total = megabytes(sum(item.bytes for item in found))
    if not found:
        print("nothing to delete")
    elif options.yes:
        delete(found)
        print(f"deleted {total}")
    else:
        print(f"{total} in all; nothing is deleted yet: add --yes")


def ship_run(name: str) -> None:
    paths.check_checkout("icot runs ship")
    from icotlib.runs import find_run
    from icotlib.sharing.ship import ship

    shipped = ship(find_run(name))
    print(f"{shipped.folder}: {state(shipped).split()[0]} right at its last stage, weights rounded")


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
