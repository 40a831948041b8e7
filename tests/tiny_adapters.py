"""Tiny PEFT adapters with random changes, made on the spot."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from spillover.llm import models

LINEAR = ["q_proj", "v_proj"]


def save_tiny_adapter(base: Path, folder: Path, *, tokens: int = 0, **settings: Any) -> Any:
    """A live PeftModel with random changes, saved in `folder`; `tokens` are added to the base first."""
    model = AutoModelForCausalLM.from_pretrained(base)
    if tokens:
        model.resize_token_embeddings(model.config.vocab_size + tokens)
    config = {"r": 2, "target_modules": LINEAR, "task_type": "CAUSAL_LM"} | settings
    with models.Quiet():  # PEFT warns of tied modules
        live = get_peft_model(model, LoraConfig(**config))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in live.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    with models.Quiet():
        live.save_pretrained(str(folder))
    return live.eval()


def edit_adapter(folder: Path, edit: Any) -> None:
    """Change the weights that an adapter was saved with, by name."""
    weights = load_file(folder / "adapter_model.safetensors")
    edit(weights)
    save_file(weights, folder / "adapter_model.safetensors")
