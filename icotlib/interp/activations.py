"""The residual stream over many questions, stored on disk and never whole in memory."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from icotlib import paths
from icotlib.evaluation.stage_model import StageModel
from icotlib.system.contents import file_hash
from icotlib.tasks.questions import QuestionSet

#: Bytes of states held in memory at once while they are captured.
BOUND = 256 * 2**20


def stored_activations(model: StageModel, questions: QuestionSet, bound: int = BOUND) -> np.ndarray:
    """The residual stream `[layers + 1, positions, n, d]`, a memory-mapped array in float32.

    A model of a finished run stores it in the run's folder, under the removal stage and a hash of
    the questions, and is not run twice; `activations/` there can be deleted at any time.

    Args:
        bound: bytes of states in memory at once.
    """
    if model.folder is None:
        # Unlinked at once: the mapping keeps the file alive, and nothing is left behind.
        paths.runs_root().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".states-", dir=paths.runs_root()) as folder:
            return _capture(model, questions, Path(folder) / "states.npy", bound)
    entries = np.ascontiguousarray(questions.questions)
    path = model.folder / f"{hashlib.sha256(entries.tobytes()).hexdigest()[:16]}.npy"
    stored = path.with_suffix(".sha256")
    if not (path.is_file() and stored.is_file() and stored.read_text() == file_hash(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with paths.whole_file(path) as part:
            _capture(model, questions, part, bound)
        with paths.whole_file(stored) as part:
            part.write_text(file_hash(path))
    return np.load(path, mmap_mode="r")


def _capture(model: StageModel, questions: QuestionSet, path: Path, bound: int) -> np.ndarray:
    inputs = model.inputs(questions)
    layers, positions, _, d = model.residual_stream(inputs.rows(slice(0, 1))).shape
    n = len(inputs.ids)
    shape = (layers, positions, n, d)
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    step = max(1, bound // (4 * layers * positions * d))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        file[:, :, rows] = model.residual_stream(inputs.rows(rows)).numpy()
    file.flush()
    return file
