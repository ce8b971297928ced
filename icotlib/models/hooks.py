"""Hooks that read or replace hidden states, mask attention and cache layers of any decoder.

The *residual stream* of a decoder with L layers has L + 1 levels: level l is the input of layer l,
and level L the output of the last layer.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from icotlib.errors import ConfigError

#: Called with a layer's number and its input `[n, width, d]`; returns what replaces the input, or
#: None to leave it.
Edit = Callable[[int, Tensor], Tensor | None]


class _EnoughError(Exception):
    """Ends a forward pass whose remaining layers are not needed."""


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder's layers from the lowest to the highest, in any architecture.

    Raises `ConfigError` if the model has no list of `num_hidden_layers` modules, or several beside
    each other, as XLM has for the parts of its layers.
    """
    config: Any = model.config
    layers = config.get_text_config().num_hidden_layers
    for parent in model.modules():
        lists = [one for one in parent.children() if isinstance(one, nn.ModuleList)]
        whole = [one for one in lists if len(one) == layers]
        if len(whole) == 1:
            return whole[0]
        if whole:
            break
    raise ConfigError(f"{type(model).__name__} has no list of {layers} layers to hook")


@contextlib.contextmanager
def hook_layer_inputs(model: PreTrainedModel, edit: Edit, stop: bool = False) -> Iterator[None]:
    """While open, a forward pass of the model calls `edit` with the input of each layer.

    Where two such blocks are nested, the inner one acts first: the outer one receives what really
    enters the layer.

    Args:
        stop: leave the `with` block once the last layer's input has been seen; the last layer and
            the output head are not computed, and the forward pass returns nothing.
    """
    layers = decoder_layers(model)

    def hook(number: int) -> Callable:
        def before(module: nn.Module, args: tuple, kwargs: dict) -> tuple | None:
            if _is_unobserved(model):
                return None
            edited = edit(number, args[0] if args else kwargs["hidden_states"])
            if stop and number == len(layers) - 1:
                raise _EnoughError
            if edited is None:
                return None
            if args:
                return (edited, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": edited}

        return before

    handles = [
        layer.register_forward_pre_hook(hook(number), with_kwargs=True, prepend=True)
        for number, layer in enumerate(layers)
    ]
    with _removed_after(handles), contextlib.suppress(_EnoughError):
        yield


def _is_unobserved(model: nn.Module) -> bool:
    """Whether a decoder now computes for a question other than those asked. Its model then sets
    `unobserved`, and hooks neither read nor change anything."""
    return getattr(model, "unobserved", False)


def recompute_layers(model: PreTrainedModel) -> None:
    """Have a model recompute its layers in the backward pass, to keep their inputs only.

    Transformers' own gradient checkpointing calls the hooks of a layer again while it recomputes
    it, when `hook_layer_inputs` has removed them: the gradients would be those of a layer whose
    input was never replaced. Here the edited input is what is kept.
    """

    def recomputed(forward: Callable) -> Callable:
        @functools.wraps(forward)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not torch.is_grad_enabled():
                return forward(*args, **kwargs)
            return checkpoint(forward, *args, use_reentrant=False, **kwargs)

        return call

    for layer in decoder_layers(model):
        layer.forward = recomputed(layer.forward)


@contextlib.contextmanager
def _removed_after(handles: list[RemovableHandle]) -> Iterator[None]:
    """Removes hooks on exit, also after an exception."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def hook_residual_stream(model: PreTrainedModel, edit: Edit) -> Iterator[None]:
    """While open, a forward pass calls `edit` with every level of the residual stream.

    Levels 0 to L - 1 are the inputs of the layers (`hook_layer_inputs`), level L the last output.
    """
    layers = decoder_layers(model)

    def after(module: nn.Module, args: tuple, output: Tensor | tuple) -> Tensor | tuple | None:
        if _is_unobserved(model):
            return None
        edited = edit(len(layers), output if isinstance(output, Tensor) else output[0])
        if edited is None or isinstance(output, Tensor):
            return edited
        return (edited, *output[1:])

    with _removed_after([layers[-1].register_forward_hook(after)]), hook_layer_inputs(model, edit):
        yield


@contextlib.contextmanager
def mask_attention(
    model: PreTrainedModel, allowed_in: Callable[[int], Tensor | None]
) -> Iterator[None]:
    """While open, the layers attend only where they are allowed to.

    Args:
        allowed_in: called with a layer's number; returns `[queries, keys]`, True where that layer
            may attend, causality included, or None to leave the layer as it is.
    """

    def hook(number: int) -> Callable:
        def before(module: nn.Module, args: tuple, kwargs: dict) -> tuple | None:
            allowed = allowed_in(number)
            if allowed is None:
                return None
            call = inspect.signature(module.forward).bind(*args, **kwargs)
            hidden = next(iter(call.arguments.values()))
            mask = torch.zeros(allowed.shape, dtype=hidden.dtype)
            mask = mask.masked_fill(~allowed, torch.finfo(hidden.dtype).min).to(hidden.device)
            call.arguments["attention_mask"] = mask[None, None]
            return call.args, call.kwargs

        return before

    layers = decoder_layers(model)
    if "attention_mask" not in inspect.signature(layers[0].forward).parameters:
        raise ConfigError(
            f"the layers of {type(model).__name__} take no attention mask: attention in it cannot "
            "be knocked out"
        )
    handles = [
        layer.register_forward_pre_hook(hook(number), with_kwargs=True)
        for number, layer in enumerate(layers)
    ]
    with _removed_after(handles):
        yield


@contextlib.contextmanager
def cached_layers(model: nn.Module, decoder: PreTrainedModel) -> Iterator[None]:
    """While open, a layer's output in the first pass over some tokens is cached.

    Later passes over the same tokens reuse it in every layer whose input is the same: all layers
    below an intervention.

    Args:
        model: what is called with `input_ids`.
        decoder: the model in it whose layers are cached.
    """
    current: tuple = ()

    def note_tokens(module: nn.Module, args: tuple, kwargs: dict) -> None:
        nonlocal current
        current = key_of(kwargs["input_ids"])

    def cached(forward: Callable) -> Callable:
        first: dict[tuple, tuple] = {}

        @functools.wraps(forward)
        def recall(*args: Any, **kwargs: Any) -> Any:
            given, known = (args, kwargs), first.get(current)
            if known is not None and _equal(given, known[0]):
                return known[1]
            output = forward(*args, **kwargs)
            first.setdefault(current, (given, output))
            return output

        return recall

    layers = decoder_layers(decoder)
    for layer in layers:
        layer.forward = cached(layer.forward)  # a hook cannot leave the computation out
    try:
        with _removed_after([model.register_forward_pre_hook(note_tokens, with_kwargs=True)]):
            yield
    finally:
        for layer in layers:
            del layer.forward  # the class has its own


def key_of(ids: Tensor) -> tuple:
    """Token ids as a dictionary key."""
    return ids.shape, ids.cpu().numpy().tobytes()


def _equal(one: Any, other: Any) -> bool:
    """Whether arguments are the same; tensors are compared by value."""
    leaves, structure = tree_flatten(one)
    others, other_structure = tree_flatten(other)
    return structure == other_structure and all(
        torch.equal(x, y) if isinstance(x, Tensor) and isinstance(y, Tensor) else x is y
        for x, y in zip(leaves, others, strict=True)
    )


def gather_positions(hidden: Tensor, at: Tensor) -> Tensor:
    """The state of each example at its own position: `[n, width, d]`, `[n]` -> `[n, d]`."""
    return hidden[torch.arange(len(hidden), device=hidden.device), at]


def scatter_positions(hidden: Tensor, at: Tensor, new: Tensor) -> Tensor:
    """A copy in which each example's own position holds its new state `[n, d]`."""
    chosen = torch.arange(hidden.shape[1], device=hidden.device)[None] == at[:, None]
    return torch.where(chosen[:, :, None], new[:, None].to(hidden.dtype), hidden)
