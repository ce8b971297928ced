"""What several tests share: a run of a second, and tiny models and tokenizers of the hub's form."""

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.decoders import Metaspace as MetaspaceDecoder
from tokenizers.models import BPE, Unigram
from tokenizers.pre_tokenizers import ByteLevel, Metaspace
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer, UnigramTrainer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from icotlib.config import from_dict
from icotlib.data.forms import BY_NAME, Columns, read_row
from icotlib.registry import import_file
from icotlib.running.forking import start_method
from icotlib.tasks import Example
from icotlib.training.trainer import train

#: Sizes of a run of a second, for every method.
TINY_SIZES: dict[str, Any] = {
    "data.task": "mult-2x2",
    "data.valid_examples": 24,
    "data.test_examples": 24,
    "model.layers": 2,
    "model.width": 16,
    "model.heads": 2,
    "optim.warmup_steps": 2,
    "train.steps": 12,
    "train.batch_size": 8,
    "train.eval_every": 4,
}

#: A run of a second of one model for all k.
TINY = TINY_SIZES | {"method": "one_model", "removal.warmup_steps": 2}

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
WIDE = {"intermediate_size": 32}
SIZES_OF_ARCHITECTURE: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gpt_neox": WIDE,
    "llama": WIDE | {"num_key_value_heads": 1},
    "qwen2": WIDE | {"num_key_value_heads": 1},
    "mistral": WIDE | {"num_key_value_heads": 1},
    "phi": WIDE,
}


def save_pretrained(
    parent: Path,
    architecture: str,
    dtype: torch.dtype = torch.float32,
    tokenizer: PreTrainedTokenizerFast | None = None,
    **sizes: Any,
) -> str:
    """A folder in the hub's own format: a tiny model of an architecture, and a tokenizer."""
    tokenizer = tokenizer or bytes_tokenizer([" 1 2 3 4 5 6 7 8 9 0 * + #### ( )"] * 5)
    sizes = SIZES | SIZES_OF_ARCHITECTURE.get(architecture, {}) | sizes
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    ids["pad_token_id"] = None
    # More rows than tokens, as published models have for speed.
    vocabulary = {"vocab_size": len(tokenizer) + 3}
    config = AutoConfig.for_model(architecture, **sizes, **vocabulary, **ids)
    folder = parent / f"pretrained-{architecture}-{len(tokenizer)}"
    AutoModelForCausalLM.from_config(config).to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def bytes_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE like GPT-2's: one special token, separator, end and padding at once.

    Spaces lead their word, and digits that often come together are one token.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(special_tokens=["<|endoftext|>"], initial_alphabet=ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def unigram_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Unigram like Llama's: puts a space and a token of its own before every text; no padding."""
    tokenizer = Tokenizer(Unigram())
    tokenizer.pre_tokenizer = Metaspace()
    tokenizer.decoder = MetaspaceDecoder()
    special = ["<unk>", "<s>", "</s>"]
    trainer = UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until a condition holds; fails after so many seconds."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def to_example(row: dict[str, Any], columns: Columns = BY_NAME) -> Example:
    """A row of a data set as an example, with its first chain if it has several."""
    return read_row(row, columns)[0][0]


def trainer_in(*words: Any) -> BaseProcess:
    """A process of its own that calls `train_in`, not started yet."""
    return multiprocessing.get_context(start_method()).Process(target=train_in, args=words)


def train_in(folder: str, config: dict[str, Any], *imported: str) -> None:
    """What a process of its own is to do: train the run of a config, given as plain values, in this
    folder of runs, with these files of a user's."""
    os.environ["ICOT_RUNS"] = folder
    for file in imported:
        import_file(file)
    train(from_dict(config))


def ended(process: BaseProcess) -> int | None:
    """The exit code of a process, once it has ended."""
    process.join()
    return process.exitcode
