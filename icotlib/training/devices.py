"""One run on several devices: the processes that `accelerate launch` starts, as one team.

Every process draws the same batches and takes its own rows of them (`Method.row_groups`). DDP keeps
a copy of the model in each process, FSDP shards weights, gradients and moments. Files hold whole
tensors, so that a run can go on with another number of processes, or with one.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    FullyShardedDataParallelPlugin,
    GradientAccumulationPlugin,
    broadcast_object_list,
    gather_object,
)
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from icotlib.config import RunConfig
from icotlib.errors import ConfigError, RunError
from icotlib.models import int8
from icotlib.models.precision import mixed_precision
from icotlib.runs import Run
from icotlib.system.devices import best_device
from icotlib.system.launch import launched

T = TypeVar("T")

#: How long a process waits for the others: the main one may wait for another team's run.
PATIENCE = timedelta(days=1)


def start() -> None:
    """Connect the processes of this launch, if there are several. Does nothing the second time."""
    if launched() and not PartialState._shared_state:
        PartialState(cpu=_on_cpus(), timeout=PATIENCE)
        if PartialState().num_processes == 1:
            raise RunError(
                "these processes were launched together and do not find each other: accelerate "
                "knows no way to connect this kind of device"
            )


def _on_cpus() -> bool:
    """Whether accelerate must be told to use CPUs: it would take devices that `best_device` does
    not know, such as a Mac's GPU."""
    if torch.accelerator.is_available():
        return best_device().type == "cpu"
    return launched()


def make_accelerator(config: RunConfig) -> Accelerator:
    """The accelerator of a run, with the processes of this launch connected.

    Raises `ConfigError` for settings that do not work on several devices.
    """
    AcceleratorState._reset_state(reset_partial_state=True)  # another precision, perhaps
    os.environ.setdefault("FSDP_AUTO_WRAP_POLICY", "TRANSFORMER_BASED_WRAP")  # layer by layer
    # Otherwise transformers leaves weights empty in all processes but the first, the frozen teacher
    # of distillation among them.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    start()
    precision = mixed_precision(config.train.precision)
    unused = not config.spec.uses_all_weights
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=unused)
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=_on_cpus(),
        kwargs_handlers=[ddp],
        # The environment may hold another number, by which gradients would be divided.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
    if accelerator.num_processes > 1 and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        _shard_on_cpus(accelerator.state, precision)
    check(accelerator, config)
    torch.set_num_threads(config.train.threads)
    return accelerator


def _shard_on_cpus(state: AcceleratorState, precision: str) -> None:
    """Turn FSDP on between CPUs: torch can do it, but accelerate leaves it out."""
    if state.distributed_type == DistributedType.MULTI_CPU:
        plugin = FullyShardedDataParallelPlugin()
        if precision != "no":
            plugin.set_mixed_precision(precision)
        state.fsdp_plugin, state.distributed_type = plugin, DistributedType.FSDP


def check(accelerator: Accelerator, config: RunConfig) -> None:
    """Raises `ConfigError` if a run does not work on these devices."""
    kind = accelerator.distributed_type
    if kind in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise ConfigError(f"{kind.value} is not supported: use DDP or FSDP (accelerate config)")
    if config.train.precision == "int8":
        int8.check(accelerator.device)
    if config.train.precision == "fp16" and accelerator.device.type == "cpu":
        raise ConfigError(
            "train.precision=fp16 needs a GPU: on a CPU set train.precision=fp32, or bf16"
        )
    if kind != DistributedType.FSDP:
        return
    if not accelerator.is_fsdp2:
        raise ConfigError("FSDP of version 1 is not supported: add --fsdp_version 2")
    if config.optim.name == "muon":
        raise ConfigError(
            "Muon needs whole matrices, which FSDP divides among processes: set optim.name=adamw, "
            "or use DDP"
        )
    if config.train.precision == "int8":
        raise ConfigError("train.precision=int8 does not work with FSDP: use DDP")


# --- agreeing ----------------------------------------------------------------------------------


def agreed(value: T) -> T:
    """The main process's value, in every process."""
    if not launched():
        return value
    start()
    return broadcast_object_list([value])[0]


def in_any(flag: bool) -> bool:
    """Whether something is so in one process of this launch at least."""
    return any(gather_object([flag])) if launched() else flag


@contextlib.contextmanager
def hold(
    run: Run, waiting: Callable[[], None] = lambda: None
) -> Iterator[Callable[[], None] | None]:
    """Hold a run for this process, or for all processes of this launch.

    The main process takes the lease, and the others wait for it.

    Args:
        waiting: as in `Run.lock`.

    Yields None if the run is finished; else what raises `RunError` once the run is lost to another
    process.
    """
    start()
    is_main = not launched() or PartialState().is_main_process
    with run.lock(waiting) if is_main else contextlib.nullcontext() as lease:
        missing = agreed(not run.done)
        if missing and is_main:
            run.clear_stop()
        yield (lease.check if lease else lambda: None) if missing else None
        if launched():
            PartialState().wait_for_everyone()


def check_shared(run: Run) -> None:
    """Raises `RunError` unless every process sees the folder that the main one has begun."""
    PartialState().wait_for_everyone()
    if launched() and not all(gather_object([run.started])):
        raise RunError(
            f"not every process sees {run.folder}: on several nodes ICOT_RUNS must name a folder "
            "that all of them share"
        )


def total(numbers: Tensor, accelerator: Accelerator) -> Tensor:
    """The sum over all processes of a tensor of the same shape in each."""
    return cast(Tensor, accelerator.reduce(numbers, "sum"))


# --- sharded weights ---------------------------------------------------------------------------


def whole(tensor: Tensor, keep: bool = True) -> Tensor:
    """A tensor as it is in one process: gathered from its shards, on the CPU.

    Every process must call it for the same tensors in the same order.

    Args:
        keep: whether this process wants it; if not, the result of a sharded tensor is empty.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    gathered = cast(Any, tensor.detach()).full_tensor()
    return gathered.cpu() if keep else gathered.new_empty(0, device="cpu")


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, sharded like another of its shape if that is sharded."""
    if not isinstance(other, DTensor) or tensor.shape != other.shape:
        return tensor
    return distribute_tensor(tensor, other.device_mesh, other.placements, src_data_rank=None)


@contextlib.contextmanager
def unsharded(model: nn.Module) -> Iterator[None]:
    """While open, every process has all weights of a sharded model, at the precision of training.

    Forward passes then need no other process, so that answers may differ in length.
    """
    sharded = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in sharded:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in sharded:
            module.reshard()
            module.set_reshard_after_forward(module is not model, recurse=False)
