"""Stepwise internalization (ICoT-SI, arXiv 2405.14838).

Start from explicit chain of thought, remove more and more chain tokens, and keep fine-tuning on
what is left, until the model answers without writing any of them.
"""

from typing import Any, ClassVar

import torch

from icotlib.config import RunConfig
from icotlib.data.inputs import InputFormat
from icotlib.data.layout import EncodedBatch
from icotlib.methods.base import register
from icotlib.methods.causal_lm import CausalLMMethod
from icotlib.methods.micro_batches import StageChange
from icotlib.methods.schedule import Schedule
from icotlib.methods.stepwise import rollback  # noqa: F401 (registers its schedule)
from icotlib.methods.stepwise.schedules import REMOVAL, make_schedule


@register
class StepwiseInternalization(CausalLMMethod):
    """Fine-tuning while chain tokens are removed."""

    name = "icot_si"
    label = "ICoT-SI"
    color = "#0072B2"
    marker = "o"
    paper = "2405.14838"
    sections: ClassVar = {"removal": REMOVAL}

    @classmethod
    def input_format(cls, config: RunConfig) -> InputFormat:
        return config.removal.input_format

    @classmethod
    def make_schedule(cls, config: RunConfig, longest: int) -> Schedule:
        return make_schedule(config.removal, longest)

    @classmethod
    def schedule_name(cls, config: RunConfig) -> str:
        return config.removal.schedule

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        #: Whether removals still reset the optimizer, and whether the last batch held any chain.
        self.resetting = getattr(self.config.removal, "reset_optimizer", False)
        self.had_chain = True

    def begin_step(self, step: int) -> StageChange:
        """Ask for cleared optimizer moments whenever s grows, as long as batches hold chain tokens,
        and whenever weights come back.

        The trainer clears them (Section 3.2, optimizer reset).
        """
        change = super().begin_step(step)
        if self.schedule.back_to is not None:  # to weights that these moments do not belong to
            self.resetting, self.had_chain = self.config.removal.reset_optimizer, True
            return StageChange(reset_optimizer=True, back_to=self.schedule.back_to)
        if change.ended is None:
            return change
        self.resetting &= self.had_chain
        return change._replace(reset_optimizer=self.resetting, is_good=self.schedule.is_good)

    def saw_removal(self, batch: EncodedBatch, k: torch.Tensor) -> None:
        self.had_chain = bool((batch.chain > k).any())

    def state_dict(self) -> dict[str, Any]:
        own = {"resetting": self.resetting, "had_chain": self.had_chain}
        return super().state_dict() | own

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.resetting, self.had_chain = state["resetting"], state["had_chain"]
