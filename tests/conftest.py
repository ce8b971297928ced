"""Shared fixtures: tiny configs, run directories that vanish, reference files where present."""

import os
from pathlib import Path

import pytest
import torch

from icotlib import paths
from icotlib.config import RunConfig

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)

TINY = {
    "data.task": "mult-2x2",
    "data.valid_examples": 24,
    "data.test_examples": 24,
    "model.layers": 2,
    "model.width": 16,
    "model.heads": 2,
    "optim.warmup_steps": 2,
    "removal.warmup_steps": 2,
    "train.steps": 12,
    "train.batch_size": 8,
    "train.eval_every": 4,
}


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
def reference() -> Path:
    """The folder of real files of the field; a user's clone has none."""
    folder = paths.PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the reference files of the field are not beside this clone")
    return folder
