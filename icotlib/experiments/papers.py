"""Every accuracy in the tables of the two papers as one run: `icot train icot-si/9x9/gpt2`.

A result is named METHOD/TASK/MODEL. `icot-si`, `no-cot` and `explicit-cot` are rows of the table of
arXiv 2405.14838; `icot-kd`, `kd-no-cot` and `kd-explicit-cot` those of arXiv 2311.01460, in its
layout without a second separator (`kd-explicit-cot` is the teacher). Settings are those of the
papers and of the commands in their authors' READMEs; what neither says is the nearest documented
value, and is listed in `PaperResult.assumed`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icotlib.config import RunConfig, parse_overrides
from icotlib.errors import ConfigError
from icotlib.experiments.base import PAPER_REMOVAL, make
from icotlib.experiments.distillation import NO_CHAIN, icot_kd, kd_teacher, without_overridden
from icotlib.models.known_sizes import GSM8K, MODELS

STEPWISE, DISTILLATION = "2405.14838", "2311.01460"


#: Optimizer steps of an epoch at batch 32: 808,000 examples of multiplication, 385,620 of GSM8K.
EPOCH = {"mult": 25_250, "gsm8k": math.ceil(385_620 / 32)}


#: The command that makes the papers' GSM8K data.


PREPARE = f"icot prepare whynlp/gsm8k-aug --out {GSM8K}"


@dataclass(frozen=True)
class PaperResult:
    """One number of a paper's table, and the run that should give it."""

    method: str
    task: str
    model: str
    #: Accuracy in the paper.
    published: float
    #: Speed in the paper at batch 1, with its unit; empty where it is not known.
    speed: str = ""
    #: Whether the published number is known from a secondary copy only.
    doubtful: bool = False
    #: Settings that neither paper nor README state, each with where its value is from.
    assumed: tuple[str, ...] = ()
    #: What else to know.
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.method}/{self.task}/{self.model}"

    @property
    def paper(self) -> str:
        """The arXiv number of the paper whose table it stands in."""
        return DISTILLATION if "kd" in self.method.split("-") else STEPWISE

    def config(self, seed: int = 0, overrides: Any = None) -> RunConfig:
        """The run with the paper's settings, under the user's overrides.

        Of `icot-kd`, an override may be for one phase, as in `student.train.steps`.
        """
        own = parse_overrides(overrides)
        shared = self._shared()
        if self.method == "icot-kd":
            of_paper = without_overridden(shared | self._phase_settings(), own)
            return icot_kd("paper", seed, of_paper | own)
        if self.method == "kd-explicit-cot":
            teacher = {
                name.removeprefix("teacher."): value
                for name, value in self._phase_settings().items()
                if name.startswith("teacher.")
            }
            return kd_teacher("paper", seed, shared | teacher | own)
        if self.method == "kd-no-cot":
            no_chain = {"label": "kd"} | NO_CHAIN
            return make("paper", seed, own, shared | no_chain | self._no_cot_steps(gsm8k=10))
        return make("paper", seed, own, shared | self._stepwise())

    def lines(self) -> list[str]:
        """The result as text, what is assumed included."""
        speed = f", {self.speed}" if self.speed else ""
        doubt = " (from a secondary copy)" if self.doubtful else ""
        text = [f"{self.name}: arXiv {self.paper} reports {self.published:.1%}{speed}{doubt}"]
        text += [f"  not stated there: {what}" for what in self.assumed]
        return text + ([f"  {self.note}"] if self.note else [])

    def _shared(self) -> dict[str, Any]:
        """Data, model, and what the methods of both papers share."""
        large = self.model in ("phi-3", "mistral-7b")
        settings: dict[str, Any] = {
            "model.pretrained": MODELS[self.model][0],
            "optim.lr": 1e-5 if large else 5e-5,
            "train.precision": "bf16" if large else "fp32",
            "train.accumulation": 2 if large else 1,
            "train.eval_every": self._epoch,
        }
        if self.task == "gsm8k":
            settings |= {"data.path": GSM8K, "data.train_examples": None}
            return settings | {"data.valid_examples": 500, "data.test_examples": 1319}
        return settings | {"data.task": f"mult-{self.task}"}

    @property
    def _epoch(self) -> int:
        return EPOCH["gsm8k" if self.task == "gsm8k" else "mult"]

    def _stepwise(self) -> dict[str, Any]:
        """What the rows of arXiv 2405.14838 have of their own."""
        if self.method == "explicit-cot":
            steps = self._epoch * (15 if self.task == "gsm8k" else 1)
            return {"method": "explicit_cot", "train.steps": steps}
        if self.method == "no-cot":
            own = {"method": "no_cot", "removal.keep_positions": False}
            return own | self._no_cot_steps(gsm8k=15)
        settings = PAPER_REMOVAL | {"removal.steps_per_epoch": self._epoch}
        settings["removal.warmup_steps"] = 0
        settings["train.steps"] = 200 * self._epoch
        if self.task == "gsm8k":
            settings["train.steps"] = 80 * self._epoch
            settings["removal.pace"] = 1.0 if self.model.startswith("gpt2") else 8.0
            settings["removal.remove_all_at"] = 39
        if self.task == "11x11":  # the last step with 320 tokens removed
            settings["train.steps"] = math.ceil(321 / 8 * self._epoch)
        return settings

    def _no_cot_steps(self, gsm8k: int) -> dict[str, int]:
        """Steps of a baseline: 40 epochs of multiplication, or so many of GSM8K."""
        return {"train.steps": self._epoch * (gsm8k if self.task == "gsm8k" else 40)}

    def _phase_settings(self) -> dict[str, Any]:
        """Epochs of each phase of distillation, and GSM8K's supervised mixture."""
        epochs = {"teacher": 1, "student": 40, "emulator": 40, "coupled": 40}
        settings: dict[str, Any] = {}
        if self.task == "gsm8k":
            epochs = {"teacher": 15, "student": 10, "emulator": 40, "coupled": 10}
            settings["emulator.distill.mixture_supervision"] = 1.0
            settings |= {f"{phase}.distill.mixture": 0 for phase in ("emulator", "coupled")}
        steps = {f"{phase}.train.steps": n * self._epoch for phase, n in epochs.items()}
        return settings | steps


