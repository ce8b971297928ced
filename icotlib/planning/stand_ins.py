"""Stand-ins for runs that are not trained yet, so that steps of a run that needs them can be timed.

A stand-in has the weights that its run would start from: steps and passes take as long with them as
with trained ones.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from icotlib.config import RunConfig
from icotlib.runs import Run
from icotlib.system.devices import device_name
from icotlib.system.processes import environment
from icotlib.training.checkpoints import save_trained
from icotlib.training.trainer import Trainer


class StandIns:
    """A folder of runs beside the real one, with what some runs build on."""

    def __init__(self, folder: Path):
        self.folder = folder

    @contextlib.contextmanager
    def for_phases_of(self, config: RunConfig) -> Iterator[None]:
        """While open, the runs that a config builds on are found in the folder: finished ones as
        they are, and stand-ins for others."""
        self._provide(config)
        with environment(ICOT_RUNS=str(self.folder)):
            yield

    def _provide(self, config: RunConfig) -> None:
        for phase in config.phases.values():
            real = Run.of(phase)
            here = self.folder / real.name
            if here.exists():
                continue
            if real.done:
                here.symlink_to(real.folder, target_is_directory=True)
                continue
            self._provide(phase)
            with environment(ICOT_RUNS=str(self.folder)):
                trainer = Trainer(phase, Run(here))
                device = device_name(trainer.accelerator.device)
                trainer.run.begin(phase, device, trainer.origin)
                save_trained(trainer.run.folder / "model", trainer.method)
