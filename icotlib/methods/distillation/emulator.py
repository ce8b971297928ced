"""Thought emulation (ICoT-KD, arXiv 2311.01460, Section 3.2): the emulator.

A language model that sees only the question and predicts the teacher's states, one at the input
of each layer. At the separator, with h the state there and e the embedding of the mixture's
component, layer by layer:

    z^_l = MLP_l([h; e])                     the prediction, which the student receives
    o, state = LSTM(z^_l + c, state)         c is the context of the layer below, 0 at first
    c = softmax(K query(o)) K                over the keys K of the layers below, if there are any
    K = K + [key(o)]
    h <- out([o; c])                         written back, and flows on into the layer
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModel, PreTrainedModel

from icotlib.methods.distillation.student import ThoughtConfig, ThoughtModel, state_mlp
from icotlib.models.hooks import gather_positions, hook_layer_inputs, scatter_positions


@dataclass(frozen=True)
class Emulated:
    """The emulator's prediction."""

    #: Predicted states `[n, layers, d]`.
    states: Tensor
    #: Logits of the mixture's components at every layer, `[n, layers, components]`;
    #: `mixture_loss` trains them.
    scores: Tensor


def mixture_loss(scores: Tensor, gold: Tensor) -> Tensor:
    """The supervised mixture's cross-entropy, summed over examples and layers.

    Args:
        scores: `[n, layers, components]`.
        gold: `[n, layers]`, the chain token that each layer's component stands for.
    """
    return cross_entropy(scores.flatten(0, 1).float(), gold.flatten(), reduction="sum")


class Emulator(ThoughtModel):
    """A language model that predicts the teacher's states from the question."""

    def __init__(self, config: ThoughtConfig):
        super().__init__(config)
        text = config.text_config
        width, layers = text.hidden_size, text.num_hidden_layers
        self.body = AutoModel.from_config(text, trust_remote_code=False)
        self.components = nn.Embedding(config.mixture, width)
        self.predictors = nn.ModuleList(state_mlp(2 * width, width) for _ in range(layers))
        self.rnn = nn.LSTMCell(width, width)
        self.key, self.query = nn.Linear(width, width), nn.Linear(width, width)
        self.out = nn.Linear(2 * width, width)
        self.post_init()

    @property
    def decoders(self) -> list[PreTrainedModel]:
        return [self.body]

    def get_input_embeddings(self) -> nn.Module:
        return self.body.get_input_embeddings()

    def forward(
        self,
        input_ids: Tensor,
        at: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        gold: Tensor | None = None,
    ) -> Emulated:
        """Predict the teacher's states from questions.

        Args:
            input_ids: `[n, width]`, `question <sep>`; what follows the separator is never read.
            at: `[n]`, the separator's position in each row.
            gold: `[n, layers]`, components to use in place of the mixture's own choice.
        """
        state = EmulatorPass(self, gold)

        def predict(layer: int, hidden: Tensor) -> Tensor:
            return scatter_positions(hidden, at, state.step(layer, gather_positions(hidden, at)))

        with hook_layer_inputs(self.body, predict, stop=True):
            self.body(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                use_cache=False,
            )
        return Emulated(torch.stack(state.states, dim=1), torch.stack(state.scores, dim=1))

    def component_weights(self, scores: Tensor) -> Tensor:
        """The mixture's own choice, as weights that sum to 1: `[..., components]` -> the same."""
        return (scores / self.config.mixture_temperature).softmax(dim=-1)


class EmulatorPass:
    """One pass of the emulator: what it carries from layer to layer at the separator."""

    def __init__(self, emulator: Emulator, gold: Tensor | None):
        self.emulator, self.gold = emulator, gold
        self.memory: tuple[Tensor, Tensor] | None = None
        self.context: Tensor | float = 0.0
        self.keys: list[Tensor] = []
        self.states: list[Tensor] = []
        self.scores: list[Tensor] = []

    def step(self, layer: int, h: Tensor) -> Tensor:
        """Predict the state of this layer from h, `[n, d]`; what is written back, `[n, d]`."""
        emulator = self.emulator
        scores = h @ emulator.components.weight.T
        if self.gold is None:
            chosen = emulator.component_weights(scores) @ emulator.components.weight
        else:
            chosen = emulator.components(self.gold[:, layer])
        state = emulator.predictors[layer](torch.cat([h, chosen], dim=-1))
        self.memory = emulator.rnn(state + self.context, self.memory)
        o = self.memory[0]
        if self.keys:
            keys = torch.stack(self.keys, dim=1)
            weights = torch.einsum("nld,nd->nl", keys, emulator.query(o)).softmax(dim=-1)
            self.context = torch.einsum("nl,nld->nd", weights, keys)
        self.keys.append(emulator.key(o))
        self.states.append(state)
        self.scores.append(scores)
        context = self.context if isinstance(self.context, Tensor) else torch.zeros_like(o)
        return emulator.out(torch.cat([o, context], dim=-1))
