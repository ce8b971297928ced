"""Models that come with the workbook, so that it can be tried before anything is trained.

A shipped model is a run directory in `data/models/`, named after its method: the run's settings,
metrics and provenance as they were, its weights rounded to bfloat16 (half the bytes), and its final
test repeated with the rounded weights, so that every number in it is of the weights that are there.
`icotlib.runs.shipped` finds it.
"""

import shutil
from dataclasses import fields, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from icotlib import paths
from icotlib.data.corpus import examples_of
from icotlib.data.run_data import RunData
from icotlib.errors import RunError
from icotlib.evaluation.scoring import Score
from icotlib.evaluation.stage_model import StageModel
from icotlib.models.loading import load_model
from icotlib.runs import Run
from icotlib.system import seals
from icotlib.system.contents import file_hash
from icotlib.training.results import Counters, save_results

#: Bytes that all shipped models may have together: every clone and every wheel holds them.
LIMIT = 5_000_000

WEIGHTS = "model.safetensors"


def ship(run: Run, folder: Path | None = None) -> Run:
    """Write a finished run as a model that comes with the workbook.

    Args:
        folder: of all shipped models; by default `data/models/`.

    Raises `RunError` if the run is unfinished, builds on others, has weights for each stage, is
    shipped already, or would take all of them over `LIMIT` bytes.
    """
    folder = paths.SHIPPED if folder is None else folder
    target = folder / run.config.method
    model = StageModel.of(run, device="cpu")
    _check(run, target)
    try:
        with paths.whole_folder(target) as part:
            _write(model, run, part)
            size = sum(_bytes(other) for other in folder.iterdir() if other.is_dir())
            if size > LIMIT:
                raise RunError(
                    f"with {run.name} the models in {folder} take {size / 1e6:.1f} MB, and "
                    f"{LIMIT / 1e6:.0f} MB are the most: ship a smaller model, or delete another"
                )
    except FileExistsError:
        raise RunError(f"{target} came to be meanwhile: delete it to ship another") from None
    return Run(target)


def _check(run: Run, target: Path) -> None:
    if target.exists():
        raise RunError(f"{target} is there already: delete it to ship another model in its place")
    if run.config.phases:
        raise RunError(f"{run.name} builds on other runs, which a shipped model cannot")
    if run.checkpointed_stages:
        raise RunError(
            f"{run.name} has weights of its own for each removal stage; only a run whose one model "
            "serves every stage is shipped"
        )
    if not (run.weights() / WEIGHTS).is_file():
        raise RunError(f"{run.weights()} has no {WEIGHTS}: only a model in one file is shipped")


def _write(model: StageModel, run: Run, part: Path) -> None:
    """A run directory with rounded weights and a test of its own."""
    shipped, source = Run(part), run.weights()
    shutil.copytree(source, part / "model")
    _round(part / "model" / WEIGHTS)
    seals.seal(part / "model")
    for name in ("config.json", "metrics.csv"):
        shutil.copyfile(run.verified(name), part / name)
    said = {"run": run.name, "weights": "bfloat16", "rounded_from": file_hash(source / WEIGHTS)}
    seals.write_json(part / "provenance.json", run.provenance | {"shipped": said})
    rounded = replace(model, model=load_model(part / "model")[0])
    used = {field.name: run.totals[field.name] for field in fields(Counters)}
    results = (model.format.unit, _scores(rounded), Counters(**used))
    save_results(shipped, RunData(run.config), *results)
    shipped.finish(run.totals)


def _scores(model: StageModel) -> dict[int, Score]:
    """The final test, stage by stage."""
    test = examples_of(model.corpus.test)
    stages = [model.at(removed) for removed in model.stages]
    answers = [example.answer for example in test]
    return {stage.removed: stage.score(stage.encode(test), answers) for stage in stages}


def _round(file: Path) -> None:
    """Round the floating-point weights of a file. The model's config still names float32, in which
    it is loaded and computes."""
    tensors = {
        name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
        for name, tensor in load_file(file).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
