"""A model with known mechanics: it computes the parity of ten bits, by design.

Layer 0: the separator attends to all bits evenly, counts the ones and works out their parity, in
one coordinate. Layer 1: the delimiter attends to the separator and copies the parity. The head
writes it. No prefix's parity is computed anywhere, and no bit is used above layer 0.
"""

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from icotlib.config import RunConfig
from icotlib.data.layout import Layout
from icotlib.data.symbols import symbol_tokenizer
from icotlib.evaluation.stage_model import StageModel
from icotlib.tasks import get_task
from icotlib.tasks.questions import QuestionSet

BITS = 10
WIDTH = BITS + 4  # the bits, two separators, the delimiter, the answer
SEPARATOR, ANSWER_DELIMITER = BITS, BITS + 2
ONES, PARITY, COPY = 10, 11, 12  # coordinates above those of the tokens


class PlantedConfig(PreTrainedConfig):
    model_type = "planted"

    def __init__(self, vocab_size=6, **kwargs):
        self.vocab_size, self.num_hidden_layers, self.hidden_size = vocab_size, 2, 16
        super().__init__(**kwargs)


class Layer(nn.Module):
    """Attention by position alone, then an MLP, both onto the residual stream."""

    def __init__(self, d: int):
        super().__init__()
        self.scores = nn.Parameter(torch.randn(WIDTH, WIDTH))
        self.value = nn.Parameter(torch.randn(d, d) * d**-0.5)
        self.up = nn.Linear(d, BITS + 1)
        self.down = nn.Linear(BITS + 1, d, bias=False)

    def forward(self, hidden_states, attention_mask=None):
        width = hidden_states.shape[1]
        scores = self.scores[:width, :width].masked_fill(
            ~torch.ones(width, width, dtype=torch.bool).tril(), -torch.inf
        )
        if attention_mask is not None:
            scores = scores + attention_mask[0, 0]
        self.weights = scores.softmax(-1)
        hidden_states = hidden_states + self.weights @ hidden_states @ self.value
        return hidden_states + self.down(self.up(hidden_states).relu())


class Planted(PreTrainedModel):
    config_class = PlantedConfig

    def __init__(self, config):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config.hidden_size) for _ in range(2))
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def _init_weights(self, module):
        pass

    def forward(self, input_ids, output_attentions=False, logits_to_keep=0, **kwargs):
        hidden = self.embedding(input_ids)
        for layer in self.layers:
            hidden = layer(hidden)
        logits = self.head(hidden[:, -logits_to_keep:])
        weights = tuple(one.weights.expand(len(input_ids), 1, -1, -1) for one in self.layers)
        return CausalLMOutput(logits=logits, attentions=weights if output_attentions else None)


AutoConfig.register("planted", PlantedConfig)
AutoModelForCausalLM.register(PlantedConfig, Planted)


@torch.no_grad()
def plant() -> StageModel:
    """The planted model as a No CoT model of `parity-10`."""
    task = get_task(f"parity-{BITS}")
    tokenizer = symbol_tokenizer(task.symbols)
    model = Planted(PlantedConfig(len(tokenizer))).eval()
    for parameter in model.parameters():
        parameter.zero_()
    zero, one = tokenizer.convert_tokens_to_ids(["0", "1"])
    model.embedding.weight[:, : len(tokenizer)] = torch.eye(len(tokenizer))
    for layer in model.layers:
        layer.scores.copy_(50 * torch.eye(WIDTH))  # a position without a task attends to itself
    counting, copying = model.layers
    counting.scores[SEPARATOR] = -50.0
    counting.scores[SEPARATOR, :BITS] = 0.0
    counting.value[one, ONES] = 1.0
    counting.up.weight[:, ONES] = BITS
    counting.up.bias.copy_(-torch.arange(BITS + 1.0))
    counting.down.weight[PARITY] = 2.0 * (-1.0) ** torch.arange(BITS + 1)
    counting.down.weight[PARITY, 0] = 1.0
    copying.scores[ANSWER_DELIMITER] = -50.0
    copying.scores[ANSWER_DELIMITER, SEPARATOR] = 50.0
    copying.value[PARITY, COPY] = 1.0
    model.head.weight[one, COPY], model.head.bias[one] = 10.0, -5.0
    model.head.weight[zero, COPY], model.head.bias[zero] = -10.0, 5.0
    model.head.bias[[i for i in range(len(tokenizer)) if i not in (zero, one)]] = -50.0
    config = RunConfig().override({"method": "no_cot", "data.task": task.name})
    layout = Layout(tokenizer)
    return StageModel("planted", model, layout, config, config.input_format, removed=BITS)


def every_question() -> QuestionSet:
    """All questions of `parity-10`, in an order that tells nothing."""
    task = get_task(f"parity-{BITS}")
    order = torch.randperm(2**BITS, generator=torch.Generator().manual_seed(0))
    return QuestionSet(task, ((order[:, None] >> torch.arange(BITS)) & 1).numpy())
