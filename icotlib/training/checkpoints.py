"""Checkpoints: what an unfinished run starts from after it was stopped.

Each is a folder of its own under `checkpoint/`, renamed into place when it is whole; the one before
is deleted afterwards.
"""

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from icotlib import paths
from icotlib.config import NUMERICS
from icotlib.errors import RunError, RunWarning
from icotlib.models.loading import save_model
from icotlib.models.precision import precision_here
from icotlib.run_files import RENAMED
from icotlib.runs import Run
from icotlib.system import seals
from icotlib.system.contents import code_hash
from icotlib.training.devices import like, whole

#: What the state of a checkpoint holds.
PARTS = {"counters", "method", "losses", "rows"}


def tensors_of(
    model: nn.Module, optimizers: Sequence[Optimizer], keep: bool = True
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """What a checkpoint keeps of a model, and of its optimizers.

    All processes that train the model must call it.

    Args:
        keep: whether this process wants the result, which is incomplete otherwise if weights are
            sharded.
    """
    moments = [optimizer.state_dict() for optimizer in optimizers]
    for one in moments:
        one["state"] = {
            number: {
                name: whole(value, keep) if isinstance(value, Tensor) else value
                for name, value in state.items()
            }
            for number, state in one["state"].items()
        }
    return trained_tensors(model, keep), moments


def origin_of(method: Any) -> dict[str, Any]:
    """What must stay as it is while a run is interrupted, for `Run.check_continued`: the hashes of
    its data, its tokenizer, its pretrained model and a user's code, and the precision in which this
    machine computes.

    Args:
        method: the `Method` that is trained.
    """
    config, data = method.config, method.run_data
    return {
        "data": data.corpus.digest,
        "numerics": NUMERICS,
        "trained_with": {
            "tokenizer": data.layout.fingerprint,
            "pretrained model": config.model.identity,
            "precision": precision_here(config.train.precision),
            "code of the method": code_hash(method.__class__),
            "code of the task": config.data.identity if config.data.path is None else None,
        },
    }


def save(
    run: Run,
    step: int,
    weights: dict[str, Tensor],
    moments: list[dict[str, Any]],
    state: dict[str, Any],
) -> None:
    """Write a checkpoint, then drop the one before.

    Args:
        weights, moments: from `tensors_of`.
        state: whatever else a resumed run needs, ready for JSON.
    """
    root = run.folder / "checkpoint"
    folder = root / f"step-{step:08d}"
    with paths.whole_folder(folder) as part:
        part.mkdir()
        save_file(weights, part / "model.safetensors")
        torch.save(moments, part / "optimizers.pt")
        seals.write_json(part / "state.json", state)
        seals.seal(part)
    for older in root.glob("step-*"):
        if older != folder:
            shutil.rmtree(older)


def load(
    run: Run,
    model: nn.Module,
    optimizers: Sequence[Optimizer],
    began_with: dict[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Load the last checkpoint into model and optimizers; its state, or None without one.

    Args:
        began_with: what the state must say of data, tokenizer and code (`origin_of`).

    Raises `RunError` if it is damaged, does not fit the model, or is of another run or other data.
    """
    folders = sorted((run.folder / "checkpoint").glob("step-*"))
    if not folders:
        if (run.folder / "metrics.csv").exists():
            lost = f"{run.name}: it was evaluated before, but its checkpoint is missing"
            warnings.warn(f"{lost}: it is trained from its start", RunWarning, stacklevel=2)
        return None
    folder = folders[-1]
    remedy = f"delete {run.folder} to train the run from its start"
    state = seals.read_json(folder / "state.json", remedy)
    if "trained_with" in state or (folder / seals.SEAL).exists():  # not older than hashes
        seals.check_seal(folder, remedy, required=True)
    settings = state.get("settings")
    if settings is not None and settings != run.config.digest:
        raise RunError(
            f"{folder}: this checkpoint is of another run. Put back the run's own, or {remedy}"
        )
    run.check_continued(state, began_with or state)
    try:
        weights = load_file(folder / "model.safetensors")
        moments = torch.load(folder / "optimizers.pt", weights_only=True, map_location="cpu")
    except Exception as error:  # safetensors, pickle and json raise types of their own
        raise RunError(
            f"{folder}: this checkpoint is damaged ({error}). Delete {run.folder} to train the "
            "run from its start."
        ) from None
    if not state.keys() >= PARTS:
        raise RunError(
            f"{folder}: this checkpoint is of another version of icotlib. Delete {run.folder} to "
            "train the run from its start."
        )
    state["rows"] = [{RENAMED.get(x, x): row[x] for x in row} for row in state["rows"]]
    load_trained(model, weights, folder)
    for optimizer, saved in zip(optimizers, moments, strict=True):
        parameters = [x for group in optimizer.param_groups for x in group["params"]]
        for number, moment in saved["state"].items():
            for name, value in moment.items():
                if isinstance(value, Tensor):
                    moment[name] = like(value, parameters[number])
        optimizer.load_state_dict(saved)
    return state


def save_trained(folder: Path, method: Any, keep: bool = True) -> None:
    """Save the model of a method and its tokenizer, as it answers, with the hashes of the files.

    Args:
        keep: as for `tensors_of`.
    """
    weights = method.merged_weights() or whole_weights(method.model, keep)
    if keep:
        save_model(folder, method.model, method.run_data.layout, weights)
        seals.seal(folder)


def trained_tensors(model: nn.Module, keep: bool = True) -> dict[str, Tensor]:
    """What a checkpoint keeps of a model: all but frozen weights, which are as the run began.

    Args:
        keep: as for `tensors_of`.
    """
    tensors = model.state_dict()
    return {name: whole(tensors[name], keep).contiguous() for name in _trained_names(model)}


def load_trained(model: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Load what `trained_tensors` returned. Raises `RunError` if it does not fit the model.

    Args:
        source: where it was read from, for the error.
    """
    own = model.state_dict()
    weights = {name: like(x, own[name]) if name in own else x for name, x in weights.items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or set(missing) & set(_trained_names(model)):
        raise RunError(f"{source}: its weights do not fit the model of its config")


def whole_weights(model: nn.Module, keep: bool = True) -> dict[str, Tensor] | None:
    """The whole state dict of a sharded model; None of one that is not.

    Args:
        keep: as for `tensors_of`.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    if not any(isinstance(parameter, DTensor) for parameter in parameters.values()):
        return None
    once: dict[int, Tensor] = {}  # tied weights stay one tensor
    found = {}
    for name, tensor in model.state_dict().items():
        key = id(parameters.get(name, tensor))
        if key not in once:
            once[key] = whole(tensor, keep)
        found[name] = once[key]
    return found


def _trained_names(model: nn.Module) -> list[str]:
    """The names of all tensors but frozen weights; of tied ones, the first."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    seen: set[int] = set()
    names = []
    for name, tensor in model.state_dict().items():
        parameter = parameters.get(name)
        if parameter is not None and not parameter.requires_grad:
            continue
        key = id(parameter) if parameter is not None else tensor.data_ptr()
        if key not in seen or not tensor.numel():
            seen.add(key)
            names.append(name)
    return names
