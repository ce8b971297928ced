"""`icot sweep`: a run or a notebook over many settings."""

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from icotlib.cli.options import add_run_options, load_imports, overrides_of, refuse, whole
from icotlib.cli.plans import add_plan, check_plan, print_outlook
from icotlib.errors import ConfigError, IcotError
from icotlib.system.terminal import text_width
from icotlib.system.wording import counted

if TYPE_CHECKING:
    from icotlib.running.sweeps import Sweep

EXAMPLES = """\
examples:
  icot sweep icot_si --grid seed=0..4 --grid removal.pace=1,2 --preset smoke
        a run at every point of a grid
  icot sweep 06 --grid seed=0..4
        a notebook for five seeds: executed copies and their runs
  icot sweep icot_si --list cells.csv
        one cell per row; columns are settings
  icot sweep icot_si --random 20 --draw optim.lr=1e-4..1e-2:log \\
      --draw model.width=64,128
  icot sweep --show icot_si-1a2b3c4d
        the table of a sweep, also while it runs
  icot sweep --again icot_si-1a2b3c4d --retry
        what is left of a sweep, and its failed cells again
  icot sweep 06 --grid seed=0..4 --plan
        how many runs are missing, and how long they will take

The same command again does what is left. Finished cells are never done again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", nargs="?", help="a run or a method by name, or the number of a notebook"
    )
    cells = parser.add_argument_group("cells").add_mutually_exclusive_group()
    cells.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="SETTING=VALUES",
        help="values of a setting: a,b,c or a range of whole numbers 0..4; several span a grid",
    )
    cells.add_argument(
        "--list", metavar="FILE", help="a CSV, YAML or JSON file with the settings of each cell"
    )
    cells.add_argument(
        "--random", type=whole(1, 100_000), metavar="N", help="N cells with settings of --draw"
    )
    parser.add_argument(
        "--draw",
        action="append",
        default=[],
        metavar="SETTING=RANGE",
        help="for --random: low..high, low..high:log, or a,b,c",
    )
    parser.add_argument("--draw-seed", type=whole(0), help="seed of the draws (default 0)")
    parser.add_argument("--name", help="name of the sweep (default: the target and a hash)")
    parser.add_argument("--retry", action="store_true", help="do failed cells again")
    parser.add_argument("--show", metavar="NAME", help="print the table of a sweep, and stop")
    parser.add_argument("--again", metavar="NAME", help="do what is left of a sweep")
    add_plan(parser)
    add_run_options(parser, preset=None, seed=None)


def run(options: argparse.Namespace) -> None:
    check(options)
    load_imports(options)
    check_plan(options)
    # Not for --help: torch.
    from icotlib.running.sweeps import Sweep, planned, planned_cells

    if options.show:
        print_table(Sweep.named(options.show))
        return
    if options.plan:
        plan = Sweep.named(options.again).plan if options.again else planned(*described(options))
        each = planned_cells(plan)
        executed = [(cell.target.name, cell.parameters) for cell in each if cell.target.is_notebook]
        print_outlook(options, [run for cell in each for run in cell.configs], executed)
        return
    if options.again:
        sweep = Sweep.named(options.again)
    else:
        sweep = Sweep.make(*described(options), options.name)
    cells = counted(len(sweep.cells), "cells")
    print(f"{sweep.folder.name}: {cells} in {sweep.folder}", flush=True)
    run_with_bar(sweep, options)
    print_table(sweep)
    counts = sweep.counts()
    again = f"icot sweep --again {sweep.folder.name}"
    if counts["failed"]:
        raise IcotError(
            f"{counts['failed']} of {cells} failed; do them again with `{again} --retry`"
        )
    if counts["finished"] < len(sweep.cells):
        raise IcotError(f"not every cell is finished; do what is left with `{again}`")


def check(options: argparse.Namespace) -> None:
    """Raises `ConfigError` for options that a sweep which is there already does not read."""
    made = {
        "the target": options.target,
        **{f"--{name}": getattr(options, name) for name in ("grid", "list", "random", "draw")},
        "--draw-seed": options.draw_seed,
        "--name": options.name,
        "--preset": options.preset,
        "--seed": options.seed,
        "--set": options.set,
    }
    work = {"--again": options.again, "--retry": options.retry, "--jobs": options.jobs}
    work["--cluster"] = options.cluster
    work["--plan"] = options.plan
    if options.show:
        refuse(work | made, "--show prints the table of a sweep as it was made")
    if options.again:
        refuse(made, "--again does what is left of a sweep as it was made")


def described(
    options: argparse.Namespace,
) -> tuple[str, Sequence[Mapping[str, Any]], dict[str, Any]]:
    """The target of a sweep, what its cells vary, and what they have in common."""
    from icotlib.cli.notebook import parameters_of
    from icotlib.running.grids import draw_cells, grid_cells, parse_grid, read_cells
    from icotlib.running.sweeps import resolved

    if not options.target:
        raise ConfigError("name a run or a notebook to sweep: icot sweep icot_si --grid seed=0..4")
    if options.random is None:
        if options.draw:
            raise ConfigError("--draw needs --random N, the number of cells")
        refuse({"--draw-seed": options.draw_seed}, "nothing is drawn without --random N")
    if options.grid:
        cells = grid_cells(parse_grid(options.grid))
    elif options.list:
        cells = read_cells(options.list)
    elif options.random is not None:
        if not options.draw:
            raise ConfigError("--random needs --draw: what varies between the cells")
        cells = draw_cells(options.draw, options.random, options.draw_seed or 0)
    else:
        raise ConfigError("a sweep needs cells: --grid, --list or --random")
    main = {"preset": options.preset, "seed": options.seed}
    fixed = {name: value for name, value in main.items() if value is not None}
    target, is_notebook = resolved(options.target)
    own = [target] if is_notebook else []  # notebooks have parameters of their own
    pairs, values = parameters_of(options.set, own)
    return target, cells, fixed | overrides_of(pairs) | values


def run_with_bar(sweep: "Sweep", options: argparse.Namespace) -> None:
    """Do what is left, with a bar that counts cells above those of their runs."""
    from icotlib.running.progress import is_live

    with tqdm(total=len(sweep.cells), desc=sweep.folder.name, disable=not is_live()) as bar:

        def count(sweep: "Sweep") -> None:
            counts = sweep.counts()
            bar.set_postfix_str(", ".join(f"{n} {state}" for state, n in counts.items() if n))
            bar.update(counts["finished"] + counts["failed"] - bar.n)

        count(sweep)
        sweep.run(options.jobs, options.retry, count)


def print_table(sweep: "Sweep") -> None:
    """Every cell without its runs' names, the number of cells in each state, and each error."""
    table = sweep.table().drop(columns="runs")
    table["accuracy"] = table.accuracy.map("{:.1%}".format, na_action="ignore")
    table["seconds"] = table.seconds.map("{:.0f}".format)
    errors = list(dict.fromkeys(filter(None, table.error)))
    table["error"] = table.error.map(lambda text: f"({errors.index(text) + 1})" if text else "")
    if not errors:
        table = table.drop(columns="error")
    print(table.to_string(index=False, na_rep=""))
    for number, error in enumerate(errors, 1):
        print(textwrap.fill(f"({number}) {error}", text_width(), subsequent_indent="    "))
    print(sweep)
