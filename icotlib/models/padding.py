"""Padding that a model need not look for."""

from typing import Any, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)

#: What transformers' models call with the input of every forward pass that brings no mask.
CHECK = "warn_if_padding_and_no_attention_mask"


def unchecked_padding(model: M) -> M:
    """The model itself, which no longer looks for padding in input without a mask.

    transformers warns of such input, and waits for the device to see whether there is any, in every
    forward pass. Here padding stands behind the text, where no position attends to it, or comes
    with a mask.
    """
    for module in model.modules():
        if hasattr(module, CHECK):
            setattr(module, CHECK, _looks_for_none)
    return model


def _looks_for_none(input_ids: Any, attention_mask: Any) -> None:
    """What is called instead."""
