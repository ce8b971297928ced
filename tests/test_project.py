"""The repository itself: pins in step, README true to the tree and to the results."""

import re
import subprocess
import tomllib

import numpy as np
import pandas as pd
import pytest
import yaml

from icotlib import paths
from icotlib.config import DataConfig
from icotlib.data.corpus import load_corpus
from icotlib.reporting.guide import README_BLOCKS, readme_block
from icotlib.tasks import SymbolBatch, Task, get_task, register

ROOT = paths.PROJECT


def tracked() -> list[str]:
    try:
        command = ["git", "-C", str(ROOT), "ls-files"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [name for name in listed.splitlines() if (ROOT / name).exists()]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.lower().split("==") for line in lines if not line.startswith("#"))


def test_every_dependency_is_pinned_and_pins_stay_out_of_the_metadata():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    for requirement in wanted:
        assert re.split(r"[><=]", requirement)[0].lower() in pins()
        assert "==" not in requirement
    assert "+" not in "".join(pins().values())  # a local build is not to be had elsewhere


def test_the_conda_environment_takes_everything_else_from_the_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert python == "python=3.11"
    assert pip == "pip"
    assert packages == {"pip": ["-c constraints.txt", "-e .[dev]"]}


def test_the_readme_prints_the_tree():
    text = (ROOT / "README.md").read_text()
    tree = text.split("<!-- tree -->")[1].split("```")[1]
    printed = set()
    folders: list[str] = []
    for line in tree.strip("\n").splitlines()[1:]:
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        folders = [*folders[: depth - 1], name]
        if not name.endswith("/"):
            printed.add("".join(folders))
    shown = {name for name in tracked() if name.startswith(("icotlib/", "notebooks/", "tests/"))}
    shown |= {name for name in tracked() if "/" not in name or name.startswith(".ci/")}
    assert printed == shown


def test_the_task_of_the_readme_works():
    text = (ROOT / "README.md").read_text()
    code = text.split("## Adding a task")[1].split("```python\n")[1].split("```")[0]
    exec(code, {"register": register, "Task": Task, "SymbolBatch": SymbolBatch, "np": np})
    task = get_task("reverse-5")
    example = task.text(task.render(task.parse_question("abcde")))[0]
    assert example == ("a b c d e", "e d c b", "e d c b a")
    corpus = load_corpus(DataConfig(task="reverse-5", valid_examples=5, test_examples=5))
    assert corpus.valid[0]["chain"]


def test_the_readme_says_what_the_results_say():
    text = (ROOT / "README.md").read_text()
    for name in README_BLOCKS:
        assert readme_block(name) in text


def test_published_runs_have_a_known_origin():
    table = pd.read_csv(ROOT / "figures" / "results.csv")
    assert set(table.preset) <= {"fast", "paper"}
    assert table[["commit", "device", "data", "run"]].notna().all().all()
    assert not table["commit"].str.contains(r"\+|unknown").any()


def test_nothing_tracked_names_a_machine():
    found = []
    for name in tracked():
        path = ROOT / name
        if path.suffix in (".png", ".pdf") or path.name == "test_project.py":
            continue
        pattern = r"(?<![\w.])/(root|home|work|tmp)/\w|pypi\.org|file:///"
        if re.search(pattern, path.read_text(encoding="utf-8")):
            found.append(name)
    assert found == []


def test_the_top_level_holds_what_it_should():
    folders = {name.split("/")[0] for name in tracked() if "/" in name}
    assert folders <= {".ci", "notebooks", "icotlib", "figures", "data", "tests"}
