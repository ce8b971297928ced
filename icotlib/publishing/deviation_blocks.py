"""The block that lists where the preset `fast` differs from the papers."""

from collections.abc import Mapping
from typing import Any

from icotlib import experiments
from icotlib.config import RunConfig, to_dict
from icotlib.publishing.blocks import block, markdown

#: The runs that are compared: mind-reading stands for all phases of distillation.
COMPARED = {
    "ICoT-SI": experiments.icot_si,
    "ICoT-KD, mind-reading": experiments.kd_student,
}

#: Settings that change no method: what is evaluated how often, and what other settings decide.
LEFT_OUT = (
    "data.valid_examples",
    "model.heads",
    "model.layers",
    "model.width",
    "optim.muon_lr",
    "removal.pace",
    "train.eval_every",
    "train.length_groups",
)

#: What switches a setting back, alone: arms of the study of levers, all on 3x2 digits.
SWITCHED_BACK = {
    "optim.name": "`optimizer: AdamW`",
    "optim.decay_fraction": "`decay: none`",
    "removal.keep_positions": "`kept positions: no`",
    "removal.steps_per_epoch": "`pace: half`, half of the way",
}


@block
def deviations() -> str:
    """Every setting of a method in which `fast` differs from `paper`."""
    rows = []
    for method, make in COMPARED.items():
        paper, fast = (_settings(make(preset)) for preset in ("paper", "fast"))
        for name, value in fast.items():
            if value != paper.get(name) and name not in LEFT_OUT:
                levers = method == next(iter(COMPARED))
                back = SWITCHED_BACK.get(name, "") if levers else ""
                rows.append(
                    {
                        "method": method,
                        "setting": f"`{name}`",
                        "`paper`": _text(paper.get(name)),
                        "`fast`": _text(value),
                        "switched back alone": back or "not tested",
                    }
                )
    return markdown(rows)


def _settings(config: RunConfig) -> dict[str, Any]:
    """The settings of a run's sections, by dotted name."""
    sections = {name: part for name, part in to_dict(config).items() if isinstance(part, Mapping)}
    return {
        f"{name}.{key}": value
        for name, part in sections.items()
        if name != "phases"
        for key, value in part.items()
    }


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={one}" for key, one in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