# --- the tables --------------------------------------------------------------------------------

_EXPLICIT_EPOCHS = "epochs (those of the teacher in 2311.01460)"


_NO_COT_EPOCHS = "epochs (40 on multiplication and 15 on GSM8K: the longest of 2311.01460)"


_KD_NO_COT_EPOCHS = "epochs (those of mind-reading in the same paper)"


_GSM8K_EPOCHS = "epochs for GPT-2 (80, as for Mistral in the README)"


_GSM8K_PRECISION = "precision for GPT-2 (fp32, as on multiplication)"


_PHI_EPOCHS = "epochs for Phi-3 (80, as for Mistral in the README)"


_PHI_MODEL = "which Phi-3 mini of 3.8B (the 4k instruct model)"


_SUPERVISION = "weight of the mixture's supervision (1) and its offset (0)"


_LONG = "the authors leave out training examples above 150 tokens; here they are kept"


_DAY = "the paper stops after 200 epochs or 24 hours on one H100; this run after 200 epochs"


_LAST_EPOCH = "the authors' README takes checkpoints 5 and 6 of 40 epochs; this run the last"


_SPEEDS = {"4x4": "0.17", "5x5": "0.14", "7x7": "0.12", "9x9": "0.09"}


def _stepwise_results() -> list[PaperResult]:
    """The table of arXiv 2405.14838; its speeds are relative to No CoT."""
    results = []
    scores = {"4x4": (1.0, 0.29), "5x5": (0.95, 0.01), "7x7": (0.95, 0.0), "9x9": (0.99, 0.0)}
    for task, (implicit, without) in scores.items():
        speed = f"{_SPEEDS[task]} of No CoT's speed (secondary copy)"
        note = _DAY + ("; the authors' released checkpoint has 99.6%" if task == "5x5" else "")
        results += [
            PaperResult(
                "icot-si", task, "gpt2", implicit, "1.00 to 1.02 of No CoT's speed", note=note
            ),
            PaperResult("no-cot", task, "gpt2", without, assumed=(_NO_COT_EPOCHS,)),
            PaperResult("explicit-cot", task, "gpt2", 1.0, speed, assumed=(_EXPLICIT_EPOCHS,)),
        ]
    partial = "the paper's number is with 320 of 368 tokens removed, where this run ends"
    results.append(PaperResult("icot-si", "11x11", "gpt2", 0.74, note=partial))
    gsm8k = {
        "gpt2": (0.30, 0.13, 0.41, (_GSM8K_EPOCHS, _GSM8K_PRECISION)),
        "gpt2-medium": (0.35, 0.17, 0.44, (_GSM8K_EPOCHS, _GSM8K_PRECISION)),
        "phi-3": (0.31, 0.28, 0.74, (_PHI_EPOCHS, _PHI_MODEL)),
        "mistral-7b": (0.51, 0.38, 0.68, ()),
    }
    for model, (implicit, without, explicit, assumed) in gsm8k.items():
        rest = assumed[1:]  # their epochs are assumed for another reason
        results += [
            PaperResult("icot-si", "gsm8k", model, implicit, assumed=assumed, note=_LONG),
            PaperResult("no-cot", "gsm8k", model, without, assumed=(_NO_COT_EPOCHS, *rest)),
            PaperResult(
                "explicit-cot", "gsm8k", model, explicit, assumed=(_EXPLICIT_EPOCHS, *rest)
            ),
        ]
    return results


