"""Which runs may train side by side on this machine: those that its memory holds together.

Small runs, such as all of the workbook, are never planned and never wait.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import torch

from icotlib.config import RunConfig
from icotlib.costs.cost import cost_of
from icotlib.costs.fitting import LESS_MEMORY
from icotlib.costs.peaks import peaks_of
from icotlib.data.run_data import RunData
from icotlib.errors import ConfigError, IcotError
from icotlib.system import memory
from icotlib.system.wording import gib

#: A run whose weights have fewer entries than this, or fewer bytes on disk, is small, if its
#: batches are no larger than that.
SMALL, SMALL_FILES, SMALL_BATCH = 10_000_000, 64 * 2**20, 512


class Admission:
    """Gives out the memory of this machine to runs by name."""

    def __init__(self, needs: Mapping[str, int], room: int, say: Callable[[str], None]):
        """
        Args:
            needs: the peak of each run that is not small, in bytes.
            room: bytes that all runs may take together.
            say: takes a line of text.
        """
        self.needs, self.room, self.say = dict(needs), room, say
        self.told: set[str] = set()

    @classmethod
    def of(cls, configs: Sequence[RunConfig], say: Callable[[str], None]) -> "Admission":
        """The admission of runs to the memory that is free now.

        A run that does not fit by itself is tried all the same, after a warning: what is free
        changes, and a peak is an estimate. Raises `ConfigError` for a run whose weights, gradients
        and moments alone are more than this machine has.
        """
        needs = {config.run_name: need for config in configs if (need := need_of(config))}
        room = memory.available()
        for name, need in needs.items():
            if need > room:
                say(
                    f"{name} needs about {gib(need)} of memory, and {gib(room)} are available: "
                    f"the system may end it. {LESS_MEMORY}"
                )
        return cls(needs, room, say)

    def admits(self, name: str, running: Collection[str]) -> bool:
        """Whether a run may start beside others; says once that it has to wait."""
        need = self.needs.get(name, 0)
        beside = [other for other in running if other in self.needs]
        taken = sum(self.needs[other] for other in beside)
        if not need or not beside or taken + need <= self.room:
            return True
        if name not in self.told:
            self.told.add(name)
            self.say(
                f"{name} waits for {' and '.join(beside)}: side by side they would take about "
                f"{gib(taken + need)} of memory, and {gib(self.room)} are available"
            )
        return False


def need_of(config: RunConfig) -> int:
    """Bytes of memory that a run takes at its peak; 0 for a small run, and where GPUs train.

    Raises `ConfigError` for a run whose weights, gradients and moments alone are more than this
    machine has.
    """
    if torch.cuda.is_available() or is_small(config):
        return 0
    data = RunData(config)
    try:
        cost = cost_of(config, data, steps=1)
        peak = peaks_of(config, data, cost).largest
    except IcotError:
        raise
    except Exception:  # an architecture whose costs are not known may train all the same
        return 0
    if cost.state > memory.total():
        raise ConfigError(
            f"{config.run_name}: weights, gradients and moments alone take {gib(cost.state)}, and "
            f"this machine has {gib(memory.total())}. Choose a smaller model, or train adapters "
            "(--set 'model.lora={r: 16}')"
        )
    return peak


def is_small(config: RunConfig) -> bool:
    """Whether a model is so small that its run needs no plan, by what can be known at once."""
    model = config.model
    if config.train.batch_size > SMALL_BATCH:
        return False
    if model.pretrained is None:
        sizes = [x for x in model.options.values() if isinstance(x, int)]
        width = max([model.width, *(x // 4 for x in sizes)])
        return 16 * model.layers * model.width * width < SMALL
    folder = Path(model.pretrained)
    files = [*folder.glob("*.safetensors"), *folder.glob("*.bin")] if folder.is_dir() else []
    return bool(files) and sum(file.stat().st_size for file in files) < SMALL_FILES
