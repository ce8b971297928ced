"""The house: imports go one way, files stay short, and every name of the facade is there."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import icotlib as icot
from icotlib import paths
from icotlib.cli import COMMANDS, command_parser, main, top_parser
from icotlib.registry import METHODS

PACKAGE = paths.PROJECT / "icotlib"

#: Modules and folders of the package in the order of imports: each from those before it alone.
ORDER = [
    *("errors", "paths", "system", "registry", "values", "settings", "overrides", "tasks"),
    *("sources", "sections", "config", "run_files", "runs", "asked"),
    *("data", "models", "evaluation", "methods", "training", "interp", "experiments"),
    *("costs", "running", "planning", "reporting", "publishing", "sharing", "widgets"),
    *("benchmarks", "studies", "cli", "__main__"),
]

MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imported(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports anywhere, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if node.module.split(".")[0] == "icotlib":
                    yield name if name in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("icotlib"))


def rank(module: str) -> int:
    return ORDER.index(module.split(".")[1]) if "." in module else -1


def test_imports_go_one_way():
    """A module imports from its own folder and from those before it."""
    wrong = [
        f"{module} -> {other}"
        for module, path in MODULES.items()
        for other in imported(path)
        if module != "icotlib" and rank(other) > rank(module)
    ]
    assert wrong == []


def test_no_import_closes_a_circle():
    edges = {module: set(imported(path)) - {module} for module, path in MODULES.items()}
    finished: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module not in finished:
            for other in edges.get(module, ()):
                visit(other, (*above, module))
            finished.add(module)

    for module in MODULES:
        visit(module, ())


def test_every_folder_has_its_rank():
    top = {name.split(".")[1] for name in MODULES if "." in name}
    assert top == set(ORDER)


@pytest.mark.parametrize("name", icot.__all__)
def test_every_name_of_the_facade_resolves(name):
    assert getattr(icot, name) is not None


def test_an_unknown_name_of_the_facade_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'ensur'"):
        icot.ensur  # noqa: B018


def test_no_module_is_long():
    long = {name: n for name, p in MODULES.items() if (n := len(p.read_text().splitlines())) > 350}
    assert long == {}


def code_lines(function: ast.FunctionDef) -> int:
    """Lines of a function, its docstring and functions in it included only as code."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    start = function.body[1].lineno if documented and len(function.body) > 1 else first.lineno
    return (function.end_lineno or start) - start + 1


def test_no_function_is_long():
    long = {
        f"{module}.{node.name}": code_lines(node)
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and code_lines(node) > 60
    }
    assert long == {}


def test_only_methods_and_experiments_name_a_method():
    """Everything else asks the registry: no id of a method is compared with anything."""
    ids = set(METHODS.names())
    found = []
    for module, path in MODULES.items():
        if module.startswith(("icotlib.methods", "icotlib.experiments")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                constants = [x.value for x in ast.walk(node) if isinstance(x, ast.Constant)]
                found += [f"{module}:{node.lineno}" for x in constants if x in ids]
    assert found == []


def test_no_name_is_parsed_for_meaning():
    """Numbers come from fields, not from slices of names such as `variable[1:]`."""
    pattern = re.compile(r"int\(\w+(\.\w+)*\[1:\]\)|\.isdigit\(\)|in (variant|label)\b")
    found = [
        f"{module}: {match.group()}"
        for module, path in MODULES.items()
        if not module.startswith("icotlib.tasks")  # a task reads the size in its own name
        for match in pattern.finditer(path.read_text())
    ]
    assert found == []


def test_asking_for_help_loads_no_torch():
    names = ", ".join(f"icotlib.cli.{name}" for name in ("train", "workbook", "notebook", "runs"))
    code = f"import sys, {names}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_command_explains_itself_in_the_width_of_a_terminal(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = (command_parser(name) if name else top_parser()).format_help()
    for command in [name] if name else COMMANDS:
        assert COMMANDS[command][1:] in " ".join(text.split())
    assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("name", ["show", "publish", "runs", "compare", "ask", "evaluate"])
def test_a_file_of_the_users_own_method_is_read_before_its_runs(name, tmp_path, capsys):
    words = {"show": ["x"], "compare": ["x", "y"], "ask": ["x", "1 * 1"], "evaluate": ["x", "f"]}
    missing = str(tmp_path / "mine.py")
    assert main([name, *words.get(name, []), "--import", missing]) == 1
    assert "mine.py" in capsys.readouterr().err


def test_loading_the_library_searches_little_for_garbage_and_leaves_the_users_choice():
    loading = "import gc, icotlib as icot; icot.ensure; print(gc.get_stats()[2]['collections'])"
    found = subprocess.run([sys.executable, "-c", loading], capture_output=True, text=True)
    assert int(found.stdout) <= 2, found.stderr
    chosen = "import gc; gc.set_threshold({0}); import icotlib; print(gc.get_threshold()[0])"
    for threshold in (0, 20_000):  # 0: never
        command = [sys.executable, "-c", chosen.format(threshold)]
        assert int(subprocess.run(command, capture_output=True, text=True).stdout) == threshold
