"""Whether this process is one of several that train a run together.

`accelerate launch` and `torchrun` start one process for each device and tell it so by environment
variables. Nothing here imports torch.
"""

import os


def processes() -> int:
    """The processes that were launched together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def launched() -> bool:
    """Whether this process trains together with others."""
    return processes() > 1


def is_main() -> bool:
    """Whether this process is the one that writes and prints."""
    return not launched() or int(os.environ.get("RANK") or 0) == 0
