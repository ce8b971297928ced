"""Whether a run fits into the memory of one device, and how it does otherwise; calculated.

FSDP divides weights, gradients and moments among devices, and each has its share of every batch. It
holds whole a few layers at a time, in evaluation all weights at the precision of training, and the
frozen teacher of distillation.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

from icotlib.config import RunConfig
from icotlib.costs.cost import Cost, cost_of
from icotlib.costs.lengths import LengthSource
from icotlib.errors import ConfigError
from icotlib.evaluation.bounded import MAX_BYTES

#: What takes less memory.
LESS_MEMORY = (
    "less memory with a smaller train.batch_size, train.accumulation=2 or more, "
    "train.gradient_checkpointing=true, or adapters (--set 'model.lora={r: 16}')"
)

#: Memory of a device, in GB, where nothing else is said: that of an A100 or H100.
MEMORY = 80.0

#: Assumed: the share of a device's memory that tensors can use.
USABLE = 0.9

#: Numbers of devices that are tried, as machines have them.
DEVICES = (2, 4, 8, 16, 32, 64)

#: Adapters that are tried on one device.
LORA = {"r": 16}


@dataclass(frozen=True)
class Fit:
    """How a run fits devices of some memory. All bytes are of one device."""

    #: GB of one device.
    memory: float
    #: What the run needs on a single device.
    alone: float
    #: Devices that FSDP divides it among, and what each needs; None if one device is enough, or
    #: not even the largest number in `DEVICES`.
    sharded: tuple[int, float] | None
    #: What it needs on one device with adapters; None if they do not apply, or do not suffice.
    lora: float | None
    #: Whether only AdamW can be sharded, and this run has another optimizer.
    needs_adamw: bool
    #: As `sharded`, if only the last removal stage's weights are kept.
    last_alone: tuple[int, float] | None = None
    #: Whether gradient checkpointing is on.
    recomputes: bool = False

    @property
    def fits(self) -> bool:
        """Whether one device is enough."""
        return self.alone <= usable(self.memory)

    def lines(self, arguments: str) -> Iterator[str]:
        """The fit as text.

        Args:
            arguments: those of `icot train` that name the run.
        """
        device = f"a device of {self.memory:g} GB"
        if self.fits:
            yield f"  fits {device}"
            return
        room = f"{device} has {usable(self.memory) / 1e9:,.1f} for tensors (assumed)"
        yield f"  needs {self.alone / 1e9:,.1f} GB and {room}; what fits, calculated:"
        if self.sharded is not None:
            yield from self._sharded_lines(self.sharded, arguments)
        if self.lora is not None:
            yield f"    adapters on one device, {self.lora / 1e9:,.1f} GB:"
            rank = shlex.quote(f"model.lora={{r: {LORA['r']}}}")
            yield f"      icot train {arguments} --set {rank}"
        if self.sharded is None and self.lora is None and self.last_alone is not None:
            yield "    if only the last removal stage's weights are kept:"
            yield from self._sharded_lines(
                self.last_alone, f"{arguments} --set train.stage_weights=last"
            )
        elif self.sharded is None and self.lora is None:
            remedy = "a smaller model, or shorter data"
            if not self.recomputes:
                remedy = "train.gradient_checkpointing=true"
            yield f"    neither FSDP over up to {DEVICES[-1]} devices nor adapters; try {remedy}"

    def _sharded_lines(self, sharded: tuple[int, float], arguments: str) -> Iterator[str]:
        """How to divide the run among devices, and what each needs."""
        devices, each = sharded
        adamw = " --set optim.name=adamw" if self.needs_adamw else ""
        yield f"    FSDP over {devices} devices, {each / 1e9:,.1f} GB each:"
        yield (
            f"      accelerate launch --use_fsdp --fsdp_version 2 --num_processes {devices} "
            f"-m icotlib train {arguments}{adamw}"
        )


def usable(memory: float) -> float:
    """Bytes that tensors can use on a device of so many GB."""
    return USABLE * 1e9 * memory


def fit(config: RunConfig, source: LengthSource, cost: Cost, memory: float = MEMORY) -> Fit:
    """How a run fits devices of some memory.

    Args:
        cost: of this run.
        memory: GB of one device.
    """
    alone = per_device(config, cost, 1)
    if alone <= usable(memory):
        return Fit(memory, alone, None, None, needs_adamw=False)
    lora = _with_adapters(config, source)
    return Fit(
        memory,
        alone,
        _fewest_devices(config, cost, memory),
        lora if lora is not None and lora <= usable(memory) else None,
        needs_adamw=config.optim.name != "adamw",
        last_alone=_fewest_devices(config, replace(cost, disk=cost.final_disk), memory),
        recomputes=config.train.gradient_checkpointing,
    )


def _fewest_devices(config: RunConfig, cost: Cost, memory: float) -> tuple[int, float] | None:
    """The fewest of `DEVICES` among which FSDP divides a run so that it fits, and what each needs;
    None if all are too few."""
    group = config.train.batch_size // config.train.length_groups
    sizes = ((n, per_device(config, cost, n)) for n in DEVICES if n <= group)
    return next(((n, size) for n, size in sizes if size <= usable(memory)), None)


def per_device(config: RunConfig, cost: Cost, devices: int) -> float:
    """Bytes that each of some devices needs: of one, or of several by FSDP."""
    if devices == 1:
        return cost.state + cost.activations
    parts = config.train.accumulation  # of which a process has fewer: `micro_batches.length_groups`
    share = parts / (devices * -(-parts // devices))
    training = share * (cost.activations - cost.copies) + cost.gathered
    evaluation = cost.whole + MAX_BYTES
    most = (cost.state - cost.frozen) / devices + max(training, evaluation)
    if cost.disk > cost.final_disk:  # each stage's weights are loaded for the final test
        most = max(most, 4 * cost.parameters * (1 + 1 / devices) + MAX_BYTES)
    return cost.frozen + most


def _with_adapters(config: RunConfig, source: LengthSource) -> float | None:
    """Bytes that the run needs on one device with `LORA`; None if adapters do not apply."""
    if config.model.lora or config.phases:  # phases would need them too
        return None
    try:
        model = replace(config.model, lora=LORA)
        adapted = replace(config, model=model)
    except ConfigError:
        return None
    return per_device(adapted, cost_of(adapted, source), 1)
