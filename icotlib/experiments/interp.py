"""Which models are analysed, beside which controls, and with how many examples."""

from typing import Any

from icotlib.config import RunConfig
from icotlib.experiments.base import SharedOverrides, check
from icotlib.experiments.distillation import PHASE_METHODS, icot_kd, kd_no_cot
from icotlib.experiments.stepwise import explicit_cot, no_cot, one_model

#: Each implicit method, and the No CoT model of the same shape that it is compared with.
NO_COT_CONTROL = {"One model": "No CoT", "ICoT-KD": "No CoT, as ICoT-KD"}


#: What file names of figures call them.
SHORT_NAMES = {"One model": "one", "ICoT-KD": "kd"}

#: Examples for probes, and for causal tests and attention.
N_EXAMPLES = {"smoke": (200, 10), "fast": (3000, 150), "paper": (5000, 200)}


def interp_runs(preset: str, seed: int = 0, overrides: Any = None) -> dict[str, RunConfig]:
    """The runs that are analysed, by the name they have in figures.

    The last is a control that only the studies train; it is used where it is finished.
    """
    check(preset)
    methods = (*PHASE_METHODS.values(), "one_model", "no_cot")
    overrides = SharedOverrides.of(overrides, methods, PHASE_METHODS)
    return {
        "One model": one_model(preset, seed, overrides),
        "ICoT-KD": icot_kd(preset, seed, overrides),
        "No CoT": no_cot(preset, seed, overrides),
        "Explicit CoT": explicit_cot(preset, seed, overrides),
        NO_COT_CONTROL["ICoT-KD"]: kd_no_cot(preset, seed, overrides),
    }
