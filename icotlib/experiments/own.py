"""Your own model and data: ICoT-SI by whole steps, and ICoT-KD, for pretrained weights.

    icot train own_si --set data.path=FOLDER --set model.pretrained=FOLDER-OR-HUB-ID

`data.path` is a folder that `icot prepare` has written. Steps end with `>>`, as the equations of
GSM8K do, unless `removal.step_end` says otherwise.
"""

from pathlib import Path
from typing import Any

from icotlib.config import RunConfig, parse_overrides
from icotlib.data.files import read_examples
from icotlib.errors import ConfigError
from icotlib.experiments.base import PAPER_OPTIM, PAPER_REMOVAL, check, make
from icotlib.experiments.distillation import icot_kd, without_overridden

#: What suits pretrained weights: AdamW at a small rate, the paper's removal, a step at a time.
OWN = (
    PAPER_OPTIM
    | PAPER_REMOVAL
    | {"removal.step_end": ">>", "removal.pace": 1.0, "optim.lr": 1e-4, "optim.warmup_steps": 20}
    | {"model.spaced_separators": False}
)


#: Steps of the explicit phase, steps between two removals, and steps in all.
SIZES: dict[str, dict[str, Any]] = {
    "smoke": {
        "data.valid_examples": 20,
        "data.test_examples": 20,
        "removal.warmup_steps": 4,
        "removal.steps_per_epoch": 4,
        "train.batch_size": 4,
        "train.eval_every": 4,
        "train.steps": 22,
    },
    "fast": {
        "data.valid_examples": 50,
        "data.test_examples": 50,
        "removal.warmup_steps": 40,
        "removal.steps_per_epoch": 16,
        "train.batch_size": 4,
        "train.eval_every": 40,
        "train.steps": 200,
    },
    "paper": {
        "data.train_examples": None,  # all there are
        "data.valid_examples": 500,
        "data.test_examples": 100_000,
        "optim.lr": 5e-5,
        "removal.warmup_steps": 12_000,
        "removal.steps_per_epoch": 12_000,
        "train.batch_size": 32,
        "train.eval_every": 1000,
        "train.steps": 144_000,
    },
}


#: Steps of distillation's phases.
PHASE_STEPS = {
    "smoke": {"teacher": 8, "student": 6, "emulator": 6, "coupled": 6},
    "fast": {"teacher": 60, "student": 50, "emulator": 50, "coupled": 40},
    "paper": {"teacher": 24_000, "student": 48_000, "emulator": 48_000, "coupled": 48_000},
}


#: A first try without real files: problems, the sizes of a model with random weights
#: (`icotlib.models.new_model`), and what suits it: Muon, larger batches, more steps.
PROBLEMS = {"smoke": 300, "fast": 20_000, "paper": 400_000}


SMALL_MODEL: dict[str, dict[str, Any]] = {
    "smoke": {"layers": 2, "width": 32, "heads": 2},
    "fast": {"layers": 3, "width": 128, "heads": 4, "options": {"activation_function": "relu"}},
    "paper": {"layers": 12, "width": 768, "heads": 12},
}


FIRST_TRY: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {"every": {"optim.lr": 1e-3}, "own_si": {}, "own_kd": {}},
    "fast": {
        "every": {
            "optim.name": "muon",
            "optim.lr": 1e-3,
            "train.batch_size": 32,
            "train.eval_every": 100,
        },
        "own_si": {
            "removal.warmup_steps": 500,
            "removal.steps_per_epoch": 60,
            "removal.reset_optimizer": False,
            "optim.decay_fraction": 0.2,
            "train.steps": 800,
        },
        "own_kd": {
            "optim.decay_fraction": 0.5,
            "teacher.train.steps": 600,
            "student.train.steps": 400,
            "emulator.train.steps": 400,
            "coupled.train.steps": 200,
        },
    },
    "paper": {"every": {"optim.lr": 3e-4}, "own_si": {}, "own_kd": {}},
}


def own_si(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """Stepwise internalization of a pretrained model on a folder of data, step by step."""
    check(preset)
    changes = OWN | SIZES[preset] | {"label": "own"}
    return _complete(make(preset, seed, overrides, changes))


def own_kd(preset: str, seed: int = 0, overrides: Any = None) -> RunConfig:
    """Distillation of a pretrained model on a folder of data; overrides as of `icot_kd`."""
    check(preset)
    settings = OWN | SIZES[preset]
    settings = {name: x for name, x in settings.items() if not name.startswith("removal.")}
    steps = {f"{phase}.train.steps": count for phase, count in PHASE_STEPS[preset].items()}
    own = without_overridden({"label": "own"} | settings | steps, overrides)
    return _complete(icot_kd(preset, seed, own | parse_overrides(overrides)))


def _complete(config: RunConfig) -> RunConfig:
    """The config; raises `ConfigError` if it names no data or no pretrained model."""
    for name, value in (
        ("data.path", config.data.path),
        ("model.pretrained", config.model.pretrained),
    ):
        if value is None:
            raise ConfigError(
                f"{name} is missing: --set data.path=FOLDER (as `icot prepare` writes it) "
                "--set model.pretrained=FOLDER-OR-HUB-ID"
            )
    return config


def own(
    method: str, preset: str, seed: int, overrides: Any, data: Path, model: Path | None
) -> RunConfig:
    """The run of notebook 14: `own_si` or `own_kd` on a folder of data.

    Args:
        model: pretrained weights, in a folder or on the hub; None makes a small model with random
            weights here, for a first try.

    Raises `ConfigError` for another method.
    """
    check(preset)
    experiments = {"own_si": own_si, "own_kd": own_kd}
    if method not in experiments:
        raise ConfigError(f"method must be one of {', '.join(experiments)}, got {method!r}")
    changes: dict[str, Any] = {"data.path": str(data), "model.pretrained": str(model)}
    if model is None:
        folder = data / f"model-{preset}"
        if not folder.is_dir():
            from icotlib.models.toy import new_model  # torch, which making configs does not need

            texts = [" ".join(x) for x in read_examples(data / "train.txt")]
            new_model(folder, texts, **SMALL_MODEL[preset])
        changes["model.pretrained"] = str(folder)
        changes |= FIRST_TRY[preset]["every"] | FIRST_TRY[preset][method]
    changes = without_overridden(changes, overrides)
    return experiments[method](preset, seed, changes | parse_overrides(overrides))
