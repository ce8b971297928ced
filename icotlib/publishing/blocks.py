"""Blocks of text that are drawn from the published tables: every number in README and guide."""

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat

from icotlib import paths
from icotlib.config import RunConfig
from icotlib.costs.cost import Cost, cost_of
from icotlib.costs.device_speed import H100_LAUNCH, H100_MEMORY, H100_SHARE, h100
from icotlib.costs.lengths import NominalLengths
from icotlib.experiments import papers
from icotlib.reporting import tables
from icotlib.running.notebooks import notebooks as notebook_files

#: Every block by the name in its markers.
BLOCKS: dict[str, Callable[[], str]] = {}


def block(draw: Callable[[], str]) -> Callable[[], str]:
    """Decorator: a function's text fills the block of its name."""
    BLOCKS[draw.__name__] = draw
    return draw


def markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows with the same columns, by what these are called, as a table of Markdown; empty without
    rows."""
    rows = list(rows)
    cells = ([str(cell) for cell in row.values()] for row in rows)
    return tables.markdown(list(rows[0]), cells) if rows else ""


@block
def paper_results() -> str:
    """Every number of the papers' tables: its command, its value, and what it costs, calculated."""
    rows = []
    for result in papers.PAPER_RESULTS.values():
        memory, disk, removed, hours = _cost_of(result.config())
        doubt = " †" if result.doubtful else ""
        rows.append(
            {
                "`icot train`": f"`{result.name}`",
                "published": f"{100 * result.published:.1f}%{doubt}",
                "speed there": result.speed or "-",
                "GPU memory, GiB": f"{memory:.0f}",
                "disk, GiB": f"{disk:.1f}",
                "GPU hours until all is removed": "-" if removed is None else f"{removed:.1f}",
                "in all": f"{hours:.1f}",
            }
        )
    return markdown(rows)


def _cost_of(config: RunConfig) -> tuple[float, float, float | None, float]:
    """GiB of memory and of disk; hours on an H100 until the last removal, and in all.

    A method with phases counts all of them: the most memory, and the sum of disk and hours.
    """
    runs = [*config.phases.values(), config]
    costs = [cost_of(run, NominalLengths(run)) for run in runs]
    memory = max(cost.state + cost.activations for cost in costs) / 2**30
    disk = sum(cost.disk for cost in costs) / 2**30
    return memory, disk, _hours_of_removal(config), sum(map(_hours, costs))


def _hours_of_removal(config: RunConfig) -> float | None:
    """Hours until the last chain token is removed; None where the schedule removes none, or not
    all."""
    source = NominalLengths(config)
    stages = config.spec.make_schedule(config, source.longest_chain).stages(config.train.steps)
    if not stages or stages[-1][1] < source.longest_chain:
        return None
    return _hours(cost_of(config, source, stages[-1][0]))


def _hours(cost: Cost) -> float:
    return h100(cost.precision).seconds(cost.steps, cost.flops, cost.parameters) / 3600


@block
def h100_assumptions() -> str:
    """What the hours of `paper_results` assume of an H100."""
    half, single = (f"{share:.0%}" for share in (H100_SHARE["bf16"], H100_SHARE["fp32"]))
    return (
        f"One H100 is assumed to reach {half} of its peak operations in bf16 or {single} in fp32, "
        f"to launch a step in {1000 * H100_LAUNCH:.0f} ms, and to move {H100_MEMORY / 1e12:.1f} TB "
        "of memory per second."
    )


@block
def notebooks() -> str:
    """Every notebook with its question."""
    rows = []
    for path in notebook_files():
        text = nbformat.read(path, as_version=4).cells[0].source
        asked = re.search(r"\*\*Question\.\*\*(.*?)(?:\n\n|\Z)", text, re.DOTALL)
        question = " ".join(asked[1].split()) if asked else ""
        rows.append({"notebook": f"`{path.stem}`", "question": question})
    return markdown(rows)


@block
def targets() -> str:
    """Every target of the Makefile with its comment."""
    text = (paths.PROJECT / "Makefile").read_text(encoding="utf-8")
    described = re.findall(r"^([a-z]+):.*?## (.*)$", text, re.MULTILINE)
    return markdown(
        {"command": f"`make {name}`", "what it does": about} for name, about in described
    )


@block
def toy_method() -> str:
    """The complete file of a method, which the tests train."""
    code = (paths.PROJECT / "tests" / "toy_method.py").read_text(encoding="utf-8")
    return f"```python\n{code.strip()}\n```"


#: Folders without a docstring of their own.
_FOLDERS = {
    "notebooks/": "the workbook, one question for each notebook; guide/ is the guide",
    "figures/": "published figures, each with its table and provenance",
    "data/": "a sample of each task; generated sets are cached here",
    "tests/": "tests of the library, the notebooks and these pages",
    ".ci/": "what CI runs",
    ".github/": "a workflow that runs .ci/run",
}


@block
def modules() -> str:
    """The modules at the top of the package, on which its folders stand."""
    files = sorted((paths.PROJECT / "icotlib").glob("[a-z]*.py"))
    return markdown({"module": f"`{path.name}`", "what it is": _first_line(path)} for path in files)


@block
def tree() -> str:
    """The folders, each with what it is."""
    described = [*_described(paths.PROJECT / "icotlib", ""), *_FOLDERS.items()]
    width = max(len(name) for name, _ in described) + 2
    lines = [f"{name:{width}}{about}" for name, about in described]
    return "\n".join(["```", *lines, "```"])


def _described(folder: Path, indent: str) -> Iterator[tuple[str, str]]:
    """A folder and all below it, indented, with the first lines of their docstrings."""
    yield f"{indent}{folder.name}/", _first_line(folder / "__init__.py")
    for path in sorted(folder.iterdir()):
        if (path / "__init__.py").is_file():
            yield from _described(path, f"{indent}  ")


def _first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
