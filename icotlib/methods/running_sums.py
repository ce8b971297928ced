"""No CoT with an auxiliary loss on running sums (arXiv 2510.00184): no chain is ever shown.

At the position that predicts digit k of the answer, a linear head must give c_k, the sum of the
products of column k and of what is carried into it (`Task.intermediate_values`), from a hidden
state. The squared error of this prediction is added to the cross-entropy; the head is dropped
after training.
"""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from icotlib.config import RunConfig
from icotlib.data.inputs import IGNORE, LMBatch
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.errors import ConfigError
from icotlib.methods.base import register
from icotlib.methods.causal_lm import Part
from icotlib.methods.micro_batches import MicroBatch
from icotlib.methods.no_cot import NoCoT
from icotlib.models.hooks import hook_residual_stream
from icotlib.models.parameters import count_parameters, without_part
from icotlib.settings import Section, setting
from icotlib.tasks import Task, get_task

#: The head's name among the parts of a model in training.
HEAD = "running_sums_head"

#: Questions from which mean and spread of each running sum are computed.
DRAWN = 10_000


@dataclass(frozen=True)
class AuxiliarySettings(Section):
    """The auxiliary loss."""

    section: ClassVar[str] = "auxiliary"

    weight: float = setting(
        0.3,
        "Weight of the squared error of the running sums, each scaled to variance 1.",
        low=0,
        high=1000,
    )
    layer: int = setting(
        2, "The layer whose output the head reads, from 1 (the paper: 2).", low=1, high=256
    )
    target: Literal["own", "shuffled"] = setting(
        "own",
        "own: the running sums of the question. shuffled: those of another question of the batch, "
        "a control.",
    )


@register
class RunningSums(NoCoT):
    """No CoT with an auxiliary loss: linear regressions predict the running sums."""

    name = "running_sums"
    label = "Running sums"
    color = "#1100AA"
    marker = "<"
    paper = "2510.00184"
    baseline = False
    sections: ClassVar = NoCoT.sections | {"auxiliary": AuxiliarySettings}
    # The paper's model: two layers, four heads, random weights.
    presets: ClassVar = {
        "smoke": {"auxiliary.layer": 1},
        "paper": {
            "model.pretrained": None,
            "model.spaced_separators": False,
            "model.layers": 2,
            "model.width": 768,
            "model.heads": 4,
        },
    }

    @classmethod
    def check(cls, config: RunConfig) -> None:
        super().check(config)
        if config.model.pretrained:
            raise ConfigError(
                "running_sums reads the digits of each question from its tokens, which a "
                "pretrained tokenizer may split: set model.pretrained=null"
            )
        if config.data.path is not None or not running_sum_names(get_task(config.data.task)):
            raise ConfigError(
                "running_sums needs a generated task with running sums, such as "
                "data.task=mult-4x2, and data.path=null"
            )
        if config.auxiliary.layer > config.model.layers:
            raise ConfigError(
                f"auxiliary.layer ({config.auxiliary.layer}) must be at most model.layers "
                f"({config.model.layers})"
            )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        #: The scaled running sums of the batch in work, `[n, sums]`.
        self.sums = torch.empty(0)

    def build(self) -> PreTrainedModel:
        if self.accelerator.num_processes > 1:
            raise ConfigError(  # DDP and FSDP synchronise the model's own forward pass alone
                "running_sums trains a head beside the model, in one process only"
            )
        model, task = super().build(), self.task
        model.add_module(HEAD, RunningSumsHead(model.config.hidden_size, running_sum_moments(task)))
        return model

    @cached_property
    def task(self) -> Task:
        return get_task(self.config.data.task)

    @property
    def whole_model(self) -> Any:
        """The model with its head, as it was built."""
        return self.accelerator.unwrap_model(self.model)

    @property
    def head(self) -> "RunningSumsHead":
        return getattr(self.whole_model, HEAD)

    def merged_weights(self) -> dict[str, Tensor]:
        """The state dict without the head."""
        weights = super().merged_weights() or self.whole_model.state_dict()
        return without_part(weights, HEAD)

    def parameters(self) -> int:
        return super().parameters() - count_parameters(self.head)

    # --- the loss ---

    def saw_removal(self, batch: EncodedBatch, k: Tensor) -> None:
        numbers = running_sums(self.task, questions_of(self.run_data.layout, self.task, batch))
        sums = self.head.scaled(torch.from_numpy(numbers))
        self.sums = sums.roll(1, dims=0) if self.config.auxiliary.target == "shuffled" else sums

    def micro_batch(self, step: int, part: Part) -> MicroBatch:
        states: list[Tensor] = []

        def keep(level: int, state: Tensor) -> None:
            if level == self.config.auxiliary.layer:
                states.append(state)

        with hook_residual_stream(self.whole_model, keep):
            found = super().micro_batch(step, part)
        at = answer_positions(part.inputs, self.sums.shape[1])
        read = self.head(states[0].take_along_dim(at[..., None], dim=1))
        true = self.sums[part.rows].to(self.device, non_blocking=True)
        error = ((read - true) ** 2).sum() / self.sums.numel()
        return found._replace(loss=found.loss + self.config.auxiliary.weight * error)


