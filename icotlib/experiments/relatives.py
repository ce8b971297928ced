"""Numbers of Coconut's and CODI's tables as runs: `icot train coconut/gsm8k/gpt2`.

Settings are those of the authors' configs, as far as they are known here; the rest is listed in
`PaperResult.assumed`. All numbers are from secondary copies.
"""

import math
from typing import Any

from icotlib.config import RunConfig, parse_overrides
from icotlib.experiments.base import make
from icotlib.experiments.papers import PaperResult
from icotlib.models.known_sizes import GSM8K, MODELS

COCONUT, CODI = "2412.06769", "2502.21074"

#: Training examples of each task.
EXAMPLES = {"gsm8k": 385_620, "prosqa": 17_886, "prontoqa": 9_000}

#: Coconut's stages that add places, epochs of each, places of each, and epochs in all.
CURRICULUM = {"gsm8k": (3, 3, 2, 25), "prosqa": (6, 5, 1, 50), "prontoqa": (6, 5, 1, 50)}

#: Sentences that the authors count as one step of a chain.
SENTENCES = {"gsm8k": 1, "prosqa": 1, "prontoqa": 2}

#: The text that ends a step, and the generated task that stands for the published file.
STEP_END = {"gsm8k": ">>", "prosqa": ".", "prontoqa": "."}
TASK = {"prosqa": "prosqa-23", "prontoqa": "prontoqa-5"}

#: What Coconut's ablations change: the last stage from the first step, and no places.
VARIANTS: dict[str, dict[str, Any]] = {
    "no-curriculum": {"latent.first_steps": 0, "latent.steps_per_stage": 1},
    "without-thought": {"latent.places_per_stage": 0, "latent.markers": False},
}

#: Examples of a step: 32 on each of four GPUs (Coconut), or 128 (CODI).
BATCH = 128


class RelativeResult(PaperResult):
    """One number of a table of Coconut's or CODI's paper."""

    @property
    def paper(self) -> str:
        return CODI if self.method == "codi" else COCONUT

    def config(self, seed: int = 0, overrides: Any = None) -> RunConfig:
        """The run with the authors' settings, under the user's overrides."""
        own = {"codi": self._codi, "pause": self._pause}.get(self.method, self._coconut)()
        return make("paper", seed, parse_overrides(overrides), self._shared() | own)

    @property
    def _epoch(self) -> int:
        return math.ceil(EXAMPLES[self.task] / BATCH)

    def _shared(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "label": self.method if "-" in self.method else "",
            "model.pretrained": MODELS[self.model][0],
            "data.train_examples": EXAMPLES[self.task],
            "latent.step_end": STEP_END[self.task],
            "optim.lr": 1e-4,
            "optim.weight_decay": 0.01,
            "optim.clip": 0.0,
            "train.batch_size": BATCH,
            "train.precision": "bf16" if self.method == "codi" else "fp32",
            "train.eval_every": self._epoch,
        }
        if self.task != "gsm8k":
            return settings | {"data.task": TASK[self.task]}
        settings |= {"data.path": GSM8K, "data.train_examples": None}
        return settings | {"data.valid_examples": 500, "data.test_examples": 1319}

    def _coconut(self) -> dict[str, Any]:
        stages, epochs, places, in_all = CURRICULUM[self.task]
        return {
            "method": "coconut",
            "latent.content": "fixed" if self.method == "pause-as-thought" else "recycled",
            "latent.stages": stages,
            "latent.places_per_stage": places,
            "latent.units_per_stage": SENTENCES[self.task],
            "latent.first_steps": epochs * self._epoch,
            "latent.steps_per_stage": epochs * self._epoch,
            "train.steps": in_all * self._epoch,
        } | VARIANTS.get(self.method, {})

    def _pause(self) -> dict[str, Any]:
        stages, _, places, in_all = CURRICULUM[self.task]
        steps = in_all * self._epoch
        return {"method": "pause", "latent.tokens": stages * places, "train.steps": steps}

    def _codi(self) -> dict[str, Any]:
        return {
            "method": "codi",
            "model.lora": {"r": 128, "lora_alpha": 32},
            "optim.lr": 3e-3,
            "optim.weight_decay": 0.1,
            "optim.clip": 2.0,
            "optim.warmup_steps": round(0.03 * 40 * self._epoch),
            "optim.decay_fraction": 0.97,
            "train.steps": 40 * self._epoch,
        }


_FIRST = "the explicit CoT model that GSM8K starts from (here: 3 epochs on the whole chain)"
_PAUSES = "number of pause tokens (as many as Coconut's places)"
_DECAY = "linear decay in place of the cosine"
_ALL_ANSWERS = "questions with negative answers, or answers that are no number, are trained on too"
_GENERATED = "the generated task in place of the published file (icot evaluate reads that)"
_BF16 = "precision (bf16)"
_RESET = "the optimizer is reset at each stage, there at each epoch"


def _results() -> list[RelativeResult]:
    table = {
        "coconut": {"gsm8k": 0.341, "prosqa": 0.970, "prontoqa": 0.998},
        "pause-as-thought": {"gsm8k": 0.241, "prosqa": 0.966, "prontoqa": 1.0},
        "no-curriculum": {"gsm8k": 0.144, "prosqa": 0.761, "prontoqa": 0.524},
        "without-thought": {"gsm8k": 0.216, "prosqa": 0.955, "prontoqa": 0.999},
        "pause": {"gsm8k": 0.164, "prosqa": 0.759, "prontoqa": 0.777},
        "codi": {"gsm8k": 0.437},
    }
    found = []
    for method, row in table.items():
        for task, published in row.items():
            staged = method not in ("pause", "codi")
            assumed = [_BF16] if method == "codi" else []
            assumed += [_FIRST] if task == "gsm8k" and staged else []
            assumed += [_GENERATED] if task != "gsm8k" else []
            assumed += [_PAUSES] if method == "pause" else []
            assumed += [_RESET] if staged else []
            assumed += [_DECAY, _ALL_ANSWERS] if method == "codi" else []
            named = (method, task, "gpt2", published)
            found.append(RelativeResult(*named, doubtful=True, assumed=tuple(assumed)))
    return found


#: Every result by its name.
RELATIVE_RESULTS: dict[str, RelativeResult] = {result.name: result for result in _results()}
