"""Candidates for processes of the benchmark, which import this module and little besides."""

import os
from collections.abc import Callable

import torch

from icotlib.errors import ConfigError


def filling(mib: int) -> dict[str, Callable]:
    """Candidates, one of which fills so much memory; `fail` raises an error."""

    def fill(step: int) -> None:
        torch.ones(mib * 2**18)

    def fail() -> None:
        raise ConfigError("always fails")

    return {"fill": fill, "fail": fail, "end": lambda: os._exit(1), "pid": os.getpid}
