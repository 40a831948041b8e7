"""A LoRA adapter as a GGUF file -> the folder of the same adapter as PEFT saves it.

Such a file (llama.cpp's convert_lora_to_gguf.py writes them) names its tensors as a model's GGUF does, with
`.lora_a` and `.lora_b` behind, and knows of its base no more than the architecture. So the base's own modules
are needed, to name them, and its heads: in Llama's architecture llama.cpp orders the rows of queries and keys
otherwise than transformers does.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from spillover.errors import ModelError
from spillover.knowledge.faults import listed, show
from spillover.llm.border import border

_MODEL_TYPES = {
    "llama": ("llama", "mistral"),
    "gemma2": ("gemma2",),
    "gemma3": ("gemma3_text",),
    "qwen2": ("qwen2",),
    "qwen3": ("qwen3",),
}
"""The architectures that can be read, as GGUF calls them, and what transformers calls the models of each."""

_REORDERED = ("llama",)
"""Those in which rows of queries and keys are reordered."""

_WEIGHTS = "adapter_model.safetensors"

_SAYS_SO = re.compile(rb"general\.type\x08\0{3}\x07\0{7}adapter")


def is_gguf_adapter(file: Path) -> bool:
    """Whether a GGUF file says that it is an adapter and no model."""
    with file.open("rb") as opened:
        return _SAYS_SO.search(opened.read(1 << 16)) is not None


def write_peft(file: Path, base: Any, folder: Path) -> None:
    """Write the adapter in a GGUF file as PEFT's for a base, of which the modules are enough.

    Raises ModelError for what is no LoRA, of another architecture, or has no place in the base.
    """
    from gguf import GGUFReader, dequantize
    from peft import LoraConfig
    from safetensors.numpy import save_file

    with border(f"{file} cannot be read as a GGUF adapter"):
        reader = GGUFReader(file)
        kind, architecture = (_text(reader, name) for name in ("adapter.type", "general.architecture"))
        tensors = {
            tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            for tensor in reader.tensors
        }
        alpha = reader.fields.get("adapter.lora.alpha")
        alpha = 0.0 if alpha is None else float(alpha.contents())
    if kind != "lora" or "adapter.alora.invocation_tokens" in reader.fields:
        raise ModelError(f"adapter {file} is of type {show(kind)}; only LoRA can be scored")
    if architecture not in _MODEL_TYPES:
        raise ModelError(
            f"adapter {file} is of architecture {show(architecture)}, and read from GGUF are "
            f"{listed(_MODEL_TYPES)} alone; give the folder that PEFT saved it in"
        )
    heads = base.config.get_text_config()
    if heads.model_type not in _MODEL_TYPES[architecture]:
        raise ModelError(
            f"adapter {file} is of architecture {show(architecture)} and the base is of type "
            f"{show(heads.model_type)}; give the base that it was made for as --model"
        )
    modules = _modules(architecture, base)
    pairs = _pairs(file, tensors, modules)
    for name, (_, b) in pairs.items():
        if architecture in _REORDERED and name.endswith((".attn_q", ".attn_k")):
            many = heads.num_attention_heads if name.endswith("q") else heads.num_key_value_heads
            if len(b) % (2 * many):
                raise ModelError(
                    f"adapter {file} does not fit the base's heads in {show(name)}; is it of another?"
                )
            pairs[name] = pairs[name][0], _in_halves(b, many)
    # llama.cpp scales by alpha / rank, or not at all where there is no alpha; PEFT's alpha is no fraction.
    ranks = {modules[name]: len(a) for name, (a, _) in pairs.items()}
    usual = max(ranks.values())
    unusual = {module: rank for module, rank in ranks.items() if rank != usual}
    config = LoraConfig(
        r=usual,
        lora_alpha=usual,
        target_modules=sorted(ranks),
        rank_pattern=unusual,
        alpha_pattern=unusual,
        task_type="CAUSAL_LM",
    )
    config.save_pretrained(str(folder))
    saved = {}
    for name, (a, b) in pairs.items():
        saved[f"base_model.model.{modules[name]}.lora_A.weight"] = a
        saved[f"base_model.model.{modules[name]}.lora_B.weight"] = b * (alpha / len(a) if alpha else 1)
    save_file(
        {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in saved.items()},
        folder / _WEIGHTS,
    )


def _text(reader: Any, name: str) -> str:
    field = reader.fields.get(name)
    return "" if field is None else str(field.contents())


def _modules(architecture: str, base: Any) -> dict[str, str]:
    """GGUF's name of each linear layer of the base -> its own."""
    import torch
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    number = next(number for number, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(number, base.config.get_text_config().num_hidden_layers)
    linear = [name for name, module in base.named_modules() if isinstance(module, torch.nn.Linear)]
    return {theirs: name for name in linear if (theirs := names.get_name(name)) is not None}


def _pairs(
    file: Path, tensors: dict[str, np.ndarray], modules: dict[str, str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By GGUF's name of a layer its two factors, (rank, in) and (out, rank)."""
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in sorted(tensors):
        layer, _, side = name.rpartition(".weight.lora_")
        other = tensors.get(f"{layer}.weight.lora_{'b' if side == 'a' else 'a'}")
        if layer not in modules or side not in ("a", "b"):
            raise ModelError(
                f"adapter {file} changes {show(name)}, no linear layer of the base; is it of another?"
            )
        if other is None or {tensors[name].ndim, other.ndim} != {2}:
            raise ModelError(f"adapter {file} has no pair of matrices for {show(layer)}; convert it again")
        a, b = (tensors[name], other) if side == "a" else (other, tensors[name])
        if len(a) != b.shape[1]:
            raise ModelError(f"adapter {file} has matrices of two ranks for {show(layer)}; convert it again")
        pairs[layer] = a, b
    if not pairs:
        raise ModelError(f"adapter {file} holds no weights; convert it again")
    return pairs


def _in_halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a head in transformers' order, the halves of its rotated pairs one after another."""
    shape = rows.shape
    return rows.reshape(heads, shape[0] // heads // 2, 2, shape[1]).swapaxes(1, 2).reshape(shape)
