"""Evaluation in bounded memory: how many examples one forward pass takes.

The bound is a constant and not the memory that happens to be free, so that the same run is
evaluated in the same batches on every machine. A model of the workbook never reaches it.
"""

from typing import Any

from transformers import PreTrainedConfig

#: Bytes that the tensors of one forward pass of an evaluation may take, and examples in it.
MAX_BYTES, MAX_EXAMPLES = 2**30, 512


def examples_at_once(
    config: PreTrainedConfig, width: int, read: int, new: int = 0, most: int = MAX_EXAMPLES
) -> int:
    """Examples in one forward pass of an evaluation, so that its tensors take `MAX_BYTES`.

    Args:
        config: the model's.
        width: tokens of the longest example.
        read: positions at which logits are computed.
        new: tokens that are then generated, with a cache.
    """
    return max(1, min(most, MAX_BYTES // example_bytes(config, width, read, new)))


def example_bytes(config: PreTrainedConfig, width: int, read: int, new: int = 0) -> int:
    """Bytes that one example takes in a forward pass without gradients, in fp32.

    Args: as for `examples_at_once`.
    """
    text: Any = config.get_text_config()
    hidden, layers = getattr(text, "hidden_size", 1024), getattr(text, "num_hidden_layers", 12)
    inner = getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None)
    # A layer holds its input, what attention reads and writes, and the MLP's inner states.
    layer = 6 * hidden + 3 * (inner or 4 * hidden)
    numbers = read * text.vocab_size + width * (layer + width)  # the attention mask is a square
    numbers += 2 * layers * getattr(config, "mixture", 1)  # an emulator's components and scores
    if new and hasattr(text, "hidden_size"):
        # While a layer's cache grows by a token it is there twice, and its heads are repeated.
        numbers += (width + new) * (_cached(text) * layers + 4 * hidden)
    return 4 * numbers


def _cached(text: Any) -> int:
    """Numbers in the cache of a token in one layer: its key and its value."""
    heads = getattr(text, "num_attention_heads", None) or 1
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return 2 * width * (getattr(text, "num_key_value_heads", None) or heads)
