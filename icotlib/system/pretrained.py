"""TODO."""

from pathlib import Path

from transformers import AutoConfig, AutoTokenizer

from icotlib.errors import ConfigError


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
