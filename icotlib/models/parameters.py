"""Counting parameters and positions, and which parameters each optimizer gets."""

from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from transformers import PreTrainedModel


def max_positions(model: nn.Module) -> int | None:
    """The number of positions that a model has for tokens; None where its config sets no limit."""
    config: Any = model.config
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    reserved = getattr(config, "reserved_positions", 0)  # for places that hold no token
    return None if positions is None else positions - position_offset(model) - reserved


def position_offset(model: nn.Module) -> int:
    """The rows at the beginning of a position table that stand for no position.

    RoBERTa and its relatives number positions from behind their padding token.
    """
    if model not in _OFFSETS:
        tables = [
            module
            for name, module in model.named_modules()
            if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
        ]
        padding = tables[0].padding_idx if tables else None
        _OFFSETS[model] = 0 if padding is None else padding + 1
    return _OFFSETS[model]


#: What `position_offset` has found, so that no forward pass looks through all modules.
_OFFSETS: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def without_part(weights: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """A state dict without what belongs to one part of the model."""
    return {name: x for name, x in weights.items() if not name.startswith(f"{part}.")}


def count_parameters(model: nn.Module) -> int:
    """The number of parameters; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def split_parameters(
    model: nn.Module,
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters as hidden matrices, embedding tables, and vectors.

    The model's output head counts as an embedding table: both have a row per token, for which
    Muon's orthogonalised update is unsuitable. The head of a model inside it does not.
    """
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    if head is not None:
        embeddings.add(id(head.weight))
    hidden, tables, vectors = [], [], []
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in embeddings:
            tables.append(parameter)
        elif parameter.ndim == 2:
            hidden.append(parameter)
        else:
            vectors.append(parameter)
    return hidden, tables, vectors
