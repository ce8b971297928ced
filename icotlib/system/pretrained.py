"""Loading from the hub or from a folder, with advice where that fails."""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from icotlib.errors import ConfigError


def load_pretrained(auto: Any, source: str, **kwargs: Any) -> Any:
    """What `auto.from_pretrained` loads: a config, a tokenizer or a model.

    Args:
        auto: a class such as `AutoTokenizer`.
        source: an id on the hub, or a folder.

    Raises `ConfigError` that says what to do if it cannot be loaded.
    """
    try:
        return auto.from_pretrained(source, **kwargs)
    except Exception as error:  # the hub, tokenizers and safetensors raise types of their own
        if Path(source).is_dir():
            advice = (
                "The folder needs what save_pretrained writes: config.json, model.safetensors and "
                "the tokenizer's files."
            )
        else:
            advice = (
                "There is no such folder. If it is an id on the hub that this machine cannot "
                f"reach, download it elsewhere (hf download {source} --local-dir "
                f"{Path(source).name}), copy the folder to this machine and set model.pretrained "
                "to its path."
            )
        raise ConfigError(
            f"model.pretrained={source!r} cannot be loaded: {error}\n{advice}"
        ) from None


def check_pretrained(source: str) -> None:
    """Raises `ConfigError` if a pretrained model's config, tokenizer or weights are missing.

    Reads a few small files, so that a series of runs fails before the first one starts.
    """
    load_pretrained(AutoConfig, source)
    load_pretrained(AutoTokenizer, source)
    if Path(source).is_dir() and not any(
        path.suffix in (".safetensors", ".bin") for path in Path(source).iterdir()
    ):
        raise ConfigError(
            f"model.pretrained={source!r}: the folder holds no weights (model.safetensors)"
        )
