"""Models: any causal language model of transformers, with random or pretrained weights."""

import contextlib
import copy
import inspect
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from icotlib import (
    coupling,  # noqa: F401 (makes the coupled system known to AutoModel)
    paths,
)
from icotlib.config import ModelConfig, RunConfig
from icotlib.data import Corpus
from icotlib.errors import ConfigError, RunError, did_you_mean
from icotlib.evaluation import room_of
from icotlib.runs import Run
from icotlib.tokens import Layout, symbol_tokenizer


def build_layout(config: RunConfig, corpus: Corpus) -> Layout:
    """The tokenizer and layout of a run: the pretrained one, or one token per symbol."""
    model = config.model
    if model.pretrained is None:
        tokenizer = symbol_tokenizer(corpus.symbols)
    else:
        tokenizer = _pretrained(AutoTokenizer, model.pretrained)
    return Layout(tokenizer, model.spaced_separators, config.removal.step_end)


def build_model(config: ModelConfig, layout: Layout, longest: int) -> PreTrainedModel:
    """A causal LM for sequences of up to `longest` tokens, and of `config.room` more.

    With random weights, initialise under a fixed torch seed for repeatable numbers. A pretrained
    model that is too short is made longer, with a warning. Raises `ConfigError` for an unknown
    architecture or option, and for weights that cannot be loaded.
    """
    longest += config.room
    if config.pretrained is None:
        return AutoModelForCausalLM.from_config(_fresh_config(config, layout, longest))
    if config.options or config.dropout:
        raise ConfigError(
            "model.options and model.dropout are of new models; model.pretrained has its own"
        )
    # Trained in fp32, with autocast for speed: in bf16 small updates would be rounded away. What
    # is not trained may stay as it is stored.
    dtype = "auto" if config.lora else torch.float32
    model = _pretrained(AutoModelForCausalLM, config.pretrained, dtype=dtype)
    room = room_of(model)
    if room is not None and room < longest:
        if config.lora:
            raise ConfigError(
                f"{config.pretrained} has room for {room} tokens, {longest} are "
                "needed: train it without model.lora, which leaves its positions as they are"
            )
        warnings.warn(
            f"{config.pretrained} has room for {room} tokens, {longest} are needed: "
            "it is made longer, and has yet to learn the new positions",
            stacklevel=2,
        )
        model = lengthen(model, longest)
    return add_adapters(model, config.lora) if config.lora else model


def lengthen(model: PreTrainedModel, longest: int) -> PreTrainedModel:
    """The same model with room for `longest` tokens.

    Rotary positions go on as they are. A table of learned positions gets more rows, each at first
    a copy of the last: the nearest to what the model knows.
    """
    config = copy.deepcopy(model.config)
    config.get_text_config().max_position_embeddings = longest
    longer = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    weights = model.state_dict()
    for name, wanted in longer.state_dict().items():
        missing = len(wanted) - len(weights[name]) if wanted.dim() else 0
        if missing:
            last = weights[name][-1:].expand(missing, *wanted.shape[1:])
            weights[name] = torch.cat([weights[name], last])
    longer.load_state_dict(weights)
    return longer


def add_adapters(model: PreTrainedModel, settings: dict[str, Any]) -> PreTrainedModel:
    """Freeze a model and put LoRA adapters beside its linear layers, in fp32.

    Raises `ConfigError` if peft, which does it, is not installed or refuses the settings.
    """
    peft = _peft()
    known = inspect.signature(peft.LoraConfig).parameters
    for name in settings:
        if name not in known:
            raise ConfigError(
                f"model.lora: peft's LoraConfig has no {name!r}.{did_you_mean(name, known)}"
            )
    settings = {"target_modules": "all-linear", "task_type": "CAUSAL_LM"} | settings
    try:
        model.add_adapter(peft.LoraConfig(**settings))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model.lora: {error}") from None
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def _peft():
    try:
        import peft
    except ImportError:
        raise ConfigError("model.lora needs the package peft: pip install peft") from None
    return peft


def model_config(config: ModelConfig, layout: Layout, longest: int):
    """The transformers config of the model that `build_model` makes."""
    if config.pretrained is not None:
        return _pretrained(AutoConfig, config.pretrained)
    return _fresh_config(config, layout, longest)


def _fresh_config(config: ModelConfig, layout: Layout, longest: int):
    """A transformers config of the asked sizes; names common to all families do the mapping."""
    options = {
        "vocab_size": len(layout.tokenizer),
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.heads,
        "max_position_embeddings": longest,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": layout.eos,
        "pad_token_id": layout.pad,
        **config.options,
    }
    try:
        made = AutoConfig.for_model(config.architecture)
    except ValueError:
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        )

        raise ConfigError(
            f"unknown model.architecture {config.architecture!r}."
            f"{did_you_mean(config.architecture, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)}"
        ) from None
    names = set(made.to_dict()) | set(made.attribute_map)
    unknown = set(config.options) - names
    if unknown:
        name = min(unknown)
        raise ConfigError(
            f"model.options: {config.architecture} has no setting {name!r}."
            f"{did_you_mean(name, names)}"
        )
    options = {name: value for name, value in options.items() if name in names}
    for name, value in made.to_dict().items():
        if name.endswith(("dropout", "pdrop")) and isinstance(value, float):
            options.setdefault(name, config.dropout)
    if made.model_type == "gpt2":  # the fused form of the same function; GPT-2's own is slow
        options.setdefault("activation_function", "gelu_pytorch_tanh")
    if made.model_type == "gpt_neo":  # its layers must say which kind of attention they have
        options.setdefault("attention_types", [[["global"], config.layers]])
    try:
        return AutoConfig.for_model(config.architecture, **options)
    except Exception as error:  # the checks of the hub's library raise types of their own
        raise ConfigError(f"model.options: {config.architecture} refuses them: {error}") from None


