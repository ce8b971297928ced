"""The cost of a run, calculated: floating-point operations, memory and disk.

It follows from the sizes of the model, which is built on torch's meta device, without memory for
its weights, and from the lengths of the run's sequences under its removal schedule. Gradients take
twice the operations of the forward pass. Padding and the optimizer's own operations are left out.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from icotlib.config import RunConfig
from icotlib.costs.lengths import LengthSource
from icotlib.methods.schedule import draw_removal
from icotlib.models.build import model_config
from icotlib.models.flops import ModelSizes, RunSizes, StepCost, generation_flops, model_sizes
from icotlib.models.known_sizes import HUB
from icotlib.models.parameters import count_parameters, split_parameters
from icotlib.models.precision import mixed_precision
from icotlib.system.seeding import generator_for

#: Steps of a run whose batches are drawn and counted; costs are their mean.
COUNTED_STEPS = 50


def run_sizes(config: RunConfig, source: LengthSource) -> RunSizes:
    """The sizes of a run's models."""
    text = text_config(config, source)
    with torch.device("meta"):
        language = model_sizes(AutoModelForCausalLM.from_config(text, trust_remote_code=False))
        model = config.spec.meta_model(config, text)
        own = config.spec.own_sizes(config, model)
        saved = count_parameters(model) - config.spec.dropped(model)
        if config.model.lora:
            config.spec.adapt(config, model)
    if config.model.lora and config.spec.saves_adapters:
        saved = sum(x.numel() for x in model.parameters() if x.requires_grad)
    return RunSizes(
        language=language,
        parameters=count_parameters(model) - config.spec.dropped(model),
        trained=sum(x.numel() for x in model.parameters() if x.requires_grad),
        saved=saved,
        state=_state_bytes(config, model) + 4 * own.get("frozen", 0),
        own=own,
    )


def text_config(config: RunConfig, source: LengthSource) -> PreTrainedConfig:
    """The config of a run's language model."""
    if config.model.pretrained in HUB:  # known without the hub
        model_type, sizes = HUB[config.model.pretrained]
        return AutoConfig.for_model(model_type, **sizes)
    return model_config(config.model, source.layout, source.longest_total)


def _state_bytes(config: RunConfig, model: nn.Module) -> int:
    """Bytes of weights, gradients and moments, of which AdamW has two and Muon one."""
    hidden, tables, vectors = split_parameters(model)
    by_muon = sum(x.numel() for x in hidden) if config.optim.name == "muon" else 0
    trained = sum(parameter.numel() for group in (hidden, tables, vectors) for parameter in group)
    return 4 * (count_parameters(model) + 3 * trained - by_muon)


@dataclass(frozen=True)
class Cost:
    """The calculated cost of a run; phases that it builds on are not included."""

    steps: int
    #: Training tokens through the model, without padding.
    tokens: int
    #: Operations of training, of validation and test, and of validation alone.
    flops: float
    evaluation: float
    validation: float
    parameters: int
    #: Those of them that are trained.
    trained: int
    #: Bytes of weights, gradients, moments and the frozen model.
    state: int
    #: Bytes of activations at the largest batch, and of the weights' copies in half precision.
    activations: int
    #: Bytes of these copies, and of the frozen model, which the two above include.
    copies: int
    frozen: int
    #: Bytes of weights that FSDP holds whole at a time: three layers, embeddings and head.
    gathered: int
    #: Bytes of all weights at the precision of training.
    whole: int
    #: Bytes of the weights that are saved at the end and at every removal stage.
    disk: int
    #: The same, without those of the removal stages.
    final_disk: int
    precision: str


def cost_of(config: RunConfig, source: LengthSource, steps: int | None = None) -> Cost:
    """The cost of a run.

    Args:
        steps: only its first steps; by default all of them.
    """
    steps, spec = steps or config.train.steps, config.spec
    sizes = run_sizes(config, source)
    at = sorted({int(step) for step in np.linspace(0, steps - 1, min(COUNTED_STEPS, steps))})
    counted = [_step_cost(config, sizes, source, step) for step in at]
    schedule = spec.make_schedule(config, source.longest_chain)

    def mean(name: str) -> float:
        return sum(getattr(step, name) for step in counted) / len(counted)

    validation = -(-steps // config.train.eval_every) * source.held_out[0]
    validated = validation * mean("forward") / config.train.batch_size
    evaluation = validated + _test_flops(config, sizes.language, source, steps)
    mixed = mixed_precision(config.train.precision)
    half = mixed != "no"
    in_training = sizes.parameters + sizes.own.get("dropped", 0)
    bytes_kept, copies = (2, 2 * in_training) if half else (4, 0)
    micro_batches = config.train.length_groups * config.train.accumulation
    # Logits take 12 bytes: themselves, their log-softmax and their gradient, in fp32.
    largest = max(bytes_kept * step.activations + 12 * step.logits for step in counted)
    keeps = schedule.has_stage_checkpoints and config.train.stage_weights == "all"
    width, language = 2 if half else 4, sizes.language
    layer = language.matrices // language.layers
    checkpoints = len(schedule.tested_after(steps)) if keeps else 0
    return Cost(
        steps=steps,
        tokens=round(mean("tokens") * steps),
        flops=mean("flops") * steps,
        evaluation=evaluation,
        validation=validated,
        parameters=sizes.parameters,
        trained=sizes.trained,
        state=sizes.state,
        activations=largest // micro_batches + copies,
        copies=copies,
        frozen=4 * sizes.own.get("frozen", 0),
        gathered=width * (3 * layer + language.parameters - language.matrices),
        whole=width * sizes.parameters,
        disk=4 * sizes.saved * (checkpoints + 1),
        final_disk=4 * sizes.saved,
        precision=mixed if half else config.train.precision.replace("auto", "fp32"),
    )


def _step_cost(config: RunConfig, sizes: RunSizes, source: LengthSource, step: int) -> StepCost:
    """The cost of one step, with the batch and the removal that training draws at this step."""
    spec, batch = config.spec, source.batches(step)
    schedule = spec.plan_schedule(config, source.longest_chain, step)
    generator = generator_for(config.seed, step)
    _, arranged, tokens = draw_removal(schedule, config.input_format, step, batch, generator)
    return spec.step_cost(config, sizes, batch, arranged, tokens)


def _test_flops(config: RunConfig, language: ModelSizes, source: LengthSource, steps: int) -> float:
    """Operations of the final test, greedy decoding at every reported stage."""
    form, total = config.input_format, 0.0
    batch = form.arrange(source.test)
    for removed in config.spec.planned_test_stages(config, source.longest_chain, steps):
        left = batch.total - form.tokens_removed(batch, removed) - batch.question
        total += generation_flops(language, batch.question, left)
    return total * source.held_out[1] / len(batch)
