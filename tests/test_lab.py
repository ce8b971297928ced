"""JupyterLab: at the root of the project, on copies of the notebooks."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from icotlib import paths
from icotlib.cli import main
from icotlib.errors import IcotError
from icotlib.running import lab
from icotlib.running.notebooks import notebooks


def test_copies_are_made_once_and_stay_what_the_user_made_of_them(tmp_path, runs_folder):
    said: list[str] = []
    copies = lab.working_copies(tmp_path / "lab", said.append)
    assert [copy.read_bytes() for copy in copies] == [one.read_bytes() for one in notebooks()]
    copies[3].write_text("mine")
    copies[4].unlink()
    assert lab.working_copies(tmp_path / "lab", said.append) == copies
    assert copies[3].read_text() == "mine"
    assert copies[4].read_bytes() == notebooks()[4].read_bytes()
    assert said == []


def test_a_notebook_that_has_changed_since_is_named(tmp_path, runs_folder, monkeypatch):
    original = tmp_path / "00_one.ipynb"
    original.write_text("first")
    monkeypatch.setattr(lab, "notebooks", lambda: [original])
    said: list[str] = []
    [copy] = lab.working_copies(tmp_path / "lab", said.append)
    original.write_text("second")
    lab.working_copies(tmp_path / "lab", said.append)
    assert copy.read_text() == "first"
    assert said == [
        f"{copy}: the project has another version of this notebook; to get it, move your copy "
        "away and start again"
    ]


@pytest.mark.parametrize("text", ["{", "[1]", None])
def test_copies_whose_origins_are_lost_are_compared_with_the_notebooks(text, tmp_path, runs_folder):
    lab.working_copies(tmp_path / "lab")
    origins = tmp_path / "lab" / lab.ORIGINS
    origins.unlink() if text is None else origins.write_text(text)
    said: list[str] = []
    lab.working_copies(tmp_path / "lab", said.append)
    assert said == []


def test_executed_copies_are_in_reach_wherever_runs_are(tmp_path, runs_folder, monkeypatch):
    lab.working_copies(tmp_path / "lab")
    assert (tmp_path / "lab" / "executed").resolve() == paths.executed_root()
    lab.working_copies(tmp_path / "lab")  # once more, and runs in the project
    monkeypatch.setenv("ICOT_RUNS", str(paths.PROJECT / "runs"))
    lab.working_copies(tmp_path / "lab")
    assert not (tmp_path / "lab" / "executed").exists()


def test_options_are_passed_on_and_the_project_is_the_root(monkeypatch):
    started = []

    def run(words, **how):
        started.append(words)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(lab, "working_copies", lambda folder: [])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["lab", "--no-browser", "--port", "9000"]) == 0
    [words] = started
    assert words[-3:] == ["--no-browser", "--port", "9000"]
    assert f"--ServerApp.root_dir={paths.PROJECT}" in words
    assert "--LabApp.default_url=/lab/tree/lab/00_tour.ipynb" in words


def test_root_is_told_why_jupyterlab_refuses(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(IcotError, match="whoever reaches its page could do anything"):
        lab.command([])
    assert "--allow-root" in lab.command(["--allow-root"])


def test_notebooks_in_the_lab_use_the_same_folder_of_runs(monkeypatch, tmp_path):
    """Kernels start in the folder of the notebooks, where a relative path is another one."""
    called = {}

    def run(words, env, **how):
        called.update(env)
        return SimpleNamespace(returncode=2)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICOT_RUNS", "mine")
    monkeypatch.setattr(lab, "working_copies", lambda folder: None)
    monkeypatch.setattr(lab.subprocess, "run", run)
    monkeypatch.setattr(lab, "command", lambda options: [])
    assert lab.open_lab([]) == 2
    assert Path(called["ICOT_RUNS"]) == tmp_path / "mine"
    with pytest.raises(SystemExit, match="2"):
        main(["lab"])