def _pretrained(auto, source: str, **kwargs):
    try:
        return auto.from_pretrained(source, **kwargs)
    except Exception as error:  # the hub, tokenizers and safetensors raise types of their own
        here = Path(source).is_dir()
        advice = (
            "The folder needs what save_pretrained writes: config.json, model.safetensors and the "
            "tokenizer's files."
            if here
            else "There is no such folder. If it is an id on the hub that this machine cannot "
            f"reach, download it elsewhere (hf download {source} --local-dir "
            f"{Path(source).name}), bring the folder here and set model.pretrained to its path."
        )
        raise ConfigError(
            f"model.pretrained={source!r} cannot be loaded: {error}\n{advice}"
        ) from None


def check_pretrained(source: str) -> None:
    """Raises `ConfigError` if a pretrained model's settings, tokenizer or weights are missing.

    Reads a few small files, so that a long job fails before its first run and not at its third.
    """
    _pretrained(AutoConfig, source)
    _pretrained(AutoTokenizer, source)
    if Path(source).is_dir() and not any(
        path.suffix in (".safetensors", ".bin") for path in Path(source).iterdir()
    ):
        raise ConfigError(
            f"model.pretrained={source!r}: the folder holds no weights (model.safetensors)"
        )


def new_model(folder: Path, texts: Sequence[str], tokens: int = 400, **sizes: Any) -> Path:
    """Make a small model with random weights, and a tokenizer for some texts, in the hub's form.

    For trying out what pretrained models are for where none is at hand. The tokenizer is
    byte-level BPE, as GPT-2's is, of single digits. A folder that is there already is returned.

    Args:
        tokens: size of the vocabulary at most; it has at least the 256 bytes.
        sizes: `architecture`, `layers`, `width`, `heads` and what else `ModelConfig` takes.
    """
    if folder.is_dir():
        return folder
    made = Tokenizer(BPE())
    split = [pre_tokenizers.Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    made.pre_tokenizer, made.decoder = pre_tokenizers.Sequence(split), ByteLevelDecoder()
    special = ["<|endoftext|>"]
    trainer = BpeTrainer(
        vocab_size=tokens,
        special_tokens=special,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    layout = Layout(PreTrainedTokenizerFast(tokenizer_object=made, eos_token=special[0]))
    config = ModelConfig(**sizes)
    longest = 2 * max(len(ids) for ids in layout.tokenizer(list(texts))["input_ids"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(config, layout, longest)
    return paths.made_once(folder, partial(save_model, model=model, layout=layout))


def save_model(folder: Path, model: PreTrainedModel, layout: Layout) -> None:
    """Save model and tokenizer in the hub's own format (safetensors: nothing to execute)."""
    with _no_bars():
        model.save_pretrained(folder)
    layout.tokenizer.save_pretrained(folder)


def load_model(
    folder: Path, spaced_separators: bool = False, step_end: str | None = None
) -> tuple[PreTrainedModel, Layout]:
    """A saved model, in evaluation mode, and its layout. Raises `RunError` if it is damaged."""
    model = load_weights(AutoModelForCausalLM, folder)
    try:
        return model, Layout(AutoTokenizer.from_pretrained(folder), spaced_separators, step_end)
    except Exception as error:  # tokenizers raise types of their own
        raise RunError(f"{folder}: its tokenizer cannot be loaded: {error}") from None


def load_stage(run: Run, removed: int | None = None) -> tuple[PreTrainedModel, Layout]:
    """A run's model, final or at the end of a removal stage, and its layout."""
    config = run.config
    return load_model(run.weights(removed), config.model.spaced_separators, config.removal.step_end)


def load_weights(kind, folder: Path) -> PreTrainedModel:
    """A saved model of a kind, in evaluation mode. Raises `RunError` if it is damaged."""
    try:
        with _no_bars():
            if (Path(folder) / "adapter_config.json").is_file():
                return merged(folder).eval()
            return kind.from_pretrained(folder).eval()
    except Exception as error:  # safetensors raises types of its own
        raise RunError(f"{folder}: this model cannot be loaded: {error}") from None


def merged(folder: Path) -> PreTrainedModel:
    """The pretrained model that saved adapters belong to, the adapters worked into its weights."""
    # In fp32: of a small change, much would be rounded away in bf16.
    found = _peft().AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return found.merge_and_unload()


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Saving and loading small models needs no progress bar of its own."""
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def best_device() -> torch.device:
    """Where models run when nobody says otherwise: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def count_parameters(model: PreTrainedModel) -> int:
    """Number of parameters; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())
