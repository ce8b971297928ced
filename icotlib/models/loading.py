"""Saving a model with its tokenizer, and loading it again with its sequence layout."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from icotlib.data.layout import Layout
from icotlib.errors import RunError
from icotlib.models.adapters import merged
from icotlib.models.advice import without_advice_on_kernels
from icotlib.models.padding import unchecked_padding
from icotlib.registry import METHODS
from icotlib.runs import Run
from icotlib.system import seals
from icotlib.system.pretrained import lacking, tokenizer_class

#: The file of the settings of a layout, beside the weights.
LAYOUT = "layout.json"

M = TypeVar("M", bound=PreTrainedModel, covariant=True)


class Loadable(Protocol[M]):
    """A model class, or one of transformers' auto classes."""

    def from_pretrained(self, folder: Path, /, *, trust_remote_code: bool) -> M:
        """The saved model."""


def save_model(
    folder: Path, model: PreTrainedModel, layout: Layout, weights: dict[str, Tensor] | None = None
) -> None:
    """Save model and tokenizer in the hub's own format (safetensors: nothing to execute).

    Args:
        weights: the model's state dict, if it is not what the model itself holds.
    """
    with _no_bars():
        model.save_pretrained(folder, state_dict=weights)
    layout.tokenizer.save_pretrained(folder)
    seals.write_json(Path(folder) / LAYOUT, layout.settings)


def load_model(
    folder: Path, spaced_separators: bool | None = None, step_end: str | None = None
) -> tuple[PreTrainedModel, Layout]:
    """A saved model, in evaluation mode, and its layout.

    Args:
        spaced_separators, step_end: as the run that trained it was configured (`Layout`); by
            default as they were saved with the model.

    Raises `RunError` if model or tokenizer are damaged.
    """
    METHODS.load()  # some methods register model classes of their own with AutoModelForCausalLM
    model: PreTrainedModel = load_weights(AutoModelForCausalLM, folder)
    saved: dict[str, Any] = {}
    if (Path(folder) / LAYOUT).is_file():
        saved = seals.read_json(Path(folder) / LAYOUT, "export the model again")
    if spaced_separators is None:
        spaced_separators = bool(saved.get("spaced_separators"))
    step_end = saved.get("step_end") if step_end is None else step_end
    try:
        tokenizer = tokenizer_class(folder).from_pretrained(folder, trust_remote_code=False)
        return model, Layout(tokenizer, spaced_separators, step_end)
    except Exception as error:  # tokenizers raise types of their own
        raise RunError(f"{folder}: its tokenizer cannot be loaded: {error}") from None


def load_stage(run: Run, removed: int | None = None) -> tuple[Any, Layout]:
    """A run's model on the CPU, final or at the end of a removal stage, and its layout."""
    config = run.config
    if config.model.lora:  # its weights are adapters of what the folder holds
        config.model.check_content()
    return load_model(
        run.weights(removed), config.model.spaced_separators, config.input_format.step_end
    )


def load_weights(model_class: Loadable[M], folder: Path) -> M:
    """A saved model of this class, in evaluation mode; adapters are merged into their model.

    Raises `RunError` if it is damaged, or lacks weights.
    """
    without_advice_on_kernels()
    remedy = "put it back from a copy, or delete the run and train it again, or export it again"
    seals.check_seal(Path(folder), remedy)
    try:
        with _no_bars():
            if (Path(folder) / "adapter_config.json").is_file():
                model, lacks = cast(M, merged(folder)), ""
            else:
                load: Any = model_class.from_pretrained
                model, found = load(folder, trust_remote_code=False, output_loading_info=True)
                lacks = lacking(found)
    except Exception as error:  # safetensors raises types of its own
        raise RunError(f"{folder}: this model cannot be loaded: {error}") from None
    if lacks:
        raise RunError(f"{folder}: this model lacks weights that its class has: {lacks}")
    return unchecked_padding(model.eval())


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """While open, transformers shows no progress bars: saving and loading small models is fast."""
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
