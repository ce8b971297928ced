"""Couple and optimize (ICoT-KD, arXiv 2311.01460, Section 3.3): emulator -> student, as one model.

The coupled system takes a question and writes the answer, like any causal language model of
transformers: `AutoModelForCausalLM.from_pretrained` loads its one checkpoint once this module is
imported, and `icotlib.generate`, evaluation and timing treat it like all other models.
"""

from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from icotlib.methods.distillation.emulator import Emulator
from icotlib.methods.distillation.student import (
    Student,
    ThoughtConfig,
    ThoughtModel,
    begun,
    first_separator,
)


class Coupled(ThoughtModel):
    """Emulator and student: thinks at the separator, then writes the answer."""

    def __init__(self, config: ThoughtConfig):
        super().__init__(config)
        self.emulator = Emulator(config)
        self.student = Student(config)
        self.post_init()

    @classmethod
    def of(cls, emulator: Emulator, student: Student) -> "Coupled":
        """The system of a trained emulator and a trained student."""
        model = cls(emulator.config)
        model.emulator.load_state_dict(emulator.state_dict())
        model.student.load_state_dict(student.state_dict())
        return model

    def get_output_embeddings(self):
        return self.student.language_model.get_output_embeddings()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values=None,
        at: Tensor | None = None,
        **kwargs,
    ):
        """A transformers forward pass. Thinking happens where the cache is still empty.

        Args:
            at: `[n]`, the separator's position in each row; found if not given.
        """
        if begun(past_key_values):  # the thought is in the cache
            return self.student.language_model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=past_key_values,
                **kwargs,
            )
        if at is None:
            at = first_separator(input_ids, attention_mask, self.config)
        width = int(at.max()) + 1
        read = [x if x is None else x[:, :width] for x in (attention_mask, position_ids)]
        at = at.to(input_ids.device)
        thought = self.emulator(input_ids[:, :width], at, *read)
        return self.student(
            input_ids,
            thought.states,
            at,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **kwargs,
        )


AutoConfig.register(ThoughtConfig.model_type, ThoughtConfig)


AutoModelForCausalLM.register(ThoughtConfig, Coupled)
