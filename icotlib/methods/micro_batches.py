"""Parts of a batch: which rows a process learns from at a time, and which answers were right."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from icotlib.config import TrainConfig
from icotlib.data.inputs import IGNORE, LMBatch
from icotlib.errors import ConfigError


class BatchAccuracy(NamedTuple):
    """Which examples of a micro-batch were right, still on the device: `[n]` each."""

    step: int
    #: Every learned token is the most likely one.
    exact: Tensor
    #: Every token after the chain is.
    answer: Tensor
    #: The example is at the stage whose training accuracy is reported.
    at_eval_stage: Tensor


class MicroBatch(NamedTuple):
    """A part of a batch after its forward pass."""

    #: Its share of the batch's loss; the gradients of all parts add up to one optimizer step.
    loss: Tensor
    #: Tokens of the sequences, padding aside: question, remaining chain, answer and marks.
    tokens: int


class StageChange(NamedTuple):
    """What changes at the start of a step."""

    #: The removal stage that has just ended, if one has.
    ended: int | None = None
    #: Whether the optimizer's moments are cleared.
    reset_optimizer: bool = False
    #: Whether the weights of the stage that has ended are kept, to come back to.
    is_good: bool = False
    #: The stage whose kept weights come back: the stages after it are forgotten.
    back_to: int | None = None


def everyones_accuracy(seen: Sequence[BatchAccuracy], accelerator: Accelerator) -> Tensor:
    """Step, exact, answer and at_eval_stage of every example that any process has seen.

    Returns:
        `[n, 4]` of whole numbers on the CPU, the same in every process.
    """
    device = accelerator.device
    parts = [torch.empty(0, 4, dtype=torch.long, device=device)]
    for one in seen:
        step = torch.full_like(one.exact, one.step, dtype=torch.long, device=device)
        parts.append(torch.stack([step, *(flags.to(device).long() for flags in one[1:])], dim=1))
    rows = torch.cat(parts)
    if accelerator.num_processes > 1:
        rows = accelerator.gather(accelerator.pad_across_processes(rows, pad_index=-1))
        rows = cast(Tensor, rows)[rows[:, 0] >= 0]
    return rows.cpu()


def row_groups(
    lengths: Tensor, config: TrainConfig, model: nn.Module, accelerator: Accelerator
) -> Iterator[Tensor]:
    """The rows of each micro-batch of a batch in this process.

    DDP exchanges gradients after the last micro-batch only: the backward pass of a part must be
    over before the next part is asked for, as it is in `Trainer.step`.

    Args:
        model: as accelerate has prepared it.
    """
    groups = length_groups(lengths, config, accelerator.process_index, accelerator.num_processes)
    for rows in groups[:-1]:
        # FSDP exchanges them every time: it would keep those that wait whole in each process.
        wait = contextlib.nullcontext() if accelerator.is_fsdp2 else accelerator.no_sync(model)
        with wait:
            yield rows
    yield groups[-1]


def length_groups(
    lengths: Tensor, config: TrainConfig, process: int = 0, processes: int = 1
) -> list[Tensor]:
    """Row numbers in groups of similar length, so that each is padded only to its own longest.

    Each group is then split into `accumulation` micro-batches, whose gradients add up. Of several
    processes, each gets its rows of every group, and accumulates so many micro-batches fewer.

    Raises `ConfigError` if a group has fewer rows than there are processes.
    """
    order = torch.arange(len(lengths))
    groups = config.length_groups
    if int(lengths.min()) == int(lengths.max()):
        groups = 1  # nothing to gain
    if groups > 1:
        order = lengths.argsort(stable=True)
    if processes > 1:
        return _shares(order.chunk(groups), config, process, processes)
    parts = [part for group in order.chunk(groups) for part in group.chunk(config.accumulation)]
    return [part for part in parts if len(part)]


def _shares(
    groups: Sequence[Tensor], config: TrainConfig, process: int, processes: int
) -> list[Tensor]:
    """A process's rows of every group, in as many micro-batches as every other process has."""
    smallest = min(map(len, groups))
    if smallest < processes:
        raise ConfigError(
            f"{processes} processes cannot share a group of {smallest} examples: raise "
            "train.batch_size, lower train.length_groups, or start fewer processes"
        )
    wanted = -(-config.accumulation // processes)
    return [
        part
        for group in groups
        for part in group[process::processes].tensor_split(min(wanted, len(group) // processes))
    ]


def token_loss(logits: Tensor, inputs: LMBatch) -> Tensor:
    """Cross-entropy summed over the learned tokens: `[n, kept, vocabulary]` -> scalar."""
    labels = inputs.labels[:, -inputs.logits_to_keep :]
    return cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE, reduction="sum"
    )
