"""The residual stream over many questions, stored on disk and never whole in memory."""

import hashlib
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike
from tqdm.auto import tqdm

from icotlib import paths
from icotlib.evaluation.stage_model import StageModel
from icotlib.system.contents import file_hash
from icotlib.tasks.questions import QuestionSet

#: Bytes of states held in memory at once while they are captured.
BOUND = 256 * 2**20


def stored_activations(
    model: StageModel, questions: QuestionSet, bound: int = BOUND, progress: bool = False
) -> np.ndarray:
    """The residual stream `[layers + 1, positions, n, d]`, a memory-mapped array in float32.

    A model of a finished run stores it in the run's folder, under the removal stage and a hash of
    the questions, and is not run twice; `activations/` there can be deleted at any time.

    Args:
        bound: bytes of states in memory at once.
        progress: whether a bar shows how many questions are done.
    """
    if model.folder is None:
        return _capture(model, questions, unnamed_array, bound, progress)
    path = _file_of(model.folder, questions)
    stored = path.with_suffix(".sha256")
    if not (path.is_file() and stored.is_file() and stored.read_text() == file_hash(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with paths.whole_file(path) as part:
            _capture(model, questions, partial(_new_array, part), bound, progress)
        with paths.whole_file(stored) as part:
            part.write_text(file_hash(path))
    return np.load(path, mmap_mode="r")


def discard_activations(model: StageModel, questions: QuestionSet) -> None:
    """Delete what `stored_activations` keeps of these questions, if it keeps them."""
    if model.folder is not None:
        path = _file_of(model.folder, questions)
        for stored in (path, path.with_suffix(".sha256")):
            stored.unlink(missing_ok=True)


def _file_of(folder: Path, questions: QuestionSet) -> Path:
    entries = np.ascontiguousarray(questions.questions)
    return folder / f"{hashlib.sha256(entries.tobytes()).hexdigest()[:16]}.npy"


def unnamed_array(shape: tuple[int, ...], dtype: DTypeLike) -> np.memmap:
    """Zeros that lie on disk for as long as they are used."""
    # Unlinked at once: the mapping keeps the file alive, and nothing is left behind.
    paths.runs_root().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".states-", dir=paths.runs_root()) as folder:
        return _new_array(Path(folder) / "states.npy", shape, dtype)


def _new_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> np.memmap:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _capture(
    model: StageModel,
    questions: QuestionSet,
    new_array: Callable[[tuple[int, ...], DTypeLike], np.memmap],
    bound: int,
    progress: bool,
) -> np.memmap:
    inputs = model.inputs(questions)
    layers, positions, _, d = model.residual_stream(inputs.rows(slice(0, 1))).shape
    n = len(inputs.ids)
    file = new_array((layers, positions, n, d), np.float32)
    step = max(1, bound // (4 * layers * positions * d))
    with tqdm(total=n, desc=f"states of {model.name}", disable=not progress) as bar:
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            file[:, :, rows] = model.residual_stream(inputs.rows(rows)).numpy()
            bar.update(rows.stop - start)
    file.flush()
    return file