#: By task and model: accuracy of ICoT-KD, and accuracy and examples/s of No CoT and explicit CoT.
_KD_TABLE = {
    ("4x4", "gpt2"): (0.966, (0.287, 13.2), (1.0, 2.3)),
    ("4x4", "gpt2-medium"): (0.961, (0.762, 7.0), (1.0, 1.2)),
    ("5x5", "gpt2"): (0.095, (0.012, 11.1), (1.0, 1.5)),
    ("5x5", "gpt2-medium"): (0.964, (0.019, 5.9), (1.0, 0.8)),
    ("gsm8k", "gpt2"): (0.200, (0.133, 24.7), (0.407, 2.0)),
    ("gsm8k", "gpt2-medium"): (0.219, (0.170, 13.2), (0.439, 1.1)),
}


def _distillation_results() -> list[PaperResult]:
    """The table of arXiv 2311.01460; its speeds are examples per second."""
    results = []
    for (task, model), (implicit, without, explicit) in _KD_TABLE.items():
        mixture = (_SUPERVISION,) if task == "gsm8k" else ()
        speed = "0.73 of No CoT's speed" if (task, model) == ("5x5", "gpt2-medium") else ""
        note = "" if task == "gsm8k" else _LAST_EPOCH
        results.append(
            PaperResult("icot-kd", task, model, implicit, speed, assumed=mixture, note=note)
        )
        for method, (accuracy, rate), assumed in (
            ("kd-no-cot", without, (_KD_NO_COT_EPOCHS,)),
            ("kd-explicit-cot", explicit, ()),
        ):
            speed = f"{rate} examples/s"
            results.append(PaperResult(method, task, model, accuracy, speed, True, assumed))
    return results


#: Every result by its name.
PAPER_RESULTS: dict[str, PaperResult] = {
    result.name: result for result in _stepwise_results() + _distillation_results()
}


def check_data(config: RunConfig) -> None:
    """Raises `ConfigError` if a run needs GSM8K and its folder is not in the working directory."""
    if config.data.path == GSM8K and not (Path(GSM8K) / "train.txt").is_file():
        raise ConfigError(
            f"{GSM8K}/train.txt is missing. `{PREPARE}` makes it, or name another prepared folder "
            "with --set data.path=FOLDER"
        )
