"""Couple and optimize (ICoT-KD, arXiv 2311.01460, Section 3.3): emulator -> student, as one model.

The coupled system takes a question and writes the answer, like any causal language model of
transformers: `AutoModelForCausalLM.from_pretrained` loads its one checkpoint once this module is
imported, and `icotlib.generate`, evaluation and timing treat it like all other models.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from icotlib.methods.distillation.emulator import Emulated, Emulator
from icotlib.methods.distillation.student import (
    Student,
    ThoughtConfig,
    ThoughtModel,
)
from icotlib.models.cache import has_cache
from icotlib.models.hooks import key_of
from icotlib.models.questions import first_separator


class Coupled(ThoughtModel):
    """Emulator and student: predicts states at the separator, then writes the answer."""

    def __init__(self, config: ThoughtConfig):
        super().__init__(config)
        self.emulator = Emulator(config)
        self.student = Student(config)
        self.post_init()

    @classmethod
    def of(cls, emulator: Emulator, student: Student) -> "Coupled":
        """The system of a trained emulator and a trained student."""
        model = cls(cast(ThoughtConfig, emulator.config))
        model.emulator.load_state_dict(emulator.state_dict())
        model.student.load_state_dict(student.state_dict())
        return model

    @property
    def analysed_decoder(self) -> PreTrainedModel:
        """The student's language model: its layer inputs at the separator are the emulator's
        predicted states."""
        return self.student.language_model

    @contextmanager
    def cached_emulation(self) -> Iterator[None]:
        """While open, the emulator runs once for the same questions.

        For analyses that change the student's states only, which the emulator does not see.
        """
        emulator: Any = self.emulator
        known: dict[tuple, Emulated] = {}
        forward = emulator.forward

        def recall(ids: Tensor, *args: Any, **kwargs: Any) -> Emulated:
            key = key_of(ids)
            if key not in known:
                found = forward(ids, *args, **kwargs)
                # The student reads no scores, and of a large vocabulary they are large.
                known[key] = replace(found, scores=found.scores[..., :0])
            return known[key]

        emulator.forward = recall
        try:
            yield
        finally:
            emulator.forward = forward

    @property
    def decoders(self) -> list[PreTrainedModel]:
        return [*self.emulator.decoders, *self.student.decoders]

    def get_input_embeddings(self) -> nn.Module:
        return self.student.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.student.language_model.get_output_embeddings()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        at: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """A transformers forward pass. States are emulated where the cache is still empty.

        Args:
            at: `[n]`, the separator's position in each row; found if not given.
        """
        if has_cache(past_key_values):  # the emulated states are in the cache
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
        emulated = self.emulator(input_ids[:, :width], at, *read)
        return self.student(
            input_ids,
            emulated.states,
            at,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **kwargs,
        )


AutoConfig.register(ThoughtConfig.model_type, ThoughtConfig)


AutoModelForCausalLM.register(ThoughtConfig, Coupled)
