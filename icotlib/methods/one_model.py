"""One model for all k: every example loses its own number of chain tokens, after a warm-up.

It is no stepwise internalization: nothing is removed step by step, and there is one set of weights
that answers at every stage, with any number of tokens written. Neither paper has it.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from icotlib.config import RunConfig
from icotlib.data.inputs import InputFormat
from icotlib.errors import ConfigError
from icotlib.methods.base import register
from icotlib.methods.causal_lm import CausalLMMethod
from icotlib.methods.removal import RemovalSettings
from icotlib.methods.schedule import Schedule
from icotlib.settings import MOST_STEPS, setting


@dataclass(frozen=True)
class OneModelSettings(RemovalSettings):
    """How many tokens each example loses."""

    warmup_steps: int = setting(
        150, "Steps on the full chain before anything is removed.", low=0, high=MOST_STEPS
    )
    all_fraction: float = setting(
        0.5, "Chance that an example loses its whole chain; else uniform on 0..all.", low=0, high=1
    )
    stage: int | None = setting(
        None,
        "Train at this stage alone, a specialist: every example loses so many tokens. null trains "
        "at every stage.",
        low=0,
        high=1_000_000,
    )

    def __post_init__(self) -> None:
        # First what this method cannot do: kept positions are not to be switched off for it.
        if self.stage is None and (self.step_end is not None or self.side == "right"):
            raise ConfigError(
                "one model for all k removes tokens from the left alone (removal.side=left, "
                "removal.step_end=null): only kept positions tell it how many are removed. "
                "icot_si removes steps, and from the right"
            )
        if self.stage is None and not self.keep_positions:
            raise ConfigError(
                "one model for all k needs removal.keep_positions=true: nothing else tells it how "
                "many tokens are removed, and it would answer alike at every stage"
            )
        super().__post_init__()


class FixedStage(Schedule):
    """Each example loses the same number of tokens: a specialist for one stage."""

    name = "fixed"
    planned = True

    def __init__(self, config: Any, longest: int):
        super().__init__(longest)
        if config.stage > longest:
            raise ConfigError(
                f"removal.stage={config.stage}: the longest chain of the data has {longest}, so "
                "that a specialist removes at most so many"
            )
        self.config = config
        self.removed = self.removed_at(0)

    @property
    def final_stage(self) -> int:
        return int(self.config.stage)

    def removed_at(self, step: int) -> int:
        return 0 if step < self.config.warmup_steps else self.final_stage

    @property
    def eval_stage(self) -> int:
        return self.final_stage

    def describe(self, unit: str) -> str:
        return f"{self.final_stage} of {self.longest} {unit} removed from every example"


class EveryStage(Schedule):
    """Each example loses its own number of tokens, so that one model serves every stage.

    With probability `all_fraction` the whole chain is removed, otherwise k is uniform from 0 to the
    length of the run's longest chain; a shorter chain goes whole where k is more than it holds.
    """

    name = "every"

    def __init__(self, config: Any, longest: int):
        super().__init__(longest)
        self.config = config

    @property
    def eval_stage(self) -> int:
        return self.longest

    def sample(self, step: int, chain: Tensor, generator: torch.Generator) -> Tensor:
        if step < self.config.warmup_steps:
            return torch.zeros_like(chain)
        uniform, all_of_it = torch.rand(2, len(chain), generator=generator)
        # Drawn up to the chain's own length, kept positions would tell something of that length.
        whole = chain.clamp(min=self.longest)
        k = (uniform * (whole + 1)).long()
        return torch.where(all_of_it < self.config.all_fraction, whole, k)

    def test_stages(self) -> list[int]:
        return list(range(self.longest + 1))

    def describe(self, unit: str) -> str:
        return f"0 to {self.longest} {unit} removed, drawn for each example"


@register
class OneModel(CausalLMMethod):
    """Fine-tuning on chains of which any number of tokens is removed."""

    name = "one_model"
    label = "One model for all k"
    color = "#56B4E9"
    marker = "^"
    sections: ClassVar = {"removal": OneModelSettings}

    @classmethod
    def input_format(cls, config: RunConfig) -> InputFormat:
        return config.removal.input_format

    @classmethod
    def make_schedule(cls, config: RunConfig, longest: int) -> Schedule:
        kind = EveryStage if config.removal.stage is None else FixedStage
        return kind(config.removal, longest)
