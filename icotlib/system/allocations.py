"""The peak memory of tensor operations, without the memory and without the operations.

Tensors under torch's `FakeTensorMode` have shapes and no values. Whatever an operation would
allocate is counted while somebody holds it, autograd included, so that a whole training step can be
planned for any architecture.
"""

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """While open, counts the bytes of all tensors that operations make."""

    def __init__(self) -> None:
        super().__init__()
        #: Bytes that are held now, and the most since `peak` was set.
        self.held, self.peak = 0, 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self._hold(leaf.untyped_storage())
        return made

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata  # views share their storage
        if key not in self._known:
            self._known.add(key)
            self.held += storage.nbytes()
            self.peak = max(self.peak, self.held)
            weakref.finalize(storage, self._free, key, storage.nbytes())

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.held -= size


@contextlib.contextmanager
def rehearsal() -> Iterator[Allocations]:
    """While open, operations take no memory and compute nothing; what they would take is counted.

    Tensors that were made before cannot be used: `without_memory` is for models.
    """
    with torch.random.fork_rng(devices=[]), FakeTensorMode(), Allocations() as allocations:
        yield allocations


def without_memory(model: nn.Module) -> nn.Module:
    """A model of the meta device with tensors of the rehearsal that is open, on the CPU."""
    known: dict[int, Any] = {}  # tied weights stay one tensor
    for module in model.modules():
        tables: list[dict[str, Any]] = [module._parameters, module._buffers]
        for table in tables:
            for name, tensor in table.items():
                if tensor is None:
                    continue
                if id(tensor) not in known:
                    known[id(tensor)] = _like(tensor)
                table[name] = known[id(tensor)]
    return model


def _like(tensor: torch.Tensor) -> torch.Tensor:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty
