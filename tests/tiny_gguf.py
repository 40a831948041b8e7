"""A tiny Llama as a GGUF file, as llama.cpp writes it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, TokenType
from safetensors.numpy import load_file

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers.": "blk.",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def save_tiny_gguf(folder: Path, file: Path, *, chat: str | None = None) -> Path:
    """The float32 GGUF file of a tiny Llama's folder, with a chat template if one is given."""
    config = json.loads((folder / "config.json").read_text())
    document = json.loads((folder / "tokenizer.json").read_text())["model"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = GGUFWriter(file, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])

    tokens = sorted(document["vocab"], key=document["vocab"].get)
    unused = [f"<unused{i}>" for i in range(config["vocab_size"] - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens + unused)
    kinds = [TokenType.CONTROL] + [TokenType.NORMAL] * (len(tokens) - 1) + [TokenType.UNUSED] * len(unused)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) for merge in document["merges"]])
    if chat is not None:
        writer.add_chat_template(chat)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)

    for name, tensor in load_file(folder / "model.safetensors").items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            tensor = _interleaved(tensor, heads if "q_proj" in name else kv_heads)
        writer.add_tensor(_named(name), np.ascontiguousarray(tensor))
    return _written(writer, file)


def save_tiny_gguf_adapter(
    adapter: Path, base: Path, file: Path, *, alpha: float | None, edit: Any = lambda tensors: None
) -> Path:
    """A PEFT adapter of a tiny Llama as llama.cpp writes it; `edit` may spoil its tensors."""
    config = json.loads((base / "config.json").read_text())
    tensors = {}
    for name, tensor in load_file(adapter / "adapter_model.safetensors").items():
        if name.endswith(("q_proj.lora_B.weight", "k_proj.lora_B.weight")):
            heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
            tensor = _interleaved(tensor, heads)
        name = _named(name.removeprefix("base_model.model."))
        for side in "AB":
            name = name.replace(f".lora_{side}.weight", f".weight.lora_{side.lower()}")
        tensors[name] = tensor
    edit(tensors)
    writer = GGUFWriter(file, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    if alpha is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    for name, tensor in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    return _written(writer, file)


def _named(name: str) -> str:
    """A tensor's name as llama.cpp has it."""
    for theirs, ours in _NAMES.items():
        name = name.replace(theirs, ours)
    return name


def _written(writer: GGUFWriter, file: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _interleaved(weights: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a head in the order of llama.cpp's rotary embedding: pairs beside each other, not in halves."""
    shape = weights.shape
    return weights.reshape(heads, 2, shape[0] // heads // 2, shape[1]).swapaxes(1, 2).reshape(shape)
