"""The device that models run on, and its name in tables."""

import functools
import os
import platform
from pathlib import Path

import torch


def best_device() -> torch.device:
    """The device used by default: a GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """The device as tables name it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_name()}, {os.cpu_count()} cores"


@functools.cache
def cpu_name() -> str:
    """The CPU by its vendor's name, and which instructions for products it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # no Linux
        return f"{platform.processor() or platform.machine()} CPU"
    found: dict[str, str] = {}
    for name, _, value in (line.partition(":") for line in lines):
        found.setdefault(name.strip(), value.strip())  # of the first core
    flags = found.get("flags", "").split()
    known = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    name = found.get("model name") or f"{platform.machine()} CPU"
    if {"cpu family", "model"} <= set(found):  # x86 alone says both
        name = f"{name} (family {found['cpu family']}, model {found['model']})"
    return " ".join([name, *known])
