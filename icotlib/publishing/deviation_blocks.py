"""The block that lists where the preset `fast` differs from the papers."""

from collections.abc import Mapping
from typing import Any

from icotlib import experiments
from icotlib.config import to_dict
from icotlib.publishing.blocks import block, markdown
from icotlib.settings import flattened

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

#: What switches a setting of ICoT-SI back, alone: arms of the study of levers, on 3x2 digits.
SWITCHED_BACK = {
    ("ICoT-SI", "optim.name"): "`optimizer: AdamW`",
    ("ICoT-SI", "optim.decay_fraction"): "`decay: none`",
    ("ICoT-SI", "removal.keep_positions"): "`kept positions: no`",
    ("ICoT-SI", "removal.steps_per_epoch"): "`pace: half`, half of the way",
}


@block
def deviations() -> str:
    """Every setting of a method in which `fast` differs from `paper`."""
    rows = []
    for method, make in COMPARED.items():
        paper, fast = (flattened(to_dict(make(preset))) for preset in ("paper", "fast"))
        rows += [
            {
                "method": method,
                "setting": f"`{name}`",
                "`paper`": _text(paper[name]),
                "`fast`": _text(fast[name]),
                "switched back alone": SWITCHED_BACK.get((method, name), "not tested"),
            }
            for name in fast
            if "." in name and name not in LEFT_OUT and fast[name] != paper[name]
        ]
    return markdown(rows)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={one}" for key, one in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
