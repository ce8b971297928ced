"""TODO."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from icotlib.data.layout import Layout
from icotlib.errors import RunError
from icotlib.models.adapters import merged
from icotlib.registry import METHODS
from icotlib.runs import Run


def save_model(folder: Path, model: PreTrainedModel, layout: Layout) -> None:
    """Save model and tokenizer in the hub's own format (safetensors: nothing to execute)."""
    with _no_bars():
        model.save_pretrained(folder)
    layout.tokenizer.save_pretrained(folder)


def load_model(
    folder: Path, spaced_separators: bool = False, step_end: str | None = None
) -> tuple[PreTrainedModel, Layout]:
    """A saved model, in evaluation mode, and its layout. Raises `RunError` if it is damaged."""
    METHODS.load()  # some methods make model classes of their own known to AutoModel
    model = load_weights(AutoModelForCausalLM, folder)
    try:
        return model, Layout(AutoTokenizer.from_pretrained(folder), spaced_separators, step_end)
    except Exception as error:  # tokenizers raise types of their own
        raise RunError(f"{folder}: its tokenizer cannot be loaded: {error}") from None


def load_stage(run: Run, removed: int | None = None) -> tuple[Any, Layout]:
    """A run's model on the CPU, final or at the end of a removal stage, and its layout."""
    config = run.config
    return load_model(
        run.weights(removed), config.model.spaced_separators, config.input_format.step_end
    )


def load_weights(kind, folder: Path) -> PreTrainedModel:
    """A saved model of a kind, in evaluation mode. Raises `RunError` if it is damaged."""
    try:
        with _no_bars():
            if (Path(folder) / "adapter_config.json").is_file():
                return merged(folder).eval()
            return kind.from_pretrained(folder).eval()
    except Exception as error:  # safetensors raises types of its own
        raise RunError(f"{folder}: this model cannot be loaded: {error}") from None


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Saving and loading small models needs no progress bar of its own."""
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
