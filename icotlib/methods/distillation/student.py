"""Mind-reading the teacher (ICoT-KD, arXiv 2311.01460, Section 3.1): the student.

A language model that sees the question and, at its separator, the teacher's states: at the input
of every layer l its own state there is replaced by MLP_l(z_l). It learns to write the answer.
"""

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from icotlib.models.cache import has_cache
from icotlib.models.hooks import hook_layer_inputs, scatter_positions
from icotlib.models.questions import first_separator


class ThoughtConfig(PreTrainedConfig):
    """Config of student, emulator and the coupled system, in the hub's form.

    Args:
        text_config: config of the language model that each of them holds.
        separator: token id of the separator, at whose first place states are read and written.
        bos_tokens: tokens that the tokenizer puts before every text; none of them is the separator,
            even if it is the same token.
        mixture: size of the emulator's mixture; 1 is no mixture.
        mixture_temperature: of its softmax where it is not supervised.
    """

    model_type = "icot_kd"
    sub_configs: ClassVar = {"text_config": AutoConfig}

    def __init__(
        self,
        text_config: PreTrainedConfig | dict | None = None,
        separator: int = 0,
        bos_tokens: int = 0,
        mixture: int = 1,
        mixture_temperature: float = 0.05,
        **kwargs: Any,
    ):
        if text_config is None:
            text_config = {"model_type": "gpt2"}
        if isinstance(text_config, dict):
            text_config = AutoConfig.for_model(**text_config)
        self.text_config = text_config
        self.separator, self.bos_tokens = separator, bos_tokens
        self.mixture = mixture
        self.mixture_temperature = mixture_temperature
        super().__init__(**kwargs)


class ThoughtModel(PreTrainedModel):
    """Base of student, emulator and coupled system: saved and loaded as one, in safetensors."""

    config_class = ThoughtConfig
    base_model_prefix = ""

    @property
    def decoders(self) -> list[PreTrainedModel]:
        """The language models in it."""
        raise NotImplementedError

    def _init_weights(self, module: nn.Module) -> None:
        """Parts of our own start as torch makes them; the language model sees to its own."""


def state_mlp(inputs: int, width: int) -> nn.Sequential:
    """MLP of the paper: inputs -> 4 width -> width, ReLU between."""
    return nn.Sequential(nn.Linear(inputs, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))


class Student(ThoughtModel):
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

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

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
