"""The configurations of the paper's five models, without weights."""

from pathlib import Path
from typing import Any

from transformers import Gemma2Config, LlamaConfig, MistralConfig, OlmoConfig, PreTrainedConfig, Qwen2Config

_HEADS: dict[str, Any] = {"num_attention_heads": 32, "num_hidden_layers": 32, "hidden_size": 4096}

FIVE: dict[str, tuple[PreTrainedConfig, str, float]] = {
    "gemma-2-9b": (
        Gemma2Config(
            hidden_size=3584,
            intermediate_size=14336,
            num_hidden_layers=42,
            num_attention_heads=16,
            num_key_value_heads=8,
            head_dim=256,
            vocab_size=256_000,
        ),
        "Gemma2ForCausalLM",
        9.24,
    ),
    "olmo-7b": (OlmoConfig(**_HEADS, intermediate_size=11_008, vocab_size=50_304), "OlmoForCausalLM", 6.89),
    "qwen2-7b": (
        Qwen2Config(
            hidden_size=3584,
            intermediate_size=18_944,
            num_hidden_layers=28,
            num_attention_heads=28,
            num_key_value_heads=4,
            vocab_size=152_064,
            tie_word_embeddings=False,
        ),
        "Qwen2ForCausalLM",
        7.62,
    ),
    "mistral-7b": (
        MistralConfig(**_HEADS, num_key_value_heads=8, intermediate_size=14_336, vocab_size=32_768),
        "MistralForCausalLM",
        7.25,
    ),
    "llama-3-8b": (
        LlamaConfig(**_HEADS, num_key_value_heads=8, intermediate_size=14_336, vocab_size=128_256),
        "LlamaForCausalLM",
        8.03,
    ),
}
"""Short name -> (configuration, class, billions of parameters as published)."""


def save_configuration(name: str, folder: Path) -> Path:
    """A folder with one of the five's config.json and nothing else, in the number that its weights are in."""
    config, architecture, _ = FIVE[name]
    config.architectures, config.dtype = [architecture], "bfloat16"
    config.save_pretrained(folder)
    return folder
