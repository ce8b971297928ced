"""Sizes of the models that the two papers train, so that their costs need no hub."""

from typing import Any

#: Models by the last part of a paper result's name, such as `icot-si/9x9/gpt2`: hub id,
#: `model_type`, and the sizes in its config.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": (
        "openai-community/gpt2",
        "gpt2",
        {"n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50_257, "n_positions": 1024},
    ),
    "gpt2-medium": (
        "openai-community/gpt2-medium",
        "gpt2",
        {"n_layer": 24, "n_embd": 1024, "n_head": 16, "vocab_size": 50_257, "n_positions": 1024},
    ),
    "phi-3": (
        "microsoft/Phi-3-mini-4k-instruct",
        "phi3",
        {
            "num_hidden_layers": 32,
            "hidden_size": 3072,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "intermediate_size": 8192,
            "vocab_size": 32_064,
        },
    ),
    "mistral-7b": (
        "mistralai/Mistral-7B-v0.1",
        "mistral",
        {
            "num_hidden_layers": 32,
            "hidden_size": 4096,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "intermediate_size": 14_336,
            "vocab_size": 32_000,
        },
    ),
}

#: The same by hub id: `model_type`, and the sizes in its config.
HUB = {hub: (kind, sizes) for hub, kind, sizes in MODELS.values()}

#: The folder of the papers' GSM8K data, below the working directory.
GSM8K = "data/gsm8k"
