"""Advice of transformers that does not hold on this machine, and is not shown."""

import logging

import torch

#: The module that recommends kernels for CUDA, and what its advice says.
SOURCE, ADVICE = "transformers.integrations.hub_kernels", "falling back to its reference PyTorch"


def without_advice_on_kernels() -> None:
    """Drop the advice to install kernels for a GPU where there is none."""
    logger = logging.getLogger(SOURCE)
    if _holds_here not in logger.filters:
        logger.addFilter(_holds_here)


def _holds_here(record: logging.LogRecord) -> bool:
    return ADVICE not in record.getMessage() or torch.cuda.is_available()
