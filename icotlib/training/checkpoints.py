"""Checkpoints: what an unfinished run starts from after it was stopped.

Each is a folder of its own under `checkpoint/`, renamed into place when it is whole; the one before
is deleted afterwards.
"""

import json
import shutil
from collections.abc import Sequence
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from icotlib.errors import RunError
from icotlib.runs import Run, write_json


def save(
    run: Run, step: int, model: nn.Module, optimizers: Sequence[Optimizer], state: dict[str, Any]
) -> None:
    """Write a checkpoint, then drop the one before.

    Args:
        state: whatever else a resumed run needs, ready for JSON.
    """
    root = run.folder / "checkpoint"
    folder, part = root / f"step-{step:08d}", root / ".part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(trained_tensors(model), part / "model.safetensors")
    torch.save([optimizer.state_dict() for optimizer in optimizers], part / "optimizers.pt")
    write_json(part / "state.json", state)
    part.rename(folder)
    for older in root.glob("step-*"):
        if older != folder:
            shutil.rmtree(older)


def load(run: Run, model: nn.Module, optimizers: Sequence[Optimizer]) -> dict[str, Any] | None:
    """Load the last checkpoint into model and optimizers; its state, or None without one.

    Raises `RunError` if it is damaged or does not fit the model.
    """
    folders = sorted((run.folder / "checkpoint").glob("step-*"))
    if not folders:
        return None
    folder = folders[-1]
    try:
        state = json.loads((folder / "state.json").read_text())
        weights = load_file(folder / "model.safetensors")
        moments = torch.load(folder / "optimizers.pt", weights_only=True, map_location="cpu")
    except Exception as error:  # safetensors, pickle and json raise types of their own
        raise RunError(
            f"{folder}: this checkpoint is damaged ({error}). Delete {run.folder} to train the "
            "run from its start."
        ) from None
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or set(missing) & set(trained_tensors(model)):
        raise RunError(f"{folder}: its weights do not fit the model of its config")
    for optimizer, saved in zip(optimizers, moments, strict=True):
        optimizer.load_state_dict(saved)
    return state


def trained_tensors(model: torch.nn.Module) -> dict[str, Tensor]:
    """What a checkpoint keeps of a model: all but frozen weights, which are as the run began.

    Tied tensors stand once, as safetensors wants it.
    """
    every = model.named_parameters(remove_duplicate=False)
    frozen = {name for name, parameter in every if not parameter.requires_grad}
    seen: set[int] = set()
    once = {}
    for name, tensor in model.state_dict().items():
        if name in frozen:
            continue
        if tensor.data_ptr() not in seen or not tensor.numel():
            seen.add(tensor.data_ptr())
            once[name] = tensor.contiguous()
    return once
