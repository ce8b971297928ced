"""Numbers of Coconut's and CODI's tables as runs: `icot train coconut/gsm8k/gpt2`.

Coconut's table has explicit CoT, No CoT and ICoT-SI beside its own methods; on GSM8K these are
named `*/gsm8k/*` for arXiv 2405.14838, with that paper's settings.

Settings are those of the authors' configs, as far as they are known here; the rest is listed in
`PaperResult.assumed`. All numbers are from secondary copies.
"""

import math
from typing import Any

from icotlib.config import RunConfig, parse_overrides
from icotlib.experiments.base import PAPER_REMOVAL, make
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

#: Rows of Coconut's table that write a chain, learn from one, or have none.
WRITTEN = {"explicit-cot": "explicit_cot", "no-cot": "no_cot", "icot-si": "icot_si"}

#: Examples of a step: 32 on each of four GPUs (Coconut), or 128 (CODI).
BATCH = 128


#: Rows whose runs are named by more than their method.
LABELLED = ("pause-as-thought", *VARIANTS)


class RelativeResult(PaperResult):
    """One number of a table of Coconut's or CODI's paper."""

    @property
    def paper(self) -> str:
        return CODI if self.method == "codi" else COCONUT

    def config(self, seed: int = 0, overrides: Any = None) -> RunConfig:
        """The run with the authors' settings, under the user's overrides."""
        settings = {"codi": self._codi, "pause": self._pause} | dict.fromkeys(
            WRITTEN, self._written
        )
        own = settings.get(self.method, self._coconut)()
        return make("paper", seed, parse_overrides(overrides), self._shared() | own)

    @property
    def _epoch(self) -> int:
        return math.ceil(EXAMPLES[self.task] / BATCH)

    def _shared(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "label": self.method if self.method in LABELLED else "",
            "model.pretrained": MODELS[self.model][0],
            "data.train_examples": EXAMPLES[self.task],
            "optim.lr": 1e-4,
            "optim.weight_decay": 0.01,
            "optim.clip": 0.0,
            "train.batch_size": BATCH,
            "train.precision": "bf16" if self.method == "codi" else "fp32",
            "train.eval_every": self._epoch,
        }
        if self.method not in WRITTEN:
            settings["latent.step_end"] = STEP_END[self.task]
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
            "latent.reset_every": self._epoch,
            "train.steps": in_all * self._epoch,
        } | VARIANTS.get(self.method, {})

    def _written(self) -> dict[str, Any]:
        """The baselines with tokens alone, for as many epochs as Coconut has."""
        own = {
            "method": WRITTEN[self.method],
            "train.steps": CURRICULUM[self.task][3] * self._epoch,
        }
        if self.method == "icot-si":
            pace = {"removal.steps_per_epoch": self._epoch, "removal.warmup_steps": 0}
            return own | PAPER_REMOVAL | pace
        return own | ({"removal.keep_positions": False} if self.method == "no-cot" else {})

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
_EPOCHS = "epochs and rate (Coconut's, 50 and 1e-4)"
_PACE = "pace of the removal (8 tokens an epoch and smoothing 4, as in arXiv 2405.14838)"


def _results() -> list[RelativeResult]:
    table = {
        "coconut": {"gsm8k": 0.341, "prosqa": 0.970, "prontoqa": 0.998},
        "pause-as-thought": {"gsm8k": 0.241, "prosqa": 0.966, "prontoqa": 1.0},
        "no-curriculum": {"gsm8k": 0.144, "prosqa": 0.761, "prontoqa": 0.524},
        "without-thought": {"gsm8k": 0.216, "prosqa": 0.955, "prontoqa": 0.999},
        "pause": {"gsm8k": 0.164, "prosqa": 0.759, "prontoqa": 0.777},
        "codi": {"gsm8k": 0.437},
        "explicit-cot": {"prosqa": 0.775, "prontoqa": 0.988},
        "no-cot": {"prosqa": 0.767, "prontoqa": 0.938},
        "icot-si": {"prosqa": 0.982, "prontoqa": 0.998},
    }
    found = []
    for method, row in table.items():
        for task, published in row.items():
            staged = method not in ("pause", "codi", *WRITTEN)
            assumed = [_BF16] if method == "codi" else []
            assumed += [_FIRST] if task == "gsm8k" and staged else []
            assumed += [_GENERATED] if task != "gsm8k" else []
            assumed += [_PAUSES] if method == "pause" else []
            assumed += [_EPOCHS] if method in WRITTEN else []
            assumed += [_PACE] if method == "icot-si" else []
            assumed += [_DECAY, _ALL_ANSWERS] if method == "codi" else []
            named = (method, task, "gpt2", published)
            found.append(RelativeResult(*named, doubtful=True, assumed=tuple(assumed)))
    return found


#: Every result by its name.
RELATIVE_RESULTS: dict[str, RelativeResult] = {result.name: result for result in _results()}
