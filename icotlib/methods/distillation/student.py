"""Mind-reading the teacher (ICoT-KD, arXiv 2311.01460, Section 3.1): the student.

A language model that sees the question and, at its separator, the teacher's states: at the input
of every layer l its own state there is replaced by MLP_l(z_l). It learns to write the answer.
"""

from typing import Any

from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from icotlib.models.cache import has_cache
from icotlib.models.hooks import hook_layer_inputs, scatter_positions
from icotlib.models.questions import first_separator
from icotlib.models.wrapped import LanguageModelHolder, WrappedConfig, WrappedModel


class ThoughtConfig(WrappedConfig):
    """Config of student, emulator and the coupled system: at the first separator,
    states are read and written.

    Args:
        mixture: size of the emulator's mixture; 1 is no mixture.
        mixture_temperature: of its softmax where it is not supervised.
        kwargs: of `WrappedConfig`.
    """

    model_type = "icot_kd"

    def __init__(
        self,
        text_config: PreTrainedConfig | dict | None = None,
        mixture: int = 1,
        mixture_temperature: float = 0.05,
        **kwargs: Any,
    ):
        self.mixture = mixture
        self.mixture_temperature = mixture_temperature
        super().__init__(text_config, **kwargs)


class ThoughtModel(WrappedModel):
    """Base of student, emulator and coupled system."""

    config_class = ThoughtConfig

    @property
    def decoders(self) -> list[PreTrainedModel]:
        """The language models in it."""
        raise NotImplementedError


def state_mlp(inputs: int, width: int) -> nn.Sequential:
    """MLP of the paper: inputs -> 4 width -> width, ReLU between."""
    return nn.Sequential(nn.Linear(inputs, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))


class Student(LanguageModelHolder, ThoughtModel):
    """A language model whose states at the separator are replaced by those of another."""

    def __init__(self, config: ThoughtConfig):
        super().__init__(config)
        text = config.text_config
        self.language_model = AutoModelForCausalLM.from_config(text, trust_remote_code=False)
        width = text.hidden_size
        self.state_mlps = nn.ModuleList(
            state_mlp(width, width) for _ in range(text.num_hidden_layers)
        )
        self.post_init()

    @property
    def decoders(self) -> list[PreTrainedModel]:
        return [self.language_model]

    def forward(self, input_ids: Tensor, states: Tensor, at: Tensor, **kwargs: Any) -> Any:
        """A transformers forward pass with states put in.

        Args:
            input_ids: `[n, width]`.
            states: `[n, layers, d]`, normalised: the teacher's, or the emulator's.
            at: `[n]`, the separator's position in each row.
            kwargs: what any causal LM takes: attention_mask, past_key_values, logits_to_keep, ...
        """
        states = states.to(next(self.state_mlps.parameters()).dtype)

        def replace(layer: int, hidden: Tensor) -> Tensor:
            return scatter_positions(hidden, at, self.state_mlps[layer](states[:, layer]))

        with hook_layer_inputs(self.language_model, replace):
            return self.language_model(input_ids=input_ids, **kwargs)


class StudentWithStates(nn.Module):
    """A student with the states for one batch, which `generate` treats like any causal LM."""

    def __init__(self, student: Student, states: Tensor):
        super().__init__()
        self.student, self.states = student, states
        self.config, self.device = student.config, student.device
        self.training = student.training

    @property
    def analysed_decoder(self) -> PreTrainedModel:
        return self.student.language_model

    def get_output_embeddings(self) -> nn.Module:
        return self.student.get_output_embeddings()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> Any:
        """As of a causal LM; the states are put in where there is no cache yet."""
        kwargs |= {"attention_mask": attention_mask, "past_key_values": past_key_values}
        if has_cache(past_key_values):
            return self.student.language_model(input_ids=input_ids, **kwargs)
        at = first_separator(input_ids, attention_mask, self.config)
        return self.student(input_ids, self.states, at, **kwargs)
