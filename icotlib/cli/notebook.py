"""`icot notebook`: some notebooks."""

import argparse
from collections.abc import Mapping
from typing import Any

from icotlib.cli.options import add_run_options, load_imports, overrides_of
from icotlib.cli.plans import add_plan, check_plan, print_outlook
from icotlib.config import field_names, unknown_setting
from icotlib.errors import ConfigError
from icotlib.running.notebooks import asked_for, find_notebook, manual, parameter_types, run_all
from icotlib.running.parameters import COMMON, located, read

EXAMPLES = f"""\
examples:
  icot notebook 06 --seed 1
  icot notebook 14 --set source=mine.csv \\
      --set "columns={{question: q, steps: how, answer: a}}"
        a parameter of the notebook, like any setting

notebooks:
{manual()}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="number or name of a notebook")
    add_run_options(parser)
    add_plan(parser)


def run(options: argparse.Namespace) -> None:
    load_imports(options)
    pairs, values = parameters_of(options.set, options.names)
    check_plan(options)
    asked = (options.preset, options.seed, overrides_of(pairs), options.names)
    if options.plan:
        configs, executions = asked_for(*asked, values=values)
        print_outlook(options, configs, [(path.stem, own) for path, own in executions.items()])
    else:
        run_all(*asked, options.jobs, values=values)


def parameters_of(pairs: list[str], names: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Of the pairs of `--set`, those that are settings, and the values of notebooks' parameters.

    Files count from here, though notebooks are executed elsewhere. Raises `ConfigError`.
    """
    known = {k: kind for name in names for k, kind in parameter_types(find_notebook(name)).items()}
    settings, values = [], {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        _check_known(name, known)
        if name not in known or name in COMMON or not equals:
            settings.append(pair)  # `overrides_of` names one without a value
            continue
        values[name] = read(text, known[name], name)
    return settings, located(values, known)


def _check_known(name: str, known: Mapping[str, type]) -> None:
    """Raises `ConfigError` with the nearest name for one that is no parameter of the notebooks and
    no setting. What has a dot is looked at where the runs are known."""
    names = [*known, *field_names()]
    if name and "." not in name and name not in names:
        own = ", ".join(one for one in known if one not in COMMON)
        parameters = f" These notebooks have the parameters {own}." * bool(own)
        raise ConfigError(unknown_setting(name, known=names) + parameters)
