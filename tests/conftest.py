"""Shared fixtures: tiny configs, run directories that vanish, reference files where present."""

import functools
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from icotlib import paths
from icotlib.config import RunConfig
from icotlib.running.cluster import own_cluster
from icotlib.runs import Run
from icotlib.system import memory
from icotlib.training.trainer import train
from tests.browsing import started_browser, started_lab
from tests.helpers import TINY, save_pretrained

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)
# A shell starts what runs in the background with Ctrl-C ignored, and commands would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
paths.flush = lambda path: None  # tests survive no power cut, and disks are slow to flush

#: Test files that take longest, which start first: xdist would start those with most tests.
LONGEST = ("notebooks", "studies", "cluster", "browser", "devices", "sweeps", "background")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {f"test_{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


def pytest_collection_finish() -> None:
    memory.spare_libraries()


@pytest.fixture
def runs_folder(tmp_path, monkeypatch) -> Path:
    """An empty folder of runs."""
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def tiny() -> RunConfig:
    """A run of a second."""
    return RunConfig().override(TINY)


@pytest.fixture(scope="session")
def _finished(tmp_path_factory) -> Path:
    """A folder of runs in which the one of `tiny` is finished; tests copy it."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(folder))
        train(RunConfig().override(TINY))
    return folder


@pytest.fixture
def tiny_run(_finished, runs_folder, tiny) -> Run:
    """The finished run of `tiny`, alone in its folder of runs."""
    shutil.copytree(_finished, runs_folder)
    return Run.of(tiny)


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of real files of the field; a user's clone has none."""
    folder = paths.PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the reference files of the field are not beside this clone")
    return folder


@pytest.fixture
def pretrained(tmp_path) -> Callable[..., str]:
    """Makes a folder in the hub's own format (`save_pretrained`)."""
    return functools.partial(save_pretrained, tmp_path)


@pytest.fixture(scope="session")
def _cluster() -> Iterator[str]:
    with own_cluster(1, dashboard=False) as made:
        yield made.scheduler_address


@pytest.fixture
def shared_worker(_cluster, monkeypatch) -> None:
    """What is asked for trains in one worker that stays for all tests: to start one takes longer
    than most runs of tests."""
    monkeypatch.setenv("ICOT_CLUSTER", _cluster)


# --- JupyterLab in a browser (tests/browsing.py) -----------------------------------------------


@pytest.fixture(scope="module")
def lab_root(tmp_path_factory) -> Path:
    """The root of JupyterLab, beside the folder of its runs."""
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def lab(lab_root) -> Iterator[str]:
    """The address of a JupyterLab."""
    with started_lab(lab_root, lab_root / "runs") as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started_browser() as started:
        yield started
