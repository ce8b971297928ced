"""A small model with random weights and a tokenizer of its own, in the hub's format."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from icotlib import paths
from icotlib.config import ModelConfig
from icotlib.data.layout import Layout
from icotlib.models.build import build_model
from icotlib.models.loading import save_model


def new_model(folder: Path, texts: Sequence[str], tokens: int = 400, **sizes: Any) -> Path:
    """Save a small model with random weights, and a tokenizer trained on some texts, in a folder.

    It stands in for pretrained weights (`model.pretrained`) where none are available. The tokenizer
    is byte-level BPE like GPT-2's, with single digits. An existing folder is returned as it is.

    Args:
        tokens: the largest size of the vocabulary; it holds at least the 256 bytes.
        sizes: `architecture`, `layers`, `width`, `heads` and other fields of `ModelConfig`.
    """
    if folder.is_dir():
        return folder
    bpe = Tokenizer(BPE())
    split = [pre_tokenizers.Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.Sequence(split), ByteLevelDecoder()
    special = ["<|endoftext|>"]
    trainer = BpeTrainer(
        vocab_size=tokens,
        special_tokens=special,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    layout = Layout(PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=special[0]))
    config = ModelConfig(**sizes)
    longest = 2 * max(len(ids) for ids in layout.tokenizer(list(texts))["input_ids"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(config, layout, longest)
    return paths.create_once(folder, partial(save_model, model=model, layout=layout))
