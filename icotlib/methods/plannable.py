"""What a method tells plans, without a weight in memory: its model, and the cost of a step.

A method that trains a plain language model on one pass over each sequence has nothing to add.
"""

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig

from icotlib.config import RunConfig
from icotlib.data.layout import EncodedBatch
from icotlib.evaluation.generation import logits_of
from icotlib.methods.costs import Shape, language_step
from icotlib.methods.micro_batches import token_loss
from icotlib.methods.schedule import FullRemoval, Schedule
from icotlib.models.adapters import add_adapters
from icotlib.models.flops import RunSizes, StepCost


class Plannable:
    """The part of a method that plans need; training reads its schedule too."""

    #: Whether a run ends with a test of its answers.
    tested: ClassVar[bool] = True

    @classmethod
    def make_schedule(cls, config: RunConfig, longest: int) -> Schedule:
        """How much of a chain of at most `longest` units is removed at each step."""
        return FullRemoval(longest)

    @classmethod
    def plan_schedule(cls, config: RunConfig, longest: int, at: int = 0) -> Schedule:
        """The schedule as it stands at a step, for plans."""
        schedule = cls.make_schedule(config, longest)
        schedule.removed = max(schedule.removed, schedule.removed_at(at))
        return schedule

    @classmethod
    def meta_model(cls, config: RunConfig, text_config: PreTrainedConfig) -> nn.Module:
        """The model that is trained, made without memory for its weights."""
        return AutoModelForCausalLM.from_config(text_config, trust_remote_code=False)

    @classmethod
    def adapt(cls, config: RunConfig, model: Any) -> None:
        """Put adapters into the model that is trained, as `model.lora` says."""
        add_adapters(model, config.model.lora)

    @classmethod
    def dropped(cls, model: nn.Module) -> int:
        """The parameters of parts that are dropped after training."""
        return 0

    @classmethod
    def own_sizes(cls, config: RunConfig, model: nn.Module) -> dict[str, int]:
        """Sizes that `step_cost` needs beyond those of a language model."""
        return {}

    @classmethod
    def step_cost(
        cls,
        config: RunConfig,
        sizes: RunSizes,
        batch: EncodedBatch,
        arranged: EncodedBatch,
        tokens: Tensor,
    ) -> StepCost:
        """Operations and memory of one optimizer step.

        Args:
            batch: encoded examples.
            arranged: the same in the method's format, of which `tokens`, `[n]`, are removed.
        """
        return language_step(config, sizes, arranged, tokens)

    @classmethod
    def micro_batch_lengths(cls, batch: EncodedBatch, left: Tensor) -> Tensor:
        """The lengths by which a batch is split into micro-batches, `[n]`.

        Args:
            left: tokens of each sequence once its chain is cut, `[n]`.
        """
        return left

    @classmethod
    def rehearsed_loss(cls, config: RunConfig, model: Any, shape: Shape) -> Tensor:
        """The loss of a micro-batch of zeros; a plan computes it on tensors without memory."""
        inputs = shape.inputs(config.input_format.keep_positions)
        return token_loss(logits_of(model, inputs), inputs)

    @classmethod
    def planned_test_stages(cls, config: RunConfig, longest: int, steps: int) -> list[int]:
        """The removal stages that the final test will report."""
        schedule = cls.make_schedule(config, longest)
        return schedule.tested_after(steps) if cls.tested else []
