"""Loading from the hub or from a folder, with advice where that fails.

Code that comes with a model is never run: `trust_remote_code` is False in every call, because
without it transformers asks on stdin, and takes yes for an answer.
"""

import json
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

from icotlib.errors import ConfigError


def load_pretrained(
    auto: Any, source: str, setting: str = "model.pretrained", **kwargs: Any
) -> Any:
    """What `auto.from_pretrained` loads: a config, a tokenizer or a model.

    Args:
        auto: a class such as `AutoTokenizer`.
        source: an id on the hub, or a folder.
        setting: what named it, for errors.

    Raises `ConfigError` that says what to do if it cannot be loaded.
    """
    try:
        return auto.from_pretrained(source, trust_remote_code=False, **kwargs)
    except Exception as error:  # the hub, tokenizers and safetensors raise types of their own
        if "trust_remote_code" in str(error):
            raise ConfigError(own_code(source)) from None
        if Path(source).is_dir():
            advice = (
                "The folder needs what save_pretrained writes: config.json, model.safetensors and "
                "the tokenizer's files."
            )
        else:
            advice = (
                "There is no such folder. If it is an id on the hub that this machine cannot "
                f"reach, download it elsewhere (hf download {source} --local-dir "
                f"{Path(source).name}), copy the folder to this machine and set {setting} to its "
                "path."
            )
        raise ConfigError(f"{setting}={source!r} cannot be loaded: {error}\n{advice}") from None


#: Classes of tokenizers that belong to no architecture, by their names in saved files.
GENERIC_TOKENIZERS = {"PreTrainedTokenizerFast", "TokenizersBackend"}


def tokenizer_class(source: str | Path) -> Any:
    """The class that loads a tokenizer from a folder, or from the hub.

    `AutoTokenizer` prefers the class of the model beside the tokenizer to the one that saved it.
    Qwen's classes, for example, cannot read a vocabulary of whole symbols.
    """
    file = Path(source) / "tokenizer_config.json"
    if not file.is_file():
        return AutoTokenizer
    try:
        saved = json.loads(file.read_text())
    except (OSError, ValueError):  # its own error says more
        return AutoTokenizer
    generic = isinstance(saved, dict) and saved.get("tokenizer_class") in GENERIC_TOKENIZERS
    return PreTrainedTokenizerFast if generic else AutoTokenizer


def load_tokenizer(source: str, setting: str = "model.pretrained") -> Any:
    """`load_pretrained` of a tokenizer, by its `tokenizer_class`."""
    return load_pretrained(tokenizer_class(source), source, setting)


def load_pretrained_model(auto: Any, source: str, **kwargs: Any) -> Any:
    """The model that `auto.from_pretrained` loads, if it finds all of its weights.

    Raises `ConfigError` as `load_pretrained` does, and for weights that would be drawn at random.
    """
    model, found = load_pretrained(auto, source, output_loading_info=True, **kwargs)
    if lacks := lacking(found):
        raise ConfigError(
            f"model.pretrained={source!r} lacks weights of {type(model).__name__}: {lacks}. They "
            "would be drawn at random; take a model that was saved whole, with its output head"
        )
    return model


def lacking(found: dict[str, Any]) -> str:
    """The weights that a load did not find, the first three by name; empty if it found all.

    Args:
        found: what `from_pretrained` reports with `output_loading_info=True`.
    """
    missing = sorted(found["missing_keys"])
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return ", ".join(missing[:3]) + more


def own_code(source: str) -> str:
    """The error of a model that brings Python code, which would run with the user's rights."""
    return (
        f"model.pretrained={source!r} brings Python code of its own (auto_map in its JSON files), "
        "which icotlib never runs. Take a model of an architecture that transformers itself has. "
        "If only its model_type is unusual, copy it to a folder, remove auto_map from its "
        "JSON files and set model_type in config.json to the architecture, such as llama."
    )


def check_pretrained(source: str) -> None:
    """Raises `ConfigError` if a pretrained model's config, tokenizer or weights are missing.

    Reads a few small files, so that a series of runs fails before the first one starts.
    """
    load_pretrained(AutoConfig, source)
    load_tokenizer(source)
    if Path(source).is_dir() and not any(
        path.suffix in (".safetensors", ".bin") for path in Path(source).iterdir()
    ):
        raise ConfigError(
            f"model.pretrained={source!r}: the folder holds no weights (model.safetensors)"
        )
