"""LoRA adapters on a pretrained model, by way of peft."""

import copy
import importlib
import inspect
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from icotlib.errors import ConfigError, did_you_mean
from icotlib.models.architectures import load_language_model


def add_adapters(model: PreTrainedModel, settings: dict[str, Any]) -> PreTrainedModel:
    """Freeze a model and put LoRA adapters beside its linear layers, in fp32.

    Args:
        settings: fields of peft's `LoraConfig`.

    Raises `ConfigError` if peft is not installed or refuses the settings.
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
        with warnings.catch_warnings():  # peft sets it for each layer, as GPT-2's Conv1D needs
            warnings.filterwarnings("ignore", message="fan_in_fan_out")
            model.add_adapter(peft.LoraConfig(**settings))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model.lora: {error}") from None
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def check_mergeable(settings: dict[str, Any]) -> None:
    """Raises `ConfigError` for adapters that `merged_weights` cannot merge: parts that are trained
    as a whole beside those that stay frozen."""
    for name in ("modules_to_save", "trainable_token_indices"):
        if settings.get(name):
            raise ConfigError(
                f"model.lora: leave out {name}: this method saves its adapters merged into the "
                "model, which such parts are not"
            )


def _peft() -> ModuleType:
    try:
        import peft
    except ImportError:
        raise ConfigError("model.lora needs the package peft: pip install peft") from None
    return peft


def merged_weights(model: nn.Module) -> dict[str, Tensor]:
    """The state dict that a model would have without adapters, once they are merged into it."""
    model = copy.deepcopy(model)
    adapted = importlib.import_module("peft.tuners.tuners_utils").BaseTunerLayer
    layers = [name for name, module in model.named_modules() if isinstance(module, adapted)]
    for name in layers:
        cast(Any, model.get_submodule(name)).merge()
    weights = model.state_dict()
    for name in layers:
        for key in [key for key in weights if key.startswith(f"{name}.")]:
            tensor, own = weights.pop(key), key.removeprefix(f"{name}.")
            if own.startswith("base_layer."):
                weights[f"{name}.{own.removeprefix('base_layer.')}"] = tensor
    return weights


def merged(folder: Path) -> PreTrainedModel:
    """The pretrained model that saved adapters belong to, the adapters merged into its weights.

    Merged in fp32, because bf16 would round small changes away.
    """
    peft = _peft()
    source = peft.PeftConfig.from_pretrained(folder).base_model_name_or_path
    model = load_language_model(source, torch.float32)
    return peft.PeftModel.from_pretrained(model, folder).merge_and_unload()