class RunningSumsHead(nn.Module):
    """A linear regression for each symbol of the answer, from the state that predicts it.

    Args:
        width: of the hidden states.
        moments: mean and standard deviation of each number, `[2, sums]`.
    """

    #: Mean and standard deviation of each number, `[2, sums]`.
    moments: Tensor

    def __init__(self, width: int, moments: np.ndarray):
        super().__init__()
        sums = moments.shape[1]
        self.register_buffer("moments", torch.from_numpy(moments).float())
        self.on_cpu = self.moments.clone()  # to scale batches without waiting for the device
        # Three axes, so that AdamW trains it, as it does vectors: Muon is for hidden matrices.
        self.weight = nn.Parameter(torch.zeros(sums, width, 1))
        self.bias = nn.Parameter(torch.zeros(sums))

    def forward(self, states: Tensor) -> Tensor:
        """The scaled numbers `[n, sums]` from states `[n, sums, d]`."""
        return (states.float() * self.weight[..., 0]).sum(dim=-1) + self.bias

    def scaled(self, numbers: Tensor) -> Tensor:
        """Numbers `[n, sums]` with mean 0 and variance 1, on the CPU."""
        mean, spread = self.on_cpu
        return (numbers - mean) / spread


# --- what the head must give ---------------------------------------------------------------------


@lru_cache(maxsize=8)
def running_sum_names(task: Task) -> list[str]:
    """The names of a task's running sums, the column of the answer's first digit first."""
    numbers = task.intermediate_values(task.sample(np.random.default_rng(0), 1))
    return [name for name in numbers if re.fullmatch(r"c\d+", name)]


def running_sums(task: Task, questions: np.ndarray) -> np.ndarray:
    """c_0, c_1, ... of questions `[n, entries]`: `[n, sums]`."""
    numbers = task.intermediate_values(questions)
    return np.stack([numbers[name] for name in running_sum_names(task)], axis=1)


def running_sum_moments(task: Task) -> np.ndarray:
    """Mean and standard deviation of each running sum, `[2, sums]`; a constant has spread 1."""
    numbers = running_sums(task, task.sample(np.random.default_rng(0), DRAWN))
    spread = numbers.std(axis=0)
    return np.stack([numbers.mean(axis=0), np.where(spread > 0, spread, 1)])


def questions_of(layout: Layout, task: Task, batch: EncodedBatch) -> np.ndarray:
    """The questions `[n, entries]` of an encoded batch of a task's examples, one token a symbol."""
    asked = batch.ids[:, : int(batch.question[0]) - 1].numpy()
    return task.entries(_symbols_of_ids(layout, task)[asked])


@lru_cache(maxsize=8)
def _symbols_of_ids(layout: Layout, task: Task) -> np.ndarray:
    """The number of the task's symbol by token id."""
    known = np.array(layout.tokenizer.convert_tokens_to_ids(list(task.symbols)))
    symbol_of = np.zeros(known.max() + 1, dtype=np.int64)
    symbol_of[known] = np.arange(len(known))
    return symbol_of


def answer_positions(inputs: LMBatch, sums: int) -> Tensor:
    """The positions that predict the answer's symbols, `[n, sums]`."""
    learned = inputs.labels != IGNORE
    last = learned.shape[1] - 1 - learned.flip(1).int().argmax(dim=1)  # predicts the end token
    return last[:, None] - sums + torch.arange(sums, device=last.device)
