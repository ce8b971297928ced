"""When a run has to end before its last step, and when a checkpoint is due."""

import time
from collections.abc import Callable

from accelerate import Accelerator

from icotlib.runs import Run
from icotlib.training import devices

#: Seconds between two checkpoints, at most; every evaluation writes one as well.
CHECKPOINT = 300.0

#: Seconds between two looks at the run's folder for a request to stop.
LOOK = 1.0


class Interruption:
    """Requests to stop a run, and the time since its last checkpoint."""

    def __init__(self, run: Run, accelerator: Accelerator, should_stop: Callable[[], bool]):
        """Args: should_stop: as in `icotlib.training.trainer.train`."""
        self.run, self.accelerator, self.should_stop = run, accelerator, should_stop
        self.saved = self.looked = time.monotonic()

    def requested(self) -> bool:
        """Whether this process has been asked to end the run."""
        if self.should_stop():
            return True
        if time.monotonic() - self.looked < LOOK:
            return False
        self.looked = time.monotonic()
        return self.run.stop_requested

    def after_step(self, between_blocks: bool) -> tuple[bool, bool]:
        """Whether the run has to end now, and whether a checkpoint is due.

        Args:
            between_blocks: whether all losses have been read; several processes agree only then.
        """
        if not between_blocks and self.accelerator.num_processes > 1:
            return False, False
        due = devices.agreed(time.monotonic() - self.saved > CHECKPOINT)
        return devices.in_any(self.requested()), due
