"""Random generators whose seed is mixed from several numbers."""

import zlib

import torch


def generator_for(*numbers: int) -> torch.Generator:
    """A generator whose seed mixes all the numbers, such as the run's seed and the step."""
    mixed = zlib.crc32(repr(numbers).encode())
    return torch.Generator().manual_seed(mixed * 2**20 + numbers[-1])
