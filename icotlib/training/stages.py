"""The end of a removal stage: its weights are kept, and may come back.

All functions take the `Trainer` of the run.
"""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from icotlib import paths
from icotlib.errors import RunError
from icotlib.system import seals
from icotlib.training import checkpoints, devices


def end(trainer: Any, removed: int) -> None:
    """Keep the weights that a removal stage ends with, if each stage has its own; or only what
    they score, if they are not to be kept."""
    method, run = trainer.method, trainer.run
    if not method.has_stage_checkpoints:
        return
    folder = run.stage_folder(removed)
    trainer.count_tokens()
    if devices.agreed(folder.is_dir()):  # the same stage, from before the run was killed
        return
    part = folder.with_name(f".{folder.name}")
    if trainer.writes:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    if method.keeps_every_stage:
        checkpoints.save_trained(part, method, trainer.writes)
    else:
        with devices.unsharded(trainer.model):
            score = method.test_stage(removed)
        trainer.model.train(method.dropout)
        if trainer.writes:
            score_file = part / run.stage_score(removed).name
            seals.write_json(score_file, seals.sealed(asdict(score)))
    if trainer.writes:
        trainer.check_lease()
        seals.write_json(part / "counters.json", seals.sealed(vars(trainer.counters)))
        part.rename(folder)
        paths.flush(folder.parent)


def keep(trainer: Any) -> None:
    """Keep the weights of a stage that ended well.

    Those of an earlier one stay until the next checkpoint (`forget_others`): a run that is killed
    before may go back to them once more.
    """
    tensors = checkpoints.trained_tensors(trainer.method.model, trainer.writes)
    if trainer.writes:
        file = _kept(trainer)
        file.parent.mkdir(parents=True, exist_ok=True)
        with paths.whole_file(file) as part:
            save_file(tensors, part)


def go_back(trainer: Any, removed: int) -> None:
    """Go on from the weights that a stage ended with, and forget the stages after it.

    A run that is killed after this call resumes from its last checkpoint. If that is an earlier
    one, the run writes the deleted stages once more, with the same content.

    Raises `RunError` if the kept weights are missing or damaged.
    """
    file, run = _kept(trainer), trainer.run
    try:
        weights = load_file(file)
    except Exception as error:  # safetensors raises types of its own
        raise RunError(
            f"{file}: the weights to which the schedule goes back cannot be read ({error}). Delete "
            f"{run.folder} to train the run from its start"
        ) from None
    checkpoints.load_trained(trainer.method.model, weights, file)
    if trainer.writes:
        for later in [stage for stage in run.ended_stages if stage > removed]:
            shutil.rmtree(run.stage_folder(later))
        run.log(f"went back to {removed} removed", trainer.counters.step)


def forget_others(trainer: Any) -> None:
    """Delete the kept weights of all stages but the last that ended well: the schedule goes back
    to no other."""
    kept = _kept(trainer)
    for file in kept.parent.glob("good-*.safetensors"):
        if file != kept:
            file.unlink()


def _kept(trainer: Any) -> Path:
    """The weights of the last stage that ended well, while the run is unfinished."""
    step = trainer.method.schedule.kept_at
    return trainer.run.folder / "checkpoint" / f"good-{step:08d}.safetensors"
