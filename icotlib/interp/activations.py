"""The residual stream of a model before many examples, on disk, and never whole in memory."""

import hashlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from icotlib import paths
from icotlib.data.inputs import LMBatch
from icotlib.evaluation.generation import logits_of
from icotlib.interp.subjects import Examples, Subject
from icotlib.models.hooks import hook_residual_stream

#: Bytes of states that are in memory at once, while they are captured and while they are read.
BOUND = 256 * 2**20


def activations(subject: Subject, examples: Examples, bound: int = BOUND) -> np.ndarray:
    """The residual stream `[layers + 1, positions, n, d]`, a memory-mapped array in float32.

    A subject of a finished run keeps it in the run's folder, under its stage and a hash of the
    questions, and is not run twice; `activations/` there can be deleted at any time.

    Args:
        bound: bytes of states in memory at once.
    """
    if subject.folder is None:
        # Unlinked at once: the mapping keeps the file alive, and nothing is left behind.
        paths.runs_root().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".states-", dir=paths.runs_root()) as folder:
            return _capture(subject, examples, Path(folder) / "states.npy", bound)
    questions = np.ascontiguousarray(examples.questions)
    path = subject.folder / f"{hashlib.sha256(questions.tobytes()).hexdigest()[:16]}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        _capture(subject, examples, part, bound)
        part.replace(path)  # whole, or not there
    return np.load(path, mmap_mode="r")


def _capture(subject: Subject, examples: Examples, path: Path, bound: int) -> np.ndarray:
    inputs = subject.inputs(examples)
    first = residual_stream(subject, rows_of(inputs, slice(0, 1)))
    layers, positions, _, d = first.shape
    n = len(inputs.ids)
    shape = (layers, positions, n, d)
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    step = max(1, bound // (4 * layers * positions * d))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        file[:, :, rows] = residual_stream(subject, rows_of(inputs, rows)).numpy()
    file.flush()
    return file


@torch.no_grad()
def residual_stream(subject: Subject, inputs: LMBatch) -> Tensor:
    """The residual stream before some inputs, `[layers + 1, positions, n, d]`, float32, on the CPU."""
    found: dict[int, Tensor] = {}

    def keep(layer: int, hidden: Tensor) -> None:
        found[layer] = hidden.transpose(0, 1).float().cpu()

    with hook_residual_stream(subject.decoder, keep):
        logits_of(subject.model, replace(inputs, keep=1))
    return torch.stack([found[layer] for layer in sorted(found)])


def rows_of(inputs: LMBatch, rows: slice) -> LMBatch:
    """Some rows of a batch of inputs."""
    tensors = (inputs.ids, inputs.positions, inputs.labels, inputs.answer_mask)
    return LMBatch(*(x if x is None else x[rows] for x in tensors), keep=inputs.logits_to_keep)
