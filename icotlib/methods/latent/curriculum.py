"""Coconut's curriculum (arXiv 2412.06769): at stage s, the first s steps have become places."""

from typing import Any

import torch
from torch import Tensor

from icotlib.methods.schedule import Schedule


class Curriculum(Schedule):
    """Stage s removes `s * units_per_stage` units and adds `s * places_per_stage` places.

    Past the last stage that adds places, all of the chain is gone.
    """

    name = "stages"
    has_stage_checkpoints = True
    planned = True

    def __init__(self, config: Any, longest: int):
        super().__init__(longest)
        self.config = config
        every = -(-longest // config.units_per_stage)
        #: Stages that add places.
        self.adding = min(config.stages or every, every)

    def removed_at(self, step: int) -> int:
        since = step - self.config.first_steps
        stage = 0 if since < 0 else 1 + since // self.config.steps_per_stage
        if stage > self.adding:
            return self.longest
        return min(stage * self.config.units_per_stage, self.longest)

    def places(self, removed: Tensor | int) -> Tensor:
        """Latent places where so many units are removed, one number or `[n]`."""
        stage = -(-torch.as_tensor(removed) // self.config.units_per_stage)
        return stage.clamp(max=self.adding) * self.config.places_per_stage

    def sample(self, step: int, chain: Tensor, generator: torch.Generator) -> Tensor:
        """Every example at this stage; with probability `uniform_prob`, at one drawn from 0 to the
        number of stages that its own chain has."""
        removed = super().sample(step, chain, generator)
        if not self.config.uniform_prob:
            return removed
        uniform, mixed = torch.rand(2, len(chain), generator=generator)
        own = -(-chain // self.config.units_per_stage)
        stage = (uniform * (own + 1)).long()
        drawn = (stage * self.config.units_per_stage).clamp(max=self.longest)
        drawn = torch.where(stage > self.adding, chain.clamp(min=self.longest), drawn)
        return torch.where(mixed < self.config.uniform_prob, drawn, removed)
