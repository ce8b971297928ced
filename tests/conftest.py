"""Shared fixtures: tiny configs, run directories that vanish, reference files where present."""

import os
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from icotlib import paths
from icotlib.config import RunConfig

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)

TINY = {
    "data.task": "mult-2x2",
    "data.valid_examples": 24,
    "data.test_examples": 24,
    "model.layers": 2,
    "model.width": 16,
    "model.heads": 2,
    "optim.warmup_steps": 2,
    "removal.warmup_steps": 2,
    "train.steps": 12,
    "train.batch_size": 8,
    "train.eval_every": 4,
}


@pytest.fixture
def runs_folder(tmp_path, monkeypatch) -> Path:
    """An empty folder of runs."""
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def tiny() -> RunConfig:
    """A run of a second."""
    return RunConfig().override(TINY)


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of real files of the field; a user's clone has none."""
    folder = paths.PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the reference files of the field are not beside this clone")
    return folder


@pytest.fixture
def pretrained(tmp_path):
    """Makes a folder in the hub's own format: a tiny model and a tokenizer like GPT-2's.

    Its one special token is separator, end and padding at once; spaces lead their word.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(special_tokens=["<|endoftext|>"], initial_alphabet=ByteLevel.alphabet())
    tokenizer.train_from_iterator([" 1 2 3 4 5 6 7 8 9 0 * + #### ( )"] * 5, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")

    def make(architecture: str, dtype: torch.dtype = torch.float32) -> str:
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        sizes |= {"max_position_embeddings": 64, "vocab_size": len(tokenizer)}
        if architecture == "llama":
            sizes |= {"intermediate_size": 32, "num_key_value_heads": 1}
        config = AutoConfig.for_model(architecture, **sizes, bos_token_id=0, eos_token_id=0)
        folder = tmp_path / f"pretrained-{architecture}"
        AutoModelForCausalLM.from_config(config).to(dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return str(folder)

    return make
