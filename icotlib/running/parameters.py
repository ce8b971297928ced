"""The parameters of a notebook: which there are, of which type, and what was given for them."""

import ast
import builtins
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import yaml

from icotlib.errors import ConfigError, did_you_mean
from icotlib.overrides import absolute

#: Those that may name a file or a folder.
FILES = ("source", "test", "model")

#: How the cell begins that papermill puts behind the one with the parameters.
INJECTED = "# Parameters\n"

#: Those of every notebook, which options of their own set.
COMMON = ("preset", "seed", "overrides")


def documented(source: str) -> dict[str, str]:
    """The parameters in the source of a parameters cell, each with its comment."""
    return dict(re.findall(r"^(\w+)(?:: \w+)? = .*?#\s*(.*)$", source, re.MULTILINE))


def types(source: str) -> dict[str, type]:
    """The parameters in the source of a parameters cell, each with its type."""
    return {
        node.target.id: getattr(builtins, node.annotation.id)
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(node.annotation, ast.Name)
    }


def check(values: Mapping[str, Any], known: Mapping[str, type], whose: str) -> None:
    """Raises `ConfigError` for a value of an unknown parameter, or of another type.

    Args:
        whose: the notebook, for errors.
    """
    for name, value in values.items():
        if name not in known:
            raise ConfigError(
                f"{whose} has no parameter {name!r}; it has {', '.join(known)}."
                f"{did_you_mean(name, known)}"
            )
        # A mapping may be given as text, which `icotlib.config.parse_overrides` reads.
        expected = (dict, str, type(None)) if known[name] is dict else known[name]
        if not isinstance(value, expected) or isinstance(value, bool):
            raise ConfigError(
                f"{whose}: {name} must be of type {known[name].__name__}, got {value!r}"
            )


def check_parameters() -> None:
    """Check what papermill was given for the notebook that calls this, in its first cells.

    Raises `ConfigError` for a parameter that the notebook does not have, or of another type.
    Papermill itself would go on with the defaults.
    """
    from icotlib.running.progress import notebook_shell  # pandas: not for help texts

    shell = notebook_shell()
    cells = shell.user_ns.get("In", []) if shell else []
    for declared, given in pairwise(cells):
        if given.startswith(INJECTED):
            check(_assigned(given), types(declared), "this notebook")


def _assigned(source: str) -> dict[str, Any]:
    """What the cell of papermill sets, by name."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def located(values: Mapping[str, Any], known: Mapping[str, type]) -> dict[str, Any]:
    """Values in which each parameter that names a file or folder here (`FILES`) has its whole path:
    notebooks are executed elsewhere.

    Args:
        known: the parameters of the notebook, each with its type.
    """
    files = [name for name in FILES if known.get(name) is str]
    return {name: absolute(value) if name in files else value for name, value in values.items()}


def read(text: str, kind: type, name: str) -> Any:
    """The value of a parameter as it is typed on the command line. Raises `ConfigError`."""
    if kind is str:
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if not isinstance(value, kind):
        example = "{question: q, steps: how}" if kind is dict else "1"
        raise ConfigError(f"{name} must be of type {kind.__name__}, such as {example}, got {text}")
    return value
