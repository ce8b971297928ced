"""No chain of thought: the model answers at once. The baseline of every implicit method."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from icotlib.config import RunConfig
from icotlib.data.inputs import InputFormat
from icotlib.methods.base import register
from icotlib.methods.causal_lm import CausalLMMethod
from icotlib.settings import Section, setting


@dataclass(frozen=True)
class NoCoTSettings(Section):
    """The layout that No CoT is trained in."""

    section: ClassVar[str] = "removal"

    layout: Literal["chain", "no_chain"] = setting(
        "chain",
        "chain: that of fully internalized ICoT-SI, question <sep> <sep> #### answer. no_chain: "
        "that of distillation, question <sep> #### answer.",
    )
    keep_positions: bool = setting(
        True,
        "Position ids skip the removed chain, as in ICoT-SI with kept positions; not with "
        "layout=no_chain.",
    )


@register
class NoCoT(CausalLMMethod):
    """Fine-tuning on question and answer."""

    name = "no_cot"
    label = "No CoT"
    color = "#D55E00"
    marker = "v"
    baseline = True
    reads_chains = False
    sections: ClassVar = {"removal": NoCoTSettings}

    @classmethod
    def input_format(cls, config: RunConfig) -> InputFormat:
        removal, chain = config.removal, config.removal.layout == "chain"
        return InputFormat(chain=chain, keep_positions=chain and removal.keep_positions)
