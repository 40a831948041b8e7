"""What can be wrong in a model's folder."""

from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.broken_settings import MODEL_SETTINGS, TOKENIZER_DOCUMENTS, TOKENIZER_SETTINGS
from benchmarks.damages_of_files import (
    ADAPTER_CONFIG,
    CONFIG,
    DEEP,
    FILE_DAMAGES,
    TEXT_DAMAGES,
    TOKENIZER,
    TOKENIZER_CONFIG,
    WEIGHTS,
    Damage,
    code,
    edited,
    pipe,
    short,
    with_entry,
    within,
    write_pickle,
)
from benchmarks.damages_of_weights import INDEX, indexed, indices, sharded, weights_damages, with_tensors


def model_damages(ran: Path) -> dict[str, Damage]:
    """By name, what can be wrong in a model's folder; code in it would write the file `ran`."""
    damages = {f"weights {name}": within(WEIGHTS, damage) for name, damage in weights_damages().items()}
    damages |= {
        "weights lack a layer": with_tensors(WEIGHTS, lambda w: [w.pop(k) for k in list(w) if ".1." in k]),
        "weights of another shape": with_tensors(
            WEIGHTS, lambda w: w.update({"lm_head.weight": torch.ones(3, 5)})
        ),
        "weights without a dimension": with_tensors(
            WEIGHTS, lambda w: w.update({"lm_head.weight": torch.ones(())})
        ),
        "weights without an element": with_tensors(
            WEIGHTS, lambda w: w.update({"lm_head.weight": torch.ones(0, 32)})
        ),
        "weights turned": with_tensors(
            WEIGHTS, lambda w: w.update({"lm_head.weight": w["lm_head.weight"].T.contiguous()})
        ),
        "weights too many": with_tensors(
            WEIGHTS, lambda w: w.update({"model.layers.9.x.weight": torch.ones(1)})
        ),
        "weights named with an escape": with_tensors(
            WEIGHTS, lambda w: w.update({"model.\n\x1b[31mx": torch.ones(1)})
        ),
        "an encoder": _other("bert", "AutoModelForMaskedLM"),
        "an encoder-decoder": _other(
            "t5", "AutoModelForSeq2SeqLM", d_model=32, num_heads=2, d_kv=16, d_ff=32
        ),
        "without attention": _other("mamba", "AutoModelForCausalLM", state_size=4),
        "of few positions": _other(
            "gpt2", "AutoModelForCausalLM", n_positions=3, n_embd=32, n_head=2, n_layer=1
        ),
        "only pickled": lambda f: ((f / WEIGHTS).unlink(), write_pickle(f / "pytorch_model.bin", ran)),
        "only pickled, named safetensors": lambda f: write_pickle(f / WEIGHTS, ran),
        "pickled beside": lambda f: write_pickle(f / "pytorch_model.bin", ran),
        "adapter_config.json deep": lambda f: (f / ADAPTER_CONFIG).write_bytes(DEEP),
    }
    damages |= {f"index {name}": indexed(document) for name, document in indices().items()}
    damages |= {
        "shard lacks a weight": sharded(
            lambda s: with_tensors(s.name, lambda w: w.pop("lm_head.weight"))(s.parent)
        ),
        "shard garbage": sharded(lambda s: s.write_bytes(b"x" * 1000)),
        "shard is a pipe": sharded(pipe),
        "shard empty": sharded(lambda s: s.write_bytes(b"")),
    }
    documents = (CONFIG, TOKENIZER, TOKENIZER_CONFIG, "generation_config.json", "special_tokens_map.json")
    extra = (
        "added_tokens.json",
        "chat_template.jinja",
        "vocab.json",
        "merges.txt",
        "tokenizer.model",
        "tekken.json",
    )
    for file in (*documents, *extra, INDEX, ADAPTER_CONFIG):
        damages |= {f"{file} {name}": within(file, damage) for name, damage in TEXT_DAMAGES.items()}
    for file in (*documents, *extra, WEIGHTS, INDEX, ADAPTER_CONFIG):
        damages |= {f"{file} {name}": within(file, damage) for name, damage in FILE_DAMAGES.items()}
    damages |= {
        f"config {key}={short(value)}": with_entry(CONFIG, key, value)
        for key, values in MODEL_SETTINGS.items()
        for value in values
    }
    damages |= {
        f"tokenizer config {key}={short(value)}": with_entry(TOKENIZER_CONFIG, key, value)
        for key, values in TOKENIZER_SETTINGS.items()
        for value in values
    }
    damages |= {f"tokenizer {name}": edited(TOKENIZER, edit) for name, edit in TOKENIZER_DOCUMENTS.items()}
    theirs = {"AutoConfig": "evil.A", "AutoModelForCausalLM": "evil.A", "AutoTokenizer": ["evil.A", "evil.A"]}
    for file, kind in ((CONFIG, "novel"), (CONFIG, "llama"), (TOKENIZER_CONFIG, "")):
        damages[f"{file} with code {kind}"] = lambda f, file=file, kind=kind: (
            (f / "evil.py").write_text(code(ran)),
            with_entry(file, "auto_map", theirs)(f),
            with_entry(file, "model_type", kind)(f) if kind else None,
        )
    return damages


def _other(architecture: str, kind: str, **settings: Any) -> Damage:
    """A model of another kind takes the place of the folder's, with the same tokenizer."""

    def damage(folder: Path) -> None:
        size = {"vocab_size": 338, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.AutoConfig.for_model(architecture, **size | settings)
        getattr(transformers, kind).from_config(config).save_pretrained(folder)

    return damage
