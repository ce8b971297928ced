"""Training in the processes that `accelerate launch` or `torchrun` has started, as one team."""

import atexit
import contextlib
import threading
import warnings
from collections.abc import Iterator, Sequence

import torch
from transformers.utils import logging

from icotlib.config import RunConfig
from icotlib.data.run_data import check_sources
from icotlib.errors import RunWarning
from icotlib.running.progress import progress_bars
from icotlib.runs import Run, unfinished
from icotlib.system.launch import is_main
from icotlib.system.processes import interrupts_noted
from icotlib.training.trainer import train


def train_launched(config: RunConfig) -> Run:
    """Train a run, and those that it builds on, in this process and the others of its launch.

    Raises what `train` raises, and `DataError` or `ConfigError` before anything starts if a model
    or data cannot be found.
    """
    missing = unfinished([config])
    check_sources(missing)
    warnings.simplefilter("ignore")
    if is_main():
        warnings.simplefilter("default", RunWarning)
    logging.set_verbosity_error()
    shown = _shown(missing) if is_main() else contextlib.nullcontext()
    with shown, interrupts_noted() as asked:
        run = train(config, asked.is_set)
    atexit.register(_leave)  # not before: another run may follow
    return run


def _leave() -> None:
    """Disconnect from the other processes of the launch."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def _shown(configs: Sequence[RunConfig]) -> Iterator[None]:
    """While open, a thread shows the progress of these runs."""
    ended = threading.Event()
    with progress_bars(configs) as bars:

        def watch() -> None:
            while not ended.wait(bars.poll):
                bars.update()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            bars.update()
