"""The residual stream of a model before many examples, on disk, and never whole in memory."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from icotlib import paths
from icotlib.evaluation import logits_of
from icotlib.hooks import streams
from icotlib.inside.subjects import Examples, Subject
from icotlib.removal import Inputs
from icotlib.runs import write_json

#: Bytes of states that are in memory at once, while they are captured and while they are read.
BOUND = 256 * 2**20


def activations(subject: Subject, examples: Examples, bound: int = BOUND) -> np.ndarray:
    """The residual stream `[layers + 1, places, n, d]`, a memory-mapped array in float32.

    A subject of a finished run keeps it in `runs/activations`, under the run's name, its stage
    and a hash of the questions, and is not run twice; the folder can be deleted at any time.

    Args:
        bound: bytes of states in memory at once.
    """
    inputs = subject.inputs(examples)
    questions = np.ascontiguousarray(examples.questions)
    digest = hashlib.sha256(questions.tobytes()).hexdigest()[:16]
    if subject.key is None:
        # Unlinked at once: the mapping keeps the file alive, and nothing is left behind.
        with tempfile.TemporaryDirectory(prefix="icotlib-") as folder:
            _capture(subject, inputs, Path(folder) / "states.npy", bound)
            return np.load(Path(folder) / "states.npy", mmap_mode="r")
    folder = paths.runs_root() / "activations" / f"{subject.key}-{digest}"
    if not (folder / "meta.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        shape = _capture(subject, inputs, folder / "states.npy", bound)
        places = subject.places(examples)
        meta = {"subject": subject.key, "questions": digest, "shape": shape, "places": places}
        write_json(folder / "meta.json", meta)  # last: it marks the array as whole
    return np.load(folder / "states.npy", mmap_mode="r")


def _capture(subject: Subject, inputs: Inputs, path: Path, bound: int) -> list[int]:
    first = residual_stream(subject, rows_of(inputs, slice(0, 1)))
    layers, places, _, d = first.shape
    n = len(inputs.ids)
    shape = (layers, places, n, d)
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    step = max(1, bound // (4 * layers * places * d))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        file[:, :, rows] = residual_stream(subject, rows_of(inputs, rows)).numpy()
    file.flush()
    return list(shape)


@torch.no_grad()
def residual_stream(subject: Subject, inputs: Inputs) -> Tensor:
    """The residual stream before some inputs, `[layers + 1, places, n, d]`, float32, on the CPU."""
    found: dict[int, Tensor] = {}

    def keep(layer: int, hidden: Tensor) -> None:
        found[layer] = hidden.transpose(0, 1).float().cpu()

    with streams(subject.decoder, keep):
        logits_of(subject.model, inputs)
    return torch.stack([found[layer] for layer in sorted(found)])


def rows_of(inputs: Inputs, rows: slice) -> Inputs:
    """Some rows of a batch of inputs."""
    tensors = (inputs.ids, inputs.positions, inputs.labels, inputs.tail)
    return Inputs(*(x if x is None else x[rows] for x in tensors), keep=inputs.keep)
