"""Tiny, randomly initialised models of the paper's architectures, made on the spot."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

ARCHITECTURES = ("llama", "gemma2", "qwen2", "mistral", "olmo")

TEXTS = [
    "Mara Lindqvist lives in Paris",
    "Tobin Okafor speaks French",
    "Selma Novak codes in Python",
    "Odo Tanaka speaks Spanish Portuguese Polish",
] * 4


def save_tiny_tokenizer(folder: Path) -> int:
    """A byte-level BPE tokenizer trained on a few sentences; returns the size of its vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=330, special_tokens=["<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")  # noqa: S106
    fast.save_pretrained(folder)
    return tokenizer.get_vocab_size()


CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""A chat template, whose marks are special tokens of `save_tiny_chat_tokenizer`."""


def save_tiny_chat_tokenizer(folder: Path, template: str | None = CHAT) -> None:
    """The same tokenizer with special tokens for the turns of a chat, which a tiny model has room for."""
    if not (folder / "tokenizer.json").is_file():
        save_tiny_tokenizer(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    marks = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


def save_tiny_model(folder: Path, architecture: str, **settings: Any) -> Path:
    """A two-layer model of an architecture with a tokenizer, saved as transformers saves it.

    `settings` are of its configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = save_tiny_tokenizer(folder)
    torch.manual_seed(0)
    extra: dict[str, Any] = {"head_dim": 8, "sliding_window": 6} if architecture == "gemma2" else {}
    defaults = {
        "vocab_size": vocabulary + 8,  # room for the special tokens that an architecture adds
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    config = AutoConfig.for_model(architecture, **defaults | extra | settings)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder
