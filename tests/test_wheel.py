"""The wheel: what is installed from it works where there is no checkout."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from icotlib import paths
from icotlib.running.notebooks import notebooks

SOURCES = (
    "icotlib",
    "notebooks",
    "data/sample",
    "data/models",
    "figures",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of packages into which the wheel has been installed."""
    pytest.importorskip("setuptools", reason="no setuptools, which builds the wheel")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in SOURCES:
        copy = shutil.copytree if (paths.PROJECT / name).is_dir() else shutil.copyfile
        copy(paths.PROJECT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    quick = ["--no-deps", "--no-index"]
    build = [*pip, "wheel", *quick, "--no-build-isolation", "-w", str(source), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = source.glob("*.whl")
    install = [*pip, "install", *quick, "--ignore-installed", "--prefix", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    [packages] = target.glob("lib/*/site-packages")
    return packages


CODE = """
import icotlib, json
from icotlib import paths
from icotlib.running import lab, notebooks
copies = lab.working_copies(paths.LAB)
copy = notebooks.execute(notebooks.find_notebook("01"), preset="smoke", say=lambda line: None)
print(json.dumps([icotlib.__file__, len(copies), str(copy), str(paths.runs_root())]))
"""


def test_notebooks_run_from_the_wheel_alone(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed)}
    environment.pop("ICOT_RUNS", None)
    run = [sys.executable, "-c", CODE]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file, copies, copy, runs = json.loads(done.stdout)
    assert file.startswith(str(installed))
    assert copies == len(notebooks())
    assert runs == str(tmp_path / "runs")
    assert copy.startswith(runs)
    assert not (installed / "runs").exists()


@pytest.mark.parametrize("widget", [paths.MAP_GRID, paths.STAGE_SLIDER])
def test_scripts_and_styles_of_widgets_are_in_the_wheel(installed, widget):
    for ending in (".js", ".css"):
        part = widget.with_suffix(ending).relative_to(paths.PROJECT)
        assert (installed / part).is_file()


COMMANDS = (
    ["site"],
    ["publish"],
    ["study", "main", "--publish"],
    ["runs", "ship", "one_model"],
    ["calibrate", "--write"],
    ["benchmark", "--costs"],
)

REFUSED = """
import contextlib, io, json, sys
from icotlib.cli import main
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert main(words) == 1, words
    assert "needs a checkout of the repository" in said.getvalue(), (words, said.getvalue())
"""


def test_what_writes_into_the_repository_says_so_at_once_without_one(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed)}
    environment.pop("ICOT_RUNS", None)
    run = [sys.executable, "-c", REFUSED, json.dumps(COMMANDS)]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())  # nothing was trained


def test_a_wheel_is_made_of_what_is_there_alone():
    """Setuptools packs everything in build/lib, modules of an earlier version too."""
    if shutil.which("make") is None:
        pytest.skip("no make here")
    make = ["make", "-n", "wheel"]
    done = subprocess.run(make, cwd=paths.PROJECT, check=True, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    [removing] = [number for number, line in enumerate(lines) if line.startswith("rm -rf build")]
    [building] = [number for number, line in enumerate(lines) if " pip wheel " in line]
    assert removing < building
