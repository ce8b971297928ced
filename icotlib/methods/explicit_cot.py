"""Explicit chain of thought: the model writes every step. The teacher of distillation."""

from icotlib.config import RunConfig
from icotlib.data.inputs import InputFormat
from icotlib.methods.base import register
from icotlib.methods.causal_lm import CausalLMMethod
from icotlib.methods.schedule import NoRemoval, Schedule


@register
class ExplicitCoT(CausalLMMethod):
    """Fine-tuning on question, chain and answer."""

    name = "explicit_cot"
    label = "Explicit CoT"
    color = "#009E73"
    marker = "s"
    baseline = True

    @classmethod
    def input_format(cls, config: RunConfig) -> InputFormat:
        # Nothing is removed, so positions count from zero all the same; given explicitly, they
        # take the same way through the model as those of the methods it is compared with.
        return InputFormat(keep_positions=True)

    @classmethod
    def make_schedule(cls, config: RunConfig, longest: int) -> Schedule:
        return NoRemoval(longest)
