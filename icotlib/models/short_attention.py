"""Attention in bf16 on a CPU, where the backward pass of torch's own is slow.

For sequences of up to some hundred tokens, two batched products with a softmax between them take a
fifth to a half of the time of `scaled_dot_product_attention` in bf16, nearly all of it saved in the
backward pass (LOG). In fp32 there is little between them, and torch's is left as it is.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

#: The longest sequence: beyond it the attention weights of all pairs take much memory.
LONGEST = 512


class ShortAttention(TorchFunctionMode):
    """While open, attention over short sequences is computed by `attend`.

    Like autocast it needs no change to the model: it intercepts the function that every model of
    transformers calls. Calls with dropout, or for longer sequences, are left alone.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention and _applies(*args, **kwargs):
            return attend(*args, **kwargs)
        return func(*args, **kwargs)


def _applies(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, dropout_p: float = 0, **_: Any
) -> bool:
    short = query.dim() == 4 and max(query.shape[2], key.shape[2]) <= LONGEST
    return short and not dropout_p and torch.is_grad_enabled()


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What `torch.nn.functional.scaled_dot_product_attention` returns, `[n, heads, queries, d]`.

    Args:
        query: `[n, heads, queries, d]`; `key` and `value` `[n, heads, keys, d]`, or fewer heads
            with `enable_gqa`: several heads of the query then share one of them.
        attn_mask: True where a query may attend, or what is added to the scores.
        dropout_p: must be 0.
        scale: of the scores; by default 1 / sqrt(d).
    """
    n, heads, queries, width = query.shape
    if enable_gqa and key.shape[1] != heads:
        key, value = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (key, value))
    keys = key.shape[2]
    q, k, v = (x.reshape(n * heads, x.shape[2], x.shape[3]) for x in (query, key, value))
    added = _added(attn_mask, is_causal, queries, keys, q)
    if added.dim() == 4:
        added = added.expand(n, heads, queries, keys).reshape(n * heads, queries, keys)
    scores = torch.baddbmm(added, q, k.mT, alpha=width**-0.5 if scale is None else scale)
    return torch.bmm(scores.softmax(dim=-1).to(v.dtype), v).view(n, heads, queries, -1)


def _added(mask: Tensor | None, is_causal: bool, queries: int, keys: int, like: Tensor) -> Tensor:
    """What is added to the scores, `[queries, keys]` or `[n or 1, heads or 1, queries, keys]`."""
    # Not -inf: a query that may attend nowhere gives no NaN. The products are computed in bf16, in
    # which the lowest number of fp32 is -inf.
    least = torch.finfo(torch.bfloat16).min
    if is_causal:
        return like.new_full((queries, keys), least).triu_(1)
    if mask is None:
        return like.new_zeros(queries, keys)
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=like.dtype).masked_fill_(~mask, least)
    return mask.clamp(min=least).to(like.dtype)


def short_attention(dtype: torch.dtype | None, model: nn.Module) -> AbstractContextManager:
    """While open, a model that trains in bf16 on a CPU computes its attention by `attend`.

    Args:
        dtype: what the model computes in; None for fp32.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    return ShortAttention() if dtype == torch.bfloat16 and on_cpu else nullcontext()
